//! Where events come from: a [`relay`] that is followed, or [`lines`] of a reader. Each gives [`Arrival`]s, good and bad.
pub mod cursors;
pub mod lines;
pub mod page;
pub mod relay;
pub mod sse;

use serde_json::value::RawValue;

use crate::event::{Event, Problem};

/// What a source gives: an event, or what was to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The event, or why it is none.
    pub event: Result<Event, Malformed>,
    /// How far its source has been read with it.
    pub cursor: Option<Cursor>,
    /// Its length, in bytes of JSON.
    pub bytes: usize,
}

/// What is not taken for an event, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The bytes.
    pub raw: Vec<u8>,
    /// All that is wrong with them.
    pub problems: Vec<Problem>,
}

/// How far a feed of a relay has been read: everything up to this number of the relay's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The feed.
    pub feed: String,
    /// The relay's number, which grows in the order of arrival there.
    pub sequence: u64,
    /// The event that has it, so that another relay, or one that began anew, is noticed.
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

    /// Reads an event of this feed, to which the relay gave this number.
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
                problem: format!("is not {feed}, where it comes from"),
            };
            arrival.event = Arrival::malformed(json.to_vec(), what).event;
        }
        arrival
    }

    /// What is not taken for an event, for this reason.
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

/// `ts` and `event_id` of what may be no event, where they are there.
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
