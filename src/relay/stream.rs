//! A listener: server-sent events (WHATWG HTML, section 9.2), no faster than the client reads them.
//!
//! A listener keeps only the number of its last event and the bytes being sent, at most [`MAX_SLICE`] or one event. All later
//! events are read from the log. So one code path serves slow listeners and current ones, without a gap between stored and
//! new events.
//!
//! A listener loads one slice at a time, in turn with the other readers ([`Handle::turn()`]). So thousands of listeners that
//! replay a feed at once share the relay fairly, and a writer never waits for more than a few slices.
use std::{collections::VecDeque, io, time::Duration};

use axum::body::Bytes;
use tokio::sync::watch;

use super::{index::Bounds, store::Handle};

/// Maximum number of bytes of events in a slice; one event is always loaded.
pub const MAX_SLICE: usize = 32 << 10;
/// Maximum number of events in a slice.
pub const SLICE: usize = 128;
/// Maximum length of an event that is copied, in bytes. Longer ones are shared by the listeners.
const MAX_COPIED: usize = 4 << 10;
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

    /// Loads the next slice; returns false if there is none.
    async fn load_more(&mut self) -> io::Result<bool> {
        if *self.last_seq.borrow_and_update() <= self.last {
            return Ok(false);
        }
        let turn = self.store.turn().await;
        let bounds = Bounds {
            events: SLICE,
            bytes: MAX_SLICE,
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
        drop(turn);
        self.last = events.last().map_or(self.last, |(seq, _)| *seq);
        self.pending = messages(events);
        Ok(true)
    }
}

/// Returns the bytes of a slice, in as few pieces as possible.
fn messages(events: Vec<(u64, Bytes)>) -> VecDeque<Bytes> {
    let (mut pieces, mut piece) = (VecDeque::new(), Vec::new());
    for (seq, json) in events {
        piece.extend_from_slice(format!("id: {seq}\ndata: ").as_bytes());
        if json.len() <= MAX_COPIED {
            piece.extend_from_slice(&json);
        } else {
            pieces.extend([std::mem::take(&mut piece).into(), json]);
        }
        piece.extend_from_slice(b"\n\n");
    }
    pieces.push_back(piece.into());
    pieces
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::{
        event::Event,
        relay::{
            index::About,
            replay::identity,
            store::{NewFeed, Store, Submission, TURNS, WriteRequest},
        },
    };

    const EVENTS: usize = 10 * SLICE;
    const LISTENERS: usize = 300;

    fn feed() -> WriteRequest {
        WriteRequest::Feed(NewFeed {
            about: About {
                id: "f".into(),
                name: "f".into(),
                policy: "null".into(),
            },
            is_named: false,
            has_policy: false,
        })
    }

    fn event(number: usize) -> WriteRequest {
        let json = format!(
            r#"{{"event_id":"{number}","feed_id":"f","type":"t","author_identity_id":"a","source":{{"platform":"p","adapter_id":"a","source_msg_id":null}},"ts":"2026-01-10T12:00:00Z","payload":{{}}}}"#
        );
        let event = Event::parse_posted(json.as_bytes()).expect("an event");
        WriteRequest::Event(Submission {
            feed: "f".into(),
            identity: identity(&event),
            json: event.to_json().into(),
        })
    }

    /// Replays the feed; counts the slices.
    async fn replay(store: Handle, stopped: watch::Receiver<bool>, slices: Rc<Cell<usize>>) {
        let mut listener = Listener::new(store, "f".into(), Some("0"), stopped, Duration::from_secs(60));
        listener.next().await.expect("the log").expect("an id");
        while listener.last < listener.store.index().last() {
            listener.next().await.expect("the log").expect("a slice");
            slices.set(slices.get() + 1);
        }
    }

    /// Returns the greatest number of slices that were loaded between two turns of another task.
    fn most_between_turns(store: &Handle) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (_stop, stopped) = watch::channel(false);
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let slices = Rc::new(Cell::new(0));
            let replays = (0..LISTENERS).map(|_| spawn_local(replay(store.clone(), stopped.clone(), slices.clone())));
            let replays: Vec<_> = replays.collect();
            let mut most = 0;
            while replays.iter().any(|replay| !replay.is_finished()) {
                let before = slices.get();
                yield_now().await;
                most = most.max(slices.get() - before);
            }
            assert!(slices.get() >= LISTENERS * EVENTS / SLICE, "{}", slices.get());
            most
        })
    }

    #[test]
    fn replays_leave_room_for_others_after_a_few_slices() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, _) = Store::open(folder.path()).expect("a store");
        let handle = store.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            handle.submit(feed()).await.expect("a feed");
            let posts = (0..EVENTS).map(|number| handle.submit(event(number)));
            for posted in futures_util::future::join_all(posts).await {
                posted.expect("an event");
            }
        });
        let in_memory = most_between_turns(&handle);
        assert!(in_memory <= TURNS, "{in_memory}");
        drop(handle);
        store.close().expect("a log");

        let (store, _) = Store::open(folder.path()).expect("a store");
        let on_disk = most_between_turns(&store.handle());
        assert!(on_disk <= TURNS, "{on_disk}");
        store.close().expect("a log");
    }

    #[test]
    fn small_events_are_one_piece_and_large_ones_are_shared() {
        let large = Bytes::from(vec![b'x'; MAX_COPIED + 1]);
        let small = Bytes::from_static(b"{}");
        let pieces = messages(vec![(1, small.clone()), (2, large.clone()), (3, small)]);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0], "id: 1\ndata: {}\n\nid: 2\ndata: ");
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(pieces[2], "\n\nid: 3\ndata: {}\n\n");
    }
}
