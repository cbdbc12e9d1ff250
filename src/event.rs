//! An event: one JSON object with an envelope, as a relay accepts it and as a context repository stores it.
//!
//! ```json
//! {"event_id":"01JB…","feed_id":"general","type":"message","author_identity_id":"id-1",
//!  "source":{"platform":"discord","adapter_id":"a-1","source_msg_id":"m-1"},
//!  "ts":"2026-01-10T12:00:00.000Z","payload":{},"refs":[]}
//! ```
//!
//! `refs` may be absent. Unknown members are kept, and numbers are kept digit by digit. The ids become names of files and
//! folders on the machine of everybody who clones the repository: [`check_name()`] refuses unsafe ones. `payload` may be
//! any JSON, except for [keys](PRIVATE) that the parser reserves.
mod git_name;
mod json;
mod name;

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

pub use git_name::is_of_git;
pub use json::{PRIVATE, read as read_json};
pub use name::{MAX_NAME, check_name};

/// The longest event, in bytes of JSON.
pub const MAX_EVENT: usize = 1 << 20;
/// The longest file of an event, in bytes: indentation makes nested arrays far longer than the JSON that was received.
pub const MAX_FILE: usize = 8 << 20;
/// The folder of a context repository that holds the events.
pub const FOLDER: &str = "events";

/// The longest other string of an envelope, in bytes.
const MAX_STRING: usize = 1024;
/// An event with a valid envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    members: Map<String, Value>,
    ts: Timestamp,
}

/// Depth of the folders below a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// A folder for each day (UTC).
    #[default]
    Day,
    /// A folder for each day, divided into hours: for feeds with more than 3,000 events a day.
    Hour,
}

/// A defect of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Path of the member (`source.platform`); empty for the event as a whole.
    pub field: String,
    /// Description of the defect, as the rest of a sentence about the member.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "the event {}", self.problem),
            field => write!(f, "`{field}` {}", self.problem),
        }
    }
}

