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
use futures_util::future::{pending, select_all};
use tokio::sync::watch;

use super::{
    filter::Filter,
    index::{Bounds, Feed, Record, Scan, Slice},
    message::{Message, pieces},
    store::Handle,
    subscription::Subscription,
};

/// Maximum number of bytes of events in a slice; one event is always loaded.
pub const MAX_SLICE: usize = 32 << 10;
/// Maximum number of events in a slice.
pub const SLICE: usize = 128;
/// Comment that keeps the connection alive.
const COMMENT: &[u8] = b":\n\n";

/// Reasons for which a stream ends.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The relay stops.
    pub stopped: watch::Receiver<bool>,
    /// The tokens were read again, or a policy was set: the client must reconnect and be checked.
    pub reloads: watch::Receiver<u64>,
}

impl Ends {
    fn have_come(&self) -> bool {
        // An error means that there are no tokens to reload.
        *self.stopped.borrow() || self.reloads.has_changed().unwrap_or(false)
    }

    async fn come(&mut self) {
        let reloaded = async {
            if self.reloads.changed().await.is_err() {
                pending().await
            }
        };
        tokio::select! {
            _ = self.stopped.changed() => {}
            () = reloaded => {}
        }
    }
}

/// Listener of feeds.
#[derive(Debug)]
pub struct Listener {
    store: Handle,
    feeds: Vec<String>,
    filter: Filter,
    /// Number of the last event that was loaded.
    last: u64,
    pending: VecDeque<Bytes>,
    /// Numbers of the last event of each feed.
    last_seqs: Vec<watch::Receiver<u64>>,
    ends: Ends,
    keep_alive: Duration,
}

impl Listener {
    /// Listens to feeds, which must exist, after the event with a number; without it, from now on. A number that this relay did
    /// not give is from another relay, or from this one before it lost its data. Then all events are sent, since duplicates do
    /// no harm.
    pub fn new(store: Handle, subscription: Subscription, ends: Ends, keep_alive: Duration) -> Self {
        let Subscription { feeds, after, filter } = subscription;
        let last_seqs = feeds.iter().map(|feed| store.watch_last_seq(feed)).collect();
        let newest = newest(&store, &feeds);
        let last = match after {
            None => newest,
            Some(id) => id.parse().ok().filter(|id| *id <= newest).unwrap_or(0),
        };
        Listener {
            store,
            feeds,
            filter,
            last,
            pending: VecDeque::from([resume_point(last)]),
            last_seqs,
            ends,
            keep_alive,
        }
    }

    /// Returns the next bytes for the client; `None` at its end.
    ///
    /// # Errors
    /// Stored events cannot be read. The client reconnects.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                return Ok(Some(bytes));
            }
            if self.ends.have_come() {
                return Ok(None);
            }
            if self.load_more().await? {
                continue;
            }
            let arrived = select_all(self.last_seqs.iter_mut().map(|seq| Box::pin(seq.changed())));
            tokio::select! {
                () = self.ends.come() => return Ok(None),
                waited = tokio::time::timeout(self.keep_alive, arrived) => {
                    if waited.is_err() {
                        return Ok(Some(Bytes::from_static(COMMENT)));
                    }
                }
            }
        }
    }

    /// Loads the next slice; returns false if there is none.
    async fn load_more(&mut self) -> io::Result<bool> {
        let newest = self.last_seqs.iter_mut().map(|seq| *seq.borrow_and_update()).max();
        if newest.is_none_or(|newest| newest <= self.last) {
            return Ok(false);
        }
        let turn = self.store.turn().await;
        let records = self.next_records().await?;
        if records.is_empty() {
            return Ok(false);
        }
        let recent = self.store.recent(&records);
        let (messages, count) = if recent.is_empty() {
            let read = self.store.read(records.clone(), self.filter.clone(), SLICE).await?;
            let messages = read.events.iter().map(|(seq, json)| Message::new(*seq, json));
            (messages.collect(), read.count)
        } else {
            (selected(&recent, &self.filter)?, recent.len())
        };
        drop(turn);
        self.last = records[count - 1].seq;
        if messages.is_empty() {
            self.pending.push_back(resume_point(self.last));
        }
        self.pending.extend(pieces(messages.into_iter()));
        Ok(true)
    }

    async fn next_records(&self) -> io::Result<Vec<Record>> {
        let bounds = Bounds {
            events: SLICE,
            bytes: MAX_SLICE,
        };
        let scans: Vec<_> = {
            let index = self.store.index();
            let feeds = self.feeds.iter().filter_map(|feed| index.feed(feed));
            let new = feeds.filter(|feed| feed.last() > self.last);
            new.map(|feed| index.arrived_after(feed, self.last, bounds)).collect()
        };
        let is_in_memory = scans.iter().all(Scan::is_in_memory);
        let read = move || {
            let slices = scans.iter().map(|scan| scan.arrived(bounds));
            merged(slices.collect::<io::Result<_>>()?, bounds)
        };
        self.store.read_index(is_in_memory, read).await
    }
}

