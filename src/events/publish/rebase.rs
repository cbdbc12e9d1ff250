//! Rebasing local commits ("ours") onto the remote's ("theirs"): the changes of each of our commits are applied to
//! their tree. There is no merge machinery:
//!
//! - An event that they lack is added. An event that they have, at any path, is dropped. An event whose id they have
//!   with different content is refused: theirs stays, ours is stored outside the commits
//!   ([`refused`](super::super::refused)).
//! - A snapshot that they have stays unchanged. A snapshot of a refused event is dropped.
//! - Our `.crp/lock.json` replaces theirs.
//! - Any other file must be the same on their side as before or after our change. Otherwise it is a conflict, and nothing is
//!   done.
//! - A commit that changed or removed an event, on either side, breaks the append-only rule, and nothing is done.
//! - An event in a folder whose name git reserves is dropped ([`unpushable`](super::unpushable)).
//! - A commit without remaining changes is dropped.
//!
//! Afterwards the trees are compared independently of the above: no event of either side may be changed or missing, except
//! events that were refused, dropped, or exist at another path.
//!
//! Two context repositories may have been created independently (two instances that began with the same empty remote) and
//! share no commit. If our first commit has only files that `events init` creates, it is dropped and the other
//! commits are rebased.
use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString};
use durable::storage::Storage;
use gix::{
    ObjectId,
    objs::{CommitRef, Kind as ObjectKind, WriteTo, tree::EntryKind},
};
use jiff::Timestamp;

use super::super::repository::{
    Session,
    changes::{adds_event, is_of_events, is_unpushable, is_violation, message, snapshot_of},
    check_manifest, event_ids, lock_file,
    refused::Refusal,
};
use crate::event::is_same_json;
use crate::object_store::{
    Error, Kind,
    difference::{self, Change},
    new_pack::NewPack,
    objects::Objects,
    tree_buffer::Leaf,
    tree_cache::{Edit, SetError},
};

/// Maximum number of commits in a rebase.
const MAX_COMMITS: usize = 1_000_000;
/// Size at which a pack is stored and another one begins, in bytes.
const MAX_PACK: usize = 128 << 20;
/// Maximum number of paths in a message.
const MAX_LISTED: usize = 20;

/// Result of a rebase.
#[derive(Default)]
pub struct Rebased {
    /// Number of local commits that were rebased.
    pub commits: usize,
    /// Local events that were refused.
    pub refused: Vec<Refusal>,
}

/// State of a rebase.
pub struct Rebase<'a> {
    objects: Objects<'a>,
    /// Events that they added since the merge base, by feed and id.
    theirs: HashMap<(String, String), (BString, Leaf)>,
    refused: Vec<(BString, Leaf)>,
    /// Local events in folders whose names git reserves.
    pub unpushable: Vec<(BString, Leaf)>,
    /// Local events that their side has as the same JSON, at another path or in other bytes.
    moved: Vec<BString>,
    conflicts: Vec<BString>,
    violations: Vec<BString>,
}

/// Makes the branch contain `theirs`.
///
/// # Errors
/// The repository cannot be read or written; there is a conflict; or a commit breaks the append-only rule.
pub fn onto<S: Storage>(session: &mut Session<'_, S>, theirs: ObjectId, now: Timestamp) -> Result<Rebased, Error> {
    let (objects, ours) = (session.objects(), session.tip());
    let contains = |tip, commit| {
        git_push::fast_forward(objects.0, commit, tip)
            .map_err(|error| Error::failed("read the history of", objects.0.git_dir(), error))
    };
    if contains(ours, theirs)? {
        return Ok(Rebased::default());
    }
    if contains(theirs, ours)? {
        check_manifest(objects, theirs)?;
        let changes = prove(objects, ours, theirs, &HashSet::new())?;
        session.index.event_ids.add_all(changes.iter());
        session.move_to(theirs)?;
        return Ok(Rebased::default());
    }
    let (base, commits) = fork_point(objects, ours, theirs)?;
    let mut rebase = Rebase::new(objects, base, theirs)?;
    let (pack, new, commits) = apply(session, &mut rebase, &commits, theirs, now)?;
    rebase.refuse()?;
    session.add(pack)?;
    let changes = prove(objects, ours, new, &rebase.left_out())?;
    prove(objects, theirs, new, &HashSet::new())?;
    session.index.event_ids.add_all(changes.iter());
    let mut refused = Vec::new();
    for (path, leaf) in &rebase.refused {
        let path = path.to_string();
        session.keep_refused(&path, &objects.blob(leaf.id)?, now)?;
        let (feed_id, event_id) = event_ids::feed_and_id(path.as_bytes()).unwrap_or_default();
        refused.push(Refusal {
            feed_id,
            event_id,
            path,
        });
    }
    session.move_to(new)?;
    Ok(Rebased { commits, refused })
}

