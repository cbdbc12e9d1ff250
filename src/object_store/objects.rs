//! Reading objects of a repository.
use git_push::causes;
use gix::{ObjectId, objs::Kind};

use super::{Error, error, tree_buffer::TreeBuffer};

/// Reads objects; errors name the object.
#[derive(Clone, Copy)]
pub struct Objects<'a>(pub &'a gix::Repository);

impl Objects<'_> {
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
        let raw = self.read(commit, Kind::Commit)?;
        let tree = gix::objs::CommitRefIter::from_bytes(&raw, self.hash()).tree_id();
        tree.map_err(|error| self.damaged(commit, &error.to_string()))
    }

    /// Reads an object of this kind, as bytes.
    pub fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, Error> {
        let object = self.0.try_find_object(id);
        match object.map_err(|error| self.damaged(id, &causes(&error)))? {
            Some(mut object) if object.kind == kind => Ok(std::mem::take(&mut object.data)),
            Some(object) => Err(self.damaged(id, &format!("it is a {}, not a {kind}", object.kind))),
            None => Err(self.damaged(id, "it is missing")),
        }
    }

    /// Returns the error of an object that cannot be used.
    pub(super) fn damaged(&self, id: ObjectId, why: &str) -> Error {
        let what = format!("object {id} in {} cannot be read: {why}", self.0.git_dir().display());
        Error::new(error::Kind::Failed, what).with_hint("run `git fsck` in that repository")
    }
}
