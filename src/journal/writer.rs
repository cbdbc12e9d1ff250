//! The one who writes: locks, repairs, appends, settles, syncs.
use std::{
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ulid::Ulid;

use super::{
    BLOCK, FOLDER, ID_WINDOW, MAX_LINE,
    entry::{Draft, Located, Status, next_id},
    format::encode,
    path_in,
    reader::{Item, Reader},
    repair::{Repair, read_exact_at, repair},
};
use crate::{clock::Clock, storage::Storage};

/// The first wait for the lock; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// No single wait for the lock is longer.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Where the search for the last id begins, in bytes from the end: a few entries.
const FIRST_ID_WINDOW: u64 = 4 << 10;

/// Writes the journal of one repository.
#[derive(Debug)]
pub struct Writer<S, C> {
    storage: S,
    clock: C,
    git_dir: PathBuf,
    journal: PathBuf,
    lock_timeout: Duration,
}

/// What became of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Ids of the entries that are durable, in the order of their drafts.
    pub written: Vec<Ulid>,
    /// Index of each draft that is not, and why.
    pub failed: Vec<(usize, Cause)>,
    /// What was repaired before.
    pub repaired: Option<Repair>,
}

/// What became of settling entries.
#[derive(Debug, Default)]
pub struct Settled {
    /// How many have their status, durably.
    pub settled: usize,
    /// Index of each that has not, and why.
    pub failed: Vec<(usize, Cause)>,
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
    /// The fsync failed: nobody knows what is on the disk.
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
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// A writer of the journal in the repository at `git_dir`, that waits at most `lock_timeout` for its lock.
    pub fn new(storage: S, clock: C, git_dir: &Path, lock_timeout: Duration) -> Self {
        Writer {
            storage,
            clock,
            git_dir: git_dir.into(),
            journal: path_in(git_dir),
            lock_timeout,
        }
    }

    /// Appends a pending entry per draft, durably: one lock, one write per entry, one fsync. Creates the journal.
    ///
    /// # Errors
    /// Nothing was appended; the reason holds for all drafts. What failed for one draft is in the result.
    pub fn append(&self, drafts: &[Draft]) -> Result<Appended, WriteError> {
        let folder = self.folder();
        self.on("create", &folder, self.storage.create_dir(&folder))?;
        let file = self.lock(|path| self.storage.open_append(path))?;
        let repaired = self.repair_locked(&file)?;
        let length = self.on("read", &self.journal, self.storage.length(&file))?;
        if length == 0 {
            // Whoever finds it empty may be the one who created it: names must be as durable as entries.
            self.on("sync", &folder, self.storage.sync_dir(&folder))?;
            self.on("sync", &self.git_dir, self.storage.sync_dir(&self.git_dir))?;
        }
        let last = self.on("read", &self.journal, self.last_id(&file, length))?;
        let mut appended = self.append_locked(&file, drafts, length, last);
        appended.repaired = repaired;
        let wrote = !appended.written.is_empty() || repaired == Some(Repair::Completed);
        if let Some(error) = wrote.then(|| self.storage.sync(&file)).and_then(Result::err) {
            // No second try on this file: the kernel would report success for pages that it has given up.
            let cause = Cause::Sync(Arc::new(error));
            appended.written.clear();
            appended.failed = (0..drafts.len()).map(|index| (index, cause.clone())).collect();
        }
        Ok(appended)
    }

    /// Gives each entry its new status, where the journal still holds it with the status that it was read with (or has
    /// the new one already): one lock, one fsync.
    ///
    /// # Errors
    /// There is no journal, or it could not be locked or synced. What failed for one entry is in the result.
    pub fn settle(&self, settlements: &[(Located, Status)]) -> Result<Settled, WriteError> {
        let file = self.lock(|path| self.storage.open_overwrite(path))?;
        let mut settled = Settled::default();
        for (index, (located, status)) in settlements.iter().enumerate() {
            match self.settle_one(&file, located, *status) {
                Ok(()) => settled.settled += 1,
                Err(cause) => settled.failed.push((index, cause)),
            }
        }
        self.on("sync", &self.journal, self.storage.sync(&file))?;
        Ok(settled)
    }

