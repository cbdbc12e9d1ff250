//! The writing thread of a relay whose events are in a stream of NATS JetStream. The log in the data folder is a copy of it.
//!
//! ```text
//!   requests -> decided by the copy -> published -> acknowledged -> copied -> answered
//!   other relays -> ordered consumer ------------------------------> copied
//! ```
//!
//! Each message is published with the number of the last message of the copy. The stream stores it only if that is its own last
//! message. So no other relay can have stored an event with the same id or source in between, however long ago the first one was.
//! If the stream has other messages, the relay copies those, and decides the requests again. Messages that are published together
//! also name the one before by its `Nats-Msg-Id` (`Nats-Expected-Last-Msg-Id`): its number alone could be that of another
//! relay's message. The id of an event is a hash of its JSON, so that the stream itself recognises an event that is posted to
//! two relays within two minutes.
//!
//! Relays that are refused take [turns](super::turn) with the others.
//!
//! Without an acknowledgement in time, a request is answered with 503. If its message was stored nevertheless, the consumer
//! delivers it, and a retry is answered with the stored event.
use std::{collections::HashSet, io, path::PathBuf, sync::Arc};

use axum::body::Bytes;
use durable::clock::{Clock, SystemClock};
use ring::digest::{SHA256, digest};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{
    batch::{Batch, Decision, NewLine},
    commit::{BATCH, BATCH_BYTES, Committer},
    follow::{Delivery, follow},
    index::About,
    replay::identity,
    store::{NewFeed, QueuedWrite, Refusal, Shared, Submission, WriteRequest},
    turn::Turns,
};
use crate::{
    journal::WriteError,
    nats::{
        link::{End, Link, Outgoing},
        message::{self, Content, Kind, subject},
    },
    uuid,
};

/// Time for which other relays may keep this one from writing.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Maximum number of messages that wait to be copied.
const DELIVERIES: usize = 64;
/// Time without a message after which a copy that is behind cannot be completed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes requests to the stream, and copies the stream to the log.
#[derive(Debug)]
pub struct Replica {
    committer: Committer,
    shared: Arc<Shared>,
    link: Link,
    clock: SystemClock,
    deliveries: mpsc::Receiver<Delivery>,
    turns: Turns,
    data: PathBuf,
}

/// Requests that were decided, but not answered.
type Undecided = Vec<QueuedWrite>;

impl Replica {
    /// Creates a replica that follows the stream from the end of the copy on. It must be called within a runtime.
    pub fn new(committer: Committer, shared: Arc<Shared>, (link, turns): (Link, Turns), data: PathBuf) -> Self {
        let (sender, deliveries) = mpsc::channel(DELIVERIES);
        let next = shared.index().last() + 1;
        tokio::spawn(follow(link.clone(), next, sender));
        Replica {
            committer,
            shared,
            link,
            clock: SystemClock::default(),
            deliveries,
            turns,
            data,
        }
    }

    /// Serves until all senders of requests are gone.
    ///
    /// # Errors
    /// The log has failed, or the index is damaged.
    pub async fn run(mut self, mut queue: mpsc::Receiver<QueuedWrite>) -> Result<(), WriteError> {
        loop {
            tokio::select! {
                queued = queue.recv() => match queued {
                    Some(first) => self.serve(first, &mut queue).await?,
                    None => break,
                },
                Some(delivery) = self.deliveries.recv() => self.copy(delivery)?,
                () = self.turns.asked() => {}
            }
        }
        self.committer.end();
        Ok(())
    }

    /// Copies all messages that the stream has now. The result has the reason if that is not possible.
    ///
    /// # Errors
    /// The log has failed, or the index is damaged.
    pub async fn catch_up(&mut self) -> Result<Result<(), String>, WriteError> {
        let last = match self.link.last_seq().await {
            Ok(last) => last,
            Err(why) => return Ok(Err(why)),
        };
        if last < self.last() {
            let copied = self.last();
            return Ok(Err(format!(
                "it has lost messages: it ends at {last}, but the local copy ends at {copied}"
            )));
        }
        while self.last() < last {
            match timeout(PATIENCE, self.deliveries.recv()).await {
                Ok(Some(delivery)) => self.copy(delivery)?,
                _ => return Ok(Err("the stream delivers no messages".into())),
            }
        }
        Ok(Ok(()))
    }

    /// Number of the last message of the copy.
    pub fn last(&self) -> u64 {
        self.shared.index().last()
    }