fn newest(store: &Handle, feeds: &[String]) -> u64 {
    let index = store.index();
    let feeds = feeds.iter().filter_map(|feed| index.feed(feed));
    feeds.map(Feed::last).max().unwrap_or_default()
}

/// Returns the records of several feeds in the order of arrival, within the bounds.
fn merged(slices: Vec<Slice<()>>, bounds: Bounds) -> io::Result<Vec<Record>> {
    // Behind a slice that was cut, its feed has events that may come before those of other feeds.
    let cut = slices.iter().filter(|slice| slice.more);
    let cut = cut
        .filter_map(|slice| slice.records.last())
        .map(|(_, record)| record.seq);
    let end = cut.min().unwrap_or(u64::MAX);
    let records = slices.into_iter().flat_map(|slice| slice.records);
    let mut records: Vec<_> = records.filter(|(_, record)| record.seq <= end).collect();
    records.sort_unstable_by_key(|(_, record)| record.seq);
    let records = bounds.apply(records.into_iter().map(Ok))?.records;
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

/// Message with an id and without data: a client that loses the connection resumes there.
fn resume_point(last: u64) -> Bytes {
    Bytes::from(format!("id: {last}\n\n"))
}

fn selected(messages: &[Message], filter: &Filter) -> serde_json::Result<Vec<Message>> {
    let mut selected = Vec::new();
    for message in messages {
        if filter.selects(message.json())? {
            selected.push(message.clone());
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::{
        event::Event,
        journal::log::Place,
        relay::{
            index::About,
            replay::identity,
            retention::Limits,
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
            sets_policy: false,
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
    async fn replay(store: Handle, ends: Ends, slices: Rc<Cell<usize>>) {
        let subscription = Subscription {
            feeds: vec!["f".into()],
            after: Some("0".into()),
            filter: Filter::default(),
        };
        let mut listener = Listener::new(store, subscription, ends, Duration::from_secs(60));
        listener.next().await.expect("the log").expect("an id");
        while listener.last < listener.store.index().last() {
            listener.next().await.expect("the log").expect("a slice");
            slices.set(slices.get() + 1);
        }
    }

    /// Returns the greatest number of slices that were loaded between two turns of another task.
    fn most_between_turns(store: &Handle) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (stop, reload) = (watch::Sender::new(false), watch::Sender::new(0));
        let ends = Ends {
            stopped: stop.subscribe(),
            reloads: reload.subscribe(),
        };
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let slices = Rc::new(Cell::new(0));
            let replays = (0..LISTENERS).map(|_| spawn_local(replay(store.clone(), ends.clone(), slices.clone())));
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
        let (store, _) = Store::open(folder.path(), Limits::default()).expect("a store");
        let handle = store.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
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

        let (store, _) = Store::open(folder.path(), Limits::default()).expect("a store");
        let on_disk = most_between_turns(&store.handle());
        assert!(on_disk <= TURNS, "{on_disk}");
        store.close().expect("a log");
    }

    #[test]
    fn feeds_are_merged_in_the_order_of_arrival_as_far_as_all_are_known() {
        let slice = |seqs: &[u64], more: bool| {
            let place = Place {
                file: 0,
                length: 100,
                offset: 0,
            };
            let records = seqs.iter().map(|seq| ((), Record { seq: *seq, place })).collect();
            Slice { records, more }
        };
        let merged = |slices: Vec<Slice<()>>, events: usize| {
            let bounds = Bounds { events, bytes: 1000 };
            let records = super::merged(slices, bounds).expect("records");
            records.iter().map(|record| record.seq).collect::<Vec<_>>()
        };
        let slices = |more| vec![slice(&[2, 5, 9], false), slice(&[3, 4], more), slice(&[], false)];
        assert_eq!(merged(slices(false), 9), [2, 3, 4, 5, 9]);
        assert_eq!(
            merged(slices(true), 9),
            [2, 3, 4],
            "5 may come after another one of the second feed"
        );
        assert_eq!(merged(slices(false), 2), [2, 3]);
        assert_eq!(merged(Vec::new(), 9), Vec::<u64>::new());
    }
}
