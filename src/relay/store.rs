//! Store of a relay: the log on disk, its index in memory, and the listeners that wait for new events.
//!
//! One thread writes; all others read.
use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    thread::{self, JoinHandle},
};

use axum::body::Bytes;
use durable::{
    clock::SystemClock,
    storage::{Disk, DiskFile, Folders, LockFiles, WriteFiles},
};
use tokio::sync::{mpsc, oneshot, watch};

pub use super::replay::Found;
use super::{
    commit::Committer,
    index::{Identity, Index, Record},
    line::{self, MAX_LINE},
    replay::Replay,
};
use crate::journal::{
    Cause, WriteError,
    log::{Log, LogReader, Place},
};

/// Stem of the log's file name, `events.ndjson`.
pub const STEM: &str = "events";
/// File whose lock protects the folder.
pub const LOCK: &str = "relay.lock";
/// Maximum number of feeds: one response lists all of them.
pub const MAX_FEEDS: usize = 10_000;
/// Maximum number of requests that wait for the disk.
const QUEUE: usize = 1024;
/// Maximum size of the newest events in memory, for listeners, in bytes.
const RECENT: usize = 16 << 20;

/// The store of a relay. Its thread ends when it is closed.
#[derive(Debug)]
pub struct Store {
    handle: Handle,
    committer: JoinHandle<Result<(), WriteError>>,
    _lock: DiskFile,
}

/// Handle for reading and posting.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    queue: mpsc::Sender<QueuedWrite>,
}

/// State shared by the writing thread and the readers.
#[derive(Debug)]
pub struct Shared {
    index: RwLock<Index>,
    reader: LogReader<Disk>,
    recent: Mutex<Recent>,
    /// Number of the last event, for each feed with listeners.
    watchers: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
}

/// The newest events, in the order of their numbers.
#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

/// Request to write something.
#[derive(Debug, Clone)]
pub enum WriteRequest {
    /// A feed with this id, a plain name.
    Feed(String),
    /// An event.
    Event(Submission),
}

/// Event to be written.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Feed of the event.
    pub feed: String,
    /// Keys of the event.
    pub identity: Identity,
    /// Compact JSON with sorted members: equal events have equal bytes.
    pub json: Bytes,
}

/// A request in the queue, with its answer channel.
#[derive(Debug)]
pub struct QueuedWrite {
    /// The request.
    pub request: WriteRequest,
    /// Receives the answer.
    pub answer: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// Answer to a request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// True if it did not exist before.
    pub is_new: bool,
    /// Number of the line; 0 for a feed that existed.
    pub seq: u64,
    /// The stored event; empty for a feed.
    pub json: Bytes,
}

impl Accepted {
    /// Creates the answer for something that existed.
    pub fn known(seq: u64, json: Bytes) -> Self {
        Accepted {
            is_new: false,
            seq,
            json,
        }
    }
}

/// Key by which an event was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// The `event_id`.
    Id,
    /// The `source.platform` and `source.source_msg_id`.
    Origin,
}

impl MatchedBy {
    /// Path of the member in the event.
    pub fn field(self) -> &'static str {
        match self {
            MatchedBy::Id => "event_id",
            MatchedBy::Origin => "source.source_msg_id",
        }
    }
}

/// Reason for refusing a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The feed does not exist.
    #[error("no such feed; create it with POST /feeds")]
    UnknownFeed,
    /// Another event with the same id or source, and other content, is stored.
    #[error("another event has this {} and other content; write corrections as new events", .by.field())]
    Conflict {
        /// The common key.
        by: MatchedBy,
        /// The stored event.
        stored: Accepted,
    },
    /// The maximum number of feeds is reached.
    #[error("the maximum of {MAX_FEEDS} feeds is reached")]
    TooManyFeeds,
    /// The line could not be made durable.
    #[error("the event or feed could not be stored: {0}")]
    NotStored(Cause),
    /// The stored event could not be read.
    #[error("the stored event could not be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// The relay is stopping.
    #[error("the relay is stopping and accepts no requests")]
    Stopping,
}

/// Error of opening a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another relay uses the folder.
    #[error("another relay is using {}", .0.display())]
    Locked(PathBuf),
    /// The log cannot be read or repaired.
    #[error(transparent)]
    Log(#[from] WriteError),
}

