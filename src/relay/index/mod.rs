//! Index of the log, without the payloads. The log is the truth; the index is made from it, and can be lost without
//! harm.
//!
//! ```text
//!   newest   a sorted map in memory: events since the last freeze      at most MAX_TAIL events
//!   frozen   the same, while it is written to a table                   at most MAX_TAIL events
//!   tables   sorted files (see table), merged to few                    blocks of the higher levels are cached
//! ```
//!
//! All three have the same keys and values (see [`key`]), and no event is in two of them. Feeds are in memory as a
//! whole, since their number is limited. The file `manifest` (see [`manifest`]) lists the tables, the feeds, and the
//! place in the log up to which they are complete. The rest of the log is read when the relay starts.
mod block;
pub mod files;
pub mod key;
pub mod manifest;
mod merged;
mod scan;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Bound,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use self::{
    key::{Key, Kind, REMOVED, Value},
    table::Table,
};
use crate::{event::Folded, journal::log::Place};

/// Number of events in memory from which on they are written to a table.
pub const TAIL: usize = 8192;
/// Maximum number of events in memory that are not being written to a table: writers wait then.
pub const MAX_TAIL: usize = 8 * TAIL;

/// Index of all feeds.
#[derive(Debug, Default)]
pub struct Index {
    /// Feeds in the order of creation.
    feeds: Vec<Feed>,
    /// Places in `feeds`. Feeds of older versions may have names that differ only in case.
    names: HashMap<Arc<str>, u32>,
    folded: HashMap<Folded, u32>,
    newest: Tail,
    older: Arc<Older>,
    last: u64,
}

/// Sorted entries in memory.
#[derive(Debug, Default)]
pub struct Tail {
    entries: BTreeMap<Key, Value>,
    events: usize,
}

/// Entries that do not change.
#[derive(Debug, Default)]
struct Older {
    frozen: Option<Arc<Tail>>,
    tables: Vec<Arc<Table>>,
    /// Number of the first file of the log. Events of earlier ones were removed.
    first_file: u32,
    /// Greatest number in the files that were removed.
    removed: u64,
}

/// Entries to be written to a table.
#[derive(Debug, Clone)]
pub struct Frozen {
    /// Its entries.
    entries: Arc<Tail>,
    /// All feeds at that time.
    feeds: Vec<Feed>,
    /// The last number that was used.
    last: u64,
    /// Greatest number in the files that were removed.
    removed: u64,
}

/// A feed.
#[derive(Debug, Clone)]
pub struct Feed {
    about: Arc<About>,
    created: Timestamp,
    number: u32,
    count: u64,
    last: u64,
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

/// Entries that begin with the same bytes, from a key on, at one moment. Reading them needs no lock.
#[derive(Debug)]
pub struct Scan {
    from: Key,
    prefix: Key,
    /// Entries of [`Index::newest`].
    newest: Vec<(Key, Value)>,
    older: Arc<Older>,
    /// Tables without a greater number are not needed.
    after: u64,
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

    /// Greatest number of an event that was removed; 0 if there is none. All events before it were removed, too.
    pub fn removed(&self) -> u64 {
        self.older.removed
    }

