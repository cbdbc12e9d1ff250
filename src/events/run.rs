//! The driver: takes events from sources, commits them, and pushes the commits.
//!
//! ```text
//!   source::relay (a thread per feed) --+
//!   source::stream (a thread) ----------+
//!   source::lines (standard input) -----+--> inbox --> batches --> Context::commit_each --> pusher --> Context::publish
//! ```
//!
//! One thread commits, another one pushes; neither waits for the other. An event that arrived is in memory until its batch is
//! committed. If the process dies, it is fetched again, because a relay is asked for everything after the last commit. A
//! failed commit is retried. Meanwhile no event is taken from the inbox, whose bound blocks the sources.
use std::{
    io,
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    retry::RetryPolicy,
};
use git_push_transport::web::Web;

#[cfg(feature = "nats")]
use super::sources::start_stream;
use super::{
    Committed, Context, Error, Kind, Options,
    batch::Batches,
    confirmer::{Confirmer, Numbers},
    health::{Counts, Health},
    inbox::{Inbox, Next, Sender, Stop, inbox},
    lock_file,
    push_attempt::{self, hint},
    push_schedule::PushSchedule,
    pusher::Pusher,
    saved_cursors::SavedCursors,
    settings::{Settings, Source},
    source::{
        Arrival,
        relay::{Follower, Progress},
    },
    sources::{SourceThread, failure_of, open_relay, read_stdin},
    target::{LocalOnly, SharedEnvironment, Target},
};
use crate::event::Event;

/// Time limit of the last push at a stop.
const GRACE: Duration = Duration::from_secs(20);
/// Delays between attempts to commit.
const COMMIT_RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(30),
};
/// Maximum number of attempts to commit when the sources end by themselves.
const MAX_ATTEMPTS: u32 = 5;

/// Result of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Number of events that were committed.
    pub added: usize,
    /// Number of events that existed already.
    pub known: usize,
    /// Number of events that were refused.
    pub refused: usize,
    /// True if everything is on the remote; `None` without a remote.
    pub is_pushed: Option<bool>,
    /// Failures of the sources.
    pub failures: Vec<git_push::Error>,
}

/// Error that prevents or ends a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The context repository cannot be used.
    #[error(transparent)]
    Context(#[from] Error),
    /// The remote cannot be used as it is configured.
    #[error(transparent)]
    Remote(git_push::Error),
    /// The relay cannot be used as it is configured.
    #[error("RELAY_URL: {0}")]
    Relay(git_push::Error),
    /// The stream cannot be used.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Stream(#[from] crate::nats::link::LinkError),
    /// The URL of the stream is invalid.
    #[cfg(feature = "nats")]
    #[error("--source {0}")]
    StreamAddress(crate::nats::address::BadAddress),
    /// The name of this mirror cannot be read or written.
    #[cfg(feature = "nats")]
    #[error("the name of this mirror cannot be read or written: {0}")]
    MirrorName(io::Error),
    /// The address for `GET /health` cannot be used.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// Runs until all sources have ended, or the handle given to `ready` stops it. `ready` is called when everything is set up.
///
/// # Errors
/// The run cannot begin; or, at a stop or with sources that end by themselves, events could not be committed. A failed push
/// is not an error.
pub fn run(
    settings: &Settings,
    options: &Options,
    environment: &SharedEnvironment,
    ready: impl FnOnce(Stop<Arrival>),
) -> Result<Summary, RunError> {
    let clock = SystemClock::default();
    let relay = open_relay(settings, environment)?;
    let context = Context::init(&settings.repository, options, clock.now())?;
    let target = Target::read(&settings.repository, &**environment).map_err(RunError::Remote)?;
    log_configuration(settings, relay.as_ref(), &target);
    if let Ok(target) = &target {
        context.set_origin(target.url(), &clock)?;
    }
    let health = Health::new(settings.feeds());
    let numbers = Numbers::default();
    let (sender, inbox) = inbox();
    #[cfg_attr(not(feature = "nats"), expect(unused_mut, reason = "a stream has another one"))]
    let (mut stream, mut confirmer) = (None, None);
    if let Some((web, _)) = &relay {
        confirmer = Confirmer::start(&context.git_dir(), web.clone(), numbers.clone());
    }
    #[cfg(feature = "nats")]
    if let Some((thread, acknowledging)) = start_stream(settings, &context, &sender, &numbers)? {
        (stream, confirmer) = (Some(thread), Some(acknowledging));
    }
    let mut run = Run {
        settings,
        clock,
        cursors: settings
            .relay()
            .map(|relay| SavedCursors::load(&context, relay, &settings.branch)),
        pusher: target
            .is_ok()
            .then(|| start_pusher(settings, &context, (environment, confirmer), &health, clock)),
        numbers,
        batches: Batches::new(settings.limits),
        summary: Summary::default(),
        next_heartbeat: clock.elapsed() + lock_file::HEARTBEAT,
        is_in_doubt: false,
        health,
        context,
    };
    let sources = run.start_sources(sender, relay, stream)?;
    ready(inbox.stop());
    let collected = run.collect(&inbox);
    // Earlier commits are pushed in any case.
    let ended = collected.as_ref().copied().unwrap_or(Ended::Stopped);
    let summary = run.end(sources, ended);
    collected.map(|_| summary)
}

/// Reason why no more events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    SourcesEnded,
    Stopped,
}

