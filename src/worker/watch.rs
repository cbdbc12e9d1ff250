//! The long-running worker: cycles over many repositories, each when something was appended to its journal, when a group
//! in trouble is to be tried again, or when the refs of both sides are to be compared.
//!
//! One thread decides ([`Schedule`]), each cycle has a thread of its own, so that a repository that hangs does not hold the
//! others. To stop is safe at any moment: whatever a cycle leaves, the next start understands.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};

use super::{
    backoff::delay_after,
    journal_watcher::JournalWatcher,
    missing::Missing,
    report::{CycleOutcome, CycleReport},
    root::{FoundRepositories, find_repositories},
    run::{Options, RunError, run},
    schedule::Schedule,
};
use crate::{config::Config, journal};

/// How many cycles run at once.
const CONCURRENCY: usize = 4;
/// How long a repository that is quiet is left alone. A cycle then compares the refs of both sides.
const QUIET: Duration = Duration::from_secs(15 * 60);
/// How often is looked for new repositories and changed settings.
const RESCAN: Duration = Duration::from_secs(10);
/// How long a push in flight gets when it is time to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Which repositories are watched.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// These.
    pub repositories: Vec<PathBuf>,
    /// And all below this folder that may have something to mirror; see [`find_repositories()`].
    pub root: Option<PathBuf>,
    /// The mirror, instead of the configured one.
    pub remote: Option<String>,
}

impl Watched {
    fn options(&self) -> Options {
        Options {
            remote: self.remote.clone(),
            several: self.root.is_some() || self.repositories.len() > 1,
            patient: true,
            ..Default::default()
        }
    }
}

/// What happens to a watch from outside.
#[derive(Debug)]
pub enum Event {
    /// Something was appended to this repository's journal.
    Appended(PathBuf),
    /// A cycle has ended.
    Finished(PathBuf, Box<Result<CycleReport, RunError>>),
    /// Settings may have changed: everything is looked at anew.
    Reload,
    /// It is time to stop.
    Stop,
}

/// Reads an environment variable, from any thread.
pub type SharedEnvironment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Watches until [`Event::Stop`]. `alive` is called at least every `RESCAN`, first when everything is set up.
pub fn watch(
    watched: Watched,
    environment: SharedEnvironment,
    events: (Sender<Event>, Receiver<Event>),
    alive: impl FnMut(),
) {
    let (sender, events) = events;
    let appended = sender.clone();
    let notice = JournalWatcher::start(Arc::new(move |git_dir: &Path| {
        // Nobody listens any more when it is time to stop.
        let _ = appended.send(Event::Appended(git_dir.to_owned()));
    }));
    let mut watch = Watch {
        watched,
        environment,
        sender,
        notice,
        schedule: Schedule::new(CONCURRENCY),
        clock: SystemClock::default(),
        begun: BTreeSet::new(),
        failures: BTreeMap::new(),
        missing: BTreeMap::new(),
        below: None,
    };
    watch.until_stopped(&events, alive);
    watch.wind_down(&events);
}

struct Watch {
    watched: Watched,
    environment: SharedEnvironment,
    sender: Sender<Event>,
    notice: JournalWatcher,
    schedule: Schedule,
    clock: SystemClock,
    /// Those that had a cycle since everything was looked at anew. The first does not wait for what failed before.
    begun: BTreeSet<PathBuf>,
    /// Cycles that could not be made at all, in a row.
    failures: BTreeMap<PathBuf, u32>,
    /// What is missing for a push, as it was logged.
    missing: BTreeMap<PathBuf, Missing>,
    /// What was found below the root last.
    below: Option<FoundRepositories>,
}

