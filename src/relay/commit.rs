//! The writing thread: takes the waiting requests, decides which of them are new, and makes those durable with one write and
//! one fsync. Only then are they answered and shown to readers.
use std::{collections::HashMap, io, sync::Arc};

use axum::body::Bytes;
use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    index::{
        Index, Record,
        key::{self, Kind},
        manifest::Mark,
    },
    indexer::Indexer,
    known::{Candidates, is_same, parse},
    log_line,
    retention::Retention,
    store::{
        Accepted, MAX_FEEDS, MatchedBy, NewEvent, NewFeed, QueuedWrite, Refusal, Shared, Submission, WriteRequest,
    },
};
use crate::{
    event::Folded,
    journal::{
        Cause, WriteError,
        log::{Log, Place, Written},
    },
};

/// Maximum number of bytes written at once, plus one line.
const BATCH_BYTES: usize = 4 << 20;
/// Maximum number of requests in a batch.
const BATCH: usize = 1024;

/// Writes the requests to the log.
#[derive(Debug)]
pub struct Committer {
    log: Log<Disk, SystemClock>,
    /// Ends of the files of the log.
    marks: Vec<Mark>,
    clock: SystemClock,
    shared: Arc<Shared>,
    indexer: Indexer,
    retention: Retention,
    /// The reason why the index takes no more events.
    index_full: Option<Cause>,
}

/// Lines to be written together.
struct Batch {
    received: Timestamp,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    lines: Vec<NewLine>,
    /// Index of the line that creates a feed, or has an event with an id or an origin.
    feeds: HashMap<Folded, usize>,
    ids: HashMap<Folded, usize>,
    origins: HashMap<Box<str>, usize>,
}

/// A new line of a batch.
struct NewLine {
    seq: u64,
    request: WriteRequest,
    /// Offset of the event's JSON in the batch.
    start: usize,
}

/// Answer to a request, once the batch is durable.
enum Decision {
    Now(Result<Accepted, Refusal>),
    /// This line is new.
    Line(usize),
    /// This line of the batch has the same content.
    Again(usize),
    /// This line of the batch is an event with the same id or origin, and other content.
    Differs(usize, MatchedBy),
}

impl Committer {
    /// Creates a committer that writes to this log, whose files end at these marks.
    pub fn new(
        (log, marks): (Log<Disk, SystemClock>, Vec<Mark>),
        clock: SystemClock,
        shared: Arc<Shared>,
        indexer: Indexer,
        retention: Retention,
    ) -> Self {
        Committer {
            log,
            marks,
            clock,
            shared,
            indexer,
            retention,
            index_full: None,
        }
    }

    /// Writes until all senders of requests are gone.
    ///
    /// # Errors
    /// The log has failed, or the index is damaged.
    pub fn run(mut self, mut queue: mpsc::Receiver<QueuedWrite>) -> Result<(), WriteError> {
        self.remove_old();
        while let Some(first) = queue.blocking_recv() {
            let mut batch = Batch::new(self.clock.now());
            let mut answers = Vec::new();
            let mut next = Some(first);
            while let Some(queued) = next {
                answers.push((queued.answer, self.decide(&mut batch, queued.request)));
                let is_full = batch.bytes.len() >= BATCH_BYTES || answers.len() >= BATCH;
                next = if is_full { None } else { queue.try_recv().ok() };
            }
            let (complete, cause) = self.write(&batch)?;
            for (answer, decision) in answers {
                // The client may be gone.
                let _ = answer.send(batch.outcome(decision, complete, cause.as_ref()));
            }
            // After the answers: a writer does not wait for thousands of listeners.
            self.shared.notify(batch.events(complete));
            self.keep_index()?;
            self.remove_old();
        }
        self.indexer.end(&self.marks);
        Ok(())
    }

    /// Writes the index to the disk, if much is new.
    fn keep_index(&mut self) -> Result<(), WriteError> {
        let kept = self.indexer.keep_up(&self.marks);
        self.index_full = kept.err().map(|error| Cause::Write(Arc::new(error)));
        if !self.shared.damaged().is_set() {
            return Ok(());
        }
        Err(WriteError::Storage {
            what: "use the index of",
            path: self.log.folder().into(),
            source: io::Error::new(
                io::ErrorKind::InvalidData,
                "it is damaged; start again, and it is made anew",
            ),
        })
    }

