//! Fast-forward checks on this side: servers may not (`receive.denyNonFastForwards` covers only
//! `refs/heads/`, and is off by default).
use gix::{ObjectId, objs::Kind};

use super::{Error, objects::Objects};

/// Returns true if every commit that is reachable from `old` is reachable from `new`, too.
///
/// Tags stand for what they tag. The answer is `false` if `old` is not in the local repository.
/// Objects that are not commits must be the same. The answer does not depend on dates of commits. Memory grows with
/// the number of commits that are read.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when `new` is not in the local repository, or something
/// cannot be read.
pub fn fast_forward(repository: &gix::Repository, old: ObjectId, new: ObjectId) -> Result<bool, Error> {
    if old == new {
        return Ok(true);
    }
    let objects = Objects::new(repository);
    let Some((new, new_kind)) = peeled(&objects, new)? else {
        return Err(objects.missing(new, &"a ref that is to be pushed"));
    };
    let Some((old, old_kind)) = peeled(&objects, old)? else {
        return Ok(false);
    };
    if old == new || old_kind != Kind::Commit || new_kind != Kind::Commit {
        return Ok(old == new);
    }
    let bases = objects.repository().merge_bases_many(old, &[new]);
    let bases = bases.map_err(|error| objects.damaged(new, &error))?;
    Ok(bases.iter().any(|base| *base == old))
}

/// What a chain of tags stands for; `None` if a link of it is not in the local repository.
pub(super) fn peeled(objects: &Objects, mut id: ObjectId) -> Result<Option<(ObjectId, Kind)>, Error> {
    while let Some(kind) = objects.kind(id)? {
        if kind != Kind::Tag {
            return Ok(Some((id, kind)));
        }
        id = objects.tag_target(objects.find(id, &"a tag")?)?;
    }
    Ok(None)
}
