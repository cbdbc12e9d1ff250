//! Which instances are at work on a context repository. Advisory: nothing is kept from anyone.
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

/// Where an instance says that it is alive between commits, in the Git folder.
const HEARTBEAT: &str = "stargate/lock.json";
/// So many instances are remembered, so that each is warned of once.
const MAX_WARNED_OF: usize = 256;

impl<S: Storage> Context<S> {
    /// Another instance that used this repository less than 60 seconds before it was opened. Advisory: nothing is kept from
    /// anyone.
    pub fn other_instance(&self) -> Option<&Lock> {
        self.0.other.as_ref()
    }

    /// Says that this instance is alive, in a file beside the commits: for every [`HEARTBEAT`](lock_file::HEARTBEAT).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn heartbeat(&self, now: Timestamp) -> Result<(), Error> {
        let path = self.repository().git_dir().join(HEARTBEAT);
        replace::overwrite(&self.0.storage, &path, &self.0.own.alive(now).to_file())
            .map_err(|error| Error::failed("write", &path, error))
    }

    /// Says that this instance has ended: the next one is not warned of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&self) -> Result<(), Error> {
        let path = self.repository().git_dir().join(HEARTBEAT);
        let ended = self.0.own.alive(Timestamp::UNIX_EPOCH);
        let written = replace::overwrite(&self.0.storage, &path, &ended.to_file());
        written.map_err(|error| Error::failed("write", &path, error))
    }

    /// Whether nobody was warned of this instance yet.
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

    /// Another instance that is at work here, as far as files tell.
    pub(super) fn find_other(&self, now: Timestamp) -> Result<Option<Lock>, Error> {
        let repository = self.repository();
        let mut found = None;
        for file in [self.last_heartbeat()?, self.committed_lock(Objects(&repository))?] {
            match self.lock_state(file.as_deref(), now) {
                LockState::Free => {}
                LockState::Other(other) => found = found.or(Some(other)),
                LockState::Unreadable => tracing::warn!("a lock file that cannot be read is replaced"),
            }
        }
        if let Some(other) = &found {
            tracing::warn!(%other, "another instance may be at work on this repository; the lock is advisory, both go on");
        }
        Ok(found)
    }

    /// What this lock file, here or on the remote, tells us.
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

    /// Puts the heartbeat of this instance into a tree.
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

/// The lock file in the tree of a commit.
pub(in crate::events) fn lock_of(objects: Objects<'_>, commit: ObjectId) -> Result<Option<Vec<u8>>, Error> {
    init::file_of(objects, commit, lock_file::PATH)
}
