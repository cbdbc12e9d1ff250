//! Local fast-forward checks. A server may have none: `receive.denyNonFastForwards` covers only `refs/heads/`, and is off by
//! default.
use gix::{ObjectId, objs::Kind};

use super::{Error, objects::Objects};

/// Returns true if every commit reachable from `old` is also reachable from `new`.
///
/// Tags stand for their targets. The result is false if `old` is not in the local repository. Objects that are not commits
/// must be equal. The result does not depend on commit dates. Memory grows with the number of commits that are read.
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
        return Err(objects.missing(new, &"a ref to push"));
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

/// Follows a chain of tags to its end. Returns `None` if a part of it is not in the local repository.
pub(super) fn peeled(objects: &Objects, mut id: ObjectId) -> Result<Option<(ObjectId, Kind)>, Error> {
    while let Some(kind) = objects.kind(id)? {
        if kind != Kind::Tag {
            return Ok(Some((id, kind)));
        }
        id = objects.tag_target(objects.find(id, &"a tag")?)?;
    }
    Ok(None)
}
