//! Refs that the mirror cannot have at once: git allows no ref below another one, such as `refs/kv/a/b` below `refs/kv/a`.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::{Change, Group, Hold};

/// Holds every group that creates a ref above or below a ref of the mirror, unless a group deletes that one.
pub(super) fn hold_conflicts(groups: &mut [Group], remote: &BTreeMap<BString, ObjectId>) {
    let sent = groups.iter().filter(|group| group.hold.is_none());
    let deleted = sent.flat_map(changes).filter(|change| change.new.is_null());
    let deleted: BTreeSet<BString> = deleted.map(|change| change.name.clone()).collect();
    for group in groups.iter_mut().filter(|group| group.hold.is_none()) {
        let hold = changes(group).find_map(|change| conflict(change, remote, &deleted));
        group.hold = hold;
    }
}

fn conflict(change: &Change, remote: &BTreeMap<BString, ObjectId>, deleted: &BTreeSet<BString>) -> Option<Hold> {
    if !change.old.is_null() || change.new.is_null() {
        return None;
    }
    let existing = conflicting(change.name.as_bstr(), remote, deleted)?;
    Some(Hold::Conflict {
        name: change.name.clone(),
        existing: existing.clone(),
    })
}

fn changes(group: &Group) -> impl Iterator<Item = &Change> {
    group.changes.iter().chain(&group.watermark)
}

/// Returns a ref of the mirror above or below this one that stays.
fn conflicting<'a>(
    name: &BStr,
    remote: &'a BTreeMap<BString, ObjectId>,
    deleted: &BTreeSet<BString>,
) -> Option<&'a BString> {
    let above = name
        .find_iter(b"/")
        .filter_map(|slash| remote.get_key_value(&name[..slash]));
    let folder = BString::from([name.as_bytes(), b"/"].concat());
    let below = remote.range(folder.clone()..);
    let below = below.take_while(|(name, _)| name.starts_with(&folder));
    let mut all = above.chain(below).map(|(name, _)| name);
    all.find(|name| !deleted.contains(*name))
}
