//! Events in folders whose names git reserves, such as a feed `.gitmodules`.
//!
//! Such names are refused now, but commits of an earlier version may contain them. A remote with `receive.fsckObjects` refuses
//! each push that contains such a commit, even if a later commit removes the folder. So the commits that are not pushed yet
//! are rewritten without these events, which are stored beside the commits ([`refused`](super::super::refused)).
use std::collections::HashSet;

use bstr::ByteSlice;
use durable::storage::Storage;
use gix::{
    ObjectId,
    objs::{CommitRef, Kind as ObjectKind},
};
use jiff::Timestamp;

use super::{
    super::repository::{Session, changes::is_unpushable, event_ids, refused::Refusal},
    rebase::{Rebase, apply, bases, prove},
};
use crate::object_store::{
    Error,
    difference::{self, Change},
    objects::Objects,
};

/// Rewrites the commits that `theirs` lacks without such events, if there are any. Returns the events that were left out.
///
/// # Errors
/// The repository cannot be read or written; or a commit cannot be rewritten, because it is a merge or the first of all.
pub fn leave_out<S: Storage>(
    session: &mut Session<'_, S>,
    theirs: Option<ObjectId>,
    now: Timestamp,
) -> Result<Vec<Refusal>, Error> {
    let (objects, ours) = (session.objects(), session.tip());
    let known = match theirs {
        Some(theirs) => bases(objects, ours, theirs)?,
        None => HashSet::new(),
    };
    let commits = since_first_unpushable(objects, ours, |commit| {
        known.contains(&commit) || session.index.pushable == Some(commit)
    })?;
    let Some((_, before)) = commits.first() else {
        session.index.pushable = Some(ours);
        return Ok(Vec::new());
    };
    let mut rebase = Rebase::onto_own(objects);
    let (pack, new, _) = apply(session, &mut rebase, &commits, *before, now)?;
    rebase.refuse()?;
    session.add(pack)?;
    prove(objects, ours, new, &rebase.left_out())?;
    let mut left_out = Vec::new();
    for (path, leaf) in &rebase.unpushable {
        session.keep_refused(&path.to_str_lossy(), &objects.blob(leaf.id)?, now)?;
        let (feed_id, event_id) = event_ids::feed_and_id(path).unwrap_or_default();
        left_out.push(Refusal {
            feed_id,
            event_id,
            path: path.to_string(),
        });
    }
    session.move_to(new)?;
    session.index.pushable = Some(new);
    Ok(left_out)
}

/// Returns our commits from the first one with such an event on, each with its parent, the oldest first. Follows first
/// parents up to the first commit for which `is_known` returns true.
fn since_first_unpushable(
    objects: Objects<'_>,
    ours: ObjectId,
    is_known: impl Fn(ObjectId) -> bool,
) -> Result<Vec<(ObjectId, ObjectId)>, Error> {
    let (mut commits, mut needed) = (Vec::new(), 0);
    let (mut at, mut merge) = (ours, None);
    while !is_known(at) {
        let raw = objects.read(at, ObjectKind::Commit)?;
        let commit = CommitRef::from_bytes(&raw, objects.hash())
            .map_err(|error| Error::failed("read the history of", objects.0.git_dir(), error))?;
        let mut parents = commit.parents();
        let parent = parents.next();
        merge = merge.or(parents.next().map(|_| at));
        let before = parent.map(|parent| objects.tree_of(parent)).transpose()?;
        let changes = difference::between(objects, before, Some(commit.tree()))?;
        let found = changes.iter().find(|change| is_unpushable(change));
        match (found, parent, merge) {
            (Some(change), None, _) => return Err(stuck(change, "it is in the first commit")),
            (Some(change), _, Some(merge)) => {
                return Err(stuck(change, &format!("the later commit {merge} is a merge")));
            }
            (Some(_), Some(_), None) => needed = commits.len() + 1,
            (None, ..) => {}
        }
        let Some(parent) = parent else { break };
        commits.push((at, parent));
        at = parent;
    }
    commits.truncate(needed);
    commits.reverse();
    Ok(commits)
}

fn stuck(change: &Change, why: &str) -> Error {
    let path = git_push::cleaned(&change.path);
    Error::refused(format!(
        "{path} is in a folder whose name git reserves, and cannot be left out: {why}"
    ))
    .with_hint("remove it from the unpushed commits, for instance with `git rebase`")
}
