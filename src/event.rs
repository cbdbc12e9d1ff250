//! An event: one JSON object with an envelope, as a relay accepts it and as a context repository stores it.
//!
//! ```json
//! {"event_id":"01JB…","feed_id":"general","type":"message","author_identity_id":"id-1",
//!  "source":{"platform":"discord","adapter_id":"a-1","source_msg_id":"m-1"},
//!  "ts":"2026-01-10T12:00:00.000Z","payload":{},"refs":{}}
//! ```
//!
//! `refs` may be absent, and `source_msg_id` may be null. Unknown members are kept, and all members keep their order.
//! Numbers are written as in JavaScript, unless a double would change them. The ids become names of files and folders
//! in every clone of the repository: [`check_name()`] refuses unsafe ones. `payload` may be any JSON, except for
//! [keys](PRIVATE) that the parser reserves. With a `signature`, the event is [signed](Event::verify()) by its author.
mod canonical;
mod content;
mod envelope;
mod git_name;
mod json;
mod name;
mod number;
mod signature;
#[cfg(feature = "events")]
mod signing_key;
mod snapshot;
mod value;

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use envelope::Rules;
pub use git_name::is_of_git;
pub use json::{PRIVATE, is_same as is_same_json, read as read_json};
pub use name::{Folded, MAX_NAME, check_name};
pub use signature::{Authenticity, SIGNATURE, is_did_key};
#[cfg(feature = "events")]
pub use signing_key::{KEY_BYTES, NotAKey, SigningKey, pem};
pub use snapshot::SNAPSHOTS;
pub use value::{Form, Json, Members};

/// The longest event, in bytes of JSON.
pub const MAX_EVENT: usize = 1 << 20;
/// The longest file of an event, in bytes: indentation makes nested arrays far longer than the JSON that was received.
pub const MAX_FILE: usize = 8 << 20;
/// The folder of a context repository that holds the events.
pub const FOLDER: &str = "events";

