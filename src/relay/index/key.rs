//! PURE: keys and values of the index.
//!
//! Keys are compared byte by byte. Numbers in them are big-endian.
//!
//! | key | event |
//! |---|---|
//! | `a`, feed, number | in the order of arrival |
//! | `t`, feed, time, `event_id` | in the order of time |
//! | `i`, hash of the folded `event_id`, number | by its id |
//! | `o`, hash of the origin, number | by its origin |
//!
//! The value is the event's number and place. A hash has 64 bits of SHA-256. The log decides between events with the same hash.
use std::sync::Arc;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use super::Record;
use crate::{event::Folded, journal::log::Place};

/// Length of a value in bytes.
pub const VALUE: usize = 24;
/// Maximum length of a key in bytes: a time, and an id of the greatest length.
pub const MAX_KEY: usize = 256;
/// Length of the key up to the feed.
const FEED: usize = 5;
/// Length of a time in a key.
const TIME: usize = 12;
/// Added to times in nanoseconds, so that none is negative.
const BIAS: i128 = 1 << 95;
/// File number of an event whose segment was removed.
pub const REMOVED: u32 = u32::MAX;

/// A key.
pub type Key = Box<[u8]>;
/// The value of a key.
pub type Value = [u8; VALUE];

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By id.
    Id,
    /// By origin.
    Origin,
}

/// Returns the key before all events of `feed` that arrived after a number.
pub fn arrival(feed: u32, seq: u64) -> Key {
    [&b"a"[..], &feed.to_be_bytes(), &seq.to_be_bytes()].concat().into()
}

/// Returns the key of an event in the order of time.
pub fn time(feed: u32, ts: Timestamp, event_id: &str) -> Key {
    let time = (ts.as_nanosecond() + BIAS).to_be_bytes();
    let time = &time[time.len() - TIME..];
    [&b"t"[..], &feed.to_be_bytes(), time, event_id.as_bytes()]
        .concat()
        .into()
}

/// Returns the common prefix of all keys of a feed in the order of time.
pub fn times_of(feed: u32) -> Key {
    [&b"t"[..], &feed.to_be_bytes()].concat().into()
}

/// Returns the common prefix of all keys with this hash.
pub fn hashed(kind: Kind, hash: u64) -> Key {
    let tag = match kind {
        Kind::Id => b"i",
        Kind::Origin => b"o",
    };
    [&tag[..], &hash.to_be_bytes()].concat().into()
}

/// Returns the key of an event with this hash.
pub fn hashed_event(kind: Kind, hash: u64, seq: u64) -> Key {
    [&hashed(kind, hash)[..], &seq.to_be_bytes()].concat().into()
}

/// Returns the common prefix of the keys of the same feed and order.
pub fn prefix(key: &[u8]) -> &[u8] {
    &key[..FEED]
}

/// Returns true for a key of an order, and false for one that finds an event by its id or origin.
pub fn is_ordered(key: &[u8]) -> bool {
    matches!(key.first(), Some(b'a' | b't'))
}

/// Returns the time and id of a key in the order of time.
pub fn time_of(key: &[u8]) -> Option<(Timestamp, Arc<str>)> {
    let (time, id) = key.get(FEED..)?.split_at_checked(TIME)?;
    let mut bytes = [0; 16];
    bytes[16 - TIME..].copy_from_slice(time);
    let ts = Timestamp::from_nanosecond(i128::from_be_bytes(bytes) - BIAS).ok()?;
    Some((ts, std::str::from_utf8(id).ok()?.into()))
}

/// Hash of an `event_id` without its case.
pub fn hash_of_id(event_id: &Arc<str>) -> u64 {
    hash(Folded(event_id.clone()).to_string().as_bytes())
}

/// Hash of a text, such as the origin of an event: the first 8 bytes of its SHA-256.
pub fn hash(text: &[u8]) -> u64 {
    let hash = digest(&SHA256, text);
    hash.as_ref()[..8]
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

impl Record {
    /// Value of this record.
    pub fn value(self) -> Value {
        let mut value = [0; VALUE];
        value[..8].copy_from_slice(&self.seq.to_be_bytes());
        value[8..12].copy_from_slice(&self.place.file.to_be_bytes());
        value[12..16].copy_from_slice(&self.place.length.to_be_bytes());
        value[16..].copy_from_slice(&self.place.offset.to_be_bytes());
        value
    }

    /// Record with this value.
    pub fn of(value: &Value) -> Self {
        let number = |from: usize, to: usize| value[from..to].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        Record {
            seq: number(0, 8),
            place: Place {
                file: number(8, 12) as u32,
                length: number(12, 16) as u32,
                offset: number(16, 24),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_events_and_have_their_times() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let times = [
            (Timestamp::MIN, "z"),
            (at("1969-12-31T23:59:59.999999999Z"), "z"),
            (Timestamp::UNIX_EPOCH, "a"),
            (Timestamp::UNIX_EPOCH, "a0"),
            (Timestamp::UNIX_EPOCH, "ä"),
            (at("1970-01-01T00:00:00.000000001Z"), ""),
            (Timestamp::MAX, "a"),
        ];
        let keys = times.map(|(ts, id)| time(7, ts, id));
        assert!(keys.is_sorted(), "{keys:?}");
        for (key, (ts, id)) in keys.iter().zip(times) {
            assert_eq!(time_of(key), Some((ts, id.into())));
            assert_eq!(prefix(key), &*times_of(7));
        }
        assert!(arrival(1, u64::MAX) < arrival(2, 0));
        let record = Record {
            seq: u64::MAX,
            place: Place {
                file: 1,
                length: 2,
                offset: u64::MAX - 3,
            },
        };
        assert_eq!(Record::of(&record.value()), record);
    }
}
