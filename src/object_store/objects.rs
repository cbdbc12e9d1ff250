//! Reading objects of a repository.
use gix::{ObjectId, objs::Kind};

use super::{Error, error, tree_buffer::TreeBuffer};
use crate::git_objects::{self, Reader};

/// Reads objects; errors name the object and the repository.
#[derive(Clone, Copy)]
pub struct Objects<'a>(pub &'a gix::Repository);

impl<'a> Objects<'a> {
    /// The object format.
    pub fn hash(&self) -> gix::hash::Kind {
        self.0.object_hash()
    }

    /// Reads a tree.
    pub fn tree(&self, id: ObjectId) -> Result<TreeBuffer, Error> {
        let raw = self.read(id, Kind::Tree)?;
        TreeBuffer::parse(raw, self.hash()).map_err(|error| self.damaged(id, &error.to_string()))
    }

    /// Reads the content of a file.
    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, Error> {
        self.read(id, Kind::Blob)
    }

    /// Reads the id of a commit's tree.
    pub fn tree_of(&self, commit: ObjectId) -> Result<ObjectId, Error> {
        let commit = self.reader().commit(commit);
        commit.map(|commit| commit.tree).map_err(|error| self.unreadable(error))
    }

    /// Reads an object of this kind, as bytes.
    pub fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, Error> {
        self.reader().read(id, kind).map_err(|error| self.unreadable(error))
    }

    /// Returns the reader of the objects, whose errors do not name the repository.
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader(self.0)
    }

    /// Returns the error of an object that the reader cannot use.
    pub(super) fn unreadable(&self, error: git_objects::Error) -> Error {
        match error {
            git_objects::Error::Missing { id, .. } => self.damaged(id, "it is missing"),
            git_objects::Error::Damaged { id, why, .. } => self.damaged(id, &why),
            git_objects::Error::NotACommit(id) => self.damaged(id, "it is not a commit"),
            git_objects::Error::TooMany(..) => Error::failed("compare trees of", self.0.git_dir(), error),
        }
    }

    fn damaged(&self, id: ObjectId, why: &str) -> Error {
        let what = format!("object {id} in {} cannot be read: {why}", self.0.git_dir().display());
        Error::new(error::Kind::Failed, what).with_hint("run `git fsck` in that repository")
    }
}
