//! The driver: from sources into commits, from commits to the remote.
//!
//! ```text
//!   source::relay (a thread per feed) --+
//!   source::lines (standard input) -----+--> inbox --> batches --> Context::commit_each --> pusher --> Context::publish
//! ```
//!
//! One thread commits, another one pushes; neither waits for the other. An event that arrived is in memory until its batch is
//! committed: what is lost there with the process is fetched again, for a relay is asked for everything behind what was
//! committed. What could not be committed is tried again, and meanwhile nothing is taken; the bounded inbox holds the
//! sources.
use std::{
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    retry::RetryPolicy,
};
use git_push::ErrorKind;
use git_push_transport::web::Web;

use super::{
    Committed, Context, Error, Options,
    batch::Batches,
    error::Kind,
    inbox::{Inbox, Next, Sender, Stop, inbox},
    lock_file,
    pace::Pace,
    pusher::{Attempt, Pusher},
    refused,
    settings::{Settings, Source},
    source::{
        Arrival, Mark, lines,
        marks::{self, Marks},
        relay::{Follower, Held},
    },
    target::{LocalOnly, SharedEnvironment, Target},
};
use crate::{config::USER_AGENT, event::Event};

/// How long the last push gets when it is time to stop.
const GRACE: Duration = Duration::from_secs(20);
/// The distances between attempts to commit.
const COMMIT_AGAIN: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(30),
};
/// How often it is tried where nobody waits for more.
const LAST_ATTEMPTS: u32 = 5;
/// How often is written down how far feeds were committed. What is not written down is asked for once more.
const MARKS_EVERY: Duration = Duration::from_secs(5);

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Events that were committed.
    pub added: usize,
    /// Events that were there already.
    pub known: usize,
    /// What was not taken.
    pub refused: usize,
    /// Whether everything is on the remote; none without a remote.
    pub is_pushed: Option<bool>,
    /// Sources that failed.
    pub failures: Vec<git_push::Error>,
}

/// Why there is no run, or why it ended.
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
}

/// Runs until all sources have ended, or it is told to stop through what `ready` is given, once everything is set up.
///
/// # Errors
/// It cannot begin; or what has arrived could not be committed, at its end or where the sources end by themselves. That
/// something could not be pushed is no error.
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
    tell(settings, relay.as_ref(), &target);
    if let Ok(target) = &target {
        context.set_origin(target.url(), &clock)?;
    }
    let (sender, inbox) = inbox();
    let mut run = Run {
        settings,
        clock,
        marks: marks_of(settings, &context),
        pusher: target
            .is_ok()
            .then(|| start_pusher(settings, &context, environment, clock)),
        batches: Batches::new(settings.limits),
        summary: Summary::default(),
        next_marks: Duration::ZERO,
        next_heartbeat: clock.elapsed() + lock_file::HEARTBEAT,
        is_in_doubt: false,
        context,
    };
    let sources = run.start_sources(sender, relay)?;
    ready(inbox.stop());
    let collected = run.collect(&inbox);
    // What was committed before is pushed in any case.
    let ended = collected.as_ref().copied().unwrap_or(Ended::Stopped);
    let summary = run.end(sources, ended);
    collected.map(|_| summary)
}

/// How taking came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    OfItself,
    Stopped,
}

type SourceThread = JoinHandle<Result<(), git_push::Error>>;

struct Run<'a> {
    settings: &'a Settings,
    clock: SystemClock,
    context: Context,
    pusher: Option<Pusher>,
    batches: Batches<Arrival>,
    marks: Option<Marks>,
    next_marks: Duration,
    next_heartbeat: Duration,
    /// A commit has failed, and may be there all the same: the next one completes it.
    is_in_doubt: bool,
    summary: Summary,
}

