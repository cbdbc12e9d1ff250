//! Sources of events: a followed [`relay`] or stream, or [`lines`] of a reader. All deliver [`Arrival`]s, valid and malformed ones.
pub mod cursors;
pub mod lines;
pub mod page;
pub mod relay;
pub mod sse;
#[cfg(feature = "nats")]
pub mod stream;

use serde_json::value::RawValue;

use crate::event::{Event, Problem};

/// Input from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The event, or the reason why the input is not an event.
    pub event: Result<Event, Malformed>,
    /// Position in the source after this input.
    pub cursor: Option<Cursor>,
    /// Length in bytes of JSON.
    pub bytes: usize,
}

/// Input that is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Bytes of the input.
    pub raw: Vec<u8>,
    /// All defects.
    pub problems: Vec<Problem>,
}

/// Position in a feed of a relay: everything up to this sequence number has been read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The feed.
    pub feed: String,
    /// Sequence number of the relay, in the order of arrival there.
    pub sequence: u64,
    /// Id of the event with this number, to detect another relay, or one that lost its data.
    pub event_id: Option<String>,
}

impl Arrival {
    /// Reads an event from JSON.
    pub fn parse(json: &[u8]) -> Self {
        Arrival {
            event: Event::parse(json).map_err(|problems| Malformed {
                raw: json.to_vec(),
                problems,
            }),
            cursor: None,
            bytes: json.len(),
        }
    }

    /// Reads an event of this feed with the sequence number that the relay gave it.
    pub fn of_feed(feed: &str, json: &[u8], sequence: Option<u64>) -> Self {
        let mut arrival = Arrival::parse(json);
        arrival.cursor = sequence.map(|sequence| Cursor {
            feed: feed.to_owned(),
            sequence,
            event_id: place(json).1,
        });
        if arrival.event.as_ref().is_ok_and(|event| event.feed_id() != feed) {
            let what = Problem {
                field: "feed_id".into(),
                problem: format!("is not {feed}, the feed that it was read from"),
            };
            arrival.event = Arrival::malformed(json.to_vec(), what).event;
        }
        arrival
    }

    /// Makes an arrival of input that is not an event, with the reason.
    pub fn malformed(raw: Vec<u8>, problem: Problem) -> Self {
        Arrival {
            bytes: raw.len(),
            event: Err(Malformed {
                raw,
                problems: vec![problem],
            }),
            cursor: None,
        }
    }
}

/// Returns those of `ts` and `event_id` that exist in JSON that may be malformed.
fn place(json: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Loose<'a> {
        #[serde(borrow)]
        ts: Option<&'a RawValue>,
        #[serde(borrow)]
        event_id: Option<&'a RawValue>,
    }
    let text = |value: Option<&RawValue>| serde_json::from_str(value?.get()).ok();
    match serde_json::from_slice::<Loose<'_>>(json) {
        Ok(Loose { ts, event_id }) => (text(ts), text(event_id)),
        Err(_) => (None, None),
    }
}