impl Store {
    /// Opens or creates the store in `folder` and reads all of it. Creates the folder, but not its parents.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(folder: &Path) -> Result<(Self, Found), OpenError> {
        let lock = lock(folder)?;
        let clock = SystemClock::default();
        let mut replay = Replay::default();
        let (log, repaired) = Log::open(
            (Disk, clock),
            (folder, STEM),
            MAX_LINE,
            |tail| line::parse(tail).is_ok(),
            |file, line| replay.take(file, &line),
        )?;
        let (index, found) = replay.end(repaired);
        Ok((Store::start(log, clock, index, lock), found))
    }

    fn start(log: Log<Disk, SystemClock>, clock: SystemClock, index: Index, lock: DiskFile) -> Self {
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            reader: log.reader(),
            recent: Mutex::default(),
            watchers: Mutex::default(),
        });
        let (queue, queued) = mpsc::channel(QUEUE);
        let committer = Committer::new(log, clock, shared.clone());
        Store {
            handle: Handle { shared, queue },
            committer: thread::spawn(move || committer.run(queued)),
            _lock: lock,
        }
    }

    /// Returns a handle for reading and posting.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until all posted events are written and all handles are dropped.
    ///
    /// # Errors
    /// The log has failed: the state of the file is unknown.
    ///
    /// # Panics
    /// If the writing thread panicked.
    pub fn close(self) -> Result<(), WriteError> {
        drop(self.handle);
        self.committer.join().expect("the writing thread does not panic")
    }
}

impl Handle {
    /// Submits a request and returns the answer once it is durable. Waits while the queue is full.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn submit(&self, request: WriteRequest) -> Result<Accepted, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(QueuedWrite { request, answer }).await;
        sent.map_err(|_| Refusal::Stopping)?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Waits until the log fails.
    pub async fn failed(&self) {
        self.queue.closed().await;
    }

    /// Locks the index for reading; the writer waits meanwhile.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index()
    }

    /// Watches the number of the last event of a feed, which must exist.
    pub fn watch_last_seq(&self, feed: &str) -> watch::Receiver<u64> {
        // The writer takes the same lock after it changed the index, so no event is missed.
        let mut watchers = self.shared.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.shared.index().feed(feed).map_or(0, |feed| feed.last());
        match watchers.get(feed) {
            Some(watcher) => watcher.subscribe(),
            None => {
                let (watcher, receiver) = watch::channel(last);
                watchers.insert(feed.into(), watcher);
                receiver
            }
        }
    }

    /// Returns the leading events of these records that are in memory.
    pub fn recent(&self, records: &[Record]) -> Vec<(u64, Bytes)> {
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = records.iter().map_while(|record| {
            let at = recent.events.binary_search_by_key(&record.seq, |(seq, _)| *seq).ok()?;
            Some(recent.events[at].clone())
        });
        found.collect()
    }

    /// Reads the events of these records from the disk, on another thread.
    ///
    /// # Errors
    /// The disk's.
    pub async fn read(&self, records: Vec<Record>) -> io::Result<Vec<(u64, Bytes)>> {
        let shared = self.shared.clone();
        let read = move || {
            let read = |record: Record| Ok((record.seq, shared.read(record.place)?));
            records.into_iter().map(read).collect()
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

impl Shared {
    /// Locks the index for reading.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the event at a place of the log.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, place: Place) -> io::Result<Bytes> {
        self.reader.read(place).map(Bytes::from)
    }

    /// Changes the index, then notifies the listeners.
    pub fn publish<'a>(&self, change: impl FnOnce(&mut Index), events: impl Iterator<Item = (&'a str, u64, Bytes)>) {
        let mut last = HashMap::new();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for (feed, seq, json) in events {
            recent.push(seq, json);
            last.insert(feed, seq);
        }
        drop(recent);
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for (feed, seq) in last {
            // A feed without listeners is removed; the next listener reads the index.
            if watchers.get(feed).is_some_and(|watcher| watcher.send(seq).is_err()) {
                watchers.remove(feed);
            }
        }
    }
}

impl Recent {
    fn push(&mut self, seq: u64, json: Bytes) {
        self.bytes += json.len();
        self.events.push_back((seq, json));
        while self.bytes > RECENT {
            let Some((_, oldest)) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }
}

fn lock(folder: &Path) -> Result<DiskFile, OpenError> {
    let failed = |what, source| WriteError::Storage {
        what,
        path: folder.into(),
        source,
    };
    if Disk.create_dir(folder).map_err(|error| failed("create", error))? {
        let above = match folder.parent() {
            Some(above) if above != Path::new("") => above,
            _ => Path::new("."),
        };
        Disk.sync_dir(above)
            .map_err(|error| failed("sync the folder of", error))?;
    }
    let file = Disk
        .open_append(&folder.join(LOCK))
        .map_err(|error| failed("open the lock in", error))?;
    if Disk.try_lock(&file).map_err(|error| failed("lock", error))? {
        Ok(file)
    } else {
        Err(OpenError::Locked(folder.into()))
    }
}
