//! The writing thread: takes the waiting requests, decides which of them are new, and makes those durable with one write and
//! one fsync. Only then are they answered and shown to readers.
use std::{io, sync::Arc};

use axum::body::Bytes;
use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    batch::{Batch, Decision, decide_feed},
    index::{
        Index, Record,
        key::{self, Kind},
        manifest::Mark,
    },
    indexer::Indexer,
    known::Candidates,
    retention::Retention,
    store::{Accepted, MatchedBy, QueuedWrite, Refusal, Shared, Submission, WriteRequest},
};
use crate::{
    event::Folded,
    journal::{
        Cause, WriteError,
        log::{Log, Place, Written},
    },
};

/// Maximum number of bytes written at once, plus one line.
pub const BATCH_BYTES: usize = 4 << 20;
/// Maximum number of requests in a batch.
pub const BATCH: usize = 1024;

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
        self.end();
        Ok(())
    }

    /// Stops writing the index.
    pub fn end(self) {
        self.indexer.end(&self.marks);
    }

    /// Writes the index to the disk, if much is new.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn keep_index(&mut self) -> Result<(), WriteError> {
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
                "it is damaged; start the relay again to rebuild it",
            ),
        })
    }

    /// Decides a request. A new line is added to the batch.
    pub fn decide(&mut self, batch: &mut Batch, request: WriteRequest) -> Decision {
        match request {
            WriteRequest::Feed(feed) => {
                let index = self.shared.index();
                let seq = index.last() + batch.lines.len() as u64 + 1;
                decide_feed(&index, batch, seq, feed)
            }
            WriteRequest::Event(event) => self.decide_event(batch, event),
            WriteRequest::Refresh => Decision::Now(Ok(Accepted::known(0, Bytes::new()))),
            WriteRequest::Confirmation(confirmation) => {
                let confirmed = self.retention.confirm(&confirmation);
                let lowest = self.retention.confirmed().of(&confirmation.feed);
                self.shared.set_confirmed(&confirmation.feed, lowest);
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
    ///
    /// # Errors
    /// The log has failed.
    pub fn write(&mut self, batch: &Batch) -> Result<(usize, Option<Cause>), WriteError> {
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
                    WriteRequest::Feed(feed) => index.add_feed(line.seq, feed.about.clone(), line.received),
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
                    WriteRequest::Confirmation(_) | WriteRequest::Refresh => {}
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