impl Event {
    /// Reads an event from JSON.
    ///
    /// # Errors
    /// All defects, in the order of the envelope.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(json, MAX_EVENT)
    }

    /// Reads an event from its file.
    ///
    /// # Errors
    /// As [`parse()`](Event::parse()).
    pub fn parse_file(file: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(file, MAX_FILE)
    }

    fn parse_within(json: &[u8], most: usize) -> Result<Self, Vec<Problem>> {
        if json.len() > most {
            return Err(vec![new_problem("", format!("is longer than {most} bytes"))]);
        }
        match read_json(json) {
            Ok(value) => Event::from_value(value),
            Err(problem) => Err(vec![new_problem("", problem)]),
        }
    }

    /// Makes an event from a value that [`read_json()`] returned. Checks the length of its file, not that of the JSON.
    ///
    /// # Errors
    /// As [`parse()`](Event::parse()).
    pub fn from_value(value: Value) -> Result<Self, Vec<Problem>> {
        let Value::Object(members) = value else {
            return Err(vec![new_problem("", "is not a JSON object")]);
        };
        let mut problems = Vec::new();
        let mut note = |field: &str, checked: Result<(), String>| {
            problems.extend(checked.err().map(|problem| new_problem(field, problem)));
        };
        for field in ["event_id", "feed_id"] {
            note(
                field,
                string_member(members.get(field)).and_then(|id| check_name(id).map_err(str::to_owned)),
            );
        }
        for field in ["type", "author_identity_id"] {
            note(field, string_member(members.get(field)).map(drop));
        }
        match members.get("source") {
            Some(Value::Object(source)) => {
                for field in ["platform", "adapter_id", "source_msg_id"] {
                    note(&format!("source.{field}"), string_member(source.get(field)).map(drop));
                }
            }
            other => note("source", Err(expected("an object", other))),
        }
        let ts = string_member(members.get("ts")).and_then(|text| {
            text.parse::<Timestamp>()
                .map_err(|_| "is not a time as in RFC 3339, like 2026-01-10T12:00:00.000Z".to_owned())
        });
        note("ts", ts.as_ref().map(drop).map_err(Clone::clone));
        note(
            "payload",
            members.get("payload").map(drop).ok_or_else(|| "is missing".to_owned()),
        );
        match members.get("refs") {
            None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => {}
            other => note("refs", Err(expected("an array or an object", other))),
        }
        // One byte is left for the final line feed.
        if !json::fits_pretty(&members, MAX_FILE - 1) {
            note("", Err(format!("would be a file of more than {MAX_FILE} bytes")));
        }
        match ts {
            Ok(ts) if problems.is_empty() => Ok(Event { members, ts }),
            _ => Err(problems),
        }
    }

    /// Id of the event; a plain name.
    pub fn event_id(&self) -> &str {
        self.text("event_id")
    }

    /// Feed of the event; a plain name.
    pub fn feed_id(&self) -> &str {
        self.text("feed_id")
    }

    /// Time of the event, by its author's clock.
    pub fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Platform of origin and the id there.
    pub fn origin(&self) -> (&str, &str) {
        let source = |field: &str| self.members["source"][field].as_str().unwrap_or_default();
        (source("platform"), source("source_msg_id"))
    }

    /// All members of the event.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// Returns true if `other` has the same content: everything but `event_id` and `ts`, numbers digit by digit.
    pub fn has_content_of(&self, other: &Event) -> bool {
        let is_content = |(name, _): &(&String, &Value)| !["event_id", "ts"].contains(&name.as_str());
        let (ours, theirs) = (self.members.iter(), other.members.iter());
        ours.filter(is_content).eq(theirs.filter(is_content))
    }

    /// Path in a context repository, with `/`: `events/{feed_id}/{YYYY-MM-DD}/{event_id}.json`.
    pub fn path(&self, layout: Layout) -> String {
        let at = self.ts.to_zoned(TimeZone::UTC);
        let day = at.strftime(match layout {
            Layout::Day => "%Y-%m-%d",
            Layout::Hour => "%Y-%m-%d/%H",
        });
        format!("{FOLDER}/{}/{day}/{}.json", self.feed_id(), self.event_id())
    }

    /// Bytes of the event's file: pretty-printed JSON, members sorted by name, a final line feed. Equal events give equal
    /// bytes, in whatever order their members arrived.
    pub fn to_file(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.members).expect("JSON members serialize into memory");
        bytes.push(b'\n');
        bytes
    }

    fn text(&self, field: &str) -> &str {
        self.members[field].as_str().unwrap_or_default()
    }
}

fn string_member(value: Option<&Value>) -> Result<&str, String> {
    match value {
        Some(Value::String(text)) if text.is_empty() => Err("is empty".into()),
        Some(Value::String(text)) if text.len() > MAX_STRING => Err(format!("is longer than {MAX_STRING} bytes")),
        Some(Value::String(text)) => Ok(text),
        other => Err(expected("a string", other)),
    }
}

fn expected(wanted: &str, value: Option<&Value>) -> String {
    match value {
        None => "is missing".into(),
        Some(_) => format!("is not {wanted}"),
    }
}

