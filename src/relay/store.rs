//! Store of a relay: the log on disk, its index in memory, and the listeners that wait for new events.
//!
//! One thread writes; all others read.
use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    thread::{self, JoinHandle},
};

use axum::body::Bytes;
use durable::{
    clock::SystemClock,
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, Folders, LockFiles, WriteFiles},
};
use tokio::sync::{mpsc, oneshot, watch};

pub use super::replay::Found;
use super::{
    commit::Committer,
    index::{About, Identity, Index, Record},
    log_line::{self, MAX_LINE},
    replay::Replay,
};
use crate::{
    event::is_same_json,
    journal::{
        Cause, WriteError,
        log::{Log, LogReader, Place},
    },
};

/// Stem of the log's file name, `events.ndjson`.
pub const STEM: &str = "events";
/// File whose lock protects the folder.
pub const LOCK: &str = "relay.lock";
/// File that holds the version of the folder's format. Folders of version 1 have none.
pub const VERSION_FILE: &str = "version";
/// Version of the format: version 2 added names and policies of feeds, and the posted order of an event's members.
const VERSION: u32 = 2;
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
    /// A feed.
    Feed(NewFeed),
    /// An event.
    Event(Submission),
}

/// Feed to be created.
#[derive(Debug, Clone)]
pub struct NewFeed {
    /// Description of the feed, if it is new.
    pub about: About,
    /// False if the request gave no name: any name of a stored feed is right.
    pub is_named: bool,
    /// False if the request gave no policy: any policy of a stored feed is right.
    pub has_policy: bool,
}

impl NewFeed {
    /// Returns true if a stored feed has the id, and the name and policy that the request gave.
    pub fn is(&self, stored: &About) -> bool {
        let policies = (self.about.policy.as_bytes(), stored.policy.as_bytes());
        stored.id == self.about.id
            && (!self.is_named || self.about.name == stored.name)
            && (!self.has_policy || is_same_json(policies.0, policies.1))
    }
}

/// Event to be written.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Feed of the event.
    pub feed: String,
    /// Keys of the event.
    pub identity: Identity,
    /// Compact JSON, as `JSON.stringify` writes it.
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
    /// The `event_id`, which differs in case.
    Case,
}

impl MatchedBy {
    /// Path of the member in the event.
    pub fn field(self) -> &'static str {
        match self {
            MatchedBy::Id | MatchedBy::Case => "event_id",
            MatchedBy::Origin => "source.source_msg_id",
        }
    }
}

impl MatchedBy {
    /// Description of a conflict with a stored event.
    pub fn conflict(self) -> String {
        match self {
            MatchedBy::Case => "another event has an event_id that differs from this one only in case".into(),
            _ => {
                let field = self.field();
                format!("another event has this {field} and other content; write corrections as new events")
            }
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
    #[error("{}", .by.conflict())]
    Conflict {
        /// The common key.
        by: MatchedBy,
        /// The stored event.
        stored: Accepted,
    },
    /// Another feed has this id, or one that differs in case.
    #[error("another feed has the id {0}, with another name, policy_json or case")]
    OtherFeed(Arc<str>),
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
    /// A later version of this program wrote the folder.
    #[error("{} has the version {found}; this program knows versions up to {VERSION}", .folder.display())]
    Version {
        /// The folder.
        folder: PathBuf,
        /// Content of its file [`VERSION_FILE`].
        found: String,
    },
}

impl Store {
    /// Opens or creates the store in `folder` and reads all of it. Creates the folder, but not its parents.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(folder: &Path) -> Result<(Self, Found), OpenError> {
        let lock = lock(folder)?;
        set_version(folder)?;
        let clock = SystemClock::default();
        let mut replay = Replay::default();
        let (log, repaired) = Log::open(
            (Disk, clock),
            (folder, STEM),
            MAX_LINE,
            |tail| log_line::parse(tail).is_ok(),
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

/// Checks the version of the folder, and sets the current one. Lines of version 1 are lines of version 2.
fn set_version(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(VERSION_FILE);
    let failed = |what, source| WriteError::Storage {
        what,
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == VERSION.to_string() => Ok(()),
        Ok(found) => Err(OpenError::Version {
            folder: folder.into(),
            found: found.trim_end().chars().take(20).collect(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let written = replace(&Disk, &path, format!("{VERSION}\n").as_bytes(), FILE_MODE);
            Ok(written.map_err(|error| failed("write", error))?)
        }
        Err(error) => Err(failed("read", error).into()),
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
