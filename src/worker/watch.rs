//! Long-running worker over many repositories. A cycle starts when a journal grows, when a ref moves without a journal
//! entry, when a failed group is due for a retry, or when the refs of both sides are due for a comparison.
//!
//! One thread schedules ([`Schedule`]). Each cycle carries one repository to one mirror in a thread of its own, so a
//! repository or a mirror that hangs does not block the others. Stopping is safe at any moment: the next start recovers from an interrupted cycle.
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
    choice::Chosen,
    cycle_end::CycleEnd,
    cycle_observer::Observers,
    error::RunError,
    journal_watcher::JournalWatcher,
    missing::Missing,
    options::Options,
    ref_watcher::RefWatcher,
    report::{CycleOutcome, CycleReport},
    review::NothingMirrored,
    root::{FoundRepositories, find_repositories},
    run::{name_among_several, run},
    schedule::{Schedule, Start, Target},
    vanished::{is_missing, vanished},
};
use crate::{
    config::{Config, Mirrors},
    journal,
};

/// Maximum number of concurrent cycles to one server.
const CONCURRENCY: usize = 4;
/// Interval of cycles over a quiet repository, which compare the refs of both sides.
pub const QUIET: Duration = Duration::from_secs(15 * 60);
/// Time for a push to write its journal entry after its refs have moved. Without an entry, a comparison finds the move.
const ENTRY_DELAY: Duration = Duration::from_secs(1);
/// Interval of the search for new repositories and changed settings.
const RESCAN: Duration = Duration::from_secs(10);
/// Time for a running push to finish after a stop.
const GRACE: Duration = Duration::from_secs(10);

/// Repositories to watch.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Repositories given by name.
    pub repositories: Vec<PathBuf>,
    /// Folder whose repositories are watched, too; see [`find_repositories()`].
    pub root: Option<PathBuf>,
    /// Mirror to use instead of the configured one.
    pub remote: Option<String>,
    /// Receivers of the results of cycles.
    pub observers: Observers,
}

impl Watched {
    fn options(&self) -> Options {
        Options {
            remote: self.remote.clone(),
            several: self.root.is_some() || self.repositories.len() > 1,
            patient: true,
            observers: self.observers.clone(),
            ..Default::default()
        }
    }
}

/// Event that a watch receives.
#[derive(Debug)]
pub enum Event {
    /// The journal of this repository has grown.
    Appended(PathBuf),
    /// Refs of this repository have moved.
    Moved(PathBuf),
    /// A cycle has ended.
    Finished(Target, Box<Result<CycleReport, RunError>>),
    /// Settings may have changed, so everything is read again.
    Reload,
    /// The watch must stop.
    Stop,
}

/// Reads an environment variable, from any thread.
pub type SharedEnvironment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Watches until [`Event::Stop`]. Calls `alive` once everything is set up, and then at least every `RESCAN`.
pub fn watch(
    watched: Watched,
    environment: SharedEnvironment,
    events: (Sender<Event>, Receiver<Event>),
    alive: impl FnMut(),
) {
    let (sender, events) = events;
    let appended = sender.clone();
    let watcher = JournalWatcher::start(Arc::new(move |git_dir: &Path| {
        // Fails only after the watch has stopped.
        let _ = appended.send(Event::Appended(git_dir.to_owned()));
    }));
    let moved = sender.clone();
    let ref_watcher = RefWatcher::start(Arc::new(move |git_dir: &Path| {
        // Fails only after the watch has stopped.
        let _ = moved.send(Event::Moved(git_dir.to_owned()));
    }));
    let mut watch = Watch {
        watched,
        environment,
        sender,
        watcher,
        ref_watcher,
        schedule: Schedule::new(CONCURRENCY),
        clock: SystemClock::default(),
        begun: BTreeSet::new(),
        failures: BTreeMap::new(),
        missing: BTreeMap::new(),
        unmirrored: BTreeMap::new(),
        troubled: BTreeMap::new(),
        below: None,
        targets: BTreeSet::new(),
        vanished: BTreeSet::new(),
    };
    watch.until_stopped(&events, alive);
    watch.wind_down(&events);
}

