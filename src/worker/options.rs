//! Options of a cycle, and the choice of the mirror.
use std::{ffi::OsString, time::Duration};

use super::{cycle_observer::Observers, progress::Progress};

/// Reads an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Options of a cycle.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Mirror to use instead of the configured one.
    pub remote: Option<String>,
    /// True for one of several repositories, which cannot share the mirror in `GITHUB_REPO_URL`.
    pub several: bool,
    /// Plan only; send and record nothing.
    pub dry_run: bool,
    /// Compare the refs of both sides first, even if that was done recently.
    pub reconcile: bool,
    /// Respect the backoff of failed groups, which ends at its time or with a new entry.
    pub patient: bool,
    /// Receiver of the progress of pushes.
    pub progress: Progress,
    /// Receivers of the result.
    pub observers: Observers,
    /// Time that the cycle waited for the budget of its mirror, for the observers.
    pub budget_delay: Duration,
}

impl Options {
    /// Returns the name or URL of the mirror, given the configured one.
    pub(super) fn mirror(&self, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
        let nothing: Environment<'_> = &|_| None;
        let environment = if self.several { nothing } else { environment };
        remote_name(self.remote.clone(), configured, environment)
    }
}

/// Returns the mirror's name or URL: the flag, else the configuration, else `GITHUB_REPO_URL`.
pub fn remote_name(flag: Option<String>, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
    // A value that is not UTF-8 is kept, so that its use reports an invalid URL instead of a missing one.
    let variable = || environment("GITHUB_REPO_URL").map(|value| value.to_string_lossy().into_owned());
    flag.or(configured).or_else(variable).filter(|name| !name.is_empty())
}
