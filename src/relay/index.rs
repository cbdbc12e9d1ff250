//! PURE: index of the log, without the payloads.
//!
//! An event takes about 350 bytes of memory, if its ids have 26 bytes: its number and place, its time and id in order, and
//! its id and origin for lookups.
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ops::Bound,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::store::MatchedBy;
use crate::{event::Folded, journal::log::Place};

/// Index of all feeds.
#[derive(Debug, Default)]
pub struct Index {
    /// Feeds in the order of creation.
    feeds: Vec<Feed>,
    /// Places in `feeds`. Feeds of older versions may have names that differ only in case.
    names: HashMap<Arc<str>, u32>,
    folded: HashMap<Folded, u32>,
    /// The first event with each id, of any feed.
    by_id: HashMap<Folded, Known>,
    /// Further events with an id that differs at most in case: older versions accepted them.
    by_same_id: HashMap<Arc<str>, Vec<Known>>,
    by_origin: HashMap<Box<str>, Known>,
    last: u64,
}

/// Place of an event in the index.
#[derive(Debug, Clone, Copy)]
struct Known {
    feed: u32,
    number: u32,
}

/// Index of a feed.
#[derive(Debug)]
pub struct Feed {
    about: About,
    created: Timestamp,
    /// Events in the order of arrival.
    arrivals: Vec<Record>,
    by_time: BTreeMap<(Timestamp, Arc<str>), u32>,
}

/// Description of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Id of the feed, a plain name.
    pub id: Arc<str>,
    /// Name for people.
    pub name: Box<str>,
    /// `policy_json`, as compact JSON.
    pub policy: Box<str>,
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
    /// Platform and id there, as one string: see [`origin()`]; `None` if the platform gave no id.
    pub origin: Option<Box<str>>,
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
        self.names.get(id).map(|place| &self.feeds[*place as usize])
    }

    /// Returns a feed whose id differs from this one at most in case.
    pub fn feed_like(&self, id: &Folded) -> Option<&Feed> {
        self.folded.get(id).map(|place| &self.feeds[*place as usize])
    }

    /// Iterates over all feeds, in the order of creation.
    pub fn feeds(&self) -> impl ExactSizeIterator<Item = &Feed> + DoubleEndedIterator {
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

    /// Adds a feed, or sets the description of one that exists.
    pub fn add_feed(&mut self, seq: u64, about: About, created: Timestamp) {
        self.last = self.last.max(seq);
        if let Some(place) = self.names.get(&about.id) {
            self.feeds[*place as usize].about = about;
            return;
        }
        let place = self.feeds.len() as u32;
        self.names.insert(about.id.clone(), place);
        self.folded.entry(Folded(about.id.clone())).or_insert(place);
        self.feeds.push(Feed {
            about,
            created,
            arrivals: Vec::new(),
            by_time: BTreeMap::new(),
        });
    }

    /// Adds an event that arrived after all others. Returns false, and does nothing, if its feed is missing or has its id, or
    /// its number exists.
    pub fn add_event(&mut self, feed: &str, identity: Identity, record: Record) -> bool {
        let Some(place) = self.names.get(feed).copied() else {
            return false;
        };
        if record.seq <= self.last || self.in_feed(feed, &identity.event_id).is_some() {
            return false;
        }
        self.last = record.seq;
        let feed = &mut self.feeds[place as usize];
        let known = Known {
            feed: place,
            number: feed.arrivals.len() as u32,
        };
        feed.arrivals.push(record);
        match self.by_id.entry(Folded(identity.event_id.clone())) {
            Entry::Vacant(free) => {
                free.insert(known);
            }
            Entry::Occupied(_) => {
                let same = self.by_same_id.entry(identity.event_id.clone());
                same.or_default().push(known);
            }
        }
        if let Some(origin) = identity.origin {
            self.by_origin.entry(origin).or_insert(known);
        }
        feed.by_time.insert((identity.ts, identity.event_id), known.number);
        true
    }

    /// Returns the event of a feed with exactly this id.
    pub fn in_feed(&self, feed: &str, event_id: &Arc<str>) -> Option<Record> {
        let place = self.names.get(feed)?;
        let of_feed = |known: &&Known| known.feed == *place;
        let known = self.with_id(event_id).find(of_feed)?;
        Some(self.record(*known))
    }

    /// Returns the event that keeps another one with these keys from being stored, in any feed, and the key it is found by.
    pub fn find(&self, identity: &Identity, by: MatchedBy) -> Option<Record> {
        let known = match by {
            MatchedBy::Id => self.with_id(&identity.event_id).next(),
            MatchedBy::Origin => self.by_origin.get(identity.origin.as_ref()?),
            MatchedBy::Case => self.by_id.get(&Folded(identity.event_id.clone())),
        };
        known.map(|known| self.record(*known))
    }

    /// Iterates over the events with exactly this id, of all feeds.
    fn with_id(&self, event_id: &Arc<str>) -> impl Iterator<Item = &Known> {
        let first = self.by_id.get_key_value(&Folded(event_id.clone()));
        let first = first.filter(|(id, _)| id.0 == *event_id).map(|(_, known)| known);
        let others = self.by_same_id.get(event_id).into_iter().flatten();
        first.into_iter().chain(others)
    }

    fn record(&self, known: Known) -> Record {
        self.feeds[known.feed as usize].arrivals[known.number as usize]
    }
}