    /// Repairs a torn tail, if there is a journal that has one.
    ///
    /// # Errors
    /// The journal could not be locked, repaired or synced.
    pub fn repair(&self) -> Result<Option<Repair>, WriteError> {
        match self.storage.open_overwrite(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let file = self.lock(|path| self.storage.open_append(path))?;
        let repaired = self.repair_locked(&file)?;
        if repaired.is_some() {
            self.on("sync", &self.journal, self.storage.sync(&file))?;
        }
        Ok(repaired)
    }

    fn folder(&self) -> PathBuf {
        self.git_dir.join(FOLDER)
    }

    fn on<T>(&self, what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
        result.map_err(|source| WriteError::Storage {
            what,
            path: path.into(),
            source,
        })
    }

    /// Opens the journal and takes its lock, which goes when the file is closed. What is returned is the file that the
    /// path names: it may have been replaced while this waited.
    fn lock(&self, open: impl Fn(&Path) -> io::Result<S::File>) -> Result<S::File, WriteError> {
        let path = &self.journal;
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
                    path: path.clone(),
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

    fn repair_locked(&self, file: &S::File) -> Result<Option<Repair>, WriteError> {
        let name = next_id(None, self.clock.now(), || self.random()).unwrap_or_default();
        self.on(
            "repair",
            &self.journal,
            repair(&self.storage, file, &self.folder(), name),
        )
    }

    /// The id of the last entry, looked for in a window at the end that grows up to [`ID_WINDOW`].
    fn last_id(&self, file: &S::File, length: u64) -> io::Result<Option<Ulid>> {
        let mut window = FIRST_ID_WINDOW.min(length);
        loop {
            let start = length - window;
            let mut tail = vec![0; window as usize];
            read_exact_at(&self.storage, file, start, &mut tail)?;
            // A window that begins within a line begins with a corrupt entry, which is passed over.
            let last = Reader::new(&tail[..], start).filter_map(|item| match item {
                Ok(Item::Entry(located)) => Some(located.entry.entry_id),
                _ => None,
            });
            match last.last() {
                None if window < length.min(ID_WINDOW) => window = (window * 16).min(length).min(ID_WINDOW),
                last => return Ok(last),
            }
        }
    }

    fn append_locked(&self, file: &S::File, drafts: &[Draft], mut length: u64, mut last: Option<Ulid>) -> Appended {
        let mut appended = Appended::default();
        for (index, draft) in drafts.iter().enumerate() {
            let now = self.clock.now();
            let Some(id) = next_id(last, now, || self.random()) else {
                appended.failed.push((index, Cause::NoIdLeft));
                continue;
            };
            let line = encode(&draft.entry(id, now), length);
            match self.append_line(file, &line, length) {
                Ok(()) => {
                    length += line.len() as u64;
                    last = Some(id);
                    appended.written.push(id);
                }
                Err(cause) => {
                    appended.failed.push((index, cause.clone()));
                    if let Cause::NotCutBack(_) = cause {
                        appended
                            .failed
                            .extend((index + 1..drafts.len()).map(|index| (index, cause.clone())));
                        break;
                    }
                }
            }
        }
        appended
    }

    /// Writes one line at the end, which is at `length`; leaves all of it or nothing.
    fn append_line(&self, file: &S::File, line: &[u8], length: u64) -> Result<(), Cause> {
        if line.len() > MAX_LINE {
            return Err(Cause::TooLong(line.len()));
        }
        let cause = match self.storage.append(file, line) {
            Ok(written) if written == line.len() => return Ok(()),
            Ok(written) => Cause::Short {
                written,
                length: line.len(),
            },
            Err(error) => Cause::Write(Arc::new(error)),
        };
        match self.storage.truncate(file, length) {
            Ok(()) => Err(cause),
            Err(error) => Err(Cause::NotCutBack(Arc::new(error))),
        }
    }

    fn settle_one(&self, file: &S::File, located: &Located, status: Status) -> Result<(), Cause> {
        let moved = Cause::Moved(located.offset);
        let input = FromOffset {
            storage: &self.storage,
            file,
            offset: located.offset,
        };
        let item = Reader::new(BufReader::with_capacity(BLOCK as usize, input), located.offset).next();
        let Some(Ok(Item::Entry(found))) = item else {
            return Err(moved);
        };
        let width = status.padded().len() as u64;
        let same = found.entry.entry_id == located.entry.entry_id && found.status == located.status;
        match found.entry.status {
            found if same && found == status => Ok(()),
            found if same && found == located.entry.status && located.status.end - located.status.start == width => {
                self.storage
                    .overwrite_at(file, located.status.start, status.padded())
                    .map_err(|error| Cause::Write(Arc::new(error)))
            }
            _ => Err(moved),
        }
    }

    fn random(&self) -> u128 {
        let part = || (self.clock.random() * (1u64 << 40) as f64) as u128;
        part() << 40 | part()
    }
}

/// Reads a file of a storage from an offset on.
struct FromOffset<'a, S: Storage> {
    storage: &'a S,
    file: &'a S::File,
    offset: u64,
}

impl<S: Storage> Read for FromOffset<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.storage.read_at(self.file, self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}
