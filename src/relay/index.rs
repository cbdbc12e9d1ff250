//! PURE: index of the log, without the payloads.
//!
//! An event takes about 350 bytes of memory, if its ids have 26 bytes: its number and place, its time and id in order, and
//! its id and origin for lookups.
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use jiff::Timestamp;

use crate::journal::log::Place;

/// Index of all feeds.
#[derive(Debug, Default)]
pub struct Index {
    feeds: BTreeMap<Arc<str>, Feed>,
    last: u64,
}

/// Index of a feed.
#[derive(Debug)]
pub struct Feed {
    created: Timestamp,
    /// Events in the order of arrival.
    arrivals: Vec<Record>,
    by_time: BTreeMap<(Timestamp, Arc<str>), u32>,
    by_id: HashMap<Arc<str>, u32>,
    by_origin: HashMap<Box<str>, u32>,
}

/// Number and place of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Number of the event.
    pub seq: u64,
    /// Place of its JSON in the log.
    pub place: Place,
}

/// Keys by which an event is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `event_id` of the event.
    pub event_id: Arc<str>,
    /// `ts` of the event.
    pub ts: Timestamp,
    /// Platform and id there, as one string: see [`origin()`].
    pub origin: Box<str>,
}

/// Part of an ordered sequence of events.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice<K> {
    /// The events, each with its key in the order.
    pub records: Vec<(K, Record)>,
    /// True if more events follow.
    pub more: bool,
}

/// Limits of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum number of events.
    pub events: usize,
    /// Maximum number of bytes of events; one event is always included.
    pub bytes: usize,
}

/// Joins a platform and an id there to a unique string.
pub fn origin((platform, id): (&str, &str)) -> Box<str> {
    format!("{}:{platform}{id}", platform.len()).into()
}

impl Index {
    /// Returns the feed with this id.
    pub fn feed(&self, id: &str) -> Option<&Feed> {
        self.feeds.get(id)
    }

    /// Iterates over all feeds, sorted by id.
    pub fn feeds(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Feed)> {
        self.feeds.iter()
    }

    /// Returns the last number that was used; 0 for none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Marks all numbers up to this one as used.
    pub fn skip_to(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// Adds a feed, unless it exists.
    pub fn add_feed(&mut self, seq: u64, id: &str, created: Timestamp) {
        self.last = self.last.max(seq);
        self.feeds.entry(id.into()).or_insert_with(|| Feed {
            created,
            arrivals: Vec::new(),
            by_time: BTreeMap::new(),
            by_id: HashMap::new(),
            by_origin: HashMap::new(),
        });
    }

    /// Adds an event that arrived after all others. Returns false, and does nothing, if its feed is missing or its id or number
    /// exists.
    pub fn add_event(&mut self, feed: &str, identity: Identity, record: Record) -> bool {
        let Some(feed) = self.feeds.get_mut(feed) else {
            return false;
        };
        if record.seq <= self.last || feed.by_id.contains_key(&identity.event_id) {
            return false;
        }
        self.last = record.seq;
        let number = feed.arrivals.len() as u32;
        feed.arrivals.push(record);
        feed.by_id.insert(identity.event_id.clone(), number);
        feed.by_origin.entry(identity.origin).or_insert(number);
        feed.by_time.insert((identity.ts, identity.event_id), number);
        true
    }
}

impl Feed {
    /// Time of creation.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Number of the last event to arrive; 0 for none.
    pub fn last(&self) -> u64 {
        self.arrivals.last().map_or(0, |record| record.seq)
    }

    /// Times of the oldest and the newest event, by their authors' clocks.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let oldest = self.by_time.first_key_value()?.0.0;
        Some((oldest, self.by_time.last_key_value()?.0.0))
    }

    /// Returns the event with this id.
    pub fn by_id(&self, event_id: &str) -> Option<Record> {
        self.by_id.get(event_id).map(|number| self.arrivals[*number as usize])
    }

    /// Returns the first event with this origin.
    pub fn by_origin(&self, origin: &str) -> Option<Record> {
        self.by_origin.get(origin).map(|number| self.arrivals[*number as usize])
    }

    /// Returns the events that arrived after this number.
    pub fn arrived_after(&self, seq: u64, bounds: Bounds) -> Slice<()> {
        let first = self.arrivals.partition_point(|record| record.seq <= seq);
        bounds.apply(self.arrivals[first..].iter().map(|record| ((), *record)))
    }

