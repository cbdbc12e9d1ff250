//! PURE: the Markdown file of an event of type `snapshot`.
//!
//! ```text
//! ---
//! event_id: "e-1"
//! feed_id: "general"
//! author_identity_id: "id-1"
//! ts: "2026-01-10T12:00:00.000Z"
//! ---
//!
//! the text of the payload
//! ```
//!
//! The front matter is YAML; its values are strings of JSON. The text is the first string among the payload's `markdown`,
//! `content` and `text`, or the payload if it is a string. Any other payload is shown as JSON.
use jiff::tz::TimeZone;

use super::{Event, Form, Json};

/// The folder of a context repository that holds the snapshots.
pub const SNAPSHOTS: &str = "snapshots";

/// Type of an event that is a snapshot.
const TYPE: &str = "snapshot";
/// Members that are shown before the text.
const SHOWN: [&str; 4] = ["event_id", "feed_id", "author_identity_id", "ts"];
/// Members of a payload that may be the text, the best first.
const TEXTS: [&str; 3] = ["markdown", "content", "text"];

impl Event {
    /// Path of the snapshot, with `/`, and its file; `None` if the event is of another type:
    /// `snapshots/{feed_id}/{YYYY-MM-DD}/{event_id}.md`.
    pub fn snapshot(&self) -> Option<(String, Vec<u8>)> {
        if self.text("type") != TYPE {
            return None;
        }
        let day = self.ts().to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string();
        let path = format!("{SNAPSHOTS}/{}/{day}/{}.md", self.feed_id(), self.event_id());
        let mut file = b"---\n".to_vec();
        for name in SHOWN {
            file.extend_from_slice(format!("{name}: ").as_bytes());
            write(&Json::String(self.text(name).into()), &mut file, Form::Compact);
            file.push(b'\n');
        }
        file.extend_from_slice(b"---\n\n");
        let payload = self.members.get("payload").unwrap_or(&Json::Null);
        match text_of(payload) {
            Some(text) => file.extend_from_slice(text.as_bytes()),
            None => {
                // No line of JSON begins with a fence: line feeds in strings are escaped.
                file.extend_from_slice(b"```json\n");
                write(payload, &mut file, Form::Pretty);
                file.extend_from_slice(b"\n```");
            }
        }
        if !file.ends_with(b"\n") {
            file.push(b'\n');
        }
        Some((path, file))
    }
}

fn text_of(payload: &Json) -> Option<&str> {
    match payload {
        Json::String(text) => Some(text),
        Json::Object(members) => TEXTS.into_iter().find_map(|name| match members.get(name) {
            Some(Json::String(text)) => Some(text.as_str()),
            _ => None,
        }),
        _ => None,
    }
}

fn write(value: &Json, into: &mut Vec<u8>, form: Form) {
    value.write(into, form).expect("JSON is written into memory");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(kind: &str, payload: Value) -> Option<(String, String)> {
        let event = Event::from_value(json!({
            "event_id": "e-1", "feed_id": "general", "type": kind, "author_identity_id": "a: \"b\"\n",
            "source": {"platform": "p", "adapter_id": "a-1", "source_msg_id": null},
            "ts": "2026-01-10T23:30:00-02:00", "payload": payload
        }));
        let (path, file) = event.expect("an event").snapshot()?;
        Some((path, String::from_utf8(file).expect("text")))
    }

    #[test]
    fn a_snapshot_is_the_text_of_the_payload_below_what_it_is_of() {
        let head = "---\nevent_id: \"e-1\"\nfeed_id: \"general\"\nauthor_identity_id: \"a: \\\"b\\\"\\n\"\n\
                    ts: \"2026-01-10T23:30:00-02:00\"\n---\n\n";
        for (payload, body) in [
            (json!("# One\n"), "# One\n"),
            (json!({"text": "plain", "markdown": "# Two"}), "# Two\n"),
            (json!({"markdown": 1, "text": "---\n"}), "---\n"),
            (json!({"a": "\n```\n"}), "```json\n{\n  \"a\": \"\\n```\\n\"\n}\n```\n"),
            (json!([]), "```json\n[]\n```\n"),
        ] {
            let (path, file) = snapshot("snapshot", payload).expect("a snapshot");
            assert_eq!(path, "snapshots/general/2026-01-11/e-1.md");
            assert_eq!(file, format!("{head}{body}"));
        }
        assert_eq!(snapshot("message", json!("text")), None);
    }
}
