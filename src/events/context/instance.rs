//! Detecting other instances that use the same context repository. This is advisory: no instance is blocked.
use bstr::BStr;
use durable::storage::Storage;
use gix::{ObjectId, objs::Kind as ObjectKind, objs::tree::EntryKind};
use jiff::Timestamp;

use super::super::{
    Error, init,
    lock_file::{self, Lock, LockState},
    new_pack::NewPack,
    objects::Objects,
    replace,
    tree_buffer::Leaf,
    trees::{Edit, SetError},
};
use super::{Context, read_if_there};

/// File in the Git folder with the heartbeat between commits.
const HEARTBEAT: &str = "stargate/lock.json";
/// Maximum number of instances remembered to log one warning for each.
const MAX_WARNED_OF: usize = 256;

impl<S: Storage> Context<S> {
    /// Another instance that used this repository less than 60 seconds before it was opened. Advisory: no instance is blocked.
    pub fn other_instance(&self) -> Option<&Lock> {
        self.0.other.as_ref()
    }

    /// Writes the heartbeat of this instance to a file beside the commits. Call it every [`HEARTBEAT`](lock_file::HEARTBEAT).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn heartbeat(&self, now: Timestamp) -> Result<(), Error> {
        let path = self.repository().git_dir().join(HEARTBEAT);
        replace::overwrite(&self.0.storage, &path, &self.0.own.alive(now).to_file())
            .map_err(|error| Error::failed("write", &path, error))
    }

    /// Records that this instance has ended, so that the next one does not warn about it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&self) -> Result<(), Error> {
        let path = self.repository().git_dir().join(HEARTBEAT);
        let ended = self.0.own.alive(Timestamp::UNIX_EPOCH);
        let written = replace::overwrite(&self.0.storage, &path, &ended.to_file());
        written.map_err(|error| Error::failed("write", &path, error))
    }

    /// Returns true at the first call for this instance.
    pub(in crate::events) fn is_first_warning_of(&self, instance_id: &str) -> bool {
        let mut state = self.state();
        if state.warned_of.len() >= MAX_WARNED_OF {
            state.warned_of.clear();
        }
        state.warned_of.insert(instance_id.to_owned())
    }

    pub(in crate::events) fn own(&self) -> &Lock {
        &self.0.own
    }

    /// Finds another instance in the heartbeat file and in the committed lock file.
    pub(super) fn find_other(&self, now: Timestamp) -> Result<Option<Lock>, Error> {
        let repository = self.repository();
        let mut found = None;
        for file in [self.last_heartbeat()?, self.committed_lock(Objects(&repository))?] {
            match self.lock_state(file.as_deref(), now) {
                LockState::Free => {}
                LockState::Other(other) => found = found.or(Some(other)),
                LockState::Unreadable => tracing::warn!("replacing an unreadable lock file"),
            }
        }
        if let Some(other) = &found {
            tracing::warn!(%other, "another instance may be using this repository; the lock is advisory, both continue");
        }
        Ok(found)
    }

    /// State that a lock file (of this repository or the remote) shows to this instance.
    pub(in crate::events) fn lock_state(&self, file: Option<&[u8]>, now: Timestamp) -> LockState {
        match lock_file::lock_state(file, &self.0.own, now) {
            LockState::Other(other) if self.0.ended.as_ref() == Some(&other.instance_id) => LockState::Free,
            state => state,
        }
    }

    pub(super) fn last_heartbeat(&self) -> Result<Option<Vec<u8>>, Error> {
        read_if_there(&self.repository().git_dir().join(HEARTBEAT))
    }

    fn committed_lock(&self, objects: Objects<'_>) -> Result<Option<Vec<u8>>, Error> {
        match self.branch(objects.0).tip()? {
            Some(tip) => lock_of(objects, tip),
            None => Ok(None),
        }
    }

    /// Writes the heartbeat of this instance into a tree.
    pub(in crate::events) fn set_lock(
        &self,
        edit: &mut Edit<'_>,
        pack: &mut NewPack,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = pack.add(ObjectKind::Blob, &self.own().alive(now).to_file());
        let id = id.map_err(|error| self.pack_failed(&error))?;
        let kind = EntryKind::Blob;
        edit.set(BStr::new(lock_file::PATH), Leaf { kind, id })
            .map_err(SetError::into_error)
    }
}

/// Returns the lock file in the tree of a commit.
pub(in crate::events) fn lock_of(objects: Objects<'_>, commit: ObjectId) -> Result<Option<Vec<u8>>, Error> {
    init::file_of(objects, commit, lock_file::PATH)
}