impl Feed {
    /// Description of the feed.
    pub fn about(&self) -> &About {
        &self.about
    }

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

    /// Returns the events that arrived after this number.
    pub fn arrived_after(&self, seq: u64, bounds: Bounds) -> Slice<()> {
        let first = self.arrivals.partition_point(|record| record.seq <= seq);
        bounds.apply(self.arrivals[first..].iter().map(|record| ((), *record)))
    }

    /// Returns the events after this time, or after this id at that time (`None`: from the first one), in the order of
    /// `(ts, event_id)`.
    pub fn after(&self, after: Option<(Timestamp, Option<&str>)>, bounds: Bounds) -> Slice<(Timestamp, Arc<str>)> {
        let from = match after {
            None => Bound::Unbounded,
            Some((ts, Some(id))) => Bound::Excluded((ts, id.into())),
            // The greatest string that an id can be is unknown, but not the next moment.
            Some((ts, None)) => match ts.checked_add(SignedDuration::from_nanos(1)) {
                Ok(next) => Bound::Included((next, "".into())),
                Err(_) => return bounds.apply(std::iter::empty()),
            },
        };
        let behind = self.by_time.range((from, Bound::Unbounded));
        bounds.apply(behind.map(|(key, number)| (key.clone(), self.arrivals[*number as usize])))
    }
}

impl Bounds {
    /// Takes the first events, within the bounds.
    pub fn apply<K>(self, mut records: impl Iterator<Item = (K, Record)>) -> Slice<K> {
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
            origin: Some(origin(("p", id))),
        }
    }

    fn about(id: &str) -> About {
        About {
            id: id.into(),
            name: id.into(),
            policy: "null".into(),
        }
    }

    /// A feed with events of these times, in the order of arrival; their ids are their numbers.
    fn feed(seconds: &[i64]) -> Index {
        let mut index = Index::default();
        index.add_feed(1, about("f"), Timestamp::UNIX_EPOCH);
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
        index.add_feed(9, about("f"), Timestamp::MAX);
        let feed = index.feed("f").expect("a feed");
        assert_eq!(
            (feed.len(), feed.created(), index.last()),
            (2, Timestamp::UNIX_EPOCH, 9)
        );
        let by = |id: &str, by| index.find(&identity(id, 7), by);
        assert_eq!(by("3", MatchedBy::Origin), Some(record(3)));
        assert_eq!(by("4", MatchedBy::Id), None);
        let none = Identity {
            origin: None,
            ..identity("3", 7)
        };
        assert_eq!(index.find(&none, MatchedBy::Origin), None);
    }

    #[test]
    fn ids_are_known_in_all_feeds_and_those_of_older_versions_are_kept() {
        let mut index = feed(&[5]);
        index.add_feed(3, about("g"), Timestamp::UNIX_EPOCH);
        for (feed, id, seq) in [("f", "E-1", 4), ("g", "E-1", 5), ("g", "e-1", 6)] {
            assert!(index.add_event(feed, identity(id, 7), record(seq)), "{feed} {id}");
            assert!(!index.add_event(feed, identity(id, 8), record(9)), "{feed} {id} again");
        }
        let by = |id: &str, by| index.find(&identity(id, 7), by).map(|record| record.seq);
        assert_eq!((by("E-1", MatchedBy::Id), by("e-1", MatchedBy::Id)), (Some(4), Some(6)));
        assert_eq!(
            (by("E-1", MatchedBy::Case), by("e-1", MatchedBy::Case)),
            (Some(4), Some(4))
        );
        assert_eq!(index.in_feed("g", &"E-1".into()), Some(record(5)));
        assert_eq!(
            index.feed_like(&Folded("G".into())).map(|feed| &*feed.about().id),
            Some("g")
        );
        assert_eq!(
            index.feeds().rev().map(|feed| &*feed.about().id).collect::<Vec<_>>(),
            ["g", "f"]
        );
    }

    #[test]
    fn a_time_alone_excludes_the_events_of_exactly_this_time() {
        let index = feed(&[1, 2, 2, 3]);
        let feed = index.feed("f").expect("a feed");
        let after = |second: i64, id: Option<&str>| {
            let ts = Timestamp::from_second(second).expect("a time");
            feed.after(Some((ts, id)), ALL).records.len()
        };
        assert_eq!((after(2, None), after(2, Some("")), after(2, Some("3"))), (1, 3, 2));
        assert!(feed.after(Some((Timestamp::MAX, None)), ALL).records.is_empty());
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
                let slice = feed.after(after.as_ref().map(|(ts, id)| (*ts, Some(&**id))), bounds);
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
