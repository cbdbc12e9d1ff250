//! Writer of a journal: locking and ids. Its operations are in the modules append, settle, repair, rotation and recovery.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    FOLDER, ID_WINDOW, MAX_LINE,
    entry::{Entry, next_id},
    folder::create_folder,
    ids::{self, Ids},
    path_in,
    reader::{Item, Reader},
    segment::segments,
    tail::read_exact_at,
};

/// First wait for the lock. It doubles.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// Longest single wait for the lock.
const LONGEST_WAIT: Duration = Duration::from_millis(4);
/// Bytes at the end in which the last id is searched first: a few entries.
const FIRST_ID_WINDOW: u64 = 4 << 10;

/// Writer of the journal of one repository.
#[derive(Debug)]
pub struct Writer<S, C> {
    pub(super) storage: S,
    pub(super) clock: C,
    pub(super) git_dir: PathBuf,
    pub(super) journal: PathBuf,
    lock_timeout: Duration,
    allow_network: bool,
}

/// Causes why one entry was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The write was short, as on a full disk, and was truncated again.
    #[error("only {written} of {length} bytes could be written: check for a full disk, a quota or a file size limit")]
    Short {
        /// Bytes that were written.
        written: usize,
        /// Bytes of the line.
        length: usize,
    },
    /// The write failed.
    #[error("the write failed: {0}")]
    Write(Arc<io::Error>),
    /// The fsync failed, and the entry could not be written to a new segment: the content of the disk is unknown.
    #[error("fsync failed, so the entry may not be on the disk: {0}")]
    Sync(Arc<io::Error>),
    /// An incomplete line before it could not be truncated.
    #[error("not written, because an incomplete line before it cannot be truncated: {0}")]
    NotCutBack(Arc<io::Error>),
    /// The line would exceed the reader's limit.
    #[error("its line would have {0} bytes, more than the limit of {MAX_LINE}")]
    TooLong(usize),
    /// The last id of the journal is the greatest possible one.
    #[error("the journal's last entry_id is the greatest possible: move the journal away")]
    NoIdLeft,
    /// The journal has another entry or status at that place.
    #[error("the journal no longer has this entry with this status at offset {0}")]
    Moved(u64),
}

