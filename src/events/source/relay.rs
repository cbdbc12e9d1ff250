//! Following a feed of a relay without gaps.
//!
//! First the stream is connected (`GET {url}/feeds/{id}/stream`), so that nothing new is missed. Then older events are fetched
//! from the last known position (`GET {url}/feeds/{id}/events`, see [`super::page`]). Then the stream is read. Events delivered
//! twice are ignored by the committer. When the connection ends, for any reason, all of this is repeated after 1, 2, 4,
//! 8, … 30 seconds, with `Last-Event-ID` if the stream sent ids. The delay is reset once the gap is closed.
use std::{
    convert::Infallible,
    io::{self, Read},
    time::Duration,
};

use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Error, ErrorKind};
use git_push_transport::web::{Question, Reply, Web};
use jiff::Timestamp;

use super::{
    Arrival, Cursor,
    page::{self, Entry, LIMIT, NotAList, Numbers, Position},
    sse::{self, Item},
};
use crate::{
    event::{MAX_EVENT, Problem},
    events::inbox::{Closed, Sender},
};

/// Delays between connections.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(30),
};
/// Maximum size of a response with events, in bytes.
const MAX_PAGE: u64 = (LIMIT * (MAX_EVENT + 1024)) as u64;
const PIECE: usize = 16 << 10;
/// Types of messages that carry events. Messages of other types need not carry events.
const EVENT_KINDS: [&str; 3] = ["", "message", "event"];

/// Follows one feed.
pub struct Follower<C> {
    web: Web,
    feed: String,
    sender: Sender<Arrival>,
    clock: C,
    progress: Progress,
    /// True if the relay gives sequence numbers; `None` until that is known.
    has_numbers: Option<bool>,
    /// Last id of the stream.
    last_id: Option<String>,
    /// Minimum delay between connections that the server asked for.
    retry: Duration,
}

/// Progress in a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Position up to which everything is committed.
    pub cursor: Option<Cursor>,
    /// Time of the newest event.
    pub newest: Option<Timestamp>,
}

/// A response with events.
struct Answer {
    json: Vec<u8>,
    numbers: Option<Numbers>,
}

/// Reason for the end of a connection.
enum End {
    Failed(Error),
    Closed,
}

impl<C: Clock> Follower<C> {
    /// Creates a follower of `feed` that continues from `progress` and sends events to `sender`.
    pub fn new(web: Web, feed: &str, progress: Progress, sender: Sender<Arrival>, clock: C) -> Self {
        Follower {
            web,
            feed: feed.to_owned(),
            sender,
            clock,
            last_id: progress.cursor.as_ref().map(|cursor| cursor.sequence.to_string()),
            progress,
            has_numbers: None,
            retry: Duration::ZERO,
        }
    }

    /// Follows until the inbox is closed.
    pub fn follow(mut self) {
        let mut failures = 0;
        while let Err(End::Failed(error)) = self.connection(&mut failures) {
            let delay = self.delay(failures).max(error.retry_after().unwrap_or_default());
            failures += 1;
            tracing::warn!(feed = self.feed, retry_s = delay.as_secs_f32(), "{error}");
            if self.sender.rest(delay).is_err() {
                return;
            }
        }
    }

    /// Fetches the available events, once.
    ///
    /// # Errors
    /// Not all events could be fetched.
    pub fn fetch(mut self) -> Result<(), Error> {
        match self.close_gap() {
            Ok(true) | Err(End::Closed) => Ok(()),
            Ok(false) => Err(self.no_such("events")),
            Err(End::Failed(error)) => Err(error),
        }
    }

    /// Runs one connection to its end; never returns `Ok`.
    fn connection(&mut self, failures: &mut usize) -> Result<Infallible, End> {
        let path = ["feeds", &self.feed, "stream"];
        let reply = self.web.get(&Question {
            path: &path,
            accept: "text/event-stream",
            last_event_id: self.last_id.as_deref(),
            ..Question::default()
        });
        let reply = reply?.ok_or_else(|| self.no_such("stream"))?;
        if !self.close_gap()? {
            self.has_numbers = Some(false);
            tracing::warn!(
                feed = self.feed,
                "the relay stores no events: events sent while disconnected are lost"
            );
        }
        *failures = 0;
        tracing::info!(feed = self.feed, "following the feed");
        self.read(reply)
    }

    fn delay(&self, failures: usize) -> Duration {
        let jitter = self.clock.random();
        let delay = RETRY.delays(|| jitter).nth(failures).unwrap_or(RETRY.max_delay);
        delay.max(self.retry)
    }

