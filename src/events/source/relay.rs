//! A feed of a relay, followed without a gap.
//!
//! First the stream is connected (`GET {url}/feeds/{id}/stream`), so that nothing new is missed; then what came before it is
//! fetched (`GET {url}/feeds/{id}/events`, see [`super::page`]) from what is held already; then the stream is read on. What comes
//! twice by this is nothing to who holds it. When the connection ends, however it ends, all of that begins again after 1, 2,
//! 4, 8, … 30 seconds, with `Last-Event-ID` where the stream gave ids; the distance is short again once the gap was closed.
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
    Arrival, Mark,
    page::{self, Entry, From, LIMIT, NotAList},
    sse::{self, Item},
};
use crate::{
    event::{MAX_EVENT, Problem},
    events::inbox::{Closed, Sender},
};

/// The distances between connections.
const AGAIN: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(30),
};
/// The most bytes of one answer with events.
const MAX_PAGE: u64 = (LIMIT * (MAX_EVENT + 1024)) as u64;
const PIECE: usize = 16 << 10;
/// Types of messages that events come in. What comes in others, and is no event, is not meant to be one.
const EVENT_KINDS: [&str; 3] = ["", "message", "event"];

/// Follows one feed.
pub struct Follower<C> {
    web: Web,
    feed: String,
    sender: Sender<Arrival>,
    clock: C,
    held: Held,
    /// Whether the relay gives numbers, once that is known.
    has_numbers: Option<bool>,
    /// The last id of the stream.
    last_id: Option<String>,
    /// How long the server wants to be left alone between connections.
    retry: Duration,
}

/// What is held of a feed already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Everything up to here.
    pub mark: Option<Mark>,
    /// The time of the newest event.
    pub newest: Option<Timestamp>,
}

/// Why a connection ended.
enum End {
    Failed(Error),
    Closed,
}

impl<C: Clock> Follower<C> {
    /// Will follow `feed`, from what is `held` on, and put what it has into `sender`.
    pub fn new(web: Web, feed: &str, held: Held, sender: Sender<Arrival>, clock: C) -> Self {
        Follower {
            web,
            feed: feed.to_owned(),
            sender,
            clock,
            last_id: held.mark.as_ref().map(|mark| mark.sequence.to_string()),
            held,
            has_numbers: None,
            retry: Duration::ZERO,
        }
    }

    /// Follows until nobody takes what there is.
    pub fn follow(mut self) {
        let mut failures = 0;
        while let Err(End::Failed(error)) = self.connection(&mut failures) {
            let distance = self.distance(failures).max(error.retry_after().unwrap_or_default());
            failures += 1;
            tracing::warn!(feed = self.feed, again_s = distance.as_secs_f32(), "{error}");
            if self.sender.rest(distance).is_err() {
                return;
            }
        }
    }

    /// Fetches what there is, once.
    ///
    /// # Errors
    /// It could not be fetched to its end.
    pub fn fetch(mut self) -> Result<(), Error> {
        match self.close_gap() {
            Ok(true) | Err(End::Closed) => Ok(()),
            Ok(false) => Err(self.no_such("events")),
            Err(End::Failed(error)) => Err(error),
        }
    }

