//! PURE: messages of a stream.
//!
//! ```text
//!   {stream}.feed.{feed}     {"id": …, "name": …, "policy_json": …}: creates a feed, or sets its description
//!   {stream}.event.{feed}    the event as compact JSON
//! ```
//!
//! The header `Relay-Received` has the time of receipt. In a subject, all bytes of the feed's id but letters, digits, `-` and `_`
//! are percent-encoded. What is not exactly that is no message of a relay.
use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Event, check_name};

/// Header with the time of receipt.
pub const RECEIVED: &str = "Relay-Received";

/// Kind of a message, the second token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A feed.
    Feed,
    /// An event.
    Event,
}

/// Content of a message.
#[derive(Debug)]
pub enum Content {
    /// Description of a feed.
    Feed(Feed),
    /// An event.
    Event(Box<Event>),
}

/// Description of a feed.
#[derive(Debug, PartialEq, Eq)]
pub struct Feed {
    /// Id of the feed.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `policy_json`, as compact JSON.
    pub policy: String,
}

/// Members of a [`Feed`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    id: String,
    name: String,
    #[serde(borrow)]
    policy_json: &'a RawValue,
}

/// A message as it is delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// Its header [`RECEIVED`].
    pub received: Option<&'a str>,
    /// Its content.
    pub payload: &'a [u8],
}

/// Returns the subject of messages about a feed.
pub fn subject(stream: &str, kind: Kind, feed: &str) -> String {
    format!("{stream}.{}.{}", kind.token(), token(feed))
}

/// Encodes text as a token of a subject.
fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            token.push(byte.into());
        } else {
            write!(token, "%{byte:02X}").expect("a string takes all");
        }
    }
    token
}

impl Kind {
    fn token(self) -> &'static str {
        match self {
            Kind::Feed => "feed",
            Kind::Event => "event",
        }
    }
}

impl Feed {
    /// Returns the content of the message.
    ///
    /// # Errors
    /// The policy is not JSON.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Members {
            id: self.id.clone(),
            name: self.name.clone(),
            policy_json: serde_json::from_str(&self.policy)?,
        })
    }
}

impl Delivered<'_> {
    /// Reads a message of this stream; returns it with the time of receipt.
    ///
    /// # Errors
    /// The reason why no relay wrote it.
    pub fn read(&self, stream: &str) -> Result<(Timestamp, Content), String> {
        let received = self.received.ok_or_else(|| format!("it has no header {RECEIVED}"))?;
        let received = received
            .parse()
            .map_err(|_| format!("its header {RECEIVED} is not a time"))?;
        let kinds = [Kind::Feed, Kind::Event];
        let is_of = |kind: &Kind| {
            self.subject
                .strip_prefix(stream)
                .is_some_and(|rest| rest.split('.').nth(1) == Some(kind.token()))
        };
        let kind = kinds
            .into_iter()
            .find(is_of)
            .ok_or_else(|| format!("its subject is {:?}", self.subject))?;
        let (content, feed) = match kind {
            Kind::Feed => feed(self.payload)
                .map(|feed| (feed.id.clone(), feed))
                .map(|(id, feed)| (Content::Feed(feed), id))?,
            Kind::Event => {
                let event = Event::parse_logged(self.payload).map_err(|problems| problems[0].to_string())?;
                let feed = event.feed_id().to_owned();
                (Content::Event(Box::new(event)), feed)
            }
        };
        if subject(stream, kind, &feed) != self.subject {
            return Err(format!(
                "its subject {:?} is not the one of the feed {feed:?}",
                self.subject
            ));
        }
        Ok((received, content))
    }
}

fn feed(payload: &[u8]) -> Result<Feed, String> {
    let Members { id, name, policy_json } = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    check_name(&id).map_err(|why| format!("its id {why}"))?;
    Ok(Feed {
        id,
        name,
        policy: policy_json.get().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"event_id":"1","feed_id":"grüße & co","type":"t","author_identity_id":"a","source":{"platform":"p","adapter_id":"a","source_msg_id":null},"ts":"2026-01-10T12:00:00Z","payload":{}}"#;
    const TIME: &str = "2026-01-10T12:00:00.123Z";

    fn read(subject: &str, received: Option<&str>, payload: &str) -> Result<(Timestamp, Content), String> {
        let payload = payload.as_bytes();
        Delivered {
            subject,
            received,
            payload,
        }
        .read("s")
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let of_event = subject("s", Kind::Event, "grüße & co");
        assert_eq!(of_event, "s.event.gr%C3%BC%C3%9Fe%20%26%20co");
        match read(&of_event, Some(TIME), EVENT) {
            Ok((received, Content::Event(event))) => {
                assert_eq!((format!("{received:.3}").as_str(), event.event_id()), (TIME, "1"));
            }
            other => panic!("{other:?}"),
        }
        let feed = Feed {
            id: "f".into(),
            name: "A/B".into(),
            policy: r#"{"a":1e2}"#.into(),
        };
        let json = String::from_utf8(feed.to_json().expect("JSON")).expect("text");
        assert_eq!(json, r#"{"id":"f","name":"A/B","policy_json":{"a":1e2}}"#);
        match read("s.feed.f", Some(TIME), &json) {
            Ok((_, Content::Feed(again))) => assert_eq!(again, feed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_relay_wrote_is_refused() {
        let of_event = subject("s", Kind::Event, "grüße & co");
        let feed = r#"{"id":"f","name":"f","policy_json":null}"#;
        for (subject, received, payload, why) in [
            (of_event.as_str(), None, EVENT, "no header"),
            (&of_event, Some("soon"), EVENT, "not a time"),
            (&of_event, Some(TIME), &EVENT[1..], "not JSON"),
            ("s.event.other", Some(TIME), EVENT, "is not the one of the feed"),
            ("s.other.f", Some(TIME), EVENT, "its subject is"),
            ("t.event.f", Some(TIME), EVENT, "its subject is"),
            ("s.feed.f", Some(TIME), r#"{"id":"f"}"#, "missing field"),
            (
                "s.feed.f",
                Some(TIME),
                r#"{"id":"..","name":"f","policy_json":null}"#,
                "its id",
            ),
            ("s.feed.g", Some(TIME), feed, "is not the one of the feed"),
            ("s.feed.f.x", Some(TIME), feed, "is not the one of the feed"),
        ] {
            let problem = read(subject, received, payload).expect_err(why);
            assert!(problem.contains(why), "{problem}");
        }
    }
}