struct Run<'a> {
    settings: &'a Settings,
    clock: SystemClock,
    context: Context,
    pusher: Option<Pusher>,
    numbers: Numbers,
    batches: Batches<Arrival>,
    cursors: Option<SavedCursors>,
    next_heartbeat: Duration,
    /// A failed commit may exist nevertheless. The next commit completes it.
    is_in_doubt: bool,
    health: Health,
    summary: Summary,
}

impl Run<'_> {
    fn start_sources(
        &self,
        sender: Sender<Arrival>,
        relay: Option<(Web, &[String])>,
        stream: Option<SourceThread>,
    ) -> Result<Vec<SourceThread>, RunError> {
        let Some((web, feeds)) = relay else {
            listen(self.settings, &self.health)?;
            return Ok(vec![
                stream.unwrap_or_else(|| thread::spawn(move || read_stdin(&sender))),
            ]);
        };
        let (mut followers, mut newest) = (Vec::new(), None);
        for feed in feeds {
            let cursor = self.cursors.as_ref().map(|cursors| cursors.of(feed, &self.context));
            let point = self.context.resume_point(feed, self.clock.now())?;
            let progress = Progress {
                cursor: cursor.transpose()?.flatten(),
                newest: point.as_ref().map(|point| point.ts),
            };
            newest = newest.max(point);
            followers.push(Follower::new(web.clone(), feed, progress, sender.clone(), self.clock));
        }
        if let Some(point) = newest {
            self.health.committed(&point.event_id, point.ts);
        }
        listen(self.settings, &self.health)?;
        Ok(followers.into_iter().map(|follower| self.start(follower)).collect())
    }

    fn start(&self, follower: Follower<SystemClock>) -> SourceThread {
        let once = self.settings.once;
        thread::spawn(move || {
            if once {
                return follower.fetch();
            }
            follower.follow();
            Ok(())
        })
    }

    /// Takes and commits events until the sources end or a stop.
    fn collect(&mut self, inbox: &Inbox<Arrival>) -> Result<Ended, RunError> {
        loop {
            self.health.step(self.counts());
            let now = self.clock.elapsed();
            let heartbeat = self.next_heartbeat.saturating_sub(now);
            let wait = self.batches.wait(now).map_or(heartbeat, |wait| wait.min(heartbeat));
            let ended = match inbox.next(Some(wait)) {
                Next::Arrival(arrival) => {
                    let bytes = arrival.bytes;
                    self.batches.push(arrival, bytes, self.clock.elapsed());
                    // Events that have arrived already are committed together with it.
                    if self.batches.has_room() {
                        continue;
                    }
                    None
                }
                Next::Nothing => None,
                Next::Ended => Some(Ended::SourcesEnded),
                Next::Stopped => Some(Ended::Stopped),
            };
            self.heartbeat_if_due();
            match ended {
                Some(_) => self.batches.close(),
                None => self.batches.close_if_due(self.clock.elapsed()),
            }
            self.commit_with_retries(inbox)?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Commits the full batches. Failures are retried until a stop. With sources that end by themselves, the number of attempts
    /// is limited.
    fn commit_with_retries(&mut self, inbox: &Inbox<Arrival>) -> Result<(), RunError> {
        let mut delays = COMMIT_RETRY.delays(|| 0.0);
        for attempt in 1.. {
            self.health.step(self.counts());
            let tried = self.commit();
            let failed_before = self.health.commit_tried(tried.as_ref().err().map(ToString::to_string));
            let Err(error) = tried else {
                if failed_before {
                    tracing::info!(recovered = true, "events are committed again");
                }
                break;
            };
            if self.settings.ends_by_itself() && attempt >= attempts(error.kind()) {
                return Err(error.into());
            }
            let delay = delays.next().unwrap_or(COMMIT_RETRY.max_delay);
            let count = self.batches.full().iter().flatten().count();
            tracing::error!(
                retry_s = delay.as_secs(),
                "{count} event(s) are not committed: {error}{}",
                hint(error.hint())
            );
            if inbox.rest(delay) {
                return self.commit().map_err(RunError::Context);
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let events = |batch: &Vec<Arrival>| -> Vec<Event> {
            let events = batch.iter().filter_map(|arrival| arrival.event.as_ref().ok());
            events.cloned().collect()
        };
        let batches: Vec<_> = self.batches.full().iter().map(events).collect();
        let batches: Vec<_> = batches.iter().map(Vec::as_slice).collect();
        if batches.is_empty() {
            return Ok(());
        }
        let landed = self.context.commit_each(&batches, &self.clock);
        let landed = landed.inspect_err(|_| self.is_in_doubt = true)?;
        self.numbers.committed(self.batches.full().iter().flatten());
        if std::mem::take(&mut self.is_in_doubt) || landed.iter().any(|committed| committed.commit.is_some()) {
            self.pusher.iter().for_each(Pusher::committed);
        }
        landed.iter().for_each(|committed| self.report(committed));
        let with_commit = landed
            .iter()
            .zip(&batches)
            .filter(|(committed, _)| committed.commit.is_some());
        if let Some(event) = with_commit.filter_map(|(_, events)| events.last()).next_back() {
            self.health.committed(event.event_id(), event.ts());
        }
        for arrival in self.batches.full().iter().flatten() {
            if let Err(refused) = &arrival.event {
                let problems: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
                self.context.keep_unreadable(&refused.raw, self.clock.now())?;
                tracing::warn!("refused an event: {}", problems.join("; "));
                self.summary.refused += 1;
            }
            if let (Some(cursors), Some(cursor)) = (&mut self.cursors, &arrival.cursor) {
                cursors.set(cursor.clone(), arrival.event.as_ref().ok().map(Event::event_id));
            }
        }
        self.batches.clear();
        if let Some(cursors) = &mut self.cursors {
            cursors.save_if_due(&self.context, self.clock.elapsed());
        }
        Ok(())
    }

    fn report(&mut self, committed: &Committed) {
        self.summary.added += committed.added;
        self.summary.known += committed.known;
        self.summary.refused += committed.refused.len();
        for refusal in &committed.refused {
            tracing::warn!(
                "refused event {} of feed {}: {} exists with other content; write corrections as new events",
                refusal.event_id,
                refusal.feed_id,
                refusal.path
            );
        }
        if let Some(commit) = committed.commit {
            tracing::info!(%commit, "Mirror: add {} event(s)", committed.added);
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            committed: self.summary.added,
            known: self.summary.known,
            refused: self.summary.refused,
        }
    }

    fn heartbeat_if_due(&mut self) {
        if self.clock.elapsed() >= self.next_heartbeat {
            self.next_heartbeat = self.clock.elapsed() + lock_file::HEARTBEAT;
            if let Err(error) = self.context.heartbeat(self.clock.now()) {
                tracing::warn!("cannot write the heartbeat: {error}");
            }
        }
    }

    fn end(mut self, sources: Vec<SourceThread>, ended: Ended) -> Summary {
        if let Some(cursors) = &self.cursors {
            cursors.save(&self.context);
        }
        self.summary.is_pushed = self.pusher.take().map(|pusher| pusher.finish(GRACE));
        if let Err(error) = self.context.end() {
            tracing::warn!("cannot record the end of this instance; the next one will warn about it: {error}");
        }
        if ended == Ended::SourcesEnded {
            let results = sources.into_iter().map(JoinHandle::join);
            self.summary.failures = results.filter_map(|result| failure_of(result).err()).collect();
        }
        self.summary
    }
}

/// Returns the number of attempts to commit when the sources end by themselves.
fn attempts(kind: Kind) -> u32 {
    match kind {
        // A person has to act first.
        Kind::Refused | Kind::Misconfigured => 1,
        Kind::Busy | Kind::Failed => MAX_ATTEMPTS,
    }
}

fn start_pusher(
    settings: &Settings,
    context: &Context,
    (environment, mut confirmer): (&SharedEnvironment, Option<Confirmer>),
    health: &Health,
    clock: SystemClock,
) -> Pusher {
    let (path, context, environment) = (settings.repository.clone(), context.clone(), environment.clone());
    let health = health.clone();
    Pusher::start(PushSchedule::new(settings.pushes_per_minute), move || {
        push_attempt::push(&context, &path, &environment, &health, &clock, confirmer.as_mut())
    })
}

fn listen(settings: &Settings, health: &Health) -> Result<(), RunError> {
    if let Some(address) = settings.listen {
        let bound = health
            .listen(address)
            .map_err(|error| RunError::Listen(address, error))?;
        tracing::info!("health at http://{bound}/health");
    }
    Ok(())
}

/// Logs the configuration, without secrets.
fn log_configuration(settings: &Settings, relay: Option<&(Web, &[String])>, target: &Result<Target, LocalOnly>) {
    let source = match &settings.source {
        Source::Stream(stream) => stream.url.clone(),
        _ => relay.map_or("standard input".into(), |(web, _)| web.url().to_string()),
    };
    let feeds = settings.feeds().join(",");
    let relay_token = settings.relay().is_some_and(|relay| relay.token.is_some());
    let redacted = |is_set: bool| if is_set { "***" } else { "none" };
    tracing::info!(
        repository = %settings.repository.display(),
        source,
        feeds,
        relay_token = redacted(relay_token),
        batch_size = settings.limits.size,
        batch_timeout_ms = settings.limits.timeout.as_millis() as u64,
        layout = ?settings.layout,
        branch = settings.branch,
        remote = target.as_ref().map_or("none".into(), |target| target.location().to_string()),
        token = redacted(target.as_ref().is_ok_and(Target::has_token)),
        "configuration"
    );
    match target {
        Ok(target) if target.has_secret_in_url() => {
            tracing::warn!(
                "GITHUB_REPO_URL contains a token, where others may see it; set GITHUB_PAT or GITHUB_PAT_FILE instead"
            );
        }
        Ok(_) => {}
        Err(why) => tracing::info!("local-only: {why}; nothing is pushed"),
    }
}
