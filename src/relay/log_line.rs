//! Lines of the relay's log.
//!
//! ```json
//! {"seq":1,"received":"2026-01-10T12:00:00.123Z","feed":"general","name":"General","policy":null}
//! {"seq":2,"received":"2026-01-10T12:00:03.456Z","event":{"event_id":"01JB…","feed_id":"general",…}}
//! ```
//!
//! `seq` grows from line to line, with gaps where a write failed. A line creates a feed, or holds an event as compact JSON;
//! `event` is the last member. A further line of a feed sets its policy. In version 1 of the folder a feed has neither `name` nor `policy`, and the members of an event
//! are sorted.
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::index::About;
use crate::event::{Event, MAX_EVENT};

/// Maximum length of a line in bytes, without its line feed.
pub const MAX_LINE: usize = MAX_EVENT + 256;

/// A parsed line.
#[derive(Debug)]
pub struct Parsed {
    /// Number of the line.
    pub seq: u64,
    /// Time of receipt.
    pub received: Timestamp,
    /// Content of the line.
    pub content: Content,
}

/// Content of a line.
#[derive(Debug)]
pub enum Content {
    /// Creation of a feed.
    Feed(About),
    /// An event, and the offset of its JSON in the line.
    Event(Box<Event>, usize),
}

/// Appends the line that creates a feed.
pub fn write_feed(line: &mut Vec<u8>, seq: u64, received: Timestamp, about: &About) {
    let text = |text: &str| serde_json::to_string(text).expect("a string serializes into memory");
    let (feed, name, policy) = (text(&about.id), text(&about.name), &about.policy);
    let written = format!(
        "{{\"seq\":{seq},\"received\":\"{received:.3}\",\"feed\":{feed},\"name\":{name},\"policy\":{policy}}}\n"
    );
    line.extend_from_slice(written.as_bytes());
}

/// Appends the line of an event; returns the offset of its JSON in the line.
pub fn write_event(line: &mut Vec<u8>, seq: u64, received: Timestamp, json: &[u8]) -> usize {
    let head = format!("{{\"seq\":{seq},\"received\":\"{received:.3}\",\"event\":");
    line.extend_from_slice(head.as_bytes());
    line.extend_from_slice(json);
    line.extend_from_slice(b"}\n");
    head.len()
}

/// A line before its content is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    seq: u64,
    received: Timestamp,
    feed: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    policy: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

/// Returns the number of a line, even if its event is invalid.
pub fn seq_of(line: &[u8]) -> Option<u64> {
    // `parse()` reports input that is not a line at all.
    serde_json::from_slice(line).ok().map(|raw: Raw<'_>| raw.seq)
}

/// Returns the time of receipt of a line that begins like this.
pub fn received_in(head: &[u8]) -> Option<Timestamp> {
    let head = String::from_utf8_lossy(head);
    let (_, rest) = head.split_once(r#""received":""#)?;
    rest.split_once('"')?.0.parse().ok()
}

/// Reads a line.
///
/// # Errors
/// The defect of the line.
pub fn parse(line: &[u8]) -> Result<Parsed, String> {
    let raw: Raw<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let content = match (raw.feed, raw.event) {
        (Some(feed), None) => Content::Feed(About {
            name: raw.name.as_deref().unwrap_or(&feed).into(),
            policy: raw.policy.map_or("null", RawValue::get).into(),
            id: feed.into(),
        }),
        (None, Some(event)) => {
            let json = event.get().as_bytes();
            let start = (line.len() - 1).saturating_sub(json.len());
            if line.get(start..line.len() - 1) != Some(json) {
                return Err("its event is not the last member".into());
            }
            let event = Event::parse_logged(json).map_err(|problems| problems[0].to_string())?;
            Content::Event(Box::new(event), start)
        }
        _ => return Err("it must have either a feed or an event".into()),
    };
    Ok(Parsed {
        seq: raw.seq,
        received: raw.received,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"author_identity_id":"a","event_id":"e","feed_id":"f","payload":1.50,"source":{"adapter_id":"a","platform":"p","source_msg_id":"m"},"ts":"2026-01-10T12:00:00Z","type":"t"}"#;

    #[test]
    fn lines_come_back_as_they_went() {
        let mut line = Vec::new();
        let about = About {
            id: "a \"b\"".into(),
            name: "\n".into(),
            policy: r#"{"b":1,"a":[2]}"#.into(),
        };
        write_feed(&mut line, 1, Timestamp::UNIX_EPOCH, &about);
        let parsed = parse(&line[..line.len() - 1]).expect("a line");
        assert!(matches!(parsed.content, Content::Feed(feed) if feed == about));
        let old = parse(br#"{"seq":1,"received":"1970-01-01T00:00:00Z","feed":"f"}"#).expect("a line");
        let Content::Feed(old) = old.content else {
            panic!("a feed")
        };
        assert_eq!((&*old.id, &*old.name, &*old.policy), ("f", "f", "null"));

        line.clear();
        let start = write_event(&mut line, u64::MAX, Timestamp::UNIX_EPOCH, EVENT.as_bytes());
        let parsed = parse(&line[..line.len() - 1]).expect("a line");
        assert_eq!((parsed.seq, parsed.received), (u64::MAX, Timestamp::UNIX_EPOCH));
        assert_eq!(received_in(&line[..100]), Some(Timestamp::UNIX_EPOCH));
        let Content::Event(event, at) = parsed.content else {
            panic!("an event")
        };
        assert_eq!((at, event.event_id()), (start, "e"));
        assert_eq!(line[at..].strip_suffix(b"}\n"), Some(EVENT.as_bytes()));
    }

    #[test]
    fn malformed_lines_are_reported() {
        let whole = format!(r#"{{"seq":1,"received":"1970-01-01T00:00:00Z","event":{EVENT}}}"#);
        assert!(parse(whole.as_bytes()).is_ok());
        for cut in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
        for bad in [
            r#"{"seq":1,"received":"1970-01-01T00:00:00Z"}"#.to_owned(),
            format!(r#"{{"seq":1,"received":"1970-01-01T00:00:00Z","event":{EVENT},"feed":"f"}}"#),
            format!(r#"{{"event":{EVENT},"seq":1,"received":"1970-01-01T00:00:00Z"}}"#),
            format!(r#"{{"seq":1,"received":"1970-01-01T00:00:00Z","event":{EVENT} }}"#),
            r#"{"seq":1,"received":"1970-01-01T00:00:00Z","event":{}}"#.to_owned(),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_event_fits_a_line() {
        let mut line = Vec::new();
        write_event(&mut line, u64::MAX, Timestamp::MAX, &vec![b'x'; MAX_EVENT]);
        assert!(line.len() <= MAX_LINE);
    }
}
