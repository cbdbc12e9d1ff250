//! A listener: server-sent events (WHATWG HTML, section 9.2), no faster than the client reads them.
//!
//! A listener keeps only the number of its last event and the bytes being sent, at most [`MAX_CHUNK`] or one event. All later
//! events are read from the log. So one code path serves slow listeners and current ones, without a gap between stored and
//! new events.
use std::{collections::VecDeque, io, time::Duration};

use axum::body::Bytes;
use tokio::sync::watch;

use super::{index::Bounds, store::Handle};

/// Maximum number of bytes loaded at once; one event is always loaded.
pub const MAX_CHUNK: usize = 256 << 10;
/// Maximum number of events loaded at once.
const CHUNK: usize = 64;
/// Comment that keeps the connection alive.
const COMMENT: &[u8] = b":\n\n";

/// Listener of a feed.
#[derive(Debug)]
pub struct Listener {
    store: Handle,
    feed: String,
    /// Number of the last event that was loaded.
    last: u64,
    pending: VecDeque<Bytes>,
    last_seq: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    keep_alive: Duration,
}

impl Listener {
    /// Listens to `feed`, which must exist, after the event with the number `last_id`; without it, from now on. An id that this
    /// relay did not give is from another relay, or from this one before it lost its data. Then all events are sent, since
    /// duplicates do no harm.
    pub fn new(
        store: Handle,
        feed: String,
        last_id: Option<&str>,
        stopped: watch::Receiver<bool>,
        keep_alive: Duration,
    ) -> Self {
        let last_seq = store.watch_last_seq(&feed);
        let newest = store.index().feed(&feed).map_or(0, |feed| feed.last());
        let last = match last_id {
            None => newest,
            Some(id) => id.parse().ok().filter(|id| *id <= newest).unwrap_or(0),
        };
        Listener {
            store,
            feed,
            last,
            // An id without data: a client that loses the connection before the first event resumes here.
            pending: VecDeque::from([Bytes::from(format!("id: {last}\n\n"))]),
            last_seq,
            stopped,
            keep_alive,
        }
    }

    /// Returns the next bytes for the client; `None` when the relay stops.
    ///
    /// # Errors
    /// Stored events cannot be read. The client reconnects.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                return Ok(Some(bytes));
            }
            if *self.stopped.borrow() {
                return Ok(None);
            }
            if self.load_more().await? {
                continue;
            }
            tokio::select! {
                _ = self.stopped.changed() => {}
                waited = tokio::time::timeout(self.keep_alive, self.last_seq.changed()) => {
                    if waited.is_err() {
                        return Ok(Some(Bytes::from_static(COMMENT)));
                    }
                }
            }
        }
    }

    /// Loads the next events; returns false if there are none.
    async fn load_more(&mut self) -> io::Result<bool> {
        let bounds = Bounds {
            events: CHUNK,
            bytes: MAX_CHUNK,
        };
        let slice = self
            .store
            .index()
            .feed(&self.feed)
            .map(|feed| feed.arrived_after(self.last, bounds));
        let records: Vec<_> = slice
            .into_iter()
            .flat_map(|slice| slice.records)
            .map(|(_, record)| record)
            .collect();
        if records.is_empty() {
            return Ok(false);
        }
        let events = match self.store.recent(&records) {
            recent if recent.is_empty() => self.store.read(records).await?,
            recent => recent,
        };
        for (seq, json) in events {
            self.pending.extend([
                Bytes::from(format!("id: {seq}\ndata: ")),
                json,
                Bytes::from_static(b"\n\n"),
            ]);
            self.last = seq;
        }
        Ok(true)
    }
}