/// An event with a valid envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    members: Members,
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
    /// Returns all defects, in the order of the envelope.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(json, MAX_EVENT, Rules::Filed)
    }

    /// Reads an event that is posted to a relay.
    ///
    /// # Errors
    /// The errors of [`parse()`](Event::parse()); `refs` must be an object.
    pub fn parse_posted(json: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(json, MAX_EVENT, Rules::Posted)
    }

    /// Reads an event that a relay has stored, by the rules of the oldest version.
    ///
    /// # Errors
    /// The errors of [`parse()`](Event::parse()).
    pub fn parse_logged(json: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(json, MAX_EVENT, Rules::Logged)
    }

    /// Reads an event from its file.
    ///
    /// # Errors
    /// The errors of [`parse()`](Event::parse()).
    pub fn parse_file(file: &[u8]) -> Result<Self, Vec<Problem>> {
        Event::parse_within(file, MAX_FILE, Rules::Filed)
    }

    fn parse_within(json: &[u8], most: usize, rules: Rules) -> Result<Self, Vec<Problem>> {
        if json.len() > most {
            return Err(vec![new_problem("", format!("is longer than {most} bytes"))]);
        }
        match read_json(json) {
            Ok(Json::Object(members)) => Event::from_members(members, rules),
            Ok(_) => Err(vec![new_problem("", "is not a JSON object")]),
            Err(problem) => Err(vec![new_problem("", problem)]),
        }
    }

    /// Makes an event from a value. Checks the length of its file, not that of the JSON.
    ///
    /// # Errors
    /// The errors of [`parse()`](Event::parse()).
    pub fn from_value(value: Value) -> Result<Self, Vec<Problem>> {
        match Json::from(value) {
            Json::Object(members) => Event::from_members(members, Rules::Filed),
            _ => Err(vec![new_problem("", "is not a JSON object")]),
        }
    }

    fn from_members(members: Members, rules: Rules) -> Result<Self, Vec<Problem>> {
        let ts = envelope::check(&members, rules)?;
        Ok(Event { members, ts })
    }

    /// Id of the event; a plain name.
    pub fn event_id(&self) -> &str {
        self.text("event_id")
    }

    /// Feed of the event; a plain name.
    pub fn feed_id(&self) -> &str {
        self.text("feed_id")
    }

    /// Type of the event.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// Author of the event.
    pub fn author(&self) -> &str {
        self.text("author_identity_id")
    }

    /// Time of the event, by its author's clock.
    pub fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Platform of origin and the id there, if it has one.
    pub fn origin(&self) -> Option<(&str, &str)> {
        let Some(Json::Object(source)) = self.members.get("source") else {
            return None;
        };
        match (source.get("platform"), source.get("source_msg_id")) {
            (Some(Json::String(platform)), Some(Json::String(id))) => Some((platform, id)),
            _ => None,
        }
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

    /// Bytes of the event's file: the output of `JSON.stringify(event, null, 2)`, and a line feed. Members keep their
    /// order.
    pub fn to_file(&self) -> Vec<u8> {
        let mut bytes = self.written(Form::Pretty);
        bytes.push(b'\n');
        bytes
    }

    /// The event as `JSON.stringify(event)` writes it.
    pub fn to_json(&self) -> Vec<u8> {
        self.written(Form::Compact)
    }

    /// Returns true if `file` is the same JSON, regardless of white space and of the order of members.
    pub fn is_file(&self, file: &[u8]) -> bool {
        matches!(read_json(file), Ok(Json::Object(members)) if members == self.members)
    }

    fn written(&self, form: Form) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.members
            .write(&mut bytes, form)
            .expect("JSON members are written into memory");
        bytes
    }

    fn text(&self, field: &str) -> &str {
        match self.members.get(field) {
            Some(Json::String(text)) => text,
            _ => "",
        }
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
        assert_eq!(event.origin(), Some(("discord", "m-1")));
    }

    #[test]
    fn a_file_has_the_posted_order_and_any_order_is_the_same_event() {
        let one = br#"{"ts":"2026-01-10T12:00:00Z","event_id":"e","feed_id":"f","type":"t","author_identity_id":"a","payload":12345678901234567890123.50,
            "source":{"source_msg_id":null,"platform":"p","adapter_id":"d"},"more":{"b":1.0,"a":2}}"#;
        let other = br#"{"more":{"a":2,"b":1},"source":{"platform":"p","adapter_id":"d","source_msg_id":null},"payload":12345678901234567890123.50,
            "author_identity_id":"a","type":"t","feed_id":"f","event_id":"e","ts":"2026-01-10T12:00:00Z"}"#;
        let [one, other] = [&one[..], other].map(|json| Event::parse(json).expect("an event"));
        assert_eq!(one, other);
        assert_ne!(one.to_file(), other.to_file());
        assert!(one.is_file(&other.to_file()) && !one.is_file(b"{}") && !one.is_file(b"{"));
        let text = String::from_utf8(one.to_file()).expect("text");
        assert!(
            text.starts_with("{\n  \"ts\": ") && text.ends_with("\"b\": 1,\n    \"a\": 2\n  }\n}\n"),
            "{text}"
        );
        assert!(text.contains("12345678901234567890123.50"), "{text}");
        assert_eq!(
            Event::parse(text.as_bytes()).expect("an event").to_file(),
            one.to_file()
        );
        assert_eq!(one.origin(), None);
    }

    #[test]
    fn a_year_before_0000_names_no_folder() {
        for ts in ["-000001-12-31T23:59:59Z", "0000-01-01T00:30:00+01:00"] {
            let problems = with("ts", ts.into()).expect_err(ts);
            assert_eq!(problems[0].to_string(), "`ts` is in a year before 0000");
            let text = envelope().to_string().replace("2026-01-10T23:30:00.000-02:00", ts);
            assert!(Event::parse_logged(text.as_bytes()).is_ok());
        }
        assert!(with("ts", "0000-01-01T00:00:00Z".into()).is_ok());
        assert!(with("ts", "10000-01-01T00:00:00Z".into()).is_err());
    }

    #[test]
    fn refs_that_are_posted_are_an_object() {
        for (refs, posted) in [("{}", true), ("null", true), ("[]", false)] {
            let text = envelope()
                .to_string()
                .replace(r#""payload""#, &format!(r#""refs":{refs},"payload""#));
            assert_eq!(Event::parse_posted(text.as_bytes()).is_ok(), posted, "{refs}");
            assert!(Event::parse(text.as_bytes()).is_ok());
        }
        assert!(with("refs", "x".into()).is_err());
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

    const NAMES: [&str; 8] = [
        "event_id",
        "feed_id",
        "type",
        "author_identity_id",
        "source",
        "ts",
        "payload",
        "more",
    ];
    const OF_SOURCE: [&str; 3] = ["platform", "adapter_id", "source_msg_id"];

    /// The members of `value` in this order.
    fn ordered(value: &Value, order: &[&str], source: &[&str]) -> String {
        let member = |name: &&str| match *name {
            "source" => format!("\"source\":{}", ordered(&value["source"], source, &[])),
            name => format!("\"{name}\":{}", value[name]),
        };
        format!("{{{}}}", order.iter().map(member).collect::<Vec<_>>().join(","))
    }

    proptest! {
        #[test]
        fn content_is_the_same_in_any_order_and_however_it_was_delivered(
            order in Just(NAMES.to_vec()).prop_shuffle(),
            source in Just(OF_SOURCE.to_vec()).prop_shuffle(),
            changed in prop::sample::subsequence([&NAMES[..], &OF_SOURCE].concat(), 0..3),
        ) {
            let mut original = envelope();
            original["more"] = json!({"b": 1, "a": [2]});
            let mut other = original.clone();
            for name in changed.iter().filter(|name| **name != "source") {
                let member = if OF_SOURCE.contains(name) { &mut other["source"][*name] } else { &mut other[*name] };
                *member = if *name == "ts" { "2026-02-01T00:00:00Z".into() } else { "changed".into() };
            }
            let original = ordered(&original, &NAMES, &OF_SOURCE);
            let other = ordered(&other, &order, &source);
            let [one, other] = [&original, &other].map(|text| Event::parse(text.as_bytes()).expect("an event"));
            let is_delivery = |name: &&str| ["event_id", "feed_id", "ts", "adapter_id", "source"].contains(name);
            prop_assert_eq!(one.has_content_of(&other), changed.iter().all(is_delivery));
            prop_assert_eq!(one == other, changed.iter().all(|name| *name == "source"));
        }

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
