//! What a relay has: the log on the disk, the index of it in memory, and who waits for something new.
//!
//! One thread writes; everybody else reads.
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
    storage::{Disk, DiskFile, Storage},
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

/// The log's file is `events.ndjson`.
pub const STEM: &str = "events";
/// Who has this file's lock has the folder.
pub const LOCK: &str = "relay.lock";
/// So many feeds at most: all of them are in one answer.
pub const MAX_FEEDS: usize = 10_000;
/// So many wishes wait for the disk at most.
const QUEUE: usize = 1024;
/// The newest events are kept in memory for listeners, up to so many bytes.
const RECENT: usize = 16 << 20;

/// The relay's store. Its thread ends with it.
#[derive(Debug)]
pub struct Store {
    handle: Handle,
    committer: JoinHandle<Result<(), WriteError>>,
    _lock: DiskFile,
}

/// For everybody who reads and posts.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    queue: mpsc::Sender<QueuedWrite>,
}

/// What the writing thread and the readers share.
#[derive(Debug)]
pub struct Shared {
    index: RwLock<Index>,
    reader: LogReader<Disk>,
    recent: Mutex<Recent>,
    /// For each feed that somebody listens to, the number of its last event.
    watchers: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
}

/// The newest events, in the order of their numbers.
#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

/// What somebody wants to be written.
#[derive(Debug, Clone)]
pub enum WriteRequest {
    /// A feed of this id, a plain name.
    Feed(String),
    /// An event.
    Event(Submission),
}

/// An event to be written.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The feed that it belongs to.
    pub feed: String,
    /// What it is found by.
    pub identity: Identity,
    /// Compact JSON, members in the order of their names: equal events are equal bytes.
    pub json: Bytes,
}

/// A wish, and who waits for what becomes of it.
#[derive(Debug)]
pub struct QueuedWrite {
    /// What is to be written.
    pub request: WriteRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// What is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Whether it was not there before.
    pub is_new: bool,
    /// Its number; of a feed that was there, 0.
    pub seq: u64,
    /// The event as it is stored; of a feed, nothing.
    pub json: Bytes,
}

impl Accepted {
    /// Of what was there before.
    pub fn known(seq: u64, json: Bytes) -> Self {
        Accepted {
            is_new: false,
            seq,
            json,
        }
    }
}

/// What an event was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// Its `event_id`.
    Id,
    /// Its `source.platform` and `source.source_msg_id`.
    Origin,
}

impl MatchedBy {
    /// The member of the event, as a path.
    pub fn field(self) -> &'static str {
        match self {
            MatchedBy::Id => "event_id",
            MatchedBy::Origin => "source.source_msg_id",
        }
    }
}

/// Why a wish is not granted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// There is no such feed.
    #[error("there is no such feed; make it with POST /feeds")]
    UnknownFeed,
    /// Another event is stored under the id or the source, with other content.
    #[error("another event has this {}, and other content: it stays as it is, corrections are new events", .by.field())]
    Conflict {
        /// What both have in common.
        by: MatchedBy,
        /// The event that is stored.
        stored: Accepted,
    },
    /// There are as many feeds as there may be.
    #[error("there are {MAX_FEEDS} feeds, and no more are taken")]
    TooManyFeeds,
    /// It could not be made durable.
    #[error("it could not be stored: {0}")]
    NotStored(Cause),
    /// What is stored already could not be read.
    #[error("what is stored could not be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// The relay is about to end.
    #[error("the relay stops, and takes nothing more")]
    Stopping,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another relay has it.
    #[error("another relay works in {}", .0.display())]
    Locked(PathBuf),
    /// The log cannot be read or repaired.
    #[error(transparent)]
    Log(#[from] WriteError),
}

impl Store {
    /// Opens the store in `folder`, or begins it there, and reads all of it. Makes the folder, but not those above.
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

    /// A handle for those who read and post.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until everything that was posted is written, and all handles are gone.
    ///
    /// # Errors
    /// The log has failed: nobody knows what is on the disk.
    ///
    /// # Panics
    /// When the writing thread has.
    pub fn close(self) -> Result<(), WriteError> {
        drop(self.handle);
        self.committer.join().expect("the writing thread does not panic")
    }
}

impl Handle {
    /// Has something written, and says what became of it once that is durable. Waits while too much waits for the disk.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn submit(&self, request: WriteRequest) -> Result<Accepted, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(QueuedWrite { request, answer }).await;
        sent.map_err(|_| Refusal::Stopping)?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Returns when nothing is written any more, because the log has failed.
    pub async fn failed(&self) {
        self.queue.closed().await;
    }

    /// The index, to look something up in: nobody writes meanwhile.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index()
    }

    /// The number of the last event of a feed, and word of each new one. The feed must be there.
    pub fn watch_last_seq(&self, feed: &str) -> watch::Receiver<u64> {
        // The index is looked at under the lock that the writer takes after changing it: nothing is missed.
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

    /// The events of these records that are in memory, as far as one follows the other.
    pub fn recent(&self, records: &[Record]) -> Vec<(u64, Bytes)> {
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = records.iter().map_while(|record| {
            let at = recent.events.binary_search_by_key(&record.seq, |(seq, _)| *seq).ok()?;
            Some(recent.events[at].clone())
        });
        found.collect()
    }

    /// The events of these records, from the disk, on a thread for that.
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
    /// The index, to look something up in.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event at a place of the log.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, place: Place) -> io::Result<Bytes> {
        self.reader.read(place).map(Bytes::from)
    }

    /// Changes the index, then tells who listens.
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
            // Without listeners there is nobody to tell; the next one looks at the index.
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
    match Disk.try_lock(&file).map_err(|error| failed("lock", error))? {
        true => Ok(file),
        false => Err(OpenError::Locked(folder.into())),
    }
}
