//! Reader of the local repository's objects. The error of a missing object names the object from which it was reached.
use std::fmt::Display;
use std::sync::Arc;

use gix::{ObjectId, objs::Kind};
use gix_pack::cache::lru::MemoryCappedHashmap;

use super::{
    Error, ErrorKind, causes,
    commit_graph::{Commit, CommitGraph},
    object_files::ObjectFolders,
    repository::promisor,
};

/// Reader of objects. It ignores replacement refs: the objects with the given ids are pushed.
#[derive(Debug)]
pub(super) struct Objects {
    repository: gix::Repository,
    graph: Arc<CommitGraph>,
}

impl Objects {
    pub(super) fn new(repository: &gix::Repository) -> Self {
        let mut repository = repository.clone();
        repository.objects.ignore_replacements = true;
        let graph = Arc::default();
        Objects { repository, graph }
    }

    /// Creates a reader for many look-ups, with caches of these sizes in bytes: of objects, and of bases of deltas.
    pub(super) fn cached(repository: &gix::Repository, objects: usize, bases: usize) -> Self {
        let mut cached = Objects::new(repository);
        cached.repository.object_cache_size(objects);
        let store = &mut cached.repository.objects;
        store.set_pack_cache(move || Box::new(MemoryCappedHashmap::new(bases)));
        cached
    }

    /// Returns the repository, without replacement refs.
    pub(super) fn repository(&self) -> &gix::Repository {
        &self.repository
    }