    /// From connecting to the end of the connection; never `Ok`.
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
            tracing::warn!(feed = self.feed, "the relay keeps no events: what was missed is lost");
        }
        *failures = 0;
        tracing::info!(feed = self.feed, "following");
        self.read(reply)
    }

    fn distance(&self, failures: usize) -> Duration {
        let jitter = self.clock.random();
        let distance = AGAIN.delays(|| jitter).nth(failures).unwrap_or(AGAIN.max_delay);
        distance.max(self.retry)
    }

    /// Hands over what the relay has behind what is held. False when it keeps nothing.
    fn close_gap(&mut self) -> Result<bool, End> {
        let Some(mut from) = self.begin()? else {
            return Ok(false);
        };
        while let Some(answer) = self.ask(&from, LIMIT)? {
            let entries = page::parse(&answer).map_err(|error| self.not_understood(&error))?;
            for entry in &entries {
                self.hand_over(entry.arrival(&self.feed))?;
            }
            match entries.iter().rev().find_map(Entry::after) {
                Some(next) if next != from => from = next,
                None if !entries.is_empty() => {
                    tracing::warn!(
                        feed = self.feed,
                        "an answer has nothing with a number, or with ts and event_id: what comes after it is not asked for"
                    );
                    return Ok(true);
                }
                _ => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Where the gap begins; `None` when the relay keeps nothing.
    fn begin(&mut self) -> Result<Option<From>, End> {
        let before = match &self.held.mark {
            Some(mark) => From::Sequence(mark.sequence.saturating_sub(1)),
            None => From::Beginning,
        };
        let answer = match self.ask(&before, 1) {
            // Ids of its stream were taken for numbers of its pages.
            Err(End::Failed(error)) if self.held.mark.is_some() && error.kind() == ErrorKind::Rejected => {
                self.held.mark = None;
                self.ask(&From::Beginning, 1)
            }
            answer => answer,
        };
        let Some(answer) = answer? else { return Ok(None) };
        let first = self.look(&answer)?;
        if self.has_numbers == Some(false) {
            self.held.mark = None;
        }
        Ok(Some(match (&self.held.mark, &first) {
            (Some(mark), Some(entry)) if entry.is_at(mark) => From::Sequence(mark.sequence),
            (Some(_), _) => {
                tracing::warn!(feed = self.feed, "the relay has begun anew: everything is read again");
                self.held.mark = None;
                From::Sequence(0)
            }
            (None, _) if self.has_numbers == Some(true) => From::Sequence(0),
            (None, _) => From::newest(self.held.newest, self.clock.now()),
        }))
    }

    /// The first thing of an answer; by this is known whether the relay gives numbers.
    fn look<'a>(&mut self, answer: &'a [u8]) -> Result<Option<Entry<'a>>, End> {
        let entries = page::parse(answer).map_err(|error| self.not_understood(&error))?;
        let first = entries.into_iter().next();
        self.has_numbers = first
            .as_ref()
            .map(|entry| entry.sequence().is_some())
            .or(self.has_numbers);
        Ok(first)
    }

    /// What an id of the stream says, when it is a number of the relay's: others look like that, too.
    fn sequence_of(&mut self, id: Option<&str>) -> Result<Option<u64>, End> {
        let Some(sequence) = id.and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        // The feed was empty until now.
        if self.has_numbers.is_none()
            && let Some(answer) = self.ask(&From::Beginning, 1)?
        {
            self.look(&answer)?;
        }
        Ok((self.has_numbers == Some(true)).then_some(sequence))
    }

    /// An answer with events, whole; `None` when the relay keeps none.
    fn ask(&self, from: &From, limit: usize) -> Result<Option<Vec<u8>>, End> {
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
        let mut answer = Vec::new();
        reply.read_to_end(&mut answer).map_err(|error| self.web.lost(error))?;
        Ok(Some(answer))
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
            Item::Retry(distance) => self.retry = distance.min(AGAIN.max_delay),
            Item::TooLong(id) => {
                self.last_id = id.or(self.last_id.take());
                let what = Problem {
                    field: String::new(),
                    problem: format!("is longer than {MAX_EVENT} bytes"),
                };
                self.hand_over(Arrival::refused(Vec::new(), what))?;
            }
            Item::Message(message) => {
                let sequence = self.sequence_of(message.id.as_deref())?;
                let arrival = Arrival::of_feed(&self.feed, &message.data, sequence);
                self.last_id = message.id.or(self.last_id.take());
                if arrival.event.is_err() && !EVENT_KINDS.contains(&message.kind.as_str()) {
                    tracing::debug!(feed = self.feed, "a message of another kind is not looked at");
                    return Ok(());
                }
                self.hand_over(arrival)?;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, arrival: Arrival) -> Result<(), End> {
        if let Some(mark) = &arrival.mark {
            self.held.mark = Some(mark.clone());
        }
        if let Ok(event) = &arrival.event
            && event.ts() <= self.clock.now()
        {
            self.held.newest = self.held.newest.max(Some(event.ts()));
        }
        let bytes = arrival.bytes;
        self.sender.send(arrival, bytes).map_err(|Closed| End::Closed)
    }

    fn no_such(&self, what: &str) -> Error {
        let what = format!(
            "{}: there are no {what} of the feed {} (HTTP 404)",
            self.web.url(),
            self.feed
        );
        Error::new(ErrorKind::Misconfigured, what)
            .with_hint("check RELAY_URL and FEED_IDS; a feed is made with POST /feeds")
    }

    fn not_understood(&self, error: &NotAList) -> Error {
        Error::new(
            ErrorKind::Rejected,
            format!("{}, feed {}: {error}", self.web.url(), self.feed),
        )
    }
}

impl std::convert::From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}
