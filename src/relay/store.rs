//! Store of a relay: the log on disk, its index, and the listeners that wait for new events.
//!
//! One thread writes; all others read.
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    thread::{self, JoinHandle},
};

use axum::body::Bytes;
use durable::{
    clock::{Clock, SystemClock},
    storage::{Disk, DiskFile},
};
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use super::{
    commit::Committer,
    filter::Filter,
    folder::{lock, set_stream, set_version},
    index::{Index, Record, files::Damaged},
    indexer::Indexer,
    log_line,
    message::Message,
    metrics::WriteMetrics,
    recent::Recent,
    replay::replay,
    retention::{Limits, Retention},
};
pub use super::{
    folder::{LOCK, OpenError, VERSION_FILE},
    refusal::{MatchedBy, Refusal},
    replay::Found,
    request::{Accepted, NewFeed, QueuedWrite, Submission, WriteRequest},
};
#[cfg(feature = "nats")]
use super::{replica::Replica, turn::Turns};
use crate::journal::{
    WriteError,
    log::{Log, LogReader, Place},
};
#[cfg(feature = "nats")]
use crate::nats::link::{Link, Settings};

/// Stem of the log's file name, `events.ndjson`.
pub const STEM: &str = "events";
/// Maximum number of feeds: one response lists all of them.
pub const MAX_FEEDS: usize = 10_000;
/// Number of bytes at the beginning of a line with the time of receipt.
const HEAD: u64 = 128;
/// Maximum number of requests that wait for the disk.
const QUEUE: usize = 1024;
/// Maximum number of readers that load events at a time: fewer than the threads that read the disk, which parse bodies, too.
pub const TURNS: usize = 3;

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
    damaged: Damaged,
    reader: LogReader<Disk>,
    recent: Mutex<Recent>,
    /// Number of the last event, for each feed with listeners.
    watchers: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
    turns: Semaphore,
    /// Metrics of the writing thread.
    pub write_metrics: WriteMetrics,
    /// Number up to which all mirrors have the events, for each feed with mirrors.
    confirmed: Mutex<BTreeMap<String, u64>>,
    /// True if the log is a copy of a stream that other relays write, too.
    is_copy: bool,
    /// Number of times that another relay has set policies.
    pub policies: watch::Sender<u64>,
}

/// A durable event that readers have not seen.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// Its feed.
    pub feed: &'a str,
    /// Its number.
    pub seq: u64,
    /// Its JSON.
    pub json: &'a Bytes,
}

/// Events that were selected.
#[derive(Debug, Default)]
pub struct Selected {
    /// The events, with their numbers.
    pub events: Vec<(u64, Bytes)>,
    /// Number of events that were looked at.
    pub count: usize,
}