impl Watch {
    fn until_stopped(&mut self, events: &Receiver<Event>, mut alive: impl FnMut()) {
        let mut rescan = Duration::ZERO;
        loop {
            let now = self.clock.elapsed();
            if now >= rescan {
                self.rescan(now);
                rescan = now + RESCAN;
            }
            alive();
            for repository in self.schedule.start(now) {
                self.begin(repository);
            }
            let next = self.schedule.next_start(now).map_or(rescan, |start| start.min(rescan));
            match events.recv_timeout(next.saturating_sub(self.clock.elapsed())) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Event::Reload) => {
                    tracing::info!("looking at everything anew");
                    rescan = Duration::ZERO;
                    self.begun.clear();
                    self.schedule.wake_all(self.clock.elapsed());
                }
                Ok(Event::Appended(repository)) => self.schedule.wake(&repository, self.clock.elapsed()),
                Ok(Event::Finished(repository, result)) => self.finish(&repository, &result),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Lets cycles end by themselves, for a while. What is left is abandoned with the process.
    fn wind_down(&mut self, events: &Receiver<Event>) {
        let end = self.clock.elapsed() + GRACE;
        while self.schedule.running() > 0 {
            match events.recv_timeout(end.saturating_sub(self.clock.elapsed())) {
                Ok(Event::Finished(repository, result)) => self.finish(&repository, &result),
                Ok(_) => {}
                Err(_) => {
                    tracing::warn!(
                        cycles = self.schedule.running(),
                        "abandoned; their entries stay pending"
                    );
                    return;
                }
            }
        }
    }

    fn rescan(&mut self, now: Duration) {
        let mut there: BTreeSet<PathBuf> = self.watched.repositories.iter().cloned().collect();
        match self.watched.root.as_deref().map(find_repositories) {
            Some(Ok(below)) => {
                there.extend(below.repositories.iter().cloned());
                self.note(below);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the root cannot be read");
                // What was below it may still be there.
                there.extend(self.below.iter().flat_map(|below| below.repositories.iter().cloned()));
            }
            None => {}
        }
        for repository in &there {
            // An append can only be noticed in a folder that is there.
            if let Err(error) = journal::create_folder(&Disk, repository) {
                tracing::warn!(repository = %repository.display(), %error, "no .stargate folder can be made");
            }
            // One that cannot be read is told by the cycle, which cannot be made.
            let config = Config::load(repository).unwrap_or_default();
            let configured = config.remote.map(|remote| remote.to_string());
            let mirror = self.watched.options().mirror(configured, &*self.environment);
            let mirror = mirror.unwrap_or_default();
            self.schedule.set(repository, &mirror, config.pushes_per_minute, now);
            self.notice.add(repository);
        }
        self.schedule.retain(&there);
    }

    /// Logs what is new about the folders below the root.
    fn note(&mut self, below: FoundRepositories) {
        let before = self.below.take();
        let known = |folder: &PathBuf| {
            before
                .as_ref()
                .is_some_and(|before| before.unsearched.contains_key(folder))
        };
        for (folder, why) in below.unsearched.iter().filter(|(folder, _)| !known(folder)) {
            tracing::warn!(folder = %folder.display(), why, "not searched for repositories");
        }
        let had_some = before.is_none_or(|before| !before.repositories.is_empty());
        if below.repositories.is_empty() && had_some {
            let root = self.watched.root.as_deref().unwrap_or(Path::new(""));
            tracing::warn!(root = %root.display(), "no repository below has stargate.remote, a [stargate] section or a journal");
        }
        self.below = Some(below);
    }

    /// Logs what is missing for a push, once.
    fn note_missing(&mut self, repository: &Path, missing: Option<&Missing>) {
        if self.missing.get(repository) == missing {
            return;
        }
        match missing {
            Some(missing) => {
                tracing::warn!(repository = %repository.display(), "local-only: {missing}");
                self.missing.insert(repository.to_owned(), missing.clone());
            }
            None => drop(self.missing.remove(repository)),
        }
    }

    fn begin(&mut self, repository: PathBuf) {
        let options = Options {
            patient: !self.begun.insert(repository.clone()),
            ..self.watched.options()
        };
        let (environment, sender, clock) = (self.environment.clone(), self.sender.clone(), self.clock);
        thread::spawn(move || {
            let result = run(&repository, &options, &*environment, &clock);
            // Nobody listens any more when this was abandoned.
            let _ = sender.send(Event::Finished(repository, Box::new(result)));
        });
    }

    fn finish(&mut self, repository: &Path, result: &Result<CycleReport, RunError>) {
        let shown = repository.display();
        let pause = match result {
            Ok(report) => {
                self.failures.remove(repository);
                self.note_missing(repository, report.missing.as_ref());
                // What could not be written may have woken this watch by the attempt: that must not go on without a bound.
                if !report.asked && report.unwritten == 0 {
                    self.schedule.give_back(repository);
                }
                match report.outcome {
                    CycleOutcome::Idle => tracing::debug!(repository = %shown, "idle"),
                    outcome => tracing::info!(repository = %shown, ?outcome, pending = report.pending, "cycle"),
                }
                let until = |next: i64| next.saturating_sub(self.clock.now().as_second()).max(1);
                let next_try = report
                    .next_try
                    .map(|next| Duration::from_secs(until(next).unsigned_abs()));
                next_try.unwrap_or(QUIET).min(QUIET)
            }
            Err(error) => {
                let failures = self.failures.entry(repository.to_owned()).or_default();
                *failures += 1;
                let pause = delay_after(*failures);
                let hint = error.hint().unwrap_or_default();
                tracing::error!(repository = %shown, %error, hint, next_try_s = pause.as_secs(), "no cycle");
                pause
            }
        };
        self.schedule.finished(repository, self.clock.elapsed() + pause);
    }
}

/// A channel for [`watch()`].
pub fn channel() -> (Sender<Event>, Receiver<Event>) {
    mpsc::channel()
}