    /// Serves a request, and those that wait behind it.
    async fn serve(&mut self, first: QueuedWrite, queue: &mut mpsc::Receiver<QueuedWrite>) -> Result<(), WriteError> {
        let mut waiting = vec![first];
        let mut own = HashSet::new();
        // Time since which the stream refuses everything, because other relays write to it.
        let mut refused_since: Option<Instant> = None;
        while !waiting.is_empty() {
            // A relay that waits for its turn has more to write then.
            waiting.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH.saturating_sub(waiting.len())));
            if let Err(why) = self.prepare(&waiting, refused_since.is_some()).await? {
                refuse(waiting, &why);
                return Ok(());
            }
            let end;
            let before = self.last();
            (waiting, end) = self.publish(waiting, &mut own, refused_since.is_none()).await?;
            let since = refused_since.filter(|_| self.last() == before);
            refused_since = match end {
                End::Complete => None,
                End::Moved => Some(since.unwrap_or_else(Instant::now)),
                End::Lost(why) => {
                    tracing::warn!("cannot write to the stream: {why}");
                    refuse(waiting, &why);
                    return Ok(());
                }
            };
            if refused_since.is_some_and(|since| since.elapsed() > MAX_WAIT) {
                refuse(
                    waiting,
                    "other relays kept writing to the stream; send the request again",
                );
                return Ok(());
            }
            if refused_since.is_some() {
                self.turns.ask(self.last()).await;
            }
        }
        Ok(())
    }

    /// Copies what the requests need, and lets another relay write if that one has the turn. The result has the reason if the
    /// requests cannot be served.
    async fn prepare(&mut self, waiting: &[QueuedWrite], is_refused: bool) -> Result<Result<(), String>, WriteError> {
        let is_refresh = |queued: &QueuedWrite| matches!(queued.request, WriteRequest::Refresh);
        if (is_refused || waiting.iter().any(is_refresh))
            && let Err(why) = self.catch_up().await?
        {
            tracing::warn!("cannot read the end of the stream: {why}");
            return Ok(if is_refused { Err(why) } else { Ok(()) });
        }
        while !is_refused && let Some(end) = self.turns.given_until() {
            match timeout_at(end, self.deliveries.recv()).await {
                Ok(Some(delivery)) => self.copy(delivery)?,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Ok(()))
    }

    /// Decides requests, publishes what is new, and answers those whose outcome is known. Returns the others. `own` has the
    /// numbers of messages that are stored, but behind those of another relay.
    async fn publish(
        &mut self,
        waiting: Undecided,
        own: &mut HashSet<u64>,
        is_first: bool,
    ) -> Result<(Undecided, End), WriteError> {
        let mut batch = Batch::new(self.clock.now());
        let mut decided = Vec::with_capacity(waiting.len());
        let mut rest = Vec::new();
        let mut queue = waiting.into_iter();
        for queued in queue.by_ref() {
            let decision = self.decide(&mut batch, &queued.request);
            decided.push((queued, decision));
            if batch.bytes.len() >= BATCH_BYTES {
                break;
            }
        }
        let (mut complete, mut end) = (0, End::Complete);
        if !batch.lines.is_empty() {
            let messages = batch.lines.iter().filter_map(|line| self.message(line, is_first));
            let published = self.link.publish(messages).await;
            own.extend(published.later);
            (complete, end) = (published.complete, published.end);
        }
        batch.truncate(complete);
        self.write(&batch)?;
        for (queued, decision) in decided {
            if decision.line().is_some_and(|line| line >= complete) {
                rest.push(queued);
            } else {
                let outcome = batch.outcome(decision, complete, None).map(|mut accepted| {
                    accepted.is_new |= own.remove(&accepted.seq);
                    accepted
                });
                // The client may be gone.
                let _ = queued.answer.send(outcome);
            }
        }
        self.shared.notify(batch.events(complete));
        self.committer.keep_index()?;
        rest.extend(queue);
        Ok((rest, end))
    }

    fn decide(&mut self, batch: &mut Batch, request: &WriteRequest) -> Decision {
        let most = self.link.max_event();
        match request {
            WriteRequest::Event(event) if event.json.len() > most => Decision::Now(Err(Refusal::TooLong(most))),
            request => self.committer.decide(batch, request.clone()),
        }
    }

    fn message(&self, line: &NewLine, is_first: bool) -> Option<Outgoing> {
        let stream = self.link.name();
        let (subject, id, payload) = match &line.request {
            WriteRequest::Event(event) => (
                subject(stream, Kind::Event, &event.feed),
                is_first.then(|| hash(&event.json)),
                event.json.clone(),
            ),
            WriteRequest::Feed(NewFeed { about, .. }) => {
                let feed = message::Feed {
                    id: about.id.to_string(),
                    name: about.name.to_string(),
                    policy: about.policy.to_string(),
                };
                let json = feed.to_json().expect("a policy is JSON");
                (subject(stream, Kind::Feed, &about.id), None, json.into())
            }
            // They are no lines.
            WriteRequest::Confirmation(_) | WriteRequest::Refresh => return None,
        };
        Some(Outgoing {
            seq: line.seq,
            subject,
            // Another one, if the stream has refused the first one.
            id: id.unwrap_or_else(|| uuid::version_4(uuid::random())),
            received: line.received,
            payload,
        })
    }

    /// Copies a message, and those that wait behind it.
    fn copy(&mut self, first: Delivery) -> Result<(), WriteError> {
        let mut batch = Batch::new(self.clock.now());
        let mut next = Some(first);
        while let Some(delivery) = next {
            batch = self.take_in(batch, &delivery)?;
            let is_full = batch.bytes.len() >= BATCH_BYTES || batch.lines.len() >= BATCH;
            next = if is_full { None } else { self.deliveries.try_recv().ok() };
        }
        self.show(&batch)
    }

    /// Adds a message to the batch. One that no relay wrote is reported, and not copied.
    fn take_in(&mut self, mut batch: Batch, delivery: &Delivery) -> Result<Batch, WriteError> {
        let expected = self.last() + batch.lines.len() as u64 + 1;
        let seq = delivery.seq;
        if seq < expected {
            return Ok(batch);
        }
        if seq > expected {
            tracing::error!("the stream has lost the messages from {expected} to {}", seq - 1);
            batch = self.skip_to(&batch, seq - 1)?;
        }
        let read = delivery.read(self.link.name());
        let decision = read.map(|(received, content)| {
            batch.received = received;
            let request = self.request(content);
            self.committer.decide(&mut batch, request)
        });
        let problem = match decision {
            Ok(Decision::Line(_)) => return Ok(batch),
            Ok(Decision::Now(Err(Refusal::NotStored(cause)))) => return Err(self.failed(cause.to_string())),
            Ok(Decision::Now(Err(Refusal::Unreadable(error)))) => return Err(self.failed(error.to_string())),
            Ok(Decision::Now(Err(refusal))) => refusal.to_string(),
            Ok(Decision::Now(Ok(_)) | Decision::Again(_) | Decision::Differs(..)) => {
                "its event or feed is already stored".into()
            }
            Err(problem) => problem,
        };
        tracing::error!("ignoring message {seq} of the stream, which was not written by a relay: {problem}");
        self.skip_to(&batch, seq)
    }

    fn request(&self, content: Content) -> WriteRequest {
        match content {
            Content::Event(event) => WriteRequest::Event(Submission {
                feed: event.feed_id().to_owned(),
                identity: identity(&event),
                json: Bytes::from(event.to_json()),
            }),
            Content::Feed(feed) => WriteRequest::Feed(NewFeed {
                is_named: true,
                has_policy: true,
                sets_policy: self.shared.index().feed(&feed.id).is_some(),
                about: About {
                    id: feed.id.into(),
                    name: feed.name.into(),
                    policy: feed.policy.into(),
                },
            }),
        }
    }

    /// Writes the batch, and skips the numbers behind it up to this one.
    fn skip_to(&mut self, batch: &Batch, seq: u64) -> Result<Batch, WriteError> {
        self.show(batch)?;
        self.shared.change_index(|index| index.skip_to(seq));
        Ok(Batch::new(self.clock.now()))
    }

    /// Writes what other relays have stored, and shows it.
    fn show(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.write(batch)?;
        if let Some(last) = batch.lines.last() {
            self.turns.end(last.seq);
        }
        self.shared.notify(batch.events(batch.lines.len()));
        let sets_policy = |line: &NewLine| matches!(&line.request, WriteRequest::Feed(feed) if feed.sets_policy);
        if batch.lines.iter().any(sets_policy) {
            self.shared.policies.send_modify(|changes| *changes += 1);
        }
        self.committer.keep_index()
    }

    /// Writes all lines of a batch: the log has no gaps.
    fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        match self.committer.write(batch)? {
            (_, Some(cause)) => Err(self.failed(cause.to_string())),
            (_, None) => Ok(()),
        }
    }

    fn failed(&self, why: String) -> WriteError {
        WriteError::Storage {
            what: "copy the stream to",
            path: self.data.clone(),
            source: io::Error::other(why),
        }
    }
}

/// Returns the hash of an event's JSON.
fn hash(json: &[u8]) -> String {
    let hash = digest(&SHA256, json);
    hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refuse(waiting: Undecided, why: &str) {
    for queued in waiting {
        // The client may be gone.
        let _ = queued.answer.send(Err(Refusal::Unavailable(why.into())));
    }
}