impl Run<'_> {
    fn start_sources(
        &self,
        sender: Sender<Arrival>,
        relay: Option<(Web, &[String])>,
    ) -> Result<Vec<SourceThread>, Error> {
        let Some((web, feeds)) = relay else {
            return Ok(vec![thread::spawn(move || read_stdin(&sender))]);
        };
        let mut followers = Vec::new();
        for feed in feeds {
            let held = Held {
                mark: self.mark_of(feed)?,
                newest: self.context.resume_point(feed, self.clock.now())?.map(|point| point.ts),
            };
            followers.push(Follower::new(web.clone(), feed, held, sender.clone(), self.clock));
        }
        Ok(followers.into_iter().map(|follower| self.start(follower)).collect())
    }

    /// How far the branch has a feed.
    fn mark_of(&self, feed: &str) -> Result<Option<Mark>, Error> {
        let Some((mark, event_id)) = self.marks.as_ref().and_then(|marks| marks.of(feed)) else {
            return Ok(None);
        };
        if self.context.has(feed, event_id)? {
            return Ok(Some(mark.clone()));
        }
        tracing::warn!(feed, "the branch has less than was committed: everything is read again");
        Ok(None)
    }

    fn start(&self, follower: Follower<SystemClock>) -> SourceThread {
        let once = self.settings.once;
        thread::spawn(move || match once {
            true => follower.fetch(),
            false => {
                follower.follow();
                Ok(())
            }
        })
    }

    /// Takes and commits until there is nothing more to take.
    fn collect(&mut self, inbox: &Inbox<Arrival>) -> Result<Ended, RunError> {
        loop {
            let now = self.clock.elapsed();
            let heartbeat = self.next_heartbeat.saturating_sub(now);
            let wait = self.batches.wait(now).map_or(heartbeat, |wait| wait.min(heartbeat));
            let ended = match inbox.next(Some(wait)) {
                Next::Arrival(arrival) => {
                    let bytes = arrival.bytes;
                    self.batches.push(arrival, bytes, self.clock.elapsed());
                    // What has arrived already lands with it.
                    if self.batches.has_room() {
                        continue;
                    }
                    None
                }
                Next::Nothing => None,
                Next::Ended => Some(Ended::OfItself),
                Next::Stopped => Some(Ended::Stopped),
            };
            self.beat();
            match ended {
                Some(_) => self.batches.close(),
                None => self.batches.close_if_due(self.clock.elapsed()),
            }
            self.commit_patiently(inbox)?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Commits the batches that are full; what fails is tried again until it is time to stop, or where the sources end by
    /// themselves, as long as that may help.
    fn commit_patiently(&mut self, inbox: &Inbox<Arrival>) -> Result<(), RunError> {
        let mut distances = COMMIT_AGAIN.delays(|| 0.0);
        for attempt in 1.. {
            let Err(error) = self.commit() else { break };
            if self.settings.ends_of_itself() && attempt >= attempts(error.kind()) {
                return Err(error.into());
            }
            let distance = distances.next().unwrap_or(COMMIT_AGAIN.max_delay);
            let count = self.batches.full().iter().flatten().count();
            tracing::error!(
                again_s = distance.as_secs(),
                "{count} event(s) are not committed: {error}{}",
                hint(error.hint())
            );
            if inbox.rest(distance) {
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
        if std::mem::take(&mut self.is_in_doubt) || landed.iter().any(|committed| committed.commit.is_some()) {
            self.pusher.iter().for_each(Pusher::committed);
        }
        landed.iter().for_each(|committed| self.tell_of(committed));
        for arrival in self.batches.full().iter().flatten() {
            if let Err(refused) = &arrival.event {
                let problems: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
                self.context.keep_unreadable(&refused.raw, self.clock.now())?;
                tracing::warn!("an event is refused: {}", problems.join("; "));
                self.summary.refused += 1;
            }
            if let (Some(marks), Some(mark)) = (&mut self.marks, &arrival.mark) {
                marks.set(mark.clone(), arrival.event.as_ref().ok().map(Event::event_id));
            }
        }
        self.batches.clear();
        self.save_marks(MARKS_EVERY);
        Ok(())
    }

    fn tell_of(&mut self, committed: &Committed) {
        self.summary.added += committed.added;
        self.summary.known += committed.known;
        self.summary.refused += committed.refused.len();
        for refusal in &committed.refused {
            tracing::warn!(
                "the event {} of the feed {} is refused: {} has another content, and corrections are new events",
                refusal.event_id,
                refusal.feed_id,
                refusal.path
            );
        }
        if let Some(commit) = committed.commit {
            tracing::info!(%commit, "Mirror: add {} event(s)", committed.added);
        }
    }

    /// Writes down how far feeds were committed, when that was not done for so long.
    fn save_marks(&mut self, every: Duration) {
        let now = self.clock.elapsed();
        let Some(marks) = self.marks.as_ref().filter(|_| now >= self.next_marks) else {
            return;
        };
        self.next_marks = now + every;
        if let Err(error) = marks.save(&self.context.git_dir().join(marks::FOLDER)) {
            tracing::warn!(%error, "how far feeds were committed cannot be written down; more is asked for next time");
        }
    }

    fn beat(&mut self) {
        if self.clock.elapsed() >= self.next_heartbeat {
            self.next_heartbeat = self.clock.elapsed() + lock_file::HEARTBEAT;
            if let Err(error) = self.context.heartbeat(self.clock.now()) {
                tracing::warn!("no heartbeat: {error}");
            }
        }
    }

    fn end(mut self, sources: Vec<SourceThread>, ended: Ended) -> Summary {
        self.next_marks = Duration::ZERO;
        self.save_marks(MARKS_EVERY);
        self.summary.is_pushed = self.pusher.take().map(|pusher| pusher.finish(GRACE));
        if let Err(error) = self.context.end() {
            tracing::warn!("the next instance will be warned of this one: {error}");
        }
        if ended == Ended::OfItself {
            let results = sources.into_iter().map(JoinHandle::join);
            self.summary.failures = results.filter_map(|result| failure_of(result).err()).collect();
        }
        self.summary
    }
}

/// What a source came to. One that panicked has not given everything.
fn failure_of(ended: thread::Result<Result<(), git_push::Error>>) -> Result<(), git_push::Error> {
    ended.unwrap_or_else(|_| {
        let what = "a source of events ended by a defect of this program: not everything was read";
        Err(git_push::Error::new(ErrorKind::Transient, what))
    })
}

/// How often it is tried to commit where nobody waits for more.
fn attempts(kind: Kind) -> u32 {
    match kind {
        // Somebody has to do something about it.
        Kind::Refused | Kind::Misconfigured => 1,
        Kind::Busy | Kind::Failed => LAST_ATTEMPTS,
    }
}

/// The relay, with the feeds to follow there.
fn open_relay<'a>(
    settings: &'a Settings,
    environment: &SharedEnvironment,
) -> Result<Option<(Web, &'a [String])>, RunError> {
    let Source::Relay(relay) = &settings.source else {
        return Ok(None);
    };
    let connection = git_push_transport::Settings::from_environment(&**environment).map_err(RunError::Remote)?;
    let connection = connection.with_user_agent(USER_AGENT);
    let web = Web::open(&relay.url, relay.token.clone(), connection).map_err(RunError::Relay)?;
    Ok(Some((web, &relay.feeds)))
}

fn marks_of(settings: &Settings, context: &Context) -> Option<Marks> {
    match &settings.source {
        Source::Stdin => None,
        Source::Relay(relay) => {
            let folder = context.git_dir().join(marks::FOLDER);
            Some(Marks::load(&folder, &relay.url, &settings.branch))
        }
    }
}

fn read_stdin(sender: &Sender<Arrival>) -> Result<(), git_push::Error> {
    let take = |arrival: Arrival| {
        let bytes = arrival.bytes;
        sender.send(arrival, bytes).is_ok()
    };
    let read = lines::read(io::stdin().lock(), take);
    read.map_err(|error| git_push::Error::new(ErrorKind::Transient, format!("cannot read standard input: {error}")))
}

fn start_pusher(settings: &Settings, context: &Context, environment: &SharedEnvironment, clock: SystemClock) -> Pusher {
    let (path, context, environment) = (settings.repository.clone(), context.clone(), environment.clone());
    Pusher::start(Pace::new(settings.pushes_per_minute), move || {
        // Read anew each time, so that a token can be renewed under way.
        let target = Target::read(&path, &*environment).and_then(|target| target.map_err(no_longer));
        let published = target.and_then(|target| context.publish(&mut target.open()?, &clock, RetryPolicy::default()));
        let published = match published {
            Ok(published) => published,
            Err(error) => {
                tracing::error!(
                    "not pushed, tried again with the next batch: {error}{}",
                    hint(error.hint())
                );
                return Attempt::Failed(error.retry_after());
            }
        };
        for refusal in &published.refused {
            tracing::warn!(
                "the remote has another content for {}: it stands there, ours is kept aside",
                refusal.path
            );
        }
        for event in &published.left_out {
            tracing::warn!(
                "{} is not pushed: git takes the name of its folder for its own, so servers refuse it; the commits were made \
                 again without it, and it is kept in {}",
                event.path,
                refused::FILE
            );
        }
        if published.events > 0 {
            tracing::info!(commit = %published.commit, "Pushed {} event(s) to GitHub", published.events);
        }
        Attempt::Done
    })
}

/// What to do about an error, behind what it says.
fn hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn no_longer(why: LocalOnly) -> git_push::Error {
    git_push::Error::new(ErrorKind::Misconfigured, why.to_string())
}

/// Says how it is configured, without secrets.
fn tell(settings: &Settings, relay: Option<&(Web, &[String])>, target: &Result<Target, LocalOnly>) {
    let source = relay.map_or("standard input".into(), |(web, _)| web.url().to_string());
    let feeds = relay.map_or(String::new(), |(_, feeds)| feeds.join(","));
    let relay_token = matches!(&settings.source, Source::Relay(relay) if relay.token.is_some());
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
                "GITHUB_REPO_URL has a token in it, where others may see it; set GITHUB_PAT or GITHUB_PAT_FILE instead"
            );
        }
        Ok(_) => {}
        Err(why) => tracing::info!("local-only: {why}; nothing is pushed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_panicked_is_a_failure() {
        assert!(failure_of(Ok(Ok(()))).is_ok());
        let error = failure_of(Err(Box::new("a panic"))).expect_err("a failure");
        assert!(error.to_string().contains("not everything was read"), "{error}");
    }
}