/// Recreates our commits on `onto`; returns their pack, the last one, and their number.
///
/// # Errors
/// The repository cannot be read, or a pack cannot be written.
pub fn apply<S: Storage>(
    session: &mut Session<'_, S>,
    rebase: &mut Rebase<'_>,
    commits: &[(ObjectId, ObjectId)],
    onto: ObjectId,
    now: Timestamp,
) -> Result<(NewPack, ObjectId, usize), Error> {
    let objects = rebase.objects;
    let store = &session.repository.store;
    let failed = |error| store.pack_failed(&error);
    let mut pack = NewPack::new(objects.hash());
    let (mut tip, mut count) = (onto, 0);
    let mut edit = session.edit(onto)?;
    for (commit, parent) in commits {
        let parent = objects.tree_of(*parent)?;
        let changes = difference::between(objects, Some(parent), Some(objects.tree_of(*commit)?))?;
        let (applied, added) = rebase.apply(&mut edit, &changes)?;
        if applied == 0 {
            continue;
        }
        let tree = edit.write(&mut pack).map_err(failed)?;
        let original = changes.iter().filter(|change| adds_event(change)).count();
        let bytes = rewritten(objects, *commit, tree, tip, (original, added), now)?;
        tip = pack.add(ObjectKind::Commit, &bytes).map_err(failed)?;
        count += 1;
        if pack.length() > MAX_PACK {
            store.add(objects.0, std::mem::replace(&mut pack, NewPack::new(objects.hash())))?;
        }
    }
    Ok((pack, tip, count))
}