impl Store {
    /// Opens or creates the store in `folder`, and reads the lines that its index lacks. Creates the folder, but not
    /// its parents.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(folder: &Path, limits: Limits) -> Result<(Self, Found), OpenError> {
        let lock = lock(folder)?;
        set_stream(folder, None)?;
        let (committer, shared, found) = open_log(folder, limits, false)?;
        let store = Store::start(shared, lock, move |queued| committer.run(queued));
        Ok((store, found))
    }

    /// Opens the stream, and a copy of it in `folder`, and copies what is new. Creates the folder, but not its parents.
    ///
    /// # Errors
    /// [`OpenError`]
    #[cfg(feature = "nats")]
    pub fn open_stream(folder: &Path, limits: Limits, settings: &Settings) -> Result<(Self, Found), OpenError> {
        let lock = lock(folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| WriteError::Storage {
            what: "start a thread for",
            path: folder.into(),
            source,
        })?;
        let link = runtime.block_on(Link::open(settings))?;
        set_stream(folder, Some(link.identity()))?;
        let (committer, shared, mut found) = open_log(folder, limits, true)?;
        if !found.problems.is_empty() {
            return Err(OpenError::damaged_copy(folder, "has damaged lines"));
        }
        let replica = runtime.block_on(async {
            let failed = |why| OpenError::Copy(settings.address.stream.clone(), why);
            let last = link.last_seq().await.map_err(failed)?;
            if shared.index().last() > last {
                return Err(OpenError::damaged_copy(folder, "has more messages than the stream"));
            }
            let turns = Turns::open(link.clone()).await?;
            let mut replica = Replica::new(committer, shared.clone(), (link, turns), folder.into());
            replica.catch_up().await?.map_err(failed)?;
            Ok(replica)
        })?;
        (found.feeds, found.events) = {
            let index = shared.index();
            (index.feeds().len(), index.feeds().map(|feed| feed.count()).sum())
        };
        let store = Store::start(shared, lock, move |queued| runtime.block_on(replica.run(queued)));
        Ok((store, found))
    }

    fn start(
        shared: Arc<Shared>,
        lock: DiskFile,
        run: impl FnOnce(mpsc::Receiver<QueuedWrite>) -> Result<(), WriteError> + Send + 'static,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        Store {
            handle: Handle { shared, queue },
            committer: thread::spawn(move || run(queued)),
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

/// Opens or creates the log in a folder, and reads what is new in it. It may be a copy of a stream.
fn open_log(folder: &Path, limits: Limits, is_copy: bool) -> Result<(Committer, Arc<Shared>, Found), OpenError> {
    set_version(folder)?;
    let clock = SystemClock::default();
    let (log, repaired) = Log::open((Disk, clock), (folder, STEM), |tail| log_line::parse(tail).is_ok())?;
    let mut replayed = replay(folder, &log)?;
    let mut found = std::mem::take(&mut replayed.found);
    found.repaired = repaired;
    let retention = begun(&log, &clock).and_then(|begun| Retention::open(folder, limits, begun));
    let retention = retention.map_err(|source| WriteError::Storage {
        what: "read the confirmations and the log in",
        path: folder.into(),
        source,
    })?;
    let mut shared = Shared::new(&log, (replayed.index, replayed.files.damaged()), &retention);
    shared.is_copy = is_copy;
    let shared = Arc::new(shared);
    let indexer = Indexer::start(replayed.files, shared.clone());
    let committer = Committer::new((log, replayed.marks), clock, shared.clone(), indexer, retention);
    Ok((committer, shared, found))
}

/// Returns the time at which the newest file of a log began: that of its first line.
fn begun(log: &Log<Disk, SystemClock>, clock: &SystemClock) -> io::Result<Timestamp> {
    let (file, length) = log.end();
    let head = log.reader().read(Place {
        file,
        length: length.min(HEAD) as u32,
        offset: 0,
    })?;
    Ok(log_line::received_in(&head).unwrap_or_else(|| clock.now()))
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

    /// Waits until the store has what other relays have stored so far, if that is possible.
    pub async fn refresh(&self) {
        if self.shared.is_copy {
            // The next request fails, too, if the relay is stopping.
            let _ = self.submit(WriteRequest::Refresh).await;
        }
    }

    /// Waits until the log fails.
    pub async fn failed(&self) {
        self.queue.closed().await;
    }

    /// Locks the index for reading; the writer waits meanwhile.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index()
    }

    /// Number up to which all mirrors of a feed have confirmed its events; `None` without a mirror.
    pub fn confirmed(&self, feed: &str) -> Option<u64> {
        let confirmed = self.shared.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.get(feed).copied()
    }

    /// Watches the number of times that another relay has set policies.
    pub fn watch_policies(&self) -> watch::Receiver<u64> {
        self.shared.policies.subscribe()
    }

    /// Metrics of the writing thread.
    pub fn write_metrics(&self) -> &WriteMetrics {
        &self.shared.write_metrics
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

    /// Waits for a turn to load events, in the order of the calls. Requests in progress run first, so that none of them waits
    /// for more than [`TURNS`] readers.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        let turn = self
            .shared
            .turns
            .acquire()
            .await
            .expect("the semaphore is never closed");
        tokio::task::yield_now().await;
        turn
    }

    /// Returns the leading events of these records that are in memory.
    pub fn recent(&self, records: &[Record]) -> Vec<Message> {
        let recent = self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().map_while(|record| recent.get(record.seq)).collect()
    }

    /// Reads from the index: on another thread, unless it is all in memory.
    ///
    /// # Errors
    /// The index is damaged or cannot be read.
    pub async fn read_index<T: Send + 'static>(
        &self,
        is_in_memory: bool,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let read = if is_in_memory {
            read()
        } else {
            let read = tokio::task::spawn_blocking(read).await;
            read.map_err(io::Error::other)?
        };
        read.inspect_err(|error| self.shared.damaged.note(error))
    }

    /// Reads the events of these records from the disk, on another thread, until `limit` events are selected.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn read(&self, records: Vec<Record>, filter: Filter, limit: usize) -> io::Result<Selected> {
        let shared = self.shared.clone();
        let read = move || {
            let events = records
                .into_iter()
                .map(|record| Ok((record.seq, shared.read(record.place)?)));
            Selected::among(events, &filter, limit)
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

impl Selected {
    /// Selects events, until there are `limit` of them.
    ///
    /// # Errors
    /// An event cannot be read.
    pub fn among(
        events: impl Iterator<Item = io::Result<(u64, Bytes)>>,
        filter: &Filter,
        limit: usize,
    ) -> io::Result<Self> {
        let mut selected = Selected::default();
        for event in events {
            if selected.events.len() == limit {
                break;
            }
            let (seq, json) = event?;
            selected.count += 1;
            if filter.selects(&json)? {
                selected.events.push((seq, json));
            }
        }
        Ok(selected)
    }
}

impl Shared {
    fn new(log: &Log<Disk, SystemClock>, (index, damaged): (Index, Damaged), retention: &Retention) -> Self {
        Shared {
            index: RwLock::new(index),
            damaged,
            reader: log.reader(),
            recent: Mutex::default(),
            watchers: Mutex::default(),
            turns: Semaphore::new(TURNS),
            write_metrics: WriteMetrics::default(),
            confirmed: Mutex::new(retention.confirmed().all()),
            is_copy: false,
            policies: watch::Sender::default(),
        }
    }

    /// Locks the index for reading.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index.
    pub fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of what all mirrors of a feed have confirmed.
    pub fn set_confirmed(&self, feed: &str, seq: Option<u64>) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        match seq {
            Some(seq) => confirmed.insert(feed.to_owned(), seq),
            None => confirmed.remove(feed),
        };
    }

    /// Takes note of damage of the index.
    pub fn damaged(&self) -> &Damaged {
        &self.damaged
    }

    /// Reads the event at a place of the log.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(&self, place: Place) -> io::Result<Bytes> {
        self.reader.read(place).map(Bytes::from)
    }

    /// Shows these events to readers. [`notify()`](Shared::notify()) wakes the listeners.
    pub fn publish<'a>(&self, change: impl FnOnce(&mut Index), events: impl Iterator<Item = NewEvent<'a>>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            recent.push(event.seq, Message::new(event.seq, event.json));
        }
        drop(recent);
        self.change_index(change);
    }

    /// Wakes the listeners of these events.
    pub fn notify<'a>(&self, events: impl Iterator<Item = NewEvent<'a>>) {
        let last: HashMap<_, _> = events.map(|event| (event.feed, event.seq)).collect();
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for (feed, seq) in last {
            // A feed without listeners is removed; the next listener reads the index.
            if watchers.get(feed).is_some_and(|watcher| watcher.send(seq).is_err()) {
                watchers.remove(feed);
            }
        }
    }
}
