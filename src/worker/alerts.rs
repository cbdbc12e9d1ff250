//! Alerts about mirrors: after each cycle, a program and a URL hear once of trouble that has begun, and once of its end.
//!
//! ```text
//! end of a cycle -> findings (what holds, and why) -> AlertMemory (what is due) -> delivery in a thread of its own
//!                                                                                    |            |
//!                                                                          program (stdin)   post (signed)
//! ```
//!
//! What was delivered is in the worker's memory of the mirror. It is read and written under the worker's lock, which is not
//! held during a delivery. An alert that was not delivered is due again at the end of the next cycle.
mod delivery;
mod findings;
mod post;
mod program;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use durable::clock::{Clock, SystemClock};

use self::{
    delivery::{Delivery, Message},
    findings::Findings,
};
use super::{
    choice::Chosen,
    cycle_observer::{CycleObserver, EndedCycle},
    error::RunError,
    lock::WorkerLock,
    memory::Memory,
    watch::SharedEnvironment,
};
use crate::{
    config::{AlertConfig, Mirrors},
    journal,
    mirror::{Alert, AlertChannel},
};

/// Longest wait for the worker's lock at the end of a cycle. A worker that holds it looks for alerts itself.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Longest time that a command waits for running deliveries before it ends.
const LAST_WAIT: Duration = Duration::from_secs(45);

/// Sender of alerts.
pub struct Alerts {
    environment: SharedEnvironment,
    running: Arc<Running>,
}

/// Number of running deliveries.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

/// A running delivery, until it is dropped.
struct Token(Arc<Running>);

/// The files of one mirror that alerts need.
#[derive(Debug, Clone)]
struct Place {
    repository: PathBuf,
    /// Name of the mirror among several.
    mirror: Option<String>,
    /// Location of the mirror, without secrets, if it was ever used.
    remote: Option<String>,
    memory: PathBuf,
    lock: PathBuf,
}

impl Alerts {
    /// Creates a sender. Transport settings are read from these variables.
    pub fn new(environment: SharedEnvironment) -> Self {
        Alerts {
            environment,
            running: Arc::default(),
        }
    }

    /// Waits until the running deliveries have ended, for a bounded time.
    pub fn finish(&self) {
        let count = self.running.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .running
            .ended
            .wait_timeout_while(count, LAST_WAIT, |count| *count > 0);
        let (left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *left > 0 {
            tracing::warn!(
                deliveries = *left,
                "alerts were abandoned; a later cycle sends them again"
            );
        }
    }

    /// Finds what is due at the end of a cycle, and sends it in a thread of its own.
    fn send_due(&self, ended: &EndedCycle<'_>, mut place: Place, config: AlertConfig) {
        let memory = Memory::load(&place.memory);
        let findings = Findings::new(ended, &memory, config.stale_after);
        place.remote = memory.location;
        let due = match due(&place, &findings, &channels(&config), ended.at.as_second()) {
            Ok(due) => due,
            Err(error) => {
                let (repository, mirror) = (place.repository.display(), place.mirror.as_deref());
                tracing::warn!(%repository, mirror, %error, "cannot find out which alerts are due; the next cycle retries");
                return;
            }
        };
        if due.is_empty() {
            return;
        }
        let messages = due.into_iter().map(|alert| {
            let found = findings.of(alert.condition);
            Message::new(alert, &place, found, ended)
        });
        let delivery = Delivery {
            messages: messages.collect(),
            environment: self.environment.clone(),
            config,
            place,
        };
        let token = Token::new(&self.running);
        thread::spawn(move || {
            delivery.run();
            drop(token);
        });
    }
}

impl CycleObserver for Alerts {
    fn cycle_ended(&self, ended: &EndedCycle<'_>) {
        // The worker that holds the lock looks for alerts itself.
        if matches!(ended.result, Err(RunError::Locked(_) | RunError::SeveralMirrors(_))) {
            return;
        }
        // Without readable settings nobody can be told; the error of the cycle is in the log.
        let Ok(mirrors) = Mirrors::load(ended.repository) else {
            return;
        };
        let mut each = Chosen::each(&mirrors);
        let Some(chosen) = each.find(|chosen| chosen.name_among_several() == ended.mirror) else {
            return;
        };
        let config = chosen.config().alerts.clone();
        // The folder is missing if there has never been anything to mirror.
        if config.is_any() && ended.repository.join(journal::FOLDER).is_dir() {
            let place = Place {
                repository: absolute(ended.repository),
                mirror: ended.mirror.map(str::to_owned),
                remote: None,
                memory: chosen.memory_path(ended.repository),
                lock: chosen.lock_path(ended.repository),
            };
            self.send_due(ended, place, config);
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

impl Place {
    /// Changes the memory under the worker's lock. Returns none if another worker holds it for `limit`.
    fn change<T>(&self, limit: Duration, change: impl FnOnce(&mut Memory) -> T) -> std::io::Result<Option<T>> {
        let clock = SystemClock::default();
        let _locked = loop {
            match WorkerLock::take(&self.lock)? {
                Some(lock) => break lock,
                None if clock.elapsed() < limit => clock.sleep(LOCK_PAUSE),
                None => return Ok(None),
            }
        };
        let mut memory = Memory::load(&self.memory);
        let before = memory.clone();
        let changed = change(&mut memory);
        if memory != before {
            memory.save(&self.memory)?;
        }
        Ok(Some(changed))
    }
}

/// Returns the path for a person who does not know the worker's folder.
fn absolute(path: &Path) -> PathBuf {
    // Fails only for an empty path, or without a current directory.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns the channels that are configured.
fn channels(config: &AlertConfig) -> Vec<AlertChannel> {
    let command = (!config.command.is_empty()).then_some(AlertChannel::Command);
    let url = config.url.as_ref().map(|_| AlertChannel::Url);
    command.into_iter().chain(url).collect()
}

/// Records the findings, and claims the alerts that are due.
fn due(place: &Place, findings: &Findings, channels: &[AlertChannel], now: i64) -> std::io::Result<Vec<Alert>> {
    let due = place.change(LOCK_WAIT, |memory| {
        memory.alerts.observe(findings.observed());
        let due = memory.alerts.due(channels, now);
        if !due.is_empty() {
            memory.alerts.claim(now);
        }
        due
    })?;
    Ok(due.unwrap_or_default())
}
