//! PURE: pages of events. See the [`relay`](super) for the two orders and their uses.
use axum::body::Bytes;
use jiff::Timestamp;

use super::index::{Bounds, Feed, Record};
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
}

/// Position before the first event of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    /// In the order of arrival.
    Seq(u64),
    /// In the order of `(ts, event_id)`; `None` is the beginning, and without an id all events of the time.
    Time(Option<(Timestamp, Option<String>)>),
}

/// Events of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Records of the events.
    pub records: Vec<Record>,
    /// Number of the last event; of an empty page, the number that it begins after, or 0.
    pub last_seq: u64,
    next: Option<Next>,
    limit: usize,
}

/// Query parameters of the next page.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Seq { after_seq: u64 },
    Time { after_ts: Timestamp, after_id: String },
}

impl Query {
    /// Parses query parameters.
    ///
    /// # Errors
    /// All problems.
    pub fn parse(members: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut note = |field: &str, problem: &str| {
            problems.push(Problem {
                field: field.into(),
                problem: problem.into(),
            });
        };
        let (mut seq, mut ts, mut id, mut limit) = (None, None, None, DEFAULT_LIMIT);
        for (index, (name, value)) in members.iter().enumerate() {
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
                _ => note(name, "is none of after_ts, after_id, after_seq and limit"),
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
            Ok(Query { after, limit })
        } else {
            Err(problems)
        }
    }

    /// Returns the page of `feed`.
    pub fn page(&self, feed: &Feed) -> Page {
        let bounds = Bounds {
            events: self.limit,
            bytes: MAX_PAGE,
        };
        let (records, next): (Vec<_>, _) = match &self.after {
            After::Seq(seq) => {
                let slice = feed.arrived_after(*seq, bounds);
                let records: Vec<_> = slice.records.into_iter().map(|(_, record)| record).collect();
                let next = records.last().filter(|_| slice.more);
                let next = next.map(|record| Next::Seq { after_seq: record.seq });
                (records, next)
            }
            After::Time(after) => {
                let slice = feed.after(after.as_ref().map(|(ts, id)| (*ts, id.as_deref())), bounds);
                let next = slice.records.last().filter(|_| slice.more);
                let next = next.map(|((ts, id), _)| Next::Time {
                    after_ts: *ts,
                    after_id: id.to_string(),
                });
                (slice.records.into_iter().map(|(_, record)| record).collect(), next)
            }
        };
        let begin = match self.after {
            After::Seq(seq) => seq,
            After::Time(_) => 0,
        };
        Page {
            last_seq: records.last().map_or(begin, |record| record.seq),
            records,
            next,
            limit: self.limit,
        }
    }
}

impl Page {
    /// Maximum size of the response, in bytes.
    pub fn size(&self) -> usize {
        let events = self.records.iter().map(|record| record.place.length as usize + AROUND);
        events.sum::<usize>() + MAX_EMPTY
    }

    /// Builds the response: an array of events.
    pub fn to_json(&self, events: &[(u64, Bytes)]) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size());
        text.push(b'[');
        for (index, (_, json)) in events.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(json);
        }
        text.push(b']');
        text
    }

    /// Returns the query of the next page, percent-encoded; `None` if there is none at present.
    pub fn next_query(&self) -> Option<String> {
        let after = match self.next.as_ref()? {
            Next::Seq { after_seq } => format!("after_seq={after_seq}"),
            Next::Time { after_ts, after_id } => {
                format!(
                    "after_ts={}&after_id={}",
                    encoded(&after_ts.to_string()),
                    encoded(after_id)
                )
            }
        };
        Some(format!("{after}&limit={}", self.limit))
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
            assert_eq!(parse(members), Ok(Query { after, limit }), "{members:?}");
        }
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
