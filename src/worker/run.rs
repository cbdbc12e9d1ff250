//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
use std::{ffi::OsString, io, path::Path};

use bstr::{BString, ByteSlice};

use super::{
    cycle::{Cycle, Mirror, Settled},
    lock::WorkerLock,
    report::{CycleOutcome, CycleReport, GroupReport},
    repository::Stargate,
};
use crate::{
    clock::Clock,
    config::{Config, Problem},
    journal::{self, Backlog, Located, Status, Writer},
    mirror::Rules,
    push::{self, Advertisement, Command, Connection, RemoteRef, Report},
    ref_update::RefUpdate,
    storage::Disk,
    transport::{Credentials, Remote, resolve},
};

/// Reads an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What the caller of a cycle decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The mirror, instead of the configured one.
    pub remote: Option<String>,
    /// Plan only; send and record nothing.
    pub dry_run: bool,
}

/// Why there was no cycle.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The repository cannot be opened, or its configuration cannot be read.
    #[error("cannot open the repository {0}: {1}")]
    Repository(String, gix::Error),
    /// A value of `[stargate]` cannot be understood.
    #[error("{0}")]
    Config(Problem),
    /// Another worker is at work.
    #[error("another worker holds the lock of {0}")]
    Locked(String),
    /// The journal cannot be read or written.
    #[error("cannot read or write the journal of {0}: {1}")]
    Journal(String, io::Error),
    /// The mirror cannot be used as it is configured.
    #[error(transparent)]
    Remote(#[from] push::Error),
}

/// Makes one cycle over the repository at `git_dir`.
///
/// # Errors
/// See [`RunError`]. A push that fails is no error: the report says so, and its entries stay pending.
pub fn run(
    git_dir: &Path,
    options: &Options,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<CycleReport, RunError> {
    let started = clock.elapsed();
    let shown = git_dir.display().to_string();
    let io_error = |error| RunError::Journal(shown.clone(), error);
    let stargate = Stargate::open(git_dir).map_err(|error| RunError::Repository(shown.clone(), error))?;
    let config = Config::load(git_dir).map_err(|error| RunError::Repository(shown.clone(), error))?;
    if let Some(problem) = config.problems.first() {
        return Err(RunError::Config(problem.clone()));
    }
    let folder = git_dir.join(journal::FOLDER);
    if !folder.is_dir() {
        return Ok(CycleReport::empty(CycleOutcome::Idle, 0, 0));
    }
    let _lock = match options.dry_run {
        true => None,
        false => Some(WorkerLock::take(&folder).map_err(io_error)?.ok_or_else(|| RunError::Locked(shown.clone()))?),
    };
    let backlog = Backlog::read(&folder).map_err(io_error)?;
    let mut report = work_off(&stargate, &config, options, environment, clock, &backlog)?;
    report.elapsed_ms = (clock.elapsed() - started).as_millis() as u64;
    Ok(report)
}
