//! Alerts about mirrors: a program and a URL hear once of trouble that has begun, and once of its end.
//!
//! ```text
//! end of a cycle ----------------+
//! a cycle that does not end -----+-> findings (what holds, and why) -> AlertMemory (what is due) -> delivery in a thread
//!                                                                                                      |            |
//!                                                                                            program (stdin)   post (signed)
//! ```
//!
//! The memory of alerts is a file of its own, under a lock of its own, so alerts neither hold up a cycle nor look like one,
//! and a worker that hangs with its lock does not hold up alerts. The lock is not held during a delivery. An alert that was
//! not delivered is due again at the end of the next cycle. The number of deliveries at once is limited ([`Pool`]).
mod delivery;
mod failure;
mod findings;
mod place;
mod pool;
mod post;
mod program;
mod removed;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable::clock::{Clock, SystemClock};
use jiff::Timestamp;

use self::{
    delivery::{About, Delivery, Message},
    findings::{Findings, LONGEST_SILENCE},
    place::{Place, Unwritten},
    pool::Pool,
};
use super::{
    choice::Chosen,
    cycle_observer::{CycleObserver, EndedCycle},
    error::RunError,
    lock::WorkerStatus,
    memory::Memory,
    schedule::Target,
    status::status_of,
    vanished::is_missing,
    watch::SharedEnvironment,
};
use crate::{
    config::{AlertConfig, Config, Mirrors},
    journal,
    mirror::{Alert, AlertChannel},
    uuid,
};

/// Longest wait for the lock of the memory of alerts at the end of a cycle. A process that holds it looks for alerts itself.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Limit of deliveries at once.
const MOST_DELIVERIES: usize = 4;
/// Limit of running cycles that are judged at once. One whose file system hangs keeps its thread.
const MOST_JUDGES: usize = 16;
/// Time that `run` waits for running deliveries before it ends.
pub const LAST_WAIT_OF_RUN: Duration = Duration::from_secs(45);
/// Time that `watch` waits for running deliveries before it ends.
pub const LAST_WAIT_OF_WATCH: Duration = Duration::from_secs(3);

/// Sender of alerts.
#[derive(Clone)]
pub struct Alerts {
    environment: SharedEnvironment,
    pool: Arc<Pool<PathBuf, Pending>>,
    judges: Arc<Pool<Target, Box<dyn FnOnce() + Send>>>,
    /// Begins of the cycles of a watch that are running.
    cycles: Arc<Mutex<BTreeMap<Target, Timestamp>>>,
    /// None if this process ends after its cycles.
    unwritten: Option<Unwritten>,
}

/// A delivery that waits for its turn. It finds out then what is due, because its claim is short.
struct Pending {
    findings: Findings,
    about: About,
    place: Place,
    config: AlertConfig,
    environment: SharedEnvironment,
}

impl Alerts {
    /// Creates a sender. Transport settings are read from these variables.
    pub fn new(environment: SharedEnvironment) -> Self {
        Alerts {
            environment,
            pool: Pool::new(MOST_DELIVERIES),
            judges: Pool::new(MOST_JUDGES),
            cycles: Arc::default(),
            unwritten: None,
        }
    }

    /// Remembers in this process what was sent while the disk is full. A command that ends would repeat its alerts.
    pub fn of_process_that_stays(self) -> Self {
        Alerts {
            unwritten: Some(Unwritten::default()),
            ..self
        }
    }

    /// Waits until the deliveries have ended, at most for `limit`.
    pub fn finish(&self, limit: Duration) {
        let left = self.pool.finish(limit);
        if left > 0 {
            tracing::warn!(
                deliveries = left,
                "alerts were abandoned; a later cycle sends them again"
            );
        }
    }

