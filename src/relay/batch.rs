//! PURE: requests that are decided together, and the lines that they become.
use std::{collections::HashMap, sync::Arc};

use axum::body::Bytes;
use jiff::Timestamp;

use super::{
    index::Index,
    known::{is_same, parse},
    log_line,
    store::{Accepted, MAX_FEEDS, MatchedBy, NewEvent, NewFeed, Refusal, Submission, WriteRequest},
};
use crate::{event::Folded, journal::Cause};

/// Lines to be written together.
#[derive(Debug)]
pub struct Batch {
    /// Time at which the lines are received that are added next.
    pub received: Timestamp,
    /// All lines.
    pub bytes: Vec<u8>,
    /// Ends of the lines in the bytes.
    pub ends: Vec<usize>,
    /// The lines.
    pub lines: Vec<NewLine>,
    /// Index of the line that creates a feed, or has an event with an id or an origin.
    feeds: HashMap<Folded, usize>,
    ids: HashMap<Folded, usize>,
    origins: HashMap<Box<str>, usize>,
}

/// A new line of a batch.
#[derive(Debug)]
pub struct NewLine {
    /// Number of the line.
    pub seq: u64,
    /// Time of receipt.
    pub received: Timestamp,
    /// The feed or event.
    pub request: WriteRequest,
    /// Offset of the event's JSON in the batch.
    pub start: usize,
}

/// Answer to a request, once the batch is durable.
#[derive(Debug)]
pub enum Decision {
    /// The answer is known.
    Now(Result<Accepted, Refusal>),
    /// This line is new.
    Line(usize),
    /// This line of the batch has the same content.
    Again(usize),
    /// This line of the batch is an event with the same id or origin, and other content.
    Differs(usize, MatchedBy),
}

impl Decision {
    /// Index of the line that the answer depends on.
    #[cfg(feature = "nats")]
    pub fn line(&self) -> Option<usize> {
        match self {
            Decision::Now(_) => None,
            Decision::Line(line) | Decision::Again(line) | Decision::Differs(line, _) => Some(*line),
        }
    }
}

impl Batch {
    /// Creates an empty batch of lines that are received at this time.
    pub fn new(now: Timestamp) -> Self {
        Batch {
            received: of_line(now),
            bytes: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            feeds: HashMap::new(),
            ids: HashMap::new(),
            origins: HashMap::new(),
        }
    }

