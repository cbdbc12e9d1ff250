//! The one who writes. What it does is in its own files: append, settle, repair, rotation, recovery.
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

/// The first wait for the lock; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// No single wait for the lock is longer.
const LONGEST_WAIT: Duration = Duration::from_millis(4);
/// Where the search for the last id begins, in bytes from the end: a few entries.
const FIRST_ID_WINDOW: u64 = 4 << 10;

/// Writes the journal of one repository.
#[derive(Debug)]
pub struct Writer<S, C> {
    pub(super) storage: S,
    pub(super) clock: C,
    pub(super) git_dir: PathBuf,
    pub(super) journal: PathBuf,
    lock_timeout: Duration,
    allow_network: bool,
}

/// Why one entry is not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The write fell short, as it does when a disk is full, and was cut back.
    #[error("only {written} of {length} bytes could be written: is the disk full, or a quota or limit reached?")]
    Short {
        /// How many bytes were written.
        written: usize,
        /// How many bytes the line has.
        length: usize,
    },
    /// The write failed.
    #[error("the write failed: {0}")]
    Write(Arc<io::Error>),
    /// The fsync failed, and a new segment could not take the bytes: nobody knows what is on the disk.
    #[error("fsync failed, so it is not known to be on the disk: {0}")]
    Sync(Arc<io::Error>),
    /// What an earlier entry left could not be cut back.
    #[error("not tried, because an incomplete line before it could not be cut back: {0}")]
    NotCutBack(Arc<io::Error>),
    /// The line would be longer than a reader takes.
    #[error("its line would have {0} bytes, more than {MAX_LINE}")]
    TooLong(usize),
    /// The last id of the journal is the greatest that there is.
    #[error("the journal's last entry_id is the greatest possible: move the journal away")]
    NoIdLeft,
    /// The journal holds something else at that place.
    #[error("the journal no longer holds this entry with this status at offset {0}")]
    Moved(u64),
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A verb of [`Storage`] failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Storage {
        /// Which.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has had the lock for all of this time.
    #[error(
        "{} was locked by another process for {waited:?}: see who holds it (fuser), or raise stargate.lockTimeout",
        path.display()
    )]
    Locked {
        /// The journal.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The journal is on a network file system.
    #[error(
        "{} is on {kind}, where two writers can overwrite each other: keep the repository on a local disk, or accept \
         that with git config stargate.allowNfs true",
        path.display()
    )]
    Network {
        /// The journal's folder.
        path: PathBuf,
        /// Of which kind.
        kind: &'static str,
    },
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// A writer of the journal in the repository at `git_dir`, that waits at most `lock_timeout` for a lock and refuses
    /// network file systems.
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

    /// Writes on a network file system too, if `allow` says so (`stargate.allowNfs`).
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

    /// Creates the folder if it is not there, opens the journal, which may be created too, and takes its lock.
    pub(super) fn lock_journal(&self) -> Result<S::File, WriteError> {
        let folder = self.folder();
        self.on("create", &folder, create_folder(&self.storage, &self.git_dir))?;
        let file = self.lock(&self.journal, |path| self.storage.open_append(path))?;
        if self.on("read", &self.journal, self.storage.length(&file))? == 0 {
            // Whoever finds it empty may be the one who created it: names must be as durable as entries.
            self.on("sync", &folder, self.storage.sync_dir(&folder))?;
            self.on("sync", &self.git_dir, self.storage.sync_dir(&self.git_dir))?;
        }
        Ok(file)
    }

    /// Opens a file of the journal and takes its lock, which goes when the file is closed. What is returned is the file
    /// that the path names: it may have been replaced while this waited.
    pub(super) fn lock(&self, path: &Path, open: impl Fn(&Path) -> io::Result<S::File>) -> Result<S::File, WriteError> {
        self.refuse_network()?;
        let deadline = self.clock.elapsed() + self.lock_timeout;
        let mut wait = FIRST_WAIT;
        let mut file = self.on("open", path, open(path))?;
        loop {
            let locked = self.on("lock", path, self.storage.try_lock(&file))?;
            if locked && self.on("look at", path, self.storage.still_names(path, &file))? {
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

    /// The greatest [credible](ids) id that was given: among the journal's last entries, or else the newest segment's, which
    /// is greater than all in it. It is looked for in a window at the end that grows up to [`ID_WINDOW`].
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

    /// The greatest credible id of the segments' names and of these entries behind them.
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

    /// A name that nothing has.
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
        match self.on("look at", &path, self.storage.network(&path))? {
            Some(kind) => Err(WriteError::Network { path, kind }),
            None => Ok(()),
        }
    }

    /// The entries in so many bytes at the end of the journal.
    fn last_entries(&self, file: &S::File, length: u64, window: u64) -> io::Result<Vec<Entry>> {
        let start = length - window;
        let mut tail = vec![0; window as usize];
        read_exact_at(&self.storage, file, start, &mut tail)?;
        // A window that begins within a line begins with a corrupt entry, which is passed over. Memory has no read errors.
        let entries = Reader::new(&tail[..], start).filter_map(|item| match item {
            Ok(Item::Entry(located)) => Some(located.entry),
            Ok(Item::Problem(_)) | Err(_) => None,
        });
        Ok(entries.collect())
    }
}

/// Says what could not be done, and to what.
pub(super) fn on<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Storage {
        what,
        path: path.into(),
        source,
    })
}

/// 80 random bits, as a ULID has them.
pub(super) fn random_bits(clock: &impl Clock) -> u128 {
    let part = || (clock.random() * (1u64 << 40) as f64) as u128;
    part() << 40 | part()
}