/// Reasons why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An operation of [`Storage`] failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Storage {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another process held the lock until the timeout.
    #[error(
        "{} was locked by another process for {waited:?}: find that process with fuser, or raise stargate.lockTimeout",
        path.display()
    )]
    Locked {
        /// The journal.
        path: PathBuf,
        /// The timeout.
        waited: Duration,
    },
    /// The journal is on a network file system.
    #[error(
        "{} is on {kind}, where file locks are unreliable and concurrent writers could corrupt the journal: move the \
         repository to a local disk, or accept the risk with git config stargate.allowNfs true",
        path.display()
    )]
    Network {
        /// The journal's folder.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Returns a writer of the journal in the repository at `git_dir`. It waits at most `lock_timeout` for a lock, and
    /// refuses network file systems.
    pub fn new(storage: S, clock: C, git_dir: &Path, lock_timeout: Duration) -> Self {
        Writer {
            storage,
            clock,
            git_dir: git_dir.into(),
            journal: path_in(git_dir),
            lock_timeout,
            allow_network: false,
        }
    }

    /// Accepts network file systems if `allow` is true (`stargate.allowNfs`).
    pub fn allow_network(self, allow: bool) -> Self {
        Writer {
            allow_network: allow,
            ..self
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.git_dir.join(FOLDER)
    }

    pub(super) fn on<T>(&self, what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
        on(what, path, result)
    }

    /// Opens the journal and takes its lock. Creates the folder and the journal if necessary.
    pub(super) fn lock_journal(&self) -> Result<S::File, WriteError> {
        let folder = self.folder();
        self.on("create", &folder, create_folder(&self.storage, &self.git_dir))?;
        let file = self.lock(&self.journal, |path| self.storage.open_append(path))?;
        if self.on("read", &self.journal, self.storage.length(&file))? == 0 {
            // It may be new, and its name must be as durable as its entries.
            self.on("sync", &folder, self.storage.sync_dir(&folder))?;
            self.on("sync", &self.git_dir, self.storage.sync_dir(&self.git_dir))?;
        }
        Ok(file)
    }

    /// Opens a file of the journal and takes its lock, which is released when the file is closed. If the file was replaced
    /// during the wait, opens the new one.
    pub(super) fn lock(&self, path: &Path, open: impl Fn(&Path) -> io::Result<S::File>) -> Result<S::File, WriteError> {
        self.refuse_network()?;
        let deadline = self.clock.elapsed() + self.lock_timeout;
        let mut wait = FIRST_WAIT;
        let mut file = self.on("open", path, open(path))?;
        loop {
            let locked = self.on("lock", path, self.storage.try_lock(&file))?;
            if locked && self.on("access", path, self.storage.still_names(path, &file))? {
                return Ok(file);
            }
            let left = deadline.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return Err(WriteError::Locked {
                    path: path.into(),
                    waited: self.lock_timeout,
                });
            }
            if locked {
                file = self.on("open", path, open(path))?;
            } else {
                self.clock.sleep(wait.min(left));
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    /// Returns the greatest [credible](ids) id: of the journal's last entries, or else of the newest segment's name, which is
    /// greater than all ids in it. Searches a window at the end that grows up to [`ID_WINDOW`].
    pub(super) fn last_id(&self, file: &S::File, length: u64) -> Result<Option<Ulid>, WriteError> {
        let mut window = FIRST_ID_WINDOW.min(length);
        loop {
            let entries = self.on("read", &self.journal, self.last_entries(file, length, window))?;
            if let Some(last) = ids::greatest_of_last(&entries) {
                return Ok(Some(last));
            }
            if window == length.min(ID_WINDOW) {
                return self.last_id_behind_segments(&entries);
            }
            window = (window * 16).min(length).min(ID_WINDOW);
        }
    }

    /// Returns the greatest credible id of the segments' names, followed by these entries.
    fn last_id_behind_segments(&self, entries: &[Entry]) -> Result<Option<Ulid>, WriteError> {
        let segments = segments(&self.storage, &self.git_dir);
        let mut ids = Ids::default();
        let segments = self.on("list", &self.folder(), segments)?;
        segments.into_iter().for_each(|segment| ids.raise(segment));
        for entry in entries {
            ids.take(entry);
        }
        Ok(ids.greatest())
    }

    /// Returns a unique name.
    pub(super) fn unique(&self) -> Ulid {
        next_id(None, self.clock.now(), || self.random()).unwrap_or_default()
    }

    pub(super) fn random(&self) -> u128 {
        random_bits(&self.clock)
    }

    fn refuse_network(&self) -> Result<(), WriteError> {
        if self.allow_network {
            return Ok(());
        }
        let path = self.folder();
        match self.on("access", &path, self.storage.network(&path))? {
            Some(kind) => Err(WriteError::Network { path, kind }),
            None => Ok(()),
        }
    }

    /// Reads the entries in the last `window` bytes of the journal.
    fn last_entries(&self, file: &S::File, length: u64, window: u64) -> io::Result<Vec<Entry>> {
        let start = length - window;
        let mut tail = vec![0; window as usize];
        read_exact_at(&self.storage, file, start, &mut tail)?;
        // A window that starts within a line starts with a corrupt entry, which is skipped. Memory has no read errors.
        let entries = Reader::new(&tail[..], start).filter_map(|item| match item {
            Ok(Item::Entry(located)) => Some(located.entry),
            Ok(Item::Problem(_)) | Err(_) => None,
        });
        Ok(entries.collect())
    }
}

/// Adds the operation and the path to an error.
pub(super) fn on<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Storage {
        what,
        path: path.into(),
        source,
    })
}

/// Returns the 80 random bits of a ULID.
pub(super) fn random_bits(clock: &impl Clock) -> u128 {
    let part = || (clock.random() * (1u64 << 40) as f64) as u128;
    part() << 40 | part()
}
