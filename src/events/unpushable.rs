//! Events in folders whose names git reserves, such as a feed `.gitmodules`.
//!
//! Such names are refused now, but commits of an earlier version may contain them. A remote with `receive.fsckObjects` refuses
//! each push that contains such a commit, even if a later commit removes the folder. So the commits that are not pushed yet
//! are rewritten without these events, which are stored beside the commits ([`refused`](super::refused)).
use std::collections::HashSet;

use bstr::{BStr, ByteSlice};
use durable::storage::Storage;
use gix::{
    ObjectId,
    objs::{CommitRef, Kind as ObjectKind},
};
use jiff::Timestamp;

use super::{
    Context, Error, Refusal,
    context::State,
    difference::{self, Change},
    event_ids,
    new_pack::NewPack,
    objects::Objects,
    rebase::{Rebase, bases, prove},
};
use crate::event::is_of_git;

/// Returns true if a folder on this path below `events/` has a name that git reserves.
pub(super) fn is_unpushable(change: &Change) -> bool {
    let folders = change.path.rsplit_once_str("/").map_or(&[][..], |(folders, _)| folders);
    change.is_of_events() && folders.split_str("/").any(|name| is_of_git(BStr::new(name)))
}

impl<S: Storage> Context<S> {
    /// Rewrites the commits that `theirs` lacks without such events, if there are any. Returns the new tip and the events that
    /// were left out.
    ///
    /// # Errors
    /// The repository cannot be read or written; or a commit cannot be rewritten, because it is a merge or the first of all.
    pub(super) fn leave_out_unpushable(
        &self,
        state: &mut State,
        objects: Objects<'_>,
        ours: ObjectId,
        theirs: Option<ObjectId>,
        now: Timestamp,
    ) -> Result<(ObjectId, Vec<Refusal>), Error> {
        let known = match theirs {
            Some(theirs) => bases(objects, ours, theirs)?,
            None => HashSet::new(),
        };
        let commits = since_first_unpushable(objects, ours, |commit| {
            known.contains(&commit) || state.pushable == Some(commit)
        })?;
        let Some((_, before)) = commits.first() else {
            state.pushable = Some(ours);
            return Ok((ours, Vec::new()));
        };
        let mut rebase = Rebase::onto_own(objects);
        let (pack, new, _) = self.apply(state, &mut rebase, &commits, *before, now)?;
        rebase.refuse()?;
        self.store_new(objects.0, pack)?;
        prove(objects, ours, new, &rebase.left_out())?;
        let mut left_out = Vec::new();
        for (path, leaf) in &rebase.unpushable {
            self.keep_refused(state, &path.to_str_lossy(), &objects.blob(leaf.id)?, now)?;
            let (feed_id, event_id) = event_ids::feed_and_id(path).unwrap_or_default();
            left_out.push(Refusal {
                feed_id,
                event_id,
                path: path.to_string(),
            });
        }
        self.land(state, objects.0, NewPack::new(objects.hash()), ours, new)?;
        state.pushable = Some(new);
        Ok((new, left_out))
    }
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