fn new_problem(field: &str, problem: impl Into<String>) -> Problem {
    Problem {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn envelope() -> Value {
        json!({
            "event_id": "e-1", "feed_id": "general", "type": "message", "author_identity_id": "i-1",
            "source": {"platform": "discord", "adapter_id": "a-1", "source_msg_id": "m-1"},
            "ts": "2026-01-10T23:30:00.000-02:00", "payload": {"text": "hello"}
        })
    }

    fn with(field: &str, value: Value) -> Result<Event, Vec<Problem>> {
        let mut event = envelope();
        event[field] = value;
        Event::from_value(event)
    }

    #[test]
    fn the_day_is_that_of_utc() {
        let event = Event::from_value(envelope()).expect("an event");
        assert_eq!(event.path(Layout::Day), "events/general/2026-01-11/e-1.json");
        assert_eq!(event.path(Layout::Hour), "events/general/2026-01-11/01/e-1.json");
        assert_eq!(event.origin(), ("discord", "m-1"));
    }

    #[test]
    fn a_file_depends_on_the_content_and_not_on_its_order() {
        let one = br#"{"ts":"2026-01-10T12:00:00Z","event_id":"e","feed_id":"f","type":"t","author_identity_id":"a","payload":12345678901234567890123.50,
            "source":{"source_msg_id":"m","platform":"p","adapter_id":"d"},"more":{"b":1,"a":2}}"#;
        let other = br#"{"more":{"a":2,"b":1},"source":{"platform":"p","adapter_id":"d","source_msg_id":"m"},"payload":12345678901234567890123.50,
            "author_identity_id":"a","type":"t","feed_id":"f","event_id":"e","ts":"2026-01-10T12:00:00Z"}"#;
        let [one, other] = [&one[..], other].map(|json| Event::parse(json).expect("an event"));
        assert_eq!(one.to_file(), other.to_file());
        let text = String::from_utf8(one.to_file()).expect("text");
        assert!(
            text.contains("12345678901234567890123.50") && text.ends_with("}\n"),
            "{text}"
        );
        assert_eq!(Event::parse(text.as_bytes()).expect("an event"), one);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let problems = Event::parse(
            br#"{"event_id":"../x","feed_id":7,"type":"","source":{"platform":"p"},"ts":"yesterday","refs":1}"#,
        )
        .expect_err("wrong");
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        let expected = [
            "event_id",
            "feed_id",
            "type",
            "author_identity_id",
            "source.adapter_id",
            "source.source_msg_id",
            "ts",
            "payload",
            "refs",
        ];
        assert_eq!(fields, expected);
        for not_an_object in ["[]", "null", "{", ""] {
            assert_eq!(Event::parse(not_an_object.as_bytes()).expect_err("wrong").len(), 1);
        }
        let long = format!("\"{}\"", "x".repeat(MAX_EVENT));
        assert!(
            Event::parse(long.as_bytes()).expect_err("long")[0]
                .to_string()
                .contains("longer than")
        );
    }

    #[test]
    fn a_file_is_bounded_however_deep_its_arrays_are() {
        let nested = |elements: usize| {
            let (open, close) = ("[".repeat(120), "]".repeat(120));
            let payload = format!("{open}1{}{close}", ",1".repeat(elements - 1));
            let text = envelope().to_string();
            text.replace(r#"{"text":"hello"}"#, &payload)
        };
        let whole = Event::parse(nested(30_000).as_bytes()).expect("an event");
        assert!(whole.to_file().len() > MAX_EVENT);
        assert_eq!(Event::parse_file(&whole.to_file()), Ok(whole));
        let long = nested(500_000);
        assert!(long.len() < MAX_EVENT);
        let problems = Event::parse(long.as_bytes()).expect_err("refused");
        assert_eq!(
            problems[0].to_string(),
            "the event would be a file of more than 8388608 bytes"
        );
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn a_payload_that_would_be_read_as_another_one_is_refused() {
        for payload in [
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"\u0024serde_json::private::RawValue":"[[1]]"}"#,
        ] {
            let text = envelope().to_string().replace(r#"{"text":"hello"}"#, payload);
            let problems = Event::parse(text.as_bytes()).expect_err(payload);
            assert!(
                problems[0].problem.contains("a key that begins with"),
                "{}",
                problems[0]
            );
        }
    }

    #[test]
    fn ids_are_plain_names() {
        for name in ["", "..", "a/b", ".git", "nul", "a\n"] {
            assert!(with("event_id", name.into()).is_err(), "{name:?}");
            assert!(with("feed_id", name.into()).is_err(), "{name:?}");
        }
        assert!(with("event_id", "grüße".into()).is_ok() && with("feed_id", "console".into()).is_ok());
    }

    proptest! {
        #[test]
        fn a_path_stays_below_its_feed(name in any::<String>(), feed in "[^/]{1,8}") {
            let mut event = envelope();
            event["event_id"] = name.clone().into();
            event["feed_id"] = feed.clone().into();
            if let Ok(event) = Event::from_value(event) {
                let path = event.path(Layout::Day);
                let parts: Vec<_> = path.split('/').collect();
                let file = format!("{name}.json");
                prop_assert_eq!(parts, ["events", feed.as_str(), "2026-01-11", file.as_str()]);
                prop_assert!(!path.contains(['\\', '\0', '\n']));
            }
        }
    }
}