    fn decide(&mut self, batch: &mut Batch, request: WriteRequest) -> Decision {
        match request {
            WriteRequest::Feed(feed) => {
                let index = self.shared.index();
                let seq = index.last() + batch.lines.len() as u64 + 1;
                decide_feed(&index, batch, seq, feed)
            }
            WriteRequest::Event(event) => self.decide_event(batch, event),
            WriteRequest::Confirmation(confirmation) => {
                let confirmed = self.retention.confirm(&confirmation);
                Decision::Now(match confirmed {
                    Ok(()) => Ok(Accepted::known(confirmation.seq.unwrap_or_default(), Bytes::new())),
                    Err(error) => Err(Refusal::NotStored(Cause::Write(Arc::new(error)))),
                })
            }
        }
    }

    fn decide_event(&self, batch: &mut Batch, event: Submission) -> Decision {
        let (seq, scans) = {
            let index = self.shared.index();
            let feed = Folded(event.feed.as_str().into());
            if index.feed(&event.feed).is_none() && batch.feed(&feed).is_none_or(|id| **id != *event.feed) {
                return Decision::Now(Err(Refusal::UnknownFeed));
            }
            let by_id = index.with_hash(Kind::Id, key::hash_of_id(&event.identity.event_id));
            let origin = event.identity.origin.as_ref();
            let by_origin = origin.map(|origin| index.with_hash(Kind::Origin, key::hash(origin.as_bytes())));
            (index.last() + batch.lines.len() as u64 + 1, (by_id, by_origin))
        };
        let candidates = match Candidates::read(&self.shared, &scans.0, scans.1.as_ref()) {
            Ok(candidates) => candidates,
            Err(error) => {
                self.shared.damaged().note(&error);
                return Decision::Now(Err(Refusal::Unreadable(Arc::new(error))));
            }
        };
        let known = [MatchedBy::Id, MatchedBy::Origin, MatchedBy::Case]
            .into_iter()
            .find_map(|by| {
                let stored = candidates.answer(&event, by).map(Decision::Now);
                stored.or_else(|| batch.pending(&event, by))
            });
        match (known, &self.index_full) {
            (Some(known), _) => known,
            (None, Some(cause)) => Decision::Now(Err(Refusal::NotStored(cause.clone()))),
            (None, None) => batch.add_event(seq, event),
        }
    }

    /// Makes a batch durable and visible; returns the number of durable lines, and the cause if that is not all.
    fn write(&mut self, batch: &Batch) -> Result<(usize, Option<Cause>), WriteError> {
        if batch.lines.is_empty() {
            return Ok((0, None));
        }
        self.end_full_segment(batch.received)?;
        let written = self.log.append(&batch.bytes, &batch.ends)?;
        self.mark(batch, &written);
        let durable = &batch.lines[..written.complete];
        let bytes = durable.len().checked_sub(1).map_or(0, |last| batch.ends[last]);
        self.shared.write_metrics.count(durable.len(), bytes);
        let change = |index: &mut Index| {
            for line in durable {
                match &line.request {
                    WriteRequest::Feed(feed) => index.add_feed(line.seq, feed.about.clone(), batch.received),
                    WriteRequest::Event(event) => {
                        let place = Place {
                            file: written.file,
                            length: event.json.len() as u32,
                            offset: written.offset + line.start as u64,
                        };
                        let record = Record { seq: line.seq, place };
                        // `decide()` has excluded the events that the index refuses.
                        index.add_event(&event.feed, &event.identity, record);
                    }
                    WriteRequest::Confirmation(_) => {}
                }
            }
        };
        self.shared.publish(change, batch.events(written.complete));
        Ok((written.complete, written.cause))
    }

