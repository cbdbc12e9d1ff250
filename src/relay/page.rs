//! PURE: pages of events. See the [`relay`](super) for the two orders and their uses.
use axum::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::index::{Bounds, Feed, Record};
use crate::event::Problem;

/// Default number of events in a page.
pub const DEFAULT_LIMIT: usize = 100;
/// Maximum number of events in a page.
pub const MAX_LIMIT: usize = 1000;
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
    /// In the order of `(ts, event_id)`; `None` is the beginning.
    Time(Option<(Timestamp, String)>),
}

/// Events of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Records of the events.
    pub records: Vec<Record>,
    next: Option<Next>,
}

/// Query parameters of the next page.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
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
                    Ok(value @ 1..=MAX_LIMIT) => limit = value,
                    _ => note(name, "is not a number from 1 to 1000"),
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
        let after = match (seq, ts) {
            (Some(seq), _) => After::Seq(seq),
            (None, ts) => After::Time(ts.map(|ts| (ts, id.unwrap_or_default()))),
        };
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
        match &self.after {
            After::Seq(seq) => {
                let slice = feed.arrived_after(*seq, bounds);
                let records: Vec<_> = slice.records.into_iter().map(|(_, record)| record).collect();
                let next = records.last().filter(|_| slice.more);
                let next = next.map(|record| Next::Seq { after_seq: record.seq });
                Page { records, next }
            }
            After::Time(after) => {
                let slice = feed.after(after.as_ref().map(|(ts, id)| (*ts, id.as_str())), bounds);
                let next = slice
                    .records
                    .last()
                    .filter(|_| slice.more)
                    .map(|((ts, id), _)| Next::Time {
                        after_ts: *ts,
                        after_id: id.to_string(),
                    });
                let records = slice.records.into_iter().map(|(_, record)| record).collect();
                Page { records, next }
            }
        }
    }
}

impl Page {
    /// Maximum size of the response, in bytes.
    pub fn size(&self) -> usize {
        let events = self.records.iter().map(|record| record.place.length as usize + AROUND);
        events.sum::<usize>() + MAX_EMPTY
    }

    /// Builds the response: `{"events":[{"seq":…,"event":{…}},…],"next":{…}}`.
    pub fn to_json(&self, events: &[(u64, Bytes)]) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size());
        text.extend_from_slice(b"{\"events\":[");
        for (index, (seq, json)) in events.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            write_event(&mut text, *seq, json);
        }
        text.extend_from_slice(b"],\"next\":");
        text.extend(serde_json::to_vec(&self.next).expect("query parameters serialize into memory"));
        text.push(b'}');
        text
    }
}

/// Appends `{"seq":…,"event":{…}}`.
pub fn write_event(text: &mut Vec<u8>, seq: u64, json: &[u8]) {
    text.extend_from_slice(format!("{{\"seq\":{seq},\"event\":").as_bytes());
    text.extend_from_slice(json);
    text.push(b'}');
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
        let time = |id: &str| After::Time(Some((at, id.into())));
        let ts = ("after_ts", "2026-01-10T13:00:00+01:00");
        for (members, after, limit) in [
            (&[][..], After::Time(None), DEFAULT_LIMIT),
            (&[ts], time(""), DEFAULT_LIMIT),
            (&[("limit", "7"), ts, ("after_id", "x")], time("x"), 7),
            (&[("after_seq", "0")], After::Seq(0), DEFAULT_LIMIT),
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
            (&[("limit", "1001")], &["limit"]),
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
