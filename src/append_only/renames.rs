//! Detection of renames, for messages only: deletions and renames violate the rule alike.
//!
//! Only identical content counts (git-diff, *--find-renames=100%*). As in git, each addition is matched first with a
//! deletion of the same base name.
use std::collections::{HashMap, VecDeque};

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, objs::tree::EntryKind};

use super::{
    Letter,
    compare::{Change, walk},
};
use crate::git_objects::{Additions, Error, FileChange, Leaf, Reader};

/// Maximum number of deletions of the same content that are tried for one addition.
const MAX_ALIKE: usize = 100;

/// Turns a deletion into a rename if the same file was added anywhere in the tree `new`.
///
/// # Errors
/// A tree is missing or damaged.
pub(super) fn find(reader: Reader<'_>, broken: &mut [Change], old: ObjectId, new: ObjectId) -> Result<(), Error> {
    let whole = FileChange {
        path: BString::default(),
        old: Some(Leaf::tree(old)),
        new: Some(Leaf::tree(new)),
    };
    let changes = match walk(reader, whole, Additions::Wanted) {
        Ok(changes) => changes,
        // The violations are known. The new paths are only a convenience.
        Err(Error::TooMany(..)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut added: Vec<(BString, Leaf)> = changes
        .into_iter()
        .filter_map(|change| match change {
            Change::Added { path, item } => Some((path, item)),
            Change::Broken { .. } => None,
        })
        .collect();
    added.sort_by(|one, other| one.0.cmp(&other.0));

    broken.sort_by(|one, other| one.path().cmp(other.path()));
    let mut gone: HashMap<ObjectId, VecDeque<usize>> = HashMap::new();
    for (index, change) in broken.iter().enumerate() {
        if let Change::Broken {
            letter: Letter::Deleted,
            item,
            ..
        } = change
        {
            gone.entry(item.id).or_default().push_back(index);
        }
    }
    for (path, item) in added {
        let Some(candidates) = gone.get_mut(&item.id) else {
            continue;
        };
        if let Some(place) = best(candidates, broken, path.as_bstr(), item)
            && let Some(index) = candidates.remove(place)
            && let Change::Broken { letter, to, .. } = &mut broken[index]
        {
            (*letter, *to) = (Letter::Renamed, Some(path));
        }
    }
    Ok(())
}

/// Returns the position of the first candidate with this base name, else of the first candidate.
fn best(candidates: &VecDeque<usize>, broken: &[Change], path: &BStr, item: Leaf) -> Option<usize> {
    let fits =
        |index: usize| matches!(&broken[index], Change::Broken { item: gone, .. } if alike(gone.kind, item.kind));
    let fitting = || (0..candidates.len().min(MAX_ALIKE)).filter(|place| fits(candidates[*place]));
    let same_name = |place: &usize| base_name(broken[candidates[*place]].path().as_bstr()) == base_name(path);
    fitting().find(same_name).or_else(|| fitting().next())
}

fn alike(one: EntryKind, other: EntryKind) -> bool {
    let regular = |kind| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable);
    one == other || (regular(one) && regular(other))
}

fn base_name(path: &BStr) -> &[u8] {
    path.rsplit_once_str("/").map_or(path.as_bytes(), |(_, name)| name)
}
