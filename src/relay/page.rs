//! Pages of events. See the [`relay`](super) for the two orders and their uses.
//!
//! With a filter, a page looks at up to [`MAX_LIMIT`] events, and has those that are selected, at most its limit. So it may
//! have fewer events than its limit, or none, although another page follows.
use std::{io, sync::Arc};

use axum::body::Bytes;
use jiff::Timestamp;

use super::{
    filter::Filter,
    index::{Bounds, Feed, Index, Record, Scan},
    store::Handle,
};
use crate::event::Problem;

/// Default number of events in a page.
pub const DEFAULT_LIMIT: usize = 50;
/// Maximum number of events in a page in the order of arrival.
pub const MAX_LIMIT: usize = 1000;
/// Maximum number of events in a page in the order of time.
pub const MAX_LIMIT_BY_TIME: usize = 100;
/// Maximum number of bytes of events in a page; one event is always included.
pub const MAX_PAGE: usize = 8 << 20;
/// Maximum number of bytes around an event.
const AROUND: usize = 64;
/// Maximum size of a page without events, in bytes.
const MAX_EMPTY: usize = 512;

/// Query for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    after: After,
    limit: usize,
    filter: Filter,
}

/// Position before the first event of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    /// In the order of arrival.
    Seq(u64),
    /// In the order of `(ts, event_id)`; `None` is the beginning, and without an id all events of the time.
    Time(Option<(Timestamp, Option<String>)>),
}

/// Events that a page looks at.
#[derive(Debug)]
pub struct Page {
    records: Vec<(Position, Record)>,
    /// True if more events follow.
    more: bool,
    /// Number that the page begins after, or 0.
    begin: u64,
    /// Maximum number of events.
    pub limit: usize,
    /// Selection of events.
    pub filter: Filter,
}

/// Position of an event in the order of a page.
#[derive(Debug)]
enum Position {
    Seq(u64),
    Time(Timestamp, Arc<str>),
}

/// Response with a page.
#[derive(Debug)]
pub struct Answer {
    /// Array of events.
    pub json: Vec<u8>,
    /// Number of the last event that was looked at; without any, the number that the page begins after, or 0.
    pub last_seq: u64,
    /// Query of the next page, percent-encoded; `None` if there is none at present.
    pub next: Option<String>,
}

impl Query {
    /// Parses query parameters.
    ///
    /// # Errors
    /// Returns all problems.
    pub fn parse(members: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut note = |field: &str, problem: &str| {
            problems.push(Problem {
                field: field.into(),
                problem: problem.into(),
            });
        };
        let (mut seq, mut ts, mut id, mut limit) = (None, None, None, DEFAULT_LIMIT);
        let mut filter = Filter::default();
        for (index, (name, value)) in members.iter().enumerate() {
            if filter.take(name, value) {
                continue;
            }
            if members[..index].iter().any(|(other, _)| other == name) {
                note(name, "is given twice");
            }
            match name.as_str() {
                "after_seq" => match value.parse() {
                    Ok(value) => seq = Some(value),
                    Err(_) => note(name, "is not a number"),
                },
                "after_ts" => match value.parse::<Timestamp>() {
                    Ok(value) => ts = Some(value),
                    Err(_) => note(name, "is not a time as in RFC 3339 (a + is written %2B)"),
                },
                "after_id" => id = Some(value.clone()),
                "limit" => match value.parse() {
                    Ok(value @ 1..) => limit = value,
                    _ => note(name, "is not a number from 1"),
                },
                _ => note(name, "is none of after_ts, after_id, after_seq, limit, type and author"),
            }
        }
        let given = |name: &str| members.iter().any(|(other, _)| other == name);
        if given("after_seq") && (given("after_ts") || given("after_id")) {
            note("after_seq", "cannot be combined with after_ts or after_id");
        }
        if given("after_id") && !given("after_ts") {
            note("after_id", "requires after_ts");
        }
        let (after, most) = match (seq, ts) {
            (Some(seq), _) => (After::Seq(seq), MAX_LIMIT),
            (None, ts) => (After::Time(ts.map(|ts| (ts, id))), MAX_LIMIT_BY_TIME),
        };
        let limit = limit.min(most);
        if problems.is_empty() {
            Ok(Query { after, limit, filter })
        } else {
            Err(problems)
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            events: if self.filter.is_empty() { self.limit } else { MAX_LIMIT },
            bytes: MAX_PAGE,
        }
    }

    /// Finds the events of the page of `feed`.
    fn scan(&self, index: &Index, feed: &Feed) -> Scan {
        match &self.after {
            After::Seq(seq) => index.arrived_after(feed, *seq, self.bounds()),
            After::Time(after) => {
                let after = after.as_ref().map(|(ts, id)| (*ts, id.as_deref()));
                index.after(feed, after, self.bounds())
            }
        }
    }

    /// Returns the page of these events.
    fn page(self, scan: &Scan) -> io::Result<Page> {
        let (records, more, begin) = match &self.after {
            After::Seq(seq) => {
                let slice = scan.arrived(self.bounds())?;
                let positions = slice.records.into_iter();
                let records: Vec<_> = positions
                    .map(|(_, record)| (Position::Seq(record.seq), record))
                    .collect();
                (records, slice.more, *seq)
            }
            After::Time(_) => {
                let slice = scan.by_time(self.bounds())?;
                let positions = slice.records.into_iter();
                let records = positions.map(|((ts, id), record)| (Position::Time(ts, id), record));
                (records.collect(), slice.more, 0)
            }
        };
        Ok(Page {
            records,
            more,
            begin,
            limit: self.limit,
            filter: self.filter,
        })
    }
}

