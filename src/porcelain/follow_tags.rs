//! Annotated tags that the remote lacks and that point into the pushed history (git-push, *--follow-tags*).
use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use git_push::refspec::{Sourced, Wanted};
use gix::{ObjectId, Repository, objs::Kind};

use super::error::PushError;

/// Returns the creations of these tags, by name.
///
/// # Errors
/// An object cannot be read.
pub(super) fn missing(
    repository: &Repository,
    local: &BTreeMap<BString, ObjectId>,
    remote: &BTreeMap<BString, ObjectId>,
    wanted: &[Wanted],
    sourced: &Sourced,
) -> Result<Vec<Wanted>, PushError> {
    let unreadable = |error: gix::Error| PushError::Objects(git_push::causes(&error));
    let pushed: BTreeMap<_, _> = wanted.iter().map(|update| (&update.name, update.new)).collect();
    let mut candidates = Vec::new();
    for (name, id) in local {
        let is_missing = name.starts_with(b"refs/tags/") && !remote.contains_key(name) && !pushed.contains_key(name);
        if is_missing
            && is_tag(repository, *id).map_err(unreadable)?
            && let Some(commit) = commit(repository, *id).map_err(unreadable)?
        {
            candidates.push((name, *id, commit));
        }
    }
    let mut open: BTreeSet<ObjectId> = candidates.iter().map(|(.., commit)| *commit).collect();
    let all = open.clone();
    let others = remote.iter().filter(|(name, _)| !pushed.contains_key(name));
    let ends = pushed
        .values()
        .chain(others.map(|(_, id)| id))
        .filter(|id| !id.is_null());
    let mut tips = Vec::new();
    for id in ends {
        tips.extend(commit(repository, *id).map_err(unreadable)?);
    }
    if !open.is_empty() && !tips.is_empty() {
        for commit in repository.rev_walk(tips).all().map_err(unreadable)? {
            open.remove(&commit.map_err(unreadable)?.id);
            if open.is_empty() {
                break;
            }
        }
    } else {
        open.clone_from(&all);
    }
    let reached = candidates.into_iter().filter(|(.., commit)| !open.contains(commit));
    Ok(reached.filter_map(|(name, id, _)| sourced.creation(name, id)).collect())
}

fn is_tag(repository: &Repository, id: ObjectId) -> Result<bool, gix::Error> {
    Ok(repository
        .try_find_header(id)?
        .is_some_and(|header| header.kind() == Kind::Tag))
}

/// Returns the commit that an object stands for, if it is one, or a tag of one, and is here.
fn commit(repository: &Repository, id: ObjectId) -> Result<Option<ObjectId>, gix::Error> {
    let mut id = id;
    while let Some(object) = repository.try_find_object(id)? {
        match object.kind {
            Kind::Commit => return Ok(Some(id)),
            Kind::Tag => id = object.into_tag().target_id()?.detach(),
            Kind::Tree | Kind::Blob => return Ok(None),
        }
    }
    Ok(None)
}