    /// Events of the first `complete` lines.
    pub fn events(&self, complete: usize) -> impl Iterator<Item = NewEvent<'_>> {
        self.lines[..complete].iter().filter_map(|line| match &line.request {
            WriteRequest::Event(event) => Some(NewEvent {
                feed: &event.feed,
                seq: line.seq,
                json: &event.json,
            }),
            WriteRequest::Feed(_) | WriteRequest::Confirmation(_) | WriteRequest::Refresh => None,
        })
    }

    /// Removes all lines but the first ones.
    #[cfg(feature = "nats")]
    pub fn truncate(&mut self, lines: usize) {
        self.lines.truncate(lines);
        self.ends.truncate(lines);
        self.bytes.truncate(self.ends.last().copied().unwrap_or_default());
    }

    /// Decides by the event with this key in this batch, if there is one.
    pub fn pending(&self, event: &Submission, by: MatchedBy) -> Option<Decision> {
        let identity = &event.identity;
        let line = match by {
            MatchedBy::Id | MatchedBy::Case => *self.ids.get(&Folded(identity.event_id.clone()))?,
            MatchedBy::Origin => *self.origins.get(identity.origin.as_ref()?)?,
        };
        let WriteRequest::Event(other) = &self.lines[line].request else {
            return None;
        };
        match by {
            MatchedBy::Id if other.identity.event_id != identity.event_id => return None,
            MatchedBy::Case => return Some(Decision::Differs(line, by)),
            _ => {}
        }
        let compared = parse(&other.json).and_then(|parsed| is_same((&parsed, &other.json), &event.json));
        Some(match compared {
            Ok(true) => Decision::Again(line),
            Ok(false) => Decision::Differs(line, by),
            Err(error) => Decision::Now(Err(Refusal::Unreadable(Arc::new(error)))),
        })
    }

    /// Returns the id of the feed that this batch creates with an id like this one.
    pub fn feed(&self, id: &Folded) -> Option<&Arc<str>> {
        self.new_feed(id).map(|(_, feed)| &feed.about.id)
    }

    fn new_feed(&self, id: &Folded) -> Option<(usize, &NewFeed)> {
        let line = *self.feeds.get(id)?;
        match &self.lines[line].request {
            WriteRequest::Feed(feed) => Some((line, feed)),
            WriteRequest::Event(_) | WriteRequest::Confirmation(_) | WriteRequest::Refresh => None,
        }
    }

    fn add_feed(&mut self, seq: u64, feed: NewFeed) -> Decision {
        let start = self.bytes.len();
        log_line::write_feed(&mut self.bytes, seq, self.received, &feed.about);
        self.feeds.insert(Folded(feed.about.id.clone()), self.lines.len());
        self.add(seq, WriteRequest::Feed(feed), start)
    }

    /// Adds the line of an event.
    pub fn add_event(&mut self, seq: u64, event: Submission) -> Decision {
        let line = self.bytes.len();
        let start = line + log_line::write_event(&mut self.bytes, seq, self.received, &event.json);
        let identity = event.identity.clone();
        self.ids.insert(Folded(identity.event_id), self.lines.len());
        if let Some(origin) = identity.origin {
            self.origins.insert(origin, self.lines.len());
        }
        self.add(seq, WriteRequest::Event(event), start)
    }

    fn add(&mut self, seq: u64, request: WriteRequest, start: usize) -> Decision {
        self.ends.push(self.bytes.len());
        self.lines.push(NewLine {
            seq,
            received: self.received,
            request,
            start,
        });
        Decision::Line(self.lines.len() - 1)
    }

    /// Returns the answer when `complete` lines are durable and the others failed for this cause.
    pub fn outcome(&self, decision: Decision, complete: usize, cause: Option<&Cause>) -> Result<Accepted, Refusal> {
        let (line, is_new) = match decision {
            Decision::Now(outcome) => return outcome,
            Decision::Line(line) => (line, true),
            Decision::Again(line) => (line, false),
            Decision::Differs(line, by) if line < complete => {
                let stored = self.lines[line].accepted();
                return Err(Refusal::Conflict { by, stored });
            }
            Decision::Differs(line, _) => (line, false),
        };
        match cause {
            Some(cause) if line >= complete => Err(Refusal::NotStored(cause.clone())),
            _ => Ok(Accepted {
                is_new,
                ..self.lines[line].accepted()
            }),
        }
    }
}

impl NewLine {
    fn accepted(&self) -> Accepted {
        let json = match &self.request {
            WriteRequest::Event(event) => event.json.clone(),
            WriteRequest::Feed(_) | WriteRequest::Confirmation(_) | WriteRequest::Refresh => Bytes::new(),
        };
        Accepted::known(self.seq, json)
    }
}

/// Returns a time with the precision of a line, so that it is the same when the log is read again.
fn of_line(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Decides a request to create a feed or to set its policy. A new line is added to the batch.
pub fn decide_feed(index: &Index, batch: &mut Batch, seq: u64, feed: NewFeed) -> Decision {
    let id = Folded(feed.about.id.clone());
    if feed.sets_policy {
        return decide_policy(index, batch, seq, feed);
    }
    let stored = index.feed(&id.0).or_else(|| index.feed_like(&id));
    let other = |id: &Arc<str>| Decision::Now(Err(Refusal::OtherFeed(id.clone())));
    match (stored, batch.new_feed(&id)) {
        (Some(stored), _) if feed.is(stored.about()) => Decision::Now(Ok(Accepted::known(0, Bytes::new()))),
        (Some(stored), _) => other(&stored.about().id),
        (None, Some((line, pending))) if feed.is(&pending.about) => Decision::Again(line),
        (None, Some((_, pending))) => other(&pending.about.id),
        (None, None) if index.feeds().len() + batch.feeds.len() >= MAX_FEEDS => {
            Decision::Now(Err(Refusal::TooManyFeeds))
        }
        (None, None) => batch.add_feed(seq, feed),
    }
}

fn decide_policy(index: &Index, batch: &mut Batch, seq: u64, feed: NewFeed) -> Decision {
    let stored = index.feed(&feed.about.id);
    match (batch.new_feed(&Folded(feed.about.id.clone())), stored) {
        (Some((line, pending)), _) if feed.is(&pending.about) => Decision::Again(line),
        (None, Some(stored)) if feed.is(stored.about()) => Decision::Now(Ok(Accepted::known(0, Bytes::new()))),
        (None, None) => Decision::Now(Err(Refusal::UnknownFeed)),
        _ => batch.add_feed(seq, feed),
    }
}