    /// Delivers the events after the current position. Returns false if the relay stores no events.
    fn close_gap(&mut self) -> Result<bool, End> {
        let Some(mut from) = self.begin()? else {
            return Ok(false);
        };
        while let Some(answer) = self.ask(&from, LIMIT)? {
            let entries = self.entries(&answer)?;
            for entry in &entries {
                self.hand_over(entry.arrival(&self.feed))?;
            }
            if answer.numbers.is_some_and(|numbers| !numbers.more) {
                return Ok(true);
            }
            match entries.iter().rev().find_map(Entry::after) {
                Some(next) if next != from => from = next,
                None if !entries.is_empty() => {
                    tracing::warn!(
                        feed = self.feed,
                        "a response has no element with a sequence number, or with ts and event_id; later events cannot be fetched"
                    );
                    return Ok(true);
                }
                _ => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Returns the start of the gap; `None` if the relay stores no events.
    fn begin(&mut self) -> Result<Option<Position>, End> {
        let before = match &self.progress.cursor {
            Some(cursor) => Position::Sequence(cursor.sequence.saturating_sub(1)),
            None => Position::Beginning,
        };
        let answer = match self.ask(&before, 1) {
            // Ids of the stream were mistaken for sequence numbers.
            Err(End::Failed(error)) if self.progress.cursor.is_some() && error.kind() == ErrorKind::Rejected => {
                self.progress.cursor = None;
                self.ask(&Position::Beginning, 1)
            }
            answer => answer,
        };
        let Some(answer) = answer? else { return Ok(None) };
        let first = self.look(&answer)?;
        if self.has_numbers == Some(false) {
            self.progress.cursor = None;
        }
        Ok(Some(match (&self.progress.cursor, &first) {
            (Some(cursor), Some(entry)) if entry.is_at(cursor) => Position::Sequence(cursor.sequence),
            (Some(_), _) => {
                tracing::warn!(
                    feed = self.feed,
                    "the events of the relay have changed; reading everything again"
                );
                self.progress.cursor = None;
                Position::Sequence(0)
            }
            (None, _) if self.has_numbers == Some(true) => Position::Sequence(0),
            (None, _) => Position::newest(self.progress.newest, self.clock.now()),
        }))
    }

    /// Returns the first element of a response, and detects whether the relay gives sequence numbers.
    fn look<'a>(&mut self, answer: &'a Answer) -> Result<Option<Entry<'a>>, End> {
        let first = self.entries(answer)?.into_iter().next();
        self.has_numbers = match &first {
            Some(entry) => Some(entry.sequence().is_some()),
            None if answer.numbers.is_some() => Some(true),
            None => self.has_numbers,
        };
        Ok(first)
    }

    fn entries<'a>(&self, answer: &'a Answer) -> Result<Vec<Entry<'a>>, End> {
        Ok(page::parse(&answer.json, answer.numbers).map_err(|error| self.not_understood(&error))?)
    }

    /// Returns the sequence number in an id of the stream. Only valid if the relay gives them: other ids may be numbers, too.
    fn sequence_of(&mut self, id: Option<&str>) -> Result<Option<u64>, End> {
        let Some(sequence) = id.and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        // The feed was empty until now.
        if self.has_numbers.is_none()
            && let Some(answer) = self.ask(&Position::Beginning, 1)?
        {
            self.look(&answer)?;
        }
        Ok((self.has_numbers == Some(true)).then_some(sequence))
    }

    /// Fetches a response with events; `None` if the relay stores none.
    fn ask(&self, from: &Position, limit: usize) -> Result<Option<Answer>, End> {
        let limit = limit.to_string();
        let mut query = from.query();
        query.push(("limit", limit));
        let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = self.web.get(&Question {
            path: &["feeds", &self.feed, "events"],
            query: &query,
            accept: "application/json",
            limit: Some(MAX_PAGE),
            ..Question::default()
        })?;
        let Some(mut reply) = reply else { return Ok(None) };
        let numbers = Numbers::parse(reply.header(page::SEQ), reply.header("Link"));
        let mut json = Vec::new();
        reply.read_to_end(&mut json).map_err(|error| self.web.lost(error))?;
        Ok(Some(Answer { json, numbers }))
    }

    fn read(&mut self, mut reply: Reply) -> Result<Infallible, End> {
        let mut parser = sse::Parser::default();
        let mut piece = vec![0; PIECE];
        loop {
            let length = match reply.read(&mut piece) {
                Ok(0) => return Err(Error::new(ErrorKind::Transient, "the relay ended the stream").into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.web.lost(error).into()),
            };
            for item in parser.feed(&piece[..length]) {
                self.take(item)?;
            }
        }
    }

    fn take(&mut self, item: Item) -> Result<(), End> {
        match item {
            Item::Retry(delay) => self.retry = delay.min(RETRY.max_delay),
            Item::TooLong(id) => {
                self.last_id = id.or(self.last_id.take());
                let what = Problem {
                    field: String::new(),
                    problem: format!("is longer than {MAX_EVENT} bytes"),
                };
                self.hand_over(Arrival::malformed(Vec::new(), what))?;
            }
            Item::Message(message) => {
                let sequence = self.sequence_of(message.id.as_deref())?;
                let arrival = Arrival::of_feed(&self.feed, &message.data, sequence);
                self.last_id = message.id.or(self.last_id.take());
                if arrival.event.is_err() && !EVENT_KINDS.contains(&message.kind.as_str()) {
                    tracing::debug!(feed = self.feed, "ignoring a message of another type");
                    return Ok(());
                }
                self.hand_over(arrival)?;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, arrival: Arrival) -> Result<(), End> {
        if let Some(cursor) = &arrival.cursor {
            self.progress.cursor = Some(cursor.clone());
        }
        if let Ok(event) = &arrival.event
            && event.ts() <= self.clock.now()
        {
            self.progress.newest = self.progress.newest.max(Some(event.ts()));
        }
        let bytes = arrival.bytes;
        self.sender.send(arrival, bytes).map_err(|Closed| End::Closed)
    }

    fn no_such(&self, what: &str) -> Error {
        let what = format!("{}: no {what} for the feed {} (HTTP 404)", self.web.url(), self.feed);
        Error::new(ErrorKind::Misconfigured, what)
            .with_hint("check RELAY_URL and FEED_IDS; create a feed with POST /feeds")
    }

    fn not_understood(&self, error: &NotAList) -> Error {
        Error::new(
            ErrorKind::Rejected,
            format!("{}, feed {}: {error}", self.web.url(), self.feed),
        )
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}
