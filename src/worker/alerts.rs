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
//! not delivered is due again at the end of the next cycle.
mod delivery;
mod findings;
mod place;
mod post;
mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use durable::clock::{Clock, SystemClock};
use jiff::Timestamp;

use self::{
    delivery::{About, Delivery, Message},
    findings::{Findings, LONGEST_SILENCE},
    place::{Place, Unwritten},
};
use super::{
    choice::Chosen,
    cycle_observer::{CycleObserver, EndedCycle},
    error::RunError,
    lock::WorkerStatus,
    memory::Memory,
    schedule::Target,
    status::status_of,
    watch::SharedEnvironment,
};
use crate::{
    config::{AlertConfig, Mirrors},
    journal,
    mirror::{Alert, AlertChannel},
    uuid,
};

/// Longest wait for the lock of the memory of alerts at the end of a cycle. A process that holds it looks for alerts itself.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Time that `run` waits for running deliveries before it ends.
pub const LAST_WAIT_OF_RUN: Duration = Duration::from_secs(45);
/// Time that `watch` waits for running deliveries before it ends.
pub const LAST_WAIT_OF_WATCH: Duration = Duration::from_secs(3);

/// Sender of alerts.
#[derive(Clone)]
pub struct Alerts {
    environment: SharedEnvironment,
    running: Arc<Running>,
    cycles: Arc<Mutex<BTreeMap<Target, RunningCycle>>>,
    /// None if this process ends after its cycles.
    unwritten: Option<Unwritten>,
}

/// Number of running deliveries.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

/// A running delivery, until it is dropped.
struct Token(Arc<Running>);

/// A cycle of a watch that is running.
struct RunningCycle {
    began: Timestamp,
    /// True while a thread judges it.
    is_judged: bool,
}

