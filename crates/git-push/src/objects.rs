//! The objects of the local repository as they are, with errors that say where a missing one was reached from.
use std::fmt::Display;

use gix::{ObjectId, objs::Kind};
use gix_pack::cache::lru::MemoryCappedHashmap;

use super::{Error, ErrorKind, causes};

/// Reads objects. Replacement refs are not looked at: what is pushed is what ids stand for.
#[derive(Debug)]
pub(super) struct Objects {
    repository: gix::Repository,
}

impl Objects {
    pub(super) fn new(repository: &gix::Repository) -> Self {
        let mut repository = repository.clone();
        repository.objects.ignore_replacements = true;
        Objects { repository }
    }

    /// Like [`Objects::new()`], for many look-ups: keeps what was read last, up to so many bytes of objects, and of bases
    /// of deltas.
    pub(super) fn cached(repository: &gix::Repository, objects: usize, bases: usize) -> Self {
        let mut cached = Objects::new(repository);
        cached.repository.object_cache_size(objects);
        let store = &mut cached.repository.objects;
        store.set_pack_cache(move || Box::new(MemoryCappedHashmap::new(bases)));
        cached
    }

    /// The repository, without replacement refs.
    pub(super) fn repository(&self) -> &gix::Repository {
        &self.repository
    }

    /// The object, which must be there. `reached_from` completes a sentence: "…, reached from the ref refs/kv/main".
    pub(super) fn find(&self, id: ObjectId, reached_from: &dyn Display) -> Result<gix::Object<'_>, Error> {
        self.try_find(id)?.ok_or_else(|| self.missing(id, reached_from))
    }

    /// The object, if it is there.
    pub(super) fn try_find(&self, id: ObjectId) -> Result<Option<gix::Object<'_>>, Error> {
        self.repository
            .try_find_object(id)
            .map_err(|error| self.damaged(id, &error))
    }

    /// What the object is, if it is there.
    pub(super) fn kind(&self, id: ObjectId) -> Result<Option<Kind>, Error> {
        let header = self
            .repository
            .try_find_header(id)
            .map_err(|error| self.damaged(id, &error))?;
        Ok(header.map(|header| header.kind()))
    }

    /// How many bytes the object has, if it is there.
    pub(super) fn size(&self, id: ObjectId) -> Result<Option<u64>, Error> {
        let header = self
            .repository
            .try_find_header(id)
            .map_err(|error| self.damaged(id, &error))?;
        Ok(header.map(|header| header.size()))
    }

    /// Refuses when the object is not there.
    pub(super) fn require(&self, id: ObjectId, reached_from: &dyn Display) -> Result<(), Error> {
        match self.repository.has_object(id) {
            true => Ok(()),
            false => Err(self.missing(id, reached_from)),
        }
    }

    /// The id that a tag object stands for.
    pub(super) fn tag_target(&self, tag: gix::Object<'_>) -> Result<ObjectId, Error> {
        let id = tag.id;
        let target = tag.into_tag().target_id().map(gix::Id::detach);
        target.map_err(|error| self.damaged(id, &error))
    }

    /// The error about an object that is not there.
    pub(super) fn missing(&self, id: ObjectId, reached_from: &dyn Display) -> Error {
        let repository = self.repository.git_dir().display();
        let hint = match self.repository.is_shallow().unwrap_or(false) {
            true => {
                "the repository is shallow, and the remote is not known to have the rest: run `git fetch --unshallow`"
            }
            false => "run `git fsck` there",
        };
        let what = format!("object {id}, reached from {reached_from}, is not in {repository}");
        Error::new(ErrorKind::Broken, what).with_hint(hint)
    }

    /// The error about an object that gix cannot read.
    pub(super) fn damaged(&self, id: ObjectId, error: &gix::Error) -> Error {
        self.unusable(id, &causes(error))
    }

    /// The error about an object that is not what it must be.
    pub(super) fn unusable(&self, id: ObjectId, why: &str) -> Error {
        let repository = self.repository.git_dir().display();
        let what = format!("object {id} in {repository} cannot be read: {why}");
        Error::new(ErrorKind::Broken, what).with_hint("run `git fsck` there")
    }
}