/// Rewrites a commit with another tree and parent. Its message states the number of remaining events.
fn rewritten(
    objects: Objects<'_>,
    commit: ObjectId,
    tree: ObjectId,
    parent: ObjectId,
    (original, added): (usize, usize),
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let raw = objects.read(commit, ObjectKind::Commit)?;
    let failed = |why: String| Error::failed("rebase a commit of", objects.0.git_dir(), format!("{commit}: {why}"));
    let old = CommitRef::from_bytes(&raw, objects.hash()).map_err(|error| failed(error.to_string()))?;
    let mut new = old.into_owned().map_err(|error| failed(error.to_string()))?;
    new.tree = tree;
    new.parents = [parent].into_iter().collect();
    new.committer.time = gix::date::Time::new(now.as_second(), 0);
    // The signature covers the original commit.
    new.extra_headers.retain(|(name, _)| !name.starts_with(b"gpgsig"));
    if new.message == message(original) {
        new.message = message(added).into();
    }
    let mut bytes = Vec::new();
    new.write_to(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

impl<'a> Rebase<'a> {
    fn new(objects: Objects<'a>, base: Option<ObjectId>, theirs: ObjectId) -> Result<Self, Error> {
        let base = base.map(|base| objects.tree_of(base)).transpose()?;
        let changes = difference::between(objects, base, Some(objects.tree_of(theirs)?))?;
        let added = changes.into_iter().filter(adds_event);
        let theirs = added.filter_map(|change| {
            let key = event_ids::feed_and_id(&change.path)?;
            Some((key, (change.path, change.new?)))
        });
        Ok(Rebase {
            theirs: theirs.collect(),
            ..Rebase::onto_own(objects)
        })
    }

    /// A rebase onto a commit of our own history: there are no events of others.
    pub fn onto_own(objects: Objects<'a>) -> Self {
        Rebase {
            objects,
            theirs: HashMap::new(),
            refused: Vec::new(),
            unpushable: Vec::new(),
            moved: Vec::new(),
            conflicts: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Applies the changes of one commit; returns the number of applied changes and of added events.
    fn apply(&mut self, edit: &mut Edit<'_>, changes: &[Change]) -> Result<(usize, usize), Error> {
        let (mut applied, mut added) = (0, 0);
        for change in changes.iter().filter(|change| change.path != lock_file::PATH) {
            let is_applied = match change.new {
                leaf if is_unpushable(change) => {
                    self.unpushable.extend(leaf.map(|leaf| (change.path.clone(), leaf)));
                    false
                }
                _ if is_violation(change) => {
                    self.violations.push(change.path.clone());
                    false
                }
                Some(leaf) if is_of_events(change) => self.apply_event(edit, &change.path, leaf)?,
                // The events come first: their paths are less.
                Some(_) if self.keeps_snapshot(edit, change, changes)? => false,
                _ => self.apply_other(edit, change)?,
            };
            applied += usize::from(is_applied);
            added += usize::from(is_applied && adds_event(change));
        }
        let lock = changes.iter().find(|change| change.path == lock_file::PATH);
        if applied > 0
            && let Some(leaf) = lock.and_then(|lock| lock.new)
        {
            edit.set(BStr::new(lock_file::PATH), leaf)
                .map_err(SetError::into_error)?;
        }
        Ok((applied, added))
    }

    fn apply_event(&mut self, edit: &mut Edit<'_>, path: &BString, leaf: Leaf) -> Result<bool, Error> {
        let key = event_ids::feed_and_id(path);
        let elsewhere = key.and_then(|key| self.theirs.get(&key)).map(|(_, leaf)| *leaf);
        let in_place = edit.get(path.as_ref())?;
        if in_place.is_some_and(|there| there.id == leaf.id) {
            return Ok(false);
        }
        if let Some(there) = in_place.or(elsewhere)
            && self.is_same(there, leaf)?
        {
            self.moved.push(path.clone());
            return Ok(false);
        }
        if in_place.is_none() && elsewhere.is_none() {
            match edit.set(path.as_ref(), leaf) {
                Ok(()) => return Ok(true),
                Err(SetError::InTheWay(_)) => {}
                Err(SetError::Unreadable(error)) => return Err(error),
            }
        }
        self.refused.push((path.clone(), leaf));
        Ok(false)
    }

    /// Returns true if two files are the same JSON, even if their bytes differ.
    fn is_same(&self, one: Leaf, other: Leaf) -> Result<bool, Error> {
        if one.id == other.id {
            return Ok(true);
        }
        let is_file = |leaf: Leaf| matches!(leaf.kind, EntryKind::Blob | EntryKind::BlobExecutable);
        if !is_file(one) || !is_file(other) {
            return Ok(false);
        }
        Ok(is_same_json(&self.objects.blob(one.id)?, &self.objects.blob(other.id)?))
    }

    /// Returns true if a change is the snapshot of an event of the same commit, and is not applied.
    fn keeps_snapshot(&self, edit: &mut Edit<'_>, change: &Change, changes: &[Change]) -> Result<bool, Error> {
        let Some(event) = snapshot_of(change) else {
            return Ok(false);
        };
        let is_of = |path: &BString| event_ids::feed_and_id(path).as_ref() == Some(&event);
        if !changes.iter().any(|change| adds_event(change) && is_of(&change.path)) {
            return Ok(false);
        }
        let is_dropped = self.refused.iter().chain(&self.unpushable).any(|(path, _)| is_of(path));
        Ok(is_dropped || edit.get(change.path.as_ref())?.is_some())
    }

    fn apply_other(&mut self, edit: &mut Edit<'_>, change: &Change) -> Result<bool, Error> {
        let there = edit.get(change.path.as_ref())?;
        if there == change.new {
            return Ok(false);
        }
        let done = match change.new {
            _ if there != change.old => Err(SetError::InTheWay(change.path.clone())),
            Some(leaf) => edit.set(change.path.as_ref(), leaf),
            None => edit.remove(change.path.as_ref()),
        };
        match done {
            Ok(()) => Ok(true),
            Err(SetError::Unreadable(error)) => Err(error),
            Err(SetError::InTheWay(_)) => {
                self.conflicts.push(change.path.clone());
                Ok(false)
            }
        }
    }

    /// Paths of local events that will be missing from the result.
    pub fn left_out(&self) -> HashSet<BString> {
        let refused = self.refused.iter().chain(&self.unpushable).map(|(path, _)| path);
        refused.chain(&self.moved).cloned().collect()
    }

    /// Fails if there are violations or conflicts.
    pub fn refuse(&self) -> Result<(), Error> {
        if !self.violations.is_empty() {
            return Err(violated(&self.violations));
        }
        if self.conflicts.is_empty() {
            return Ok(());
        }
        let what = format!(
            "both sides have changed {}; nothing was changed",
            listed(&self.conflicts)
        );
        Err(Error::refused(what).with_hint("commit the same content of the file on both sides"))
    }
}

/// Proves that no event of `old`, except `exempt`, is changed or missing in `new`; returns all changes.
pub fn prove(
    objects: Objects<'_>,
    old: ObjectId,
    new: ObjectId,
    exempt: &HashSet<BString>,
) -> Result<Vec<Change>, Error> {
    let (old, new) = (objects.tree_of(old)?, objects.tree_of(new)?);
    let changes = difference::between(objects, Some(old), Some(new))?;
    let broken = changes
        .iter()
        .filter(|change| is_violation(change) && !exempt.contains(&change.path));
    let broken: Vec<_> = broken.map(|change| change.path.clone()).collect();
    if broken.is_empty() {
        Ok(changes)
    } else {
        Err(violated(&broken))
    }
}

fn violated(paths: &[BString]) -> Error {
    let what = format!(
        "existing events would be changed or removed: {}; nothing was changed",
        listed(paths)
    );
    Error::refused(what).with_hint("revert that change with a commit, and write corrections as new events")
}

fn listed(paths: &[BString]) -> String {
    let names: Vec<_> = paths
        .iter()
        .take(MAX_LISTED)
        .map(|path| git_push::cleaned(path))
        .collect();
    match paths.len().saturating_sub(MAX_LISTED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Returns the merge bases of two commits.
pub fn bases(objects: Objects<'_>, ours: ObjectId, theirs: ObjectId) -> Result<HashSet<ObjectId>, Error> {
    let bases = objects.0.merge_bases_many(ours, &[theirs]);
    let bases =
        bases.map_err(|error| Error::failed("read the history of", objects.0.git_dir(), git_push::causes(&error)))?;
    Ok(bases.into_iter().map(gix::Id::detach).collect())
}

/// Returns the merge base, and our commits since then, the oldest first, each with its parent.
#[allow(clippy::type_complexity)]
fn fork_point(
    objects: Objects<'_>,
    ours: ObjectId,
    theirs: ObjectId,
) -> Result<(Option<ObjectId>, Vec<(ObjectId, ObjectId)>), Error> {
    let failed = |why: String| Error::failed("read the history of", objects.0.git_dir(), why);
    let bases = bases(objects, ours, theirs)?;
    let mut commits = Vec::new();
    let mut at = ours;
    while !bases.contains(&at) {
        let raw = objects.read(at, ObjectKind::Commit)?;
        let commit = CommitRef::from_bytes(&raw, objects.hash()).map_err(|error| failed(error.to_string()))?;
        let mut parents = commit.parents();
        match (parents.next(), parents.next()) {
            (None, _) => {
                check_made_by_init(objects, at, theirs)?;
                break;
            }
            (Some(parent), None) => {
                commits.push((at, parent));
                at = parent;
            }
            (Some(_), Some(_)) => {
                let what = format!("commit {at} is a merge that the remote does not have");
                return Err(Error::refused(what).with_hint("rebase it onto the remote's branch with git, and push it"));
            }
        }
        if commits.len() > MAX_COMMITS {
            return Err(Error::new(
                Kind::Refused,
                format!("more than {MAX_COMMITS} commits are not on the remote"),
            ));
        }
    }
    commits.reverse();
    Ok((bases.contains(&at).then_some(at), commits))
}

/// Fails unless both are context repositories and ours has no event in its first commit.
fn check_made_by_init(objects: Objects<'_>, root: ObjectId, theirs: ObjectId) -> Result<(), Error> {
    let unrelated = |why: &str| {
        let what = format!("the remote's branch and this repository have no commit in common, and {why}");
        Err(Error::refused(what)
            .with_hint("use a remote without any commit (no README, no licence), or another branch (GITHUB_BRANCH)"))
    };
    if !is_context(objects, theirs)? {
        return unrelated("the remote is not a context repository");
    }
    let first = difference::between(objects, None, Some(objects.tree_of(root)?))?;
    if !is_context(objects, root)? || first.iter().any(adds_event) {
        return unrelated("the local repository has events in its first commit");
    }
    Ok(())
}

/// Returns true if a commit belongs to a context repository. A commit that cannot be read is an error.
fn is_context(objects: Objects<'_>, commit: ObjectId) -> Result<bool, Error> {
    match check_manifest(objects, commit) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}