    /// Reads an object that must exist. `reached_from` completes a sentence: "…, reached from the ref refs/kv/main".
    pub(super) fn find(&self, id: ObjectId, reached_from: &dyn Display) -> Result<gix::Object<'_>, Error> {
        self.try_find(id)?.ok_or_else(|| self.missing(id, reached_from))
    }

    /// Reads an object, if it exists.
    pub(super) fn try_find(&self, id: ObjectId) -> Result<Option<gix::Object<'_>>, Error> {
        self.repository
            .try_find_object(id)
            .map_err(|error| self.damaged(id, &error))
    }

    /// Returns a commit, if it exists.
    pub(super) fn commit(&self, id: ObjectId) -> Result<Option<Commit>, Error> {
        // Git keeps commits in the graph when their objects are gone.
        if let Some(commit) = self.graphed(id).filter(|_| self.repository.has_object(id)) {
            return Ok(Some(commit));
        }
        let Some(object) = self.try_find(id)? else {
            return Ok(None);
        };
        let commit = object.try_into_commit().map_err(|error| self.damaged(id, &error))?;
        let tree = commit.tree_id().map_err(|error| self.damaged(id, &error))?.detach();
        Ok(Some(Commit {
            tree,
            parents: parents(&commit).ok_or_else(|| self.unusable(id, "the id of a parent is damaged"))?,
            // A commit without a readable date comes last, which costs only time.
            date: commit.time().map_or(i64::MIN, |time| time.seconds),
            generation: None,
        }))
    }

    /// Returns a commit of the commit-graph, once that is open. It need not exist.
    pub(super) fn graphed(&self, id: ObjectId) -> Option<Commit> {
        self.graph.parents_and_tree(&self.repository, id)
    }

    /// Returns the kind of an object, if it exists.
    pub(super) fn kind(&self, id: ObjectId) -> Result<Option<Kind>, Error> {
        let header = self
            .repository
            .try_find_header(id)
            .map_err(|error| self.damaged(id, &error))?;
        Ok(header.map(|header| header.kind()))
    }

    /// Returns the size of an object in bytes, if it exists.
    pub(super) fn size(&self, id: ObjectId) -> Result<Option<u64>, Error> {
        let header = self
            .repository
            .try_find_header(id)
            .map_err(|error| self.damaged(id, &error))?;
        Ok(header.map(|header| header.size()))
    }

    /// Fails if an object does not exist.
    pub(super) fn require(&self, id: ObjectId, reached_from: &dyn Display) -> Result<(), Error> {
        if self.repository.has_object(id) {
            Ok(())
        } else {
            Err(self.missing(id, reached_from))
        }
    }

    /// Returns the id of a tag's target.
    pub(super) fn tag_target(&self, tag: gix::Object<'_>) -> Result<ObjectId, Error> {
        let id = tag.id;
        let target = tag.into_tag().target_id().map(gix::Id::detach);
        target.map_err(|error| self.damaged(id, &error))
    }

    /// Returns the error of an object that does not exist.
    pub(super) fn missing(&self, id: ObjectId, reached_from: &dyn Display) -> Error {
        let what = self.absence(id, reached_from);
        let folders = ObjectFolders::of(&self.repository);
        if let Some((index, why)) = folders.damaged_index(self.repository.object_hash()) {
            let index = index.display();
            return Error::new(
                ErrorKind::Broken,
                format!("{what}: the pack index {index} cannot be read: {why}"),
            )
            .with_hint("remove this file, and run `git index-pack` with the pack beside it");
        }
        match promisor(&self.repository) {
            Some(remote) => Error::new(ErrorKind::NotCloned, format!("{what}, which is a partial clone"))
                .with_hint(format!(
                    "fetch the missing objects: run `git rev-list --objects --all --missing=print | sed -n 's/^?//p' | git \
                     fetch --no-filter --no-tags --refmap= --stdin {remote}` there"
                )),
            None => Error::new(ErrorKind::Broken, what).with_hint("run `git fsck` there"),
        }
    }

    /// Returns the commits of a shallow clone whose parents it lacks.
    pub(super) fn borders(&self) -> Result<Vec<ObjectId>, Error> {
        match self.repository.shallow_commits() {
            Ok(borders) => Ok(borders.iter().flat_map(|borders| borders.iter().copied()).collect()),
            Err(error) => {
                let repository = self.repository.git_dir().display();
                let what = format!(
                    "the list of shallow commits of {repository} cannot be read: {}",
                    causes(&error)
                );
                Err(Error::new(ErrorKind::Broken, what))
            }
        }
    }

    /// Returns the error of a commit that does not exist, a parent of `child`.
    pub(super) fn missing_parent(&self, id: ObjectId, child: ObjectId) -> Error {
        let reached_from = format!("commit {child}");
        // If the list of shallow commits cannot be read, the repository is damaged.
        match self.repository.shallow_commits() {
            Ok(Some(ends)) if ends.contains(&child) => {
                let what = self.absence(id, &reached_from);
                Error::new(ErrorKind::NotCloned, format!("{what}, which is a shallow clone"))
                    .with_hint(
                        "fetch the rest of the history: run `git fetch --unshallow --refmap= REMOTE HEAD` there, with a remote \
                         that has it",
                    )
            }
            _ => self.missing(id, &reached_from),
        }
    }

    fn absence(&self, id: ObjectId, reached_from: &dyn Display) -> String {
        let repository = self.repository.git_dir().display();
        format!("object {id}, reached from {reached_from}, is not in {repository}")
    }

    /// Returns the error of an object that gix cannot read.
    pub(super) fn damaged(&self, id: ObjectId, error: &gix::Error) -> Error {
        self.unusable(id, &causes(error))
    }

    /// Returns the error of an object that cannot be used.
    pub(super) fn unusable(&self, id: ObjectId, why: &str) -> Error {
        let repository = self.repository.git_dir().display();
        let what = format!("object {id} in {repository} cannot be read: {why}");
        Error::new(ErrorKind::Broken, what).with_hint("run `git fsck` there")
    }
}

/// Returns the parents, or `None` if the id of one is damaged. gix leaves that one out, and all after it.
fn parents(commit: &gix::Commit<'_>) -> Option<Vec<ObjectId>> {
    let parents: Vec<_> = commit.parent_ids().map(gix::Id::detach).collect();
    let id = commit.id.kind().len_in_hex();
    let end = "tree \n".len() + id + parents.len() * ("parent \n".len() + id);
    let rest = commit.data.get(end..)?;
    (!rest.starts_with(b"parent ")).then_some(parents)
}
