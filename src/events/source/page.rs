//! PURE: the responses of a relay to `GET /feeds/{id}/events`, and the position of the next one.
//!
//! A response is an array of events, or an object with such an array as `events`. An element is an event, or an object with
//! the event as `event` and its sequence number, from 1 in the order of arrival, as `seq`. Instead, the sequence number of the
//! last element may be in the header [`SEQ`]; then the header `Link` shows if more follow. A relay with sequence numbers
//! accepts `after_seq`, and then returns events in that order. Every relay accepts `after_ts` and `after_id`, and returns
//! events in the order of `(ts, event_id)`.
//!
//! Sequence numbers are more reliable than `ts`, which comes from the author: a late event has an old `ts`. Without
//! them, reading begins [`OVERLAP`] before the newest event that is committed.
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Arrival, Cursor, place};

/// Overlap in seconds, for events that arrive late at a relay without sequence numbers.
pub const OVERLAP: i64 = 60 * 60;
/// Number of events per request.
pub const LIMIT: usize = 64;

/// Header with the sequence number of the last element, or of the position if there is no element.
pub const SEQ: &str = "Relay-Seq";

/// Headers of a response of a relay that has sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number of the last element.
    last: u64,
    /// True if more elements follow.
    pub more: bool,
}

/// Position at which a response begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// At the oldest event.
    Beginning,
    /// After the event with this sequence number.
    Sequence(u64),
    /// After this time, or after this id at the same time.
    Time(String, Option<String>),
}

/// Element of a response.
#[derive(Debug)]
pub struct Entry<'a> {
    event: &'a RawValue,
    sequence: Option<u64>,
}

/// The response is not a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the response is not a list of events: {0}")]
pub struct NotAList(String);

impl Position {
    /// Returns the start position for a relay without sequence numbers, given the time of the newest committed event.
    pub fn newest(newest: Option<Timestamp>, now: Timestamp) -> Self {
        let begin = |newest: Timestamp| newest.min(now).as_second() - OVERLAP;
        match newest.and_then(|newest| Timestamp::from_second(begin(newest)).ok()) {
            Some(begin) => Position::Time(begin.to_string(), None),
            None => Position::Beginning,
        }
    }

    /// Parameters of the query.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        match self {
            Position::Beginning => Vec::new(),
            Position::Sequence(sequence) => vec![("after_seq", sequence.to_string())],
            Position::Time(ts, None) => vec![("after_ts", ts.clone())],
            Position::Time(ts, Some(id)) => vec![("after_ts", ts.clone()), ("after_id", id.clone())],
        }
    }
}

impl Numbers {
    /// Parses the headers [`SEQ`] and `Link`; `None` if the relay sends no number.
    pub fn parse(seq: Option<&str>, link: Option<&str>) -> Option<Self> {
        let links = link.unwrap_or_default().split(',');
        let is_next = |link: &str| {
            let parameters = link.rsplit('>').next().unwrap_or_default().split(';');
            parameters
                .map(|parameter| parameter.trim().replace('"', ""))
                .any(|parameter| parameter.eq_ignore_ascii_case("rel=next"))
        };
        Some(Numbers {
            last: seq?.parse().ok()?,
            more: links.into_iter().any(is_next),
        })
    }
}

/// Parses a response with these headers.
///
/// # Errors
/// The response is not a list.
pub fn parse(json: &[u8], numbers: Option<Numbers>) -> Result<Vec<Entry<'_>>, NotAList> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    let not_a_list = |error: serde_json::Error| NotAList(error.to_string());
    let list = match json.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(json).map_err(not_a_list)?,
        _ => serde_json::from_slice::<Object<'_>>(json).map_err(not_a_list)?.events,
    };
    let mut entries: Vec<_> = list.into_iter().map(Entry::of).collect();
    if let (Some(last), Some(numbers)) = (entries.last_mut(), numbers) {
        last.sequence = last.sequence.or(Some(numbers.last));
    }
    Ok(entries)
}

