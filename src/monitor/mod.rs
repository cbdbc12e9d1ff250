//! What a monitor asks a running worker: metrics, health and status over HTTP, or metrics in a file.
//!
//! ```text
//!   worker --EndedCycle--> Monitor: State (PURE), Metrics
//!                             |
//!             routes: /metrics /healthz /readyz /status <-- http_server
//!             textfile: one file, after a cycle of `run`
//! ```
//!
//! [`Monitor`] observes cycles, and answers from what it has seen. A request never reads a repository, so it costs the same
//! while a mirror hangs.
//!
//! Bounds: 1,000 repositories have labels of their own; each mirror keeps 288 samples of the lag and 20 pushes; the server
//! has 256 connections.
mod gate;
mod labels;
mod metrics;
mod mirror_state;
mod page;
mod readiness;
mod routes;
mod server;
mod state;
mod status_body;
mod textfile;

pub use gate::{Gate, GateError};
pub use server::serve;
pub use textfile::write_textfile;

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::worker::{CycleObserver, EndedCycle, Target};
use metrics::Metrics;
use readiness::Readiness;
use state::State;

/// Longest time between two steps of a live watch. It takes one at least every 10 seconds.
const ALIVE_WITHIN: Duration = Duration::from_secs(60);

/// State of a worker, as monitors see it.
#[derive(Debug, Default)]
pub struct Monitor(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    state: State,
    metrics: Metrics,
    /// Last step of the watch, by a monotonic clock.
    last_step: Duration,
}

impl Monitor {
    /// Records a step of the watch at this time of a monotonic clock.
    pub fn step(&self, now: Duration) {
        self.seen().last_step = now;
    }

    /// Returns the age of the last step if the watch is stuck.
    pub fn stuck_for(&self, now: Duration) -> Option<Duration> {
        let age = now.saturating_sub(self.seen().last_step);
        (age > ALIVE_WITHIN).then_some(age)
    }

    /// Returns the reasons why the worker does not keep up, if there are any.
    pub fn readiness(&self, now: Timestamp) -> Readiness {
        self.seen().state.readiness(now)
    }

    /// Returns the metrics in the format of OpenMetrics.
    pub fn metrics_text(&self, now: Timestamp) -> String {
        let mut seen = self.seen();
        let Seen { state, metrics, .. } = &mut *seen;
        metrics.text(state, now)
    }

    /// Returns the body of `/status`.
    pub fn status_body(&self, now: Timestamp) -> Vec<u8> {
        status_body::status_body(&self.seen().state, now)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CycleObserver for Monitor {
    fn cycle_ended(&self, ended: &EndedCycle<'_>) {
        // Reads files, so it comes before the lock.
        let status = ended.status();
        if let Err(error) = status {
            tracing::debug!(repository = %ended.repository.display(), %error, "the status cannot be read");
        }
        let mut seen = self.seen();
        seen.metrics.cycle_ended(ended);
        seen.state.cycle_ended(ended, status.ok());
    }

    fn targets_found(&self, targets: &BTreeSet<Target>) {
        let mut seen = self.seen();
        for gone in seen.state.retain(targets) {
            seen.metrics.forget(&gone);
        }
        for target in targets {
            seen.state.expect(target);
            seen.metrics.expect(target);
        }
    }

    fn cycle_began(&self, target: &Target, at: Timestamp) {
        self.seen().state.set_running(target, Some(at));
    }

    fn cycle_finished(&self, target: &Target) {
        self.seen().state.set_running(target, None);
    }
}