impl Alerts {
    /// Creates a sender. Transport settings are read from these variables.
    pub fn new(environment: SharedEnvironment) -> Self {
        Alerts {
            environment,
            running: Arc::default(),
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

    /// Waits until the running deliveries have ended, at most for `limit`.
    pub fn finish(&self, limit: Duration) {
        let count = self.running.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.running.ended.wait_timeout_while(count, limit, |count| *count > 0);
        let (left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *left > 0 {
            tracing::warn!(
                deliveries = *left,
                "alerts were abandoned; a later cycle sends them again"
            );
        }
    }

    /// Finds what is due about a mirror, and sends it in a thread of its own.
    fn send_due(&self, findings: &Findings, about: &About<'_>, place: Place, config: AlertConfig, now: Timestamp) {
        let owner = uuid::version_4(uuid::random());
        let due = match due(&place, findings, &channels(&config), &owner, now.as_second()) {
            Ok(due) => due,
            Err(error) => {
                let (repository, mirror) = (place.repository.display(), place.mirror.as_deref());
                tracing::error!(%repository, mirror, %error, "cannot find out which alerts are due, so none is sent; the next cycle retries");
                return;
            }
        };
        if due.is_empty() {
            return;
        }
        let messages = due
            .into_iter()
            .map(|alert| Message::new(alert, &place, findings.of(alert.condition), about));
        let delivery = Delivery {
            messages: messages.collect(),
            environment: self.environment.clone(),
            config,
            place,
            owner,
        };
        let token = Token::new(&self.running);
        thread::spawn(move || {
            delivery.run();
            drop(token);
        });
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
        let about = About {
            status: status.as_ref().ok(),
            remote: status.as_ref().ok().and_then(|status| status.remote.as_deref()),
        };
        let is_running = self.cycles().get(target).is_some_and(|cycle| cycle.began == began);
        if !is_running {
            return;
        }
        self.send_due(&findings, &about, place, config, now);
    }

    /// Returns where alerts about a mirror are remembered and how they are sent; none if nobody wants any.
    fn alerted(&self, repository: &Path, mirror: Option<&str>) -> Option<(Place, AlertConfig)> {
        let mirrors = match Mirrors::load(repository) {
            Ok(mirrors) => mirrors,
            Err(error) => {
                // Without readable settings nobody can be told.
                tracing::error!(repository = %repository.display(), %error, "the settings of alerts cannot be read, so none is sent");
                return None;
            }
        };
        let mut each = Chosen::each(&mirrors);
        let chosen = each.find(|chosen| chosen.name_among_several() == mirror)?;
        let config = chosen.config().alerts.clone();
        // The folder is missing if there has never been anything to mirror.
        let is_used = config.is_any() && repository.join(journal::FOLDER).is_dir();
        is_used.then(|| (Place::new(&chosen, repository, self.unwritten.clone()), config))
    }

    fn cycles(&self) -> MutexGuard<'_, BTreeMap<Target, RunningCycle>> {
        self.cycles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CycleObserver for Alerts {
    fn cycle_ended(&self, ended: &EndedCycle<'_>) {
        // No mirror was chosen.
        if matches!(ended.result, Err(RunError::SeveralMirrors(_))) {
            return;
        }
        let Some((place, config)) = self.alerted(ended.repository, ended.mirror) else {
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
        let status = ended.status().ok();
        let about = About {
            status,
            remote: remote
                .or(report.and_then(|report| report.remote.as_deref()))
                .or(status.and_then(|status| status.remote.as_deref())),
        };
        self.send_due(&findings, &about, place, config, ended.at);
    }

    fn cycle_began(&self, target: &Target, began: Timestamp) {
        let cycle = RunningCycle {
            began,
            is_judged: false,
        };
        self.cycles().insert(target.clone(), cycle);
    }

    fn cycle_finished(&self, target: &Target) {
        self.cycles().remove(target);
    }

    fn targets_found(&self, _: &BTreeSet<Target>) {
        let now = SystemClock::default().now();
        for (target, cycle) in self.cycles().iter_mut() {
            if cycle.is_judged || now.duration_since(cycle.began) < LONGEST_SILENCE {
                continue;
            }
            cycle.is_judged = true;
            let (alerts, target, began) = (self.clone(), target.clone(), cycle.began);
            // The file system may be what hangs.
            thread::spawn(move || {
                alerts.judge_running(&target, began);
                if let Some(cycle) = alerts.cycles().get_mut(&target) {
                    cycle.is_judged = false;
                }
            });
        }
    }
}

impl Token {
    fn new(running: &Arc<Running>) -> Self {
        *running.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Token(running.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

/// Returns the channels that are configured.
fn channels(config: &AlertConfig) -> Vec<AlertChannel> {
    let command = (!config.command.is_empty()).then_some(AlertChannel::Command);
    let url = config.url.as_ref().map(|_| AlertChannel::Url);
    command.into_iter().chain(url).collect()
}

/// Records the findings, and claims the alerts that are due for the delivery with this name.
fn due(
    place: &Place,
    findings: &Findings,
    channels: &[AlertChannel],
    owner: &str,
    now: i64,
) -> std::io::Result<Vec<Alert>> {
    let due = place.change(LOCK_WAIT, |memory| {
        memory.observe(findings.observed());
        let due = memory.due(channels, now);
        if !due.is_empty() {
            memory.claim(owner, now);
        }
        due
    })?;
    Ok(due.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wait_ends_with_the_deliveries_or_at_its_limit() {
        let alerts = Alerts::new(Arc::new(|_: &str| None));
        alerts.finish(Duration::MAX);
        let token = Token::new(&alerts.running);
        alerts.finish(Duration::from_millis(10));
        assert_eq!(
            *alerts.running.count.lock().expect("not poisoned"),
            1,
            "it is abandoned"
        );
        let ends = thread::spawn(move || drop(token));
        alerts.finish(Duration::MAX);
        ends.join().expect("it ends");
    }
}