    /// Records the findings, and sends what is due about a mirror in another thread.
    fn send_due(&self, findings: Findings, about: About, place: Place, config: AlertConfig, now: Timestamp) {
        let observed = place.change(LOCK_WAIT, |memory| {
            memory.observe(findings.observed());
            !memory.due(&channels(&config), now.as_second()).is_empty()
        });
        match observed {
            Ok(Some(true)) => {}
            // A process that holds the lock looks for alerts itself.
            Ok(Some(false) | None) => return,
            Err(error) => return log_undue(&place, &error),
        }
        let key = place.memory().to_owned();
        let pending = Pending {
            findings,
            about,
            place,
            config,
            environment: self.environment.clone(),
        };
        if let Err(error) = self.pool.add(key, pending, Pending::deliver) {
            tracing::error!(%error, "cannot start a thread that sends alerts; the next cycle retries");
        }
    }

    /// Judges a cycle that is running, and may never end.
    fn judge_running(&self, target: &Target, began: Timestamp) {
        let now = SystemClock::default().now();
        let Some((place, config)) = self.alerted(&target.repository, target.mirror.as_deref()) else {
            return;
        };
        let Some(findings) = Findings::of_running(began, config.stale_after, now) else {
            return;
        };
        let status = status_of(&target.repository, target.mirror.as_deref(), now);
        let about = About::new(status.as_ref().ok(), None);
        let is_running = self.cycles().get(target) == Some(&began);
        if !is_running {
            return;
        }
        self.send_due(findings, about, place, config, now);
    }

    /// Ends all alerts about mirrors that were removed from the settings, and deletes their files once that was reported.
    fn end_removed(&self, repository: &Path, now: Timestamp) {
        // Without settings, nobody knows what was removed from them.
        let Ok(mirrors) = Mirrors::load(repository) else { return };
        let places = removed::removed(&mirrors, repository, self.unwritten.as_ref());
        // The folder is missing if there has never been anything to mirror.
        for place in places.unwrap_or_default() {
            let config = mirrors.repository.alerts.clone();
            let ended = Findings::default();
            let is_over = place.change(LOCK_WAIT, |memory| {
                memory.observe(ended.observed());
                memory.is_over(&channels(&config))
            });
            let removed = match is_over {
                Ok(Some(true)) => place.remove(),
                Ok(Some(false)) => {
                    self.send_due(ended, About::default(), place, config, now);
                    continue;
                }
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                let (repository, mirror) = (repository.display(), place.mirror.as_deref());
                tracing::warn!(%repository, mirror, %error, "cannot end the alerts about a mirror that was removed");
            }
        }
    }

    /// Returns where alerts about a missing repository are remembered, and how they are sent. Only a process that stays can
    /// remember, and only the settings of the user and of the system are left.
    fn alerted_of_missing(&self, repository: &Path) -> Option<(Place, AlertConfig)> {
        let unwritten = self.unwritten.as_ref()?;
        let config = Config::global().ok()?.alerts;
        config
            .is_any()
            .then(|| (removed::missing(repository, unwritten), config))
    }

    /// Returns where alerts about a mirror are remembered and how they are sent; none if nobody wants any.
    fn alerted(&self, repository: &Path, mirror: Option<&str>) -> Option<(Place, AlertConfig)> {
        if is_missing(repository) {
            return self.alerted_of_missing(repository);
        }
        let mirrors = Mirrors::load(repository).or_else(|error| {
            tracing::warn!(repository = %repository.display(), %error, "alerts are sent by the settings of the user and of the system");
            Config::global().map(Mirrors::of)
        });
        let mirrors = mirrors.inspect_err(|error| {
            // Without readable settings nobody can be told.
            tracing::error!(repository = %repository.display(), %error, "the settings of alerts cannot be read, so none is sent");
        });
        let mirrors = mirrors.ok()?;
        let mut each = Chosen::each(&mirrors);
        let chosen = each.find(|chosen| chosen.name_among_several() == mirror)?;
        let config = chosen.config().alerts.clone();
        // The folder is missing if there has never been anything to mirror.
        let is_used = config.is_any() && repository.join(journal::FOLDER).is_dir();
        is_used.then(|| (Place::new(&chosen, repository, self.unwritten.clone()), config))
    }

