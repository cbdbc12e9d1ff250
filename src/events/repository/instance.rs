//! This instance, and others that use the same context repository. Detection is advisory: no instance is blocked.
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bstr::BStr;
use durable::storage::Storage;
use gix::{ObjectId, objs::Kind as ObjectKind, objs::tree::EntryKind};
use jiff::Timestamp;

use super::lock_file::{self, Lock, LockState};
use crate::object_store::{
    Error, Store, git_files,
    new_pack::NewPack,
    objects::Objects,
    tree_buffer::Leaf,
    tree_cache::{Edit, SetError, file_of},
};
use crate::uuid;

/// File in the Git folder with the heartbeat between commits.
const HEARTBEAT: &str = "stargate/lock.json";
/// Maximum number of instances remembered to log one warning for each.
const MAX_WARNED_OF: usize = 256;

/// This instance of the program.
#[derive(Debug)]
pub struct Instance {
    own: Lock,
    /// Another instance that used the repository shortly before this one.
    other: Option<Lock>,
    /// The previous instance, if it has ended: its lock in a commit no longer counts.
    ended: Option<String>,
    /// The heartbeat file.
    heartbeat: PathBuf,
    /// Instances for which a warning was logged.
    warned_of: Mutex<HashSet<String>>,
}

impl Instance {
    /// Creates the instance, and detects another one by the heartbeat file in the Git folder and by the `committed` lock file.
    ///
    /// # Errors
    /// The heartbeat file cannot be read.
    pub fn begin(git_dir: &Path, committed: Option<&[u8]>, now: Timestamp) -> Result<Self, Error> {
        let heartbeat = git_dir.join(HEARTBEAT);
        let last = read_if_there(&heartbeat)?;
        let mut instance = Instance {
            own: Lock::new(uuid::random(), now),
            other: None,
            ended: last.as_deref().and_then(lock_file::ended),
            heartbeat,
            warned_of: Mutex::default(),
        };
        instance.other = instance.find_other([last.as_deref(), committed], now);
        Ok(instance)
    }

    /// Another instance that used this repository less than 60 seconds before this one began.
    pub fn other(&self) -> Option<&Lock> {
        self.other.as_ref()
    }

    /// Writes the heartbeat of this instance to a file beside the commits.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn beat(&self, storage: &impl Storage, now: Timestamp) -> Result<(), Error> {
        git_files::overwrite(storage, &self.heartbeat, &self.own.alive(now).to_file())
            .map_err(|error| Error::failed("write", &self.heartbeat, error))
    }

    /// Records that this instance has ended, so that the next one does not warn about it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&self, storage: &impl Storage) -> Result<(), Error> {
        self.beat(storage, Timestamp::UNIX_EPOCH)
    }

    /// Returns true at the first call for this instance.
    pub fn is_first_warning_of(&self, instance_id: &str) -> bool {
        let mut warned_of = self.warned_of.lock().unwrap_or_else(PoisonError::into_inner);
        if warned_of.len() >= MAX_WARNED_OF {
            warned_of.clear();
        }
        warned_of.insert(instance_id.to_owned())
    }

    /// State of a lock file (of this repository or of the remote), as this instance sees it.
    pub fn lock_state(&self, file: Option<&[u8]>, now: Timestamp) -> LockState {
        match lock_file::lock_state(file, &self.own, now) {
            LockState::Other(other) if self.ended.as_ref() == Some(&other.instance_id) => LockState::Free,
            state => state,
        }
    }

    /// Writes the heartbeat of this instance into a tree.
    ///
    /// # Errors
    /// The tree cannot be read, or the file cannot be added to the pack.
    pub fn set_lock<S: Storage>(
        &self,
        store: &Store<S>,
        edit: &mut Edit<'_>,
        pack: &mut NewPack,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = pack.add(ObjectKind::Blob, &self.own.alive(now).to_file());
        let id = id.map_err(|error| store.pack_failed(&error))?;
        let kind = EntryKind::Blob;
        edit.set(BStr::new(lock_file::PATH), Leaf { kind, id })
            .map_err(SetError::into_error)
    }

    fn find_other(&self, files: [Option<&[u8]>; 2], now: Timestamp) -> Option<Lock> {
        let mut found = None;
        for file in files {
            match self.lock_state(file, now) {
                LockState::Free => {}
                LockState::Other(other) => found = found.or(Some(other)),
                LockState::Unreadable => tracing::warn!("replacing an unreadable lock file"),
            }
        }
        if let Some(other) = &found {
            tracing::warn!(%other, "another instance may be using this repository; the lock is advisory, both continue");
        }
        found
    }
}

/// Returns the lock file in the tree of a commit.
///
/// # Errors
/// The commit cannot be read.
pub fn lock_of(objects: Objects<'_>, commit: ObjectId) -> Result<Option<Vec<u8>>, Error> {
    file_of(objects, commit, lock_file::PATH)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|error| Error::failed("read", path, error)),
    }
}