    /// Marks all numbers up to this one as used.
    pub fn skip_to(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// Adds a feed, or sets the description of one that exists.
    pub fn add_feed(&mut self, seq: u64, about: About, created: Timestamp) {
        self.last = self.last.max(seq);
        let number = self.feeds.len() as u32;
        self.push_feed(Feed {
            about: Arc::new(about),
            created,
            number,
            count: 0,
            last: 0,
        });
    }

    fn push_feed(&mut self, feed: Feed) {
        if let Some(place) = self.names.get(&feed.about.id) {
            self.feeds[*place as usize].about = feed.about;
            return;
        }
        self.names.insert(feed.about.id.clone(), feed.number);
        self.folded.entry(Folded(feed.about.id.clone())).or_insert(feed.number);
        self.feeds.push(feed);
    }

    /// Adds an event with a new number and a new id to a feed. Returns false, and does nothing, if the feed is missing, or the
    /// number is not greater than all before.
    pub fn add_event(&mut self, feed: &str, identity: &Identity, record: Record) -> bool {
        let Some(place) = self.names.get(feed).copied() else {
            return false;
        };
        if record.seq <= self.last {
            return false;
        }
        self.last = record.seq;
        let feed = &mut self.feeds[place as usize];
        (feed.count, feed.last) = (feed.count + 1, record.seq);
        let entries = &mut self.newest.entries;
        entries.insert(key::arrival(place, record.seq), record.value());
        entries.insert(key::time(place, identity.ts, &identity.event_id), record.value());
        self.newest.events += 1;
        self.add_keys(
            key::hash_of_id(&identity.event_id),
            identity.origin.as_ref().map(|origin| key::hash(origin.as_bytes())),
            record,
        );
        true
    }

    /// Adds an event whose segment was removed: only its hashes are known.
    pub fn add_removed(&mut self, seq: u64, id: u64, origin: Option<u64>) {
        let place = Place {
            file: REMOVED,
            length: 0,
            offset: 0,
        };
        self.last = self.last.max(seq);
        self.newest.events += 1;
        self.add_keys(id, origin, Record { seq, place });
    }

    fn add_keys(&mut self, id: u64, origin: Option<u64>, record: Record) {
        let keys = [(Kind::Id, Some(id)), (Kind::Origin, origin)];
        for (kind, hash) in keys {
            if let Some(hash) = hash {
                let key = key::hashed_event(kind, hash, record.seq);
                self.newest.entries.insert(key, record.value());
            }
        }
    }

    /// Finds the events with this hash, the first ones first.
    pub fn with_hash(&self, kind: Kind, hash: u64) -> Scan {
        let key = key::hashed(kind, hash);
        self.scan((key.clone(), key), 0, usize::MAX)
    }

    /// Finds the events of a feed that arrived after this number, at least as many as the bounds let through.
    pub fn arrived_after(&self, feed: &Feed, seq: u64, bounds: Bounds) -> Scan {
        let seq = seq.max(self.older.removed);
        let from = key::arrival(feed.number, seq.saturating_add(1));
        let prefix = key::prefix(&from).into();
        self.scan((from, prefix), seq, bounds.events)
    }

    /// Finds the events of a feed after this time, or after this id at that time (`None`: from the first one), in the order of
    /// `(ts, event_id)`.
    pub fn after(&self, feed: &Feed, after: Option<(Timestamp, Option<&str>)>, bounds: Bounds) -> Scan {
        let from = match after {
            None => key::times_of(feed.number),
            Some((ts, Some(id))) => {
                let key = key::time(feed.number, ts, id);
                // The least key behind it.
                [&key[..], &[0]].concat().into()
            }
            // The greatest string that an id can be is unknown, but not the next moment.
            Some((ts, None)) => match ts.checked_add(SignedDuration::from_nanos(1)) {
                Ok(next) => key::time(feed.number, next, ""),
                Err(_) => key::times_of(feed.number + 1),
            },
        };
        self.scan((from, key::times_of(feed.number)), 0, bounds.events)
    }

    fn scan(&self, (from, prefix): (Key, Key), after: u64, limit: usize) -> Scan {
        let newest = self.newest.from(&from).take_while(|(key, _)| key.starts_with(&prefix));
        let newest = newest.take(limit.saturating_add(1));
        Scan {
            newest: newest.map(|(key, value)| (key.clone(), *value)).collect(),
            older: self.older.clone(),
            from,
            prefix,
            after,
        }
    }

    /// Number of events in memory that are not frozen.
    pub fn tail(&self) -> usize {
        self.newest.events
    }

    /// Freezes the events in memory. `None` if there are frozen ones already.
    pub fn freeze(&mut self) -> Option<Frozen> {
        if self.older.frozen.is_some() {
            return None;
        }
        let entries = Arc::new(std::mem::take(&mut self.newest));
        self.older = Arc::new(Older {
            frozen: Some(entries.clone()),
            ..self.older.copy()
        });
        Some(Frozen {
            entries,
            feeds: self.feeds.clone(),
            last: self.last,
            removed: self.older.removed,
        })
    }

    /// Uses these tables. `is_written` is true if they have what was frozen.
    pub fn use_tables(&mut self, tables: Vec<Arc<Table>>, is_written: bool) {
        self.older = Arc::new(Older {
            frozen: self.older.frozen.clone().filter(|_| !is_written),
            tables,
            ..self.older.copy()
        });
    }

    /// Marks the events of all files of the log before this one as removed; they have numbers up to `last`.
    pub fn remove_before(&mut self, file: u32, last: u64) {
        self.older = Arc::new(Older {
            first_file: file,
            removed: self.older.removed.max(last),
            ..self.older.copy()
        });
    }
}

impl Tail {
    fn from(&self, key: &[u8]) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }
}

impl Older {
    fn copy(&self) -> Self {
        Older {
            frozen: self.frozen.clone(),
            tables: self.tables.clone(),
            first_file: self.first_file,
            removed: self.removed,
        }
    }

    fn has(&self, record: Record) -> bool {
        record.place.file != REMOVED && record.place.file >= self.first_file
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

    /// Number of events, with those that were removed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of the last event to arrive; 0 for none.
    pub fn last(&self) -> u64 {
        self.last
    }
}

impl Bounds {
    /// Takes the first events, within the bounds.
    ///
    /// # Errors
    /// The first error of `records`.
    pub fn apply<K>(self, records: impl Iterator<Item = io::Result<(K, Record)>>) -> io::Result<Slice<K>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for record in records {
            let (key, record) = record?;
            bytes += record.place.length as usize;
            if taken.len() == self.events || (bytes > self.bytes && !taken.is_empty()) {
                return Ok(Slice {
                    records: taken,
                    more: true,
                });
            }
            taken.push((key, record));
        }
        Ok(Slice {
            records: taken,
            more: false,
        })
    }
}
