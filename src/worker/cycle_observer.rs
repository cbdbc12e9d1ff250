//! Observers of cycles: monitors and alerts learn the result of each cycle here, and the worker learns nothing of them.
use std::{cell::OnceCell, collections::BTreeSet, fmt, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    error::RunError,
    report::CycleReport,
    schedule::Target,
    status::{RepositoryStatus, status_of},
};

/// Receiver of the results of cycles.
pub trait CycleObserver: Send + Sync {
    /// Takes a cycle that has ended, or could not run. Called in the cycle's thread, after its lock was released, and never
    /// for a dry run. The next cycle of the same mirror waits for it.
    fn cycle_ended(&self, ended: &EndedCycle<'_>);

    /// Takes the targets of a watch, after each search for repositories: before the first cycle, and then every few seconds.
    fn targets_found(&self, _targets: &BTreeSet<Target>) {}

    /// Takes the target of a watch whose cycle begins.
    fn cycle_began(&self, _target: &Target, _at: Timestamp) {}

    /// Takes the target of a watch whose cycle is over, and was observed.
    fn cycle_finished(&self, _target: &Target) {}
}

/// A cycle that has ended, or could not run.
#[derive(Debug)]
pub struct EndedCycle<'a> {
    /// The repository.
    pub repository: &'a Path,
    /// Name of the mirror among several; none for a single one.
    pub mirror: Option<&'a str>,
    /// End of the cycle.
    pub at: Timestamp,
    /// Its report, or the reason why no cycle could run.
    pub result: Result<&'a CycleReport, &'a RunError>,
    /// Time that the cycle waited for the budget of its mirror.
    pub budget_delay: Duration,
    status: OnceCell<Result<RepositoryStatus, RunError>>,
}

impl<'a> EndedCycle<'a> {
    /// Creates a cycle that ended at `at`, without a wait for the budget.
    pub fn new(
        repository: &'a Path,
        mirror: Option<&'a str>,
        at: Timestamp,
        result: Result<&'a CycleReport, &'a RunError>,
    ) -> Self {
        EndedCycle {
            repository,
            mirror,
            at,
            result,
            budget_delay: Duration::ZERO,
            status: OnceCell::new(),
        }
    }

    /// Sets the status, which is not read from the files then.
    pub fn with_status(self, status: Result<RepositoryStatus, RunError>) -> Self {
        EndedCycle {
            status: OnceCell::from(status),
            ..self
        }
    }

    /// Returns the status with regard to this mirror. The first call reads the files; all observers share the result.
    ///
    /// # Errors
    /// See [`status()`](super::status()); or the mirror is not configured any more.
    pub fn status(&self) -> Result<&RepositoryStatus, &RunError> {
        let read = || status_of(self.repository, self.mirror, self.at);
        self.status.get_or_init(read).as_ref()
    }
}

/// Observers of cycles. By default there are none.
#[derive(Clone, Default)]
pub struct Observers(Vec<Arc<dyn CycleObserver>>);

impl Observers {
    /// Adds an observer.
    pub fn with(mut self, observer: Arc<dyn CycleObserver>) -> Self {
        self.0.push(observer);
        self
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes on a cycle that has ended.
    pub fn cycle_ended(&self, ended: &EndedCycle<'_>) {
        self.0.iter().for_each(|observer| observer.cycle_ended(ended));
    }

    /// Passes on the targets of a watch.
    pub fn targets_found(&self, targets: &BTreeSet<Target>) {
        self.0.iter().for_each(|observer| observer.targets_found(targets));
    }

    /// Passes on the begin of a cycle.
    pub fn cycle_began(&self, target: &Target, at: Timestamp) {
        self.0.iter().for_each(|observer| observer.cycle_began(target, at));
    }

    /// Passes on that a cycle is over.
    pub fn cycle_finished(&self, target: &Target) {
        self.0.iter().for_each(|observer| observer.cycle_finished(target));
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
