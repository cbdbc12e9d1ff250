//! A listener: server-sent events (WHATWG HTML, section 9.2), as fast as the client takes them and no faster.
//!
//! Nothing is kept for a listener but the number of the last event that it was given and what it is being given, at most [`MAX_CHUNK`] or
//! one event. What it has not taken yet is in the log. So one code path serves the one that lags and the one that
//! is up to date, and there is no gap between the past and the present.
use std::{collections::VecDeque, io, time::Duration};

use axum::body::Bytes;
use tokio::sync::watch;

use super::{index::Bounds, store::Handle};

/// So many bytes of events are taken up at once for a listener, but one event in any case.
pub const MAX_CHUNK: usize = 256 << 10;
/// So many events are taken up at once for a listener.
const CHUNK: usize = 64;
/// A comment, which says that the relay is alive.
const COMMENT: &[u8] = b":\n\n";

/// One who listens to a feed.
#[derive(Debug)]
pub struct Listener {
    store: Handle,
    feed: String,
    /// The number of the last event that was taken up.
    last: u64,
    pending: VecDeque<Bytes>,
    last_seq: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    keep_alive: Duration,
}

impl Listener {
    /// Listens to `feed`, which must be there, from behind the event that `last_id` names on; without from now on. Anything
    /// that the relay did not give as an id is of another relay, or of this one before it lost its data: then everything comes, since
    /// too much does no harm.
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
            // An id without data: who loses the connection before the first event resumes here all the same.
            pending: VecDeque::from([Bytes::from(format!("id: {last}\n\n"))]),
            last_seq,
            stopped,
            keep_alive,
        }
    }

    /// The next bytes for the client; none when the relay stops.
    ///
    /// # Errors
    /// What is stored cannot be read. The client comes again.
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

    /// Takes up what comes next. False when there is nothing.
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