impl Page {
    /// Finds the events of the page of a feed. `None` if there is no such feed.
    ///
    /// # Errors
    /// The index is damaged or cannot be read.
    pub async fn find(store: &Handle, feed: &str, query: Query) -> io::Result<Option<Self>> {
        let scan = {
            let index = store.index();
            index.feed(feed).map(|feed| query.scan(&index, feed))
        };
        let Some(scan) = scan else { return Ok(None) };
        let is_in_memory = scan.is_in_memory();
        store
            .read_index(is_in_memory, move || query.page(&scan))
            .await
            .map(Some)
    }

    /// Records of the events to look at.
    pub fn records(&self) -> Vec<Record> {
        self.records.iter().map(|(_, record)| *record).collect()
    }

    /// Maximum size of the response, in bytes.
    pub fn size(&self) -> usize {
        let events = self
            .records
            .iter()
            .map(|(_, record)| record.place.length as usize + AROUND);
        events.sum::<usize>() + MAX_EMPTY
    }

    /// Builds the response with these events, which were selected among the first `count` records.
    pub fn answer(&self, events: &[(u64, Bytes)], count: usize) -> Answer {
        let mut json = Vec::with_capacity(events.iter().map(|(_, json)| json.len() + 1).sum::<usize>() + 2);
        json.push(b'[');
        for (index, (_, event)) in events.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(event);
        }
        json.push(b']');
        let last = self.records[..count].last();
        let has_next = self.more || count < self.records.len();
        Answer {
            json,
            last_seq: last.map_or(self.begin, |(_, record)| record.seq),
            next: last
                .filter(|_| has_next)
                .map(|(position, _)| self.query_after(position)),
        }
    }

    fn query_after(&self, position: &Position) -> String {
        let mut query = match position {
            Position::Seq(seq) => format!("after_seq={seq}"),
            Position::Time(ts, id) => format!("after_ts={}&after_id={}", encoded(&ts.to_string()), encoded(id)),
        };
        query += &format!("&limit={}", self.limit);
        for (name, value) in self.filter.parameters() {
            query += &format!("&{name}={}", encoded(value));
        }
        query
    }
}

/// Encodes text for a part of a URL: all but the unreserved characters (RFC 3986, section 2.3).
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::log::Place,
        relay::index::{About, Identity, Index},
    };

    fn parse(members: &[(&str, &str)]) -> Result<Query, Vec<String>> {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Query::parse(&members).map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn a_query_is_of_one_order() {
        let at = "2026-01-10T12:00:00Z".parse().expect("a time");
        let time = |id: Option<&str>| After::Time(Some((at, id.map(str::to_owned))));
        let ts = ("after_ts", "2026-01-10T13:00:00+01:00");
        for (members, after, limit) in [
            (&[][..], After::Time(None), DEFAULT_LIMIT),
            (&[ts], time(None), DEFAULT_LIMIT),
            (&[("limit", "7"), ts, ("after_id", "x")], time(Some("x")), 7),
            (&[("after_seq", "0")], After::Seq(0), DEFAULT_LIMIT),
            (&[("limit", "1001")], After::Time(None), 100),
            (&[("after_seq", "0"), ("limit", "1001")], After::Seq(0), 1000),
        ] {
            let filter = Filter::default();
            assert_eq!(parse(members), Ok(Query { after, limit, filter }), "{members:?}");
        }
    }

    #[test]
    fn a_filter_is_part_of_the_next_page() {
        let query = parse(&[
            ("type", "a&b"),
            ("author", "x"),
            ("type", "c"),
            ("after_seq", "0"),
            ("limit", "2"),
        ]);
        let mut index = Index::default();
        let about = About {
            id: "f".into(),
            name: "f".into(),
            policy: "null".into(),
        };
        index.add_feed(1, about, Timestamp::UNIX_EPOCH);
        for seq in 2..7 {
            let place = Place {
                file: 0,
                length: 2,
                offset: 0,
            };
            let identity = Identity {
                event_id: seq.to_string().into(),
                ts: Timestamp::UNIX_EPOCH,
                origin: None,
            };
            assert!(index.add_event("f", &identity, Record { seq, place }));
        }
        let query = query.expect("a query");
        let scan = query.scan(&index, index.feed("f").expect("a feed"));
        let page = query.page(&scan).expect("a page");
        assert_eq!(page.records().len(), 5, "more than the limit");
        let event = |seq| (seq, Bytes::from_static(b"{}"));
        let answer = page.answer(&[event(3), event(5)], 4);
        assert_eq!((answer.json.as_slice(), answer.last_seq), (&b"[{},{}]"[..], 5));
        let next = "after_seq=5&limit=2&type=a%26b&type=c&author=x";
        assert_eq!(answer.next.as_deref(), Some(next));
        let last = page.answer(&[], 5);
        assert_eq!((last.last_seq, last.next), (6, None));
    }

    #[test]
    fn all_problems_are_reported() {
        for (members, fields) in [
            (
                &[("limit", "0"), ("after_ts", "soon"), ("page", "2")][..],
                &["limit", "after_ts", "page"][..],
            ),
            (&[("limit", "x")], &["limit"]),
            (&[("after_seq", "-1"), ("after_seq", "2")], &["after_seq", "after_seq"]),
            (&[("after_id", "x")], &["after_id"]),
            (
                &[("after_seq", "1"), ("after_ts", "2026-01-10T12:00:00Z")],
                &["after_seq"],
            ),
            (&[("after_ts", "2026-01-10T12:00:00 01:00")], &["after_ts"]),
        ] {
            let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            assert_eq!(parse(members), Err(fields), "{members:?}");
        }
    }
}