impl<'a> Entry<'a> {
    fn of(raw: &'a RawValue) -> Self {
        #[derive(Deserialize)]
        struct Numbered<'a> {
            #[serde(borrow)]
            event: &'a RawValue,
            seq: u64,
        }
        match serde_json::from_str::<Numbered<'_>>(raw.get()) {
            Ok(Numbered { event, seq }) => Entry {
                event,
                sequence: Some(seq),
            },
            Err(_) => Entry {
                event: raw,
                sequence: None,
            },
        }
    }

    /// Sequence number, if the relay gives one.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Returns true if `cursor` was set at this element.
    pub fn is_at(&self, cursor: &Cursor) -> bool {
        self.sequence == Some(cursor.sequence) && place(self.json()).1 == cursor.event_id
    }

    /// Returns the position after this element; `None` if it has neither a sequence number nor `ts` and `event_id`.
    pub fn after(&self) -> Option<Position> {
        if let Some(sequence) = self.sequence {
            return Some(Position::Sequence(sequence));
        }
        let (ts, id) = place(self.json());
        let ts = ts.filter(|ts| ts.parse::<Timestamp>().is_ok())?;
        Some(Position::Time(ts, Some(id?)))
    }

    /// Reads the element as an event of this feed.
    pub fn arrival(&self, feed: &str) -> Arrival {
        Arrival::of_feed(feed, self.json(), self.sequence)
    }

    fn json(&self) -> &[u8] {
        self.event.get().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, ts: &str) -> String {
        format!(
            r#"{{"event_id":"{id}","feed_id":"f","type":"t","author_identity_id":"a","source":{{"platform":"p","adapter_id":"a","source_msg_id":"{id}"}},"ts":"{ts}","payload":{{}}}}"#
        )
    }

    #[test]
    fn every_form_of_a_list_is_read() {
        let bare = event("1", "2026-01-10T12:00:00Z");
        let numbered = format!(r#"{{"seq":7,"event":{bare}}}"#);
        for (json, expected) in [
            (format!("[{bare}]"), None),
            (format!(r#"{{"events":[{bare}],"next":null}}"#), None),
            (format!(" [{numbered}]"), Some(7)),
            (format!(r#"{{"more":1,"events":[{numbered}]}}"#), Some(7)),
        ] {
            let entries = parse(json.as_bytes(), None).expect(&json);
            assert_eq!(entries[0].sequence(), expected, "{json}");
            let arrival = entries[0].arrival("f");
            assert_eq!(arrival.event.expect("an event").event_id(), "1");
            assert_eq!(arrival.cursor.map(|cursor| cursor.sequence), expected);
        }
        assert!(parse(b"[]", None).expect("a list").is_empty());
        for bad in ["", "null", "{}", "{\"events\":1}", "<html>", "[1"] {
            assert!(parse(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_number_the_last_event_and_say_if_more_follow() {
        let link = "</f?after_seq=7>; rel=\"next\"";
        for (seq, link, expected) in [
            (None, Some(link), None),
            (Some("x"), None, None),
            (Some("7"), None, Some((7, false))),
            (Some("7"), Some(link), Some((7, true))),
            (
                Some("7"),
                Some("</f>; rel=prev, </f?a=1>; title=x; REL=next"),
                Some((7, true)),
            ),
            (Some("7"), Some("</f?rel=next>; rel=\"prev\""), Some((7, false))),
        ] {
            let numbers = Numbers::parse(seq, link);
            assert_eq!(
                numbers.map(|numbers| (numbers.last, numbers.more)),
                expected,
                "{seq:?} {link:?}"
            );
        }
        let json = format!(
            "[{},{}]",
            event("1", "2026-01-10T12:00:00Z"),
            event("2", "2026-01-10T12:00:00Z")
        );
        let entries = parse(json.as_bytes(), Numbers::parse(Some("9"), None)).expect("a list");
        assert_eq!((entries[0].sequence(), entries[1].sequence()), (None, Some(9)));
    }

    #[test]
    fn the_next_answer_begins_behind_the_last_event_even_a_bad_one() {
        let json = format!(
            r#"[{{"seq":7,"event":null}},{},{{"ts":"2026-01-10T12:00:00.5Z","event_id":"../x"}},{{"ts":"soon","event_id":"2"}},{{"ts":1}},3]"#,
            event("1", "2026-01-10T12:00:00.5Z")
        );
        let entries = parse(json.as_bytes(), None).expect("a list");
        let after: Vec<_> = entries.iter().map(Entry::after).collect();
        let time = |ts: &str, id: &str| Some(Position::Time(ts.into(), Some(id.into())));
        let expected = [
            Some(Position::Sequence(7)),
            time("2026-01-10T12:00:00.5Z", "1"),
            time("2026-01-10T12:00:00.5Z", "../x"),
            None,
            None,
            None,
        ];
        assert_eq!(after, expected);
        assert!(entries[0].arrival("f").event.is_err());
    }

    #[test]
    fn an_event_of_another_feed_is_refused() {
        let json = format!("[{}]", event("1", "2026-01-10T12:00:00Z"));
        let refused = parse(json.as_bytes(), None).expect("a list")[0]
            .arrival("g")
            .event
            .expect_err("another feed");
        assert_eq!(refused.problems[0].field, "feed_id");
    }

    #[test]
    fn without_numbers_reading_begins_before_the_newest_event_and_never_in_the_future() {
        let at = |text: &str| Some(text.parse().expect("a time"));
        let now = "2026-01-10T12:00:00Z".parse().expect("a time");
        let begins = |newest| Position::newest(newest, now).query();
        assert_eq!(begins(None), []);
        assert_eq!(
            begins(at("2026-01-10T10:00:00.7Z")),
            [("after_ts", "2026-01-10T09:00:00Z".to_owned())]
        );
        assert_eq!(
            begins(at("2099-01-01T00:00:00Z")),
            [("after_ts", "2026-01-10T11:00:00Z".to_owned())]
        );
    }

    #[test]
    fn a_mark_is_known_again() {
        let json = format!(r#"[{{"seq":7,"event":{}}}]"#, event("1", "2026-01-10T12:00:00Z"));
        let entries = parse(json.as_bytes(), None).expect("a list");
        let cursor = entries[0].arrival("f").cursor.expect("a cursor");
        assert!(entries[0].is_at(&cursor));
        assert!(!entries[0].is_at(&Cursor {
            event_id: Some("2".into()),
            ..cursor.clone()
        }));
        assert!(!entries[0].is_at(&Cursor { sequence: 8, ..cursor }));
    }
}