    /// Ends the newest file, if it is full or old.
    fn end_full_segment(&mut self, now: Timestamp) -> Result<(), WriteError> {
        let (_, length) = self.log.end();
        if length == 0 || !self.retention.is_full(length, now) {
            return Ok(());
        }
        match self.log.end_segment()? {
            Ok(()) => {
                self.begin_file(self.log.end().0);
                self.retention.began_file(now);
            }
            Err(error) => tracing::warn!("cannot end a segment of the log, which goes on: {error}"),
        }
        Ok(())
    }

    /// Removes the oldest segments that are old enough and confirmed. An error keeps them for the next time.
    fn remove_old(&mut self) {
        let (log, index) = (&mut self.log, &mut self.indexer);
        let now = self.clock.now();
        if let Err(error) = self
            .retention
            .remove_old((log, &mut self.marks), index, &self.shared, now)
        {
            tracing::error!("cannot remove the oldest segment of the log: {error}");
        }
    }

    /// Moves the last mark to the end of the lines that were written.
    fn mark(&mut self, batch: &Batch, written: &Written) {
        let Some(last) = written.complete.checked_sub(1) else {
            return;
        };
        let is_new = self.marks.last().is_none_or(|mark| mark.file != written.file);
        if is_new {
            self.begin_file(written.file);
        }
        if let Some(mark) = self.marks.last_mut() {
            mark.length = written.offset + batch.ends[last] as u64;
            mark.last = batch.lines[last].seq;
        }
    }

    /// Adds the mark of a file; the one before it has become a segment.
    fn begin_file(&mut self, file: u32) {
        if let Some(mark) = self.marks.last_mut() {
            mark.segment = self.log.segments().last();
        }
        self.marks.push(Mark {
            file,
            segment: None,
            length: 0,
            last: 0,
            checksum: 0,
        });
    }
}

impl Batch {
    fn new(now: Timestamp) -> Self {
        Batch {
            // With the precision of a line, so that it is the same when the log is read again.
            received: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
            bytes: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            feeds: HashMap::new(),
            ids: HashMap::new(),
            origins: HashMap::new(),
        }
    }

    /// Events of the first `complete` lines.
    fn events(&self, complete: usize) -> impl Iterator<Item = NewEvent<'_>> {
        self.lines[..complete].iter().filter_map(|line| match &line.request {
            WriteRequest::Event(event) => Some(NewEvent {
                feed: &event.feed,
                seq: line.seq,
                json: &event.json,
            }),
            WriteRequest::Feed(_) | WriteRequest::Confirmation(_) => None,
        })
    }

    /// Decides by the event with this key in this batch, if there is one.
    fn pending(&self, event: &Submission, by: MatchedBy) -> Option<Decision> {
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
    fn feed(&self, id: &Folded) -> Option<&Arc<str>> {
        self.new_feed(id).map(|(_, feed)| &feed.about.id)
    }

    fn new_feed(&self, id: &Folded) -> Option<(usize, &NewFeed)> {
        let line = *self.feeds.get(id)?;
        match &self.lines[line].request {
            WriteRequest::Feed(feed) => Some((line, feed)),
            WriteRequest::Event(_) | WriteRequest::Confirmation(_) => None,
        }
    }

    fn add_feed(&mut self, seq: u64, feed: NewFeed) -> Decision {
        let start = self.bytes.len();
        log_line::write_feed(&mut self.bytes, seq, self.received, &feed.about);
        self.feeds.insert(Folded(feed.about.id.clone()), self.lines.len());
        self.add(seq, WriteRequest::Feed(feed), start)
    }

    fn add_event(&mut self, seq: u64, event: Submission) -> Decision {
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
        self.lines.push(NewLine { seq, request, start });
        Decision::Line(self.lines.len() - 1)
    }

    /// Returns the answer when `complete` lines are durable and the others failed for this cause.
    fn outcome(&self, decision: Decision, complete: usize, cause: Option<&Cause>) -> Result<Accepted, Refusal> {
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
            WriteRequest::Feed(_) | WriteRequest::Confirmation(_) => Bytes::new(),
        };
        Accepted::known(self.seq, json)
    }
}

fn decide_feed(index: &Index, batch: &mut Batch, seq: u64, feed: NewFeed) -> Decision {
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