struct Watch {
    watched: Watched,
    environment: SharedEnvironment,
    sender: Sender<Event>,
    watcher: JournalWatcher,
    ref_watcher: RefWatcher,
    schedule: Schedule,
    clock: SystemClock,
    /// Targets with a cycle since the last reload. Their first cycle ignores the backoff of failed groups.
    begun: BTreeSet<Target>,
    /// Number of cycles in a row that could not run.
    failures: BTreeMap<Target, u32>,
    /// Settings whose absence was logged.
    missing: BTreeMap<Target, Missing>,
    /// Logged messages that no ref is mirrored.
    unmirrored: BTreeMap<Target, String>,
    /// Time since when cycles of a target have left something undone.
    troubled: BTreeMap<Target, Duration>,
    /// Result of the last search below the root.
    below: Option<FoundRepositories>,
    /// Targets of the last search.
    targets: BTreeSet<Target>,
    /// Known repositories that are missing.
    vanished: BTreeSet<PathBuf>,
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
            for start in self.schedule.start(now) {
                self.begin(start);
            }
            let next = self.schedule.next_start(now).map_or(rescan, |start| start.min(rescan));
            match events.recv_timeout(next.saturating_sub(self.clock.elapsed())) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Event::Reload) => {
                    tracing::info!("reading repositories and settings again");
                    rescan = Duration::ZERO;
                    self.begun.clear();
                    self.schedule.wake_all(self.clock.elapsed());
                }
                Ok(Event::Appended(repository)) => self.schedule.wake(&repository, self.clock.elapsed()),
                Ok(Event::Moved(repository)) => self.schedule.wake(&repository, self.clock.elapsed() + ENTRY_DELAY),
                Ok(Event::Finished(target, result)) => self.finish(&target, &result),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits up to [`GRACE`] for running cycles. The rest is abandoned with the process.
    fn wind_down(&mut self, events: &Receiver<Event>) {
        let end = self.clock.elapsed() + GRACE;
        while self.schedule.running() > 0 {
            match events.recv_timeout(end.saturating_sub(self.clock.elapsed())) {
                Ok(Event::Finished(target, result)) => self.finish(&target, &result),
                Ok(_) => {}
                Err(_) => {
                    tracing::warn!(
                        cycles = self.schedule.running(),
                        "running cycles were abandoned; their entries stay pending"
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
                self.log_search(below);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "cannot read the root folder");
                // Keeps the repositories of the last search.
                there.extend(self.below.iter().flat_map(|below| below.repositories.iter().cloned()));
            }
            None => {}
        }
        let (mut patterns, mut targets) = (BTreeMap::new(), self.add_vanished(&mut there, now));
        for repository in &there {
            // The journal can be watched only if its folder exists.
            if let Err(error) = journal::create_folder(&Disk, repository) {
                tracing::warn!(repository = %repository.display(), %error, "cannot create the .stargate folder");
            }
            // The cycle reports a configuration that cannot be read.
            let mirrors = Mirrors::load(repository).unwrap_or_else(|_| Mirrors::of(Config::default()));
            let refs = mirrors.each.iter().map(|mirror| mirror.refs.clone()).collect();
            targets.extend(self.add_targets(repository, &mirrors, now));
            self.watcher.add(repository);
            patterns.insert(repository.clone(), refs);
        }
        self.ref_watcher.set(&patterns);
        self.schedule.retain(&targets);
        self.watched.observers.targets_found(&targets);
        self.targets = targets;
    }

    /// Returns the targets of known repositories that are missing, and removes these from those that are `there`. Their cycles
    /// report that; the first one comes at once.
    fn add_vanished(&mut self, there: &mut BTreeSet<PathBuf>, now: Duration) -> BTreeSet<Target> {
        let known: BTreeSet<PathBuf> = self.targets.iter().map(|target| target.repository.clone()).collect();
        let named = there.iter().filter(|named| known.contains(*named) && is_missing(named));
        let mut missing: BTreeSet<PathBuf> = named.cloned().collect();
        there.retain(|repository| !missing.contains(repository));
        missing.extend(vanished(&known, there, &|repository| repository.try_exists()));
        for repository in missing.difference(&self.vanished) {
            tracing::error!(repository = %repository.display(), "the repository is missing");
            self.schedule.wake(repository, now);
        }
        for repository in self.vanished.difference(&missing) {
            self.schedule.wake(repository, now);
        }
        self.vanished = missing;
        let is_missing = |target: &&Target| self.vanished.contains(&target.repository);
        self.targets.iter().filter(is_missing).cloned().collect()
    }

    /// Adds a target for each mirror of the repository, or a single one if the command line names a mirror.
    fn add_targets(&mut self, repository: &Path, mirrors: &Mirrors, now: Duration) -> Vec<Target> {
        let options = self.watched.options();
        let most = if options.remote.is_some() { 1 } else { usize::MAX };
        let mut targets = Vec::new();
        for chosen in Chosen::watched(mirrors, options.remote.as_deref()).iter().take(most) {
            let remote = chosen.remote(&options, &*self.environment).unwrap_or_default();
            let target = Target {
                repository: repository.to_owned(),
                // The cycle reports it if the command line names none of the mirrors.
                mirror: match &options.remote {
                    Some(remote) => name_among_several(repository, Some(remote)),
                    None => chosen.name_among_several().map(str::to_owned),
                },
            };
            let per_minute = chosen.config().pushes_per_minute;
            self.schedule.set(&target, &remote, per_minute, now);
            targets.push(target);
        }
        targets
    }

    /// Logs new problems of the search below the root.
    fn log_search(&mut self, below: FoundRepositories) {
        let before = self.below.take();
        let known = |folder: &PathBuf| {
            before
                .as_ref()
                .is_some_and(|before| before.unsearched.contains_key(folder))
        };
        for (folder, why) in below.unsearched.iter().filter(|(folder, _)| !known(folder)) {
            tracing::warn!(folder = %folder.display(), why, "the folder was not searched for repositories");
        }
        let had_some = before.is_none_or(|before| !before.repositories.is_empty());
        if below.repositories.is_empty() && had_some {
            let root = self.watched.root.as_deref().unwrap_or(Path::new(""));
            tracing::warn!(root = %root.display(), "no repository below the root has stargate.remote, a [stargate] section or a journal");
        }
        self.below = Some(below);
    }

    /// Logs what is missing for a push, once.
    fn log_missing(&mut self, target: &Target, missing: Option<&Missing>) {
        if let Some(missing) = new(&mut self.missing, target, missing) {
            let mirror = target.mirror.as_deref();
            tracing::warn!(repository = %target.repository.display(), mirror, "local-only: {missing}");
        }
    }

    /// Logs that no ref is mirrored, once.
    fn log_unmirrored(&mut self, target: &Target, unmirrored: Option<&String>) {
        if let Some(unmirrored) = new(&mut self.unmirrored, target, unmirrored) {
            let mirror = target.mirror.as_deref();
            tracing::warn!(repository = %target.repository.display(), mirror, hint = NothingMirrored::HINT, "{unmirrored}");
        }
    }

    /// Logs the end of a trouble. The field `recovered` makes the same lines news again.
    fn log_recovery(&mut self, target: &Target, result: &Result<CycleReport, RunError>) {
        let outcome = result.as_ref().map(|report| report.outcome);
        match outcome {
            Ok(CycleOutcome::Mirrored | CycleOutcome::Idle) => {
                if let Some(since) = self.troubled.remove(target) {
                    let lasted = self.clock.elapsed().saturating_sub(since).as_secs();
                    let (repository, mirror) = (target.repository.display(), target.mirror.as_deref());
                    tracing::info!(%repository, mirror, recovered = true, after_s = lasted, "mirrored again");
                }
            }
            Ok(CycleOutcome::LocalOnly) => {}
            Ok(CycleOutcome::Incomplete) | Err(_) => {
                self.troubled
                    .entry(target.clone())
                    .or_insert_with(|| self.clock.elapsed());
            }
        }
    }

    fn begin(&mut self, Start { target, budget_delay }: Start) {
        let watched = self.watched.options();
        let options = Options {
            patient: !self.begun.insert(target.clone()),
            remote: target.mirror.clone().or(watched.remote.clone()),
            budget_delay,
            ..watched
        };
        self.watched.observers.cycle_began(&target, self.clock.now());
        let is_alone = self.schedule.is_alone(&target);
        let (environment, sender, clock) = (self.environment.clone(), self.sender.clone(), self.clock);
        let ref_watcher = self.ref_watcher.clone();
        let end = CycleEnd::new(sender.clone(), target.clone());
        let cycle = move || {
            let has_moved = ref_watcher.ignore_earlier_moves(&target.repository);
            if has_moved && !is_alone {
                // The cycles to the other mirrors do not know of the move. Fails only if the watch has stopped.
                let _ = sender.send(Event::Moved(target.repository.clone()));
            }
            end.send(run(&target.repository, &options, &*environment, &clock));
        };
        // Without a thread, the cycle ends here.
        if let Err(error) = thread::Builder::new().spawn(cycle) {
            tracing::error!(%error, "cannot start a thread for a cycle");
        }
    }

    fn finish(&mut self, target: &Target, result: &Result<CycleReport, RunError>) {
        self.watched.observers.cycle_finished(target);
        self.log_recovery(target, result);
        let (shown, mirror) = (target.repository.display(), target.mirror.as_deref());
        let pause = match result {
            Ok(report) => {
                self.failures.remove(target);
                self.log_missing(target, report.missing.as_ref());
                self.log_unmirrored(target, report.unmirrored.as_ref());
                // A failed write to the journal may itself have woken the watch. Its start must count, or the loop is unlimited.
                if !report.asked && report.unwritten == 0 {
                    self.schedule.give_back(target);
                }
                match report.outcome {
                    CycleOutcome::Idle => tracing::debug!(repository = %shown, mirror, "idle"),
                    outcome => {
                        let outcome = outcome.word();
                        tracing::info!(repository = %shown, mirror, %outcome, pending = report.pending, "cycle ended");
                    }
                }
                let until = |next: i64| next.saturating_sub(self.clock.now().as_second()).max(1);
                let next_try = report
                    .next_try
                    .map(|next| Duration::from_secs(until(next).unsigned_abs()));
                next_try.unwrap_or(QUIET).min(QUIET)
            }
            Err(error) => {
                let failures = self.failures.entry(target.clone()).or_default();
                *failures += 1;
                let pause = delay_after(*failures);
                let hint = error.hint().unwrap_or_default();
                tracing::error!(repository = %shown, mirror, %error, hint, next_try_s = pause.as_secs(), "no cycle could run");
                pause
            }
        };
        self.schedule.finished(target, self.clock.elapsed() + pause);
    }
}

/// Records the current state of a target. Returns it if it differs from the recorded one.
fn new<'a, T: Clone + PartialEq>(
    known: &mut BTreeMap<Target, T>,
    target: &Target,
    now: Option<&'a T>,
) -> Option<&'a T> {
    let before = match now {
        Some(now) => known.insert(target.clone(), now.clone()),
        None => known.remove(target),
    };
    now.filter(|now| before.as_ref() != Some(*now))
}

/// Creates a channel for [`watch()`].
pub fn channel() -> (Sender<Event>, Receiver<Event>) {
    mpsc::channel()
}