    fn cycles(&self) -> MutexGuard<'_, BTreeMap<Target, Timestamp>> {
        self.cycles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CycleObserver for Alerts {
    fn cycle_ended(&self, ended: &EndedCycle<'_>) {
        // No mirror was chosen.
        if matches!(ended.result, Err(RunError::SeveralMirrors(_))) {
            return;
        }
        let alerted = match ended.result {
            // It may be back by now, but the alert about that is the same.
            Err(RunError::Missing(_)) => self.alerted_of_missing(ended.repository),
            _ => self.alerted(ended.repository, ended.mirror),
        };
        let Some((place, config)) = alerted else {
            return;
        };
        let memory = Memory::read(&place.worker_memory);
        if let Err(error) = &memory {
            tracing::warn!(%error, "the worker's memory cannot be read; alerts about its groups wait for the next cycle");
        }
        let findings = match ended.result {
            Err(RunError::Locked(lock)) => Findings::of_locked(&WorkerStatus::read(lock, ended.at), &config, ended.at),
            _ => Findings::new(ended, memory.as_ref().ok(), config.stale_after),
        };
        let report = ended.result.ok();
        let remote = memory.as_ref().ok().and_then(|memory| memory.location.as_deref());
        let remote = remote.or(report.and_then(|report| report.remote.as_deref()));
        let about = About::new(ended.status().ok(), remote);
        self.send_due(findings, about, place, config, ended.at);
        self.end_removed(ended.repository, ended.at);
    }

    fn cycle_began(&self, target: &Target, began: Timestamp) {
        self.cycles().insert(target.clone(), began);
    }

    fn cycle_finished(&self, target: &Target) {
        self.cycles().remove(target);
    }

    fn targets_found(&self, _: &BTreeSet<Target>) {
        let now = SystemClock::default().now();
        let mut cycles = self.cycles().clone();
        cycles.retain(|_, began| now.duration_since(*began) >= LONGEST_SILENCE);
        for (target, began) in cycles {
            let (alerts, judged) = (self.clone(), target.clone());
            // The file system may be what hangs.
            let judge = move || alerts.judge_running(&judged, began);
            if let Err(error) = self.judges.add(target, Box::new(judge), |judge| judge()) {
                tracing::error!(%error, "cannot start a thread that looks at a cycle that takes too long; it is tried again");
                return;
            }
        }
    }
}

impl Pending {
    /// Claims what is due, and delivers it.
    fn deliver(self) {
        let owner = uuid::version_4(uuid::random());
        let now = SystemClock::default().now().as_second();
        let due = match due(&self.place, &channels(&self.config), &owner, now) {
            Ok(due) => due,
            Err(error) => return log_undue(&self.place, &error),
        };
        let message = |alert: Alert| {
            let found = self.findings.of(alert.condition);
            Message::new(alert, &self.place, found, &self.about)
        };
        let messages: Vec<Message> = due.into_iter().map(message).collect();
        if messages.is_empty() {
            return;
        }
        let delivery = Delivery {
            messages,
            environment: self.environment,
            config: self.config,
            place: self.place,
            owner,
        };
        delivery.run();
    }
}

fn log_undue(place: &Place, error: &io::Error) {
    let (repository, mirror) = (place.repository.display(), place.mirror.as_deref());
    tracing::error!(%repository, mirror, %error, "cannot find out which alerts are due, so none is sent; the next cycle retries");
}

/// Returns the channels that are configured.
fn channels(config: &AlertConfig) -> Vec<AlertChannel> {
    let command = (!config.command.is_empty()).then_some(AlertChannel::Command);
    let url = config.url.as_ref().map(|_| AlertChannel::Url);
    command.into_iter().chain(url).collect()
}

/// Claims the alerts that are due for the delivery with this name.
fn due(place: &Place, channels: &[AlertChannel], owner: &str, now: i64) -> io::Result<Vec<Alert>> {
    let due = place.change(LOCK_WAIT, |memory| {
        let due = memory.due(channels, now);
        if !due.is_empty() {
            memory.claim(owner, &due, now);
        }
        due
    })?;
    Ok(due.unwrap_or_default())
}