    /// Returns the events after this time and id (`None`: from the first one), in the order of `(ts, event_id)`.
    pub fn after(&self, after: Option<(Timestamp, &str)>, bounds: Bounds) -> Slice<(Timestamp, Arc<str>)> {
        let after = after.map_or(Bound::Unbounded, |(ts, id)| Bound::Excluded((ts, id.into())));
        let behind = self.by_time.range((after, Bound::Unbounded));
        bounds.apply(behind.map(|(key, number)| (key.clone(), self.arrivals[*number as usize])))
    }
}

impl Bounds {
    fn apply<K>(self, mut records: impl Iterator<Item = (K, Record)>) -> Slice<K> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (key, record) in records.by_ref() {
            bytes += record.place.length as usize;
            if taken.len() == self.events || (bytes > self.bytes && !taken.is_empty()) {
                return Slice {
                    records: taken,
                    more: true,
                };
            }
            taken.push((key, record));
        }
        Slice {
            records: taken,
            more: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Bounds = Bounds {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    fn record(seq: u64) -> Record {
        let place = Place {
            file: 0,
            length: 100,
            offset: seq * 100,
        };
        Record { seq, place }
    }

    fn identity(id: &str, second: i64) -> Identity {
        Identity {
            event_id: id.into(),
            ts: Timestamp::from_second(second).expect("a time"),
            origin: origin(("p", id)),
        }
    }

    /// A feed with events of these times, in the order of arrival; their ids are their numbers.
    fn feed(seconds: &[i64]) -> Index {
        let mut index = Index::default();
        index.add_feed(1, "f", Timestamp::UNIX_EPOCH);
        for (number, second) in seconds.iter().enumerate() {
            let seq = number as u64 + 2;
            assert!(index.add_event("f", identity(&seq.to_string(), *second), record(seq)));
        }
        index
    }

    #[test]
    fn an_id_or_a_number_that_is_there_changes_nothing() {
        let mut index = feed(&[5, 6]);
        for (id, seq) in [("2", 9), ("new", 3), ("new", 1)] {
            assert!(!index.add_event("f", identity(id, 7), record(seq)), "{id} {seq}");
        }
        assert!(!index.add_event("other", identity("new", 7), record(9)), "no such feed");
        index.add_feed(9, "f", Timestamp::MAX);
        let feed = index.feed("f").expect("a feed");
        assert_eq!(
            (feed.len(), feed.created(), index.last()),
            (2, Timestamp::UNIX_EPOCH, 9)
        );
        assert_eq!(feed.by_origin(&origin(("p", "3"))), Some(record(3)));
        assert_eq!(feed.by_id("4"), None);
    }

    #[test]
    fn no_two_pairs_are_one_origin() {
        assert_ne!(origin(("ab", "c")), origin(("a", "bc")));
        assert_ne!(origin(("", "1:a")), origin(("1:a", "")));
    }

    #[test]
    fn bounds_let_one_event_through_in_any_case() {
        let index = feed(&[1, 2, 3]);
        let feed = index.feed("f").expect("a feed");
        for (bytes, expected, more) in [(0, 1, true), (199, 1, true), (200, 2, true), (300, 3, false)] {
            let slice = feed.arrived_after(0, Bounds { events: 9, bytes });
            assert_eq!((slice.records.len(), slice.more), (expected, more), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn any_page_size_gives_the_same_sequence_once(seconds in prop::collection::vec(0i64..5, 0..40), events in 1usize..10) {
            let index = feed(&seconds);
            let feed = index.feed("f").expect("a feed");
            let bounds = Bounds { events, ..ALL };

            let all = feed.after(None, ALL);
            prop_assert!(!all.more && all.records.len() == seconds.len() && all.records.is_sorted_by_key(|(key, _)| key.clone()));
            let (mut paged, mut after) = (Vec::new(), None::<(Timestamp, Arc<str>)>);
            loop {
                let slice = feed.after(after.as_ref().map(|(ts, id)| (*ts, &**id)), bounds);
                paged.extend(slice.records);
                after = paged.last().map(|(key, _)| key.clone());
                if !slice.more {
                    break;
                }
            }
            prop_assert_eq!(paged, all.records);

            let all = feed.arrived_after(0, ALL).records;
            let mut paged: Vec<((), Record)> = Vec::new();
            loop {
                let slice = feed.arrived_after(paged.last().map_or(0, |(_, record)| record.seq), bounds);
                paged.extend(slice.records);
                if !slice.more {
                    break;
                }
            }
            prop_assert_eq!(paged, all);
        }
    }
}
