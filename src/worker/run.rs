//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString};
use gix::ObjectId;

use super::{
    cycle::{Cycle, Mirror},
    lock::{LOCK_FILE, WorkerLock},
    remote_mirror::RemoteMirror,
    report::{CycleOutcome, CycleReport, GroupReport},
    repository::Stargate,
};
use crate::{
    clock::Clock,
    config::{Config, Problem},
    journal::{self, Backlog, Draft, Located, Source, Status, WriteError, Writer},
    mirror::{Rules, Standing, compare, missed},
    push::{self, Connection},
    ref_update::RefUpdate,
    storage::{Disk, Storage},
    transport::{Remote, Settings, resolve},
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
    Repository(PathBuf, gix::Error),
    /// A value of `[stargate]` cannot be understood.
    #[error("{1} (in {0})")]
    Config(PathBuf, Problem),
    /// Another worker is at work.
    #[error("another worker holds the lock {0}")]
    Locked(PathBuf),
    /// The worker's lock cannot be taken.
    #[error("cannot lock {0}: {1}")]
    Lock(PathBuf, io::Error),
    /// The journal cannot be read.
    #[error("cannot read the journal {0}: {1}")]
    Read(PathBuf, io::Error),
    /// The journal cannot be written: what was mirrored stays pending, and will be found to be there.
    #[error(transparent)]
    Write(#[from] WriteError),
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
    let repository = |error| RunError::Repository(git_dir.to_owned(), error);
    let stargate = Stargate::open(git_dir).map_err(repository)?;
    let config = Config::load(git_dir).map_err(repository)?;
    if let Some(problem) = config.problems.first() {
        return Err(RunError::Config(git_dir.join("config"), problem.clone()));
    }
    let folder = git_dir.join(journal::FOLDER);
    if !folder.is_dir() {
        // Pushes from before the hook was installed count, too.
        if options.dry_run || stargate.mirrored_refs(&config.refs).is_empty() {
            return Ok(CycleReport::empty(CycleOutcome::Idle, 0, 0));
        }
        Disk.create_dir(&folder)
            .map_err(|error| RunError::Lock(folder.clone(), error))?;
    }
    let _lock = if options.dry_run { None } else { Some(lock(&folder)?) };
    let one = OneRun {
        stargate: &stargate,
        config: &config,
        options,
        environment,
        clock,
        writer: Writer::new(Disk, clock, git_dir, config.lock_timeout),
    };
    let mut report = one.work_off(&journal::path_in(git_dir))?;
    report.elapsed_ms = (clock.elapsed() - started).as_millis() as u64;
    Ok(report)
}

fn lock(folder: &Path) -> Result<WorkerLock, RunError> {
    match WorkerLock::take(folder) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(RunError::Locked(folder.join(LOCK_FILE))),
        Err(error) => Err(RunError::Lock(folder.join(LOCK_FILE), error)),
    }
}

struct OneRun<'a> {
    stargate: &'a Stargate,
    config: &'a Config,
    options: &'a Options,
    environment: Environment<'a>,
    clock: &'a dyn Clock,
    writer: Writer<Disk, &'a dyn Clock>,
}

impl OneRun<'_> {
    fn work_off(&self, journal: &Path) -> Result<CycleReport, RunError> {
        if !self.options.dry_run {
            self.writer.repair()?;
        }
        let mut backlog = self.backlog(journal)?;
        let local = self.stargate.mirrored_refs(&self.config.refs);
        let folder = journal.parent().unwrap_or(journal);
        let Some(mut remote) = self.remote(&backlog)? else {
            let outcome = if backlog.pending.is_empty() {
                CycleOutcome::Idle
            } else {
                CycleOutcome::LocalOnly
            };
            return Ok(report(outcome, &backlog));
        };
        let location = remote.location().to_string();
        let mut mirror = RemoteMirror::new(&mut remote, self.stargate, &self.config.refs, folder, self.clock.now());
        let missed = !self.options.dry_run
            && mirror.is_due(&local, &backlog)
            && self.reconcile(&mut mirror, &local, &backlog)?;
        if missed {
            backlog = self.backlog(journal)?;
        }
        let mut report = report(CycleOutcome::Idle, &backlog);
        if !backlog.pending.is_empty() {
            report.remote = Some(location);
            self.work_off_backlog(&mut mirror, &backlog, &mut report)?;
        }
        Ok(report.with_traffic(remote.traffic()))
    }

    fn backlog(&self, journal: &Path) -> Result<Backlog, RunError> {
        let backlog = Backlog::read(journal).map_err(|error| RunError::Read(journal.to_owned(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not an entry");
        }
        Ok(backlog)
    }

    fn work_off_backlog(
        &self,
        mirror: &mut RemoteMirror<'_>,
        backlog: &Backlog,
        report: &mut CycleReport,
    ) -> Result<(), RunError> {
        let updates: Vec<RefUpdate> = backlog
            .pending
            .iter()
            .map(|located| located.entry.update.clone())
            .collect();
        if self.options.dry_run {
            let plan = self.cycle().dry_run(mirror, &updates)?;
            report.groups = plan.groups.iter().map(GroupReport::planned).collect();
        } else {
            let settled = self.cycle().run(mirror, &updates, |mirrored, skipped| {
                report.pending -= self.record(&backlog.pending, mirrored, skipped)?;
                Ok::<(), RunError>(())
            })?;
            report.groups = settled.iter().map(GroupReport::settled).collect();
        }
        report.outcome = if report.pending == 0 {
            CycleOutcome::Mirrored
        } else {
            CycleOutcome::Incomplete
        };
        Ok(())
    }

    /// Compares the refs of both sides, and tells the journal what it missed; whether that was anything. A mirror that
    /// cannot be asked is asked again by the next cycle.
    fn reconcile(
        &self,
        mirror: &mut RemoteMirror<'_>,
        local: &BTreeMap<BString, ObjectId>,
        backlog: &Backlog,
    ) -> Result<bool, RunError> {
        let advertisement = match mirror.advertisement() {
            Ok(advertisement) => advertisement,
            Err(error) => {
                tracing::warn!(%error, "the refs of both sides could not be compared");
                return Ok(false);
            }
        };
        let cycle = self.cycle();
        let compared = compare(local, &advertisement.refs, self.stargate, &cycle.rules);
        let pending = |name: &BStr| backlog.pending.iter().any(|located| located.entry.update.name == name);
        for differing in compared
            .iter()
            .filter(|c| !c.standing.is_safe() && c.standing != Standing::Equal)
        {
            let standing = differing.standing;
            tracing::warn!(ref = %differing.name, ?standing, "left as it is on the mirror; see stargate-mirror sync --dry-run");
        }
        let missed = missed(&compared, &advertisement.refs, &pending, cycle.null);
        mirror.remember_reconciled(advertisement, local);
        if missed.is_empty() {
            return Ok(false);
        }
        let drafts: Vec<Draft> = missed.into_iter().map(|update| self.reconciled(update)).collect();
        let appended = self.writer.append(&drafts)?;
        for (index, cause) in &appended.failed {
            tracing::error!(ref = %drafts[*index].update.name, %cause, "what the journal missed could not be told to it");
        }
        tracing::info!(refs = appended.written.len(), "the journal had missed ref updates");
        Ok(!appended.written.is_empty())
    }

    fn reconciled(&self, update: RefUpdate) -> Draft {
        Draft {
            update,
            pusher: None,
            repo: self.config.repo_id.clone(),
            source: Source::Reconcile,
            meta: None,
        }
    }

    fn cycle(&self) -> Cycle<'_> {
        Cycle {
            rules: Rules {
                refs: self.config.refs.clone(),
                force: self.config.force,
                deletes: self.config.deletes,
            },
            retry: self.config.retry,
            verify: self.config.verify,
            clock: self.clock,
            knowledge: self.stargate,
            null: self.stargate.repository().object_hash().null(),
        }
    }

    /// Marks entries in the journal; how many were.
    fn record(&self, pending: &[Located], mirrored: &[usize], skipped: &[usize]) -> Result<usize, RunError> {
        let done = mirrored.iter().map(|index| (pending[*index].clone(), Status::Done));
        let skipped = skipped.iter().map(|index| (pending[*index].clone(), Status::Skipped));
        let settlements: Vec<_> = done.chain(skipped).collect();
        if settlements.is_empty() {
            return Ok(0);
        }
        let settled = self.writer.settle(&settlements)?;
        for (index, cause) in &settled.failed {
            let entry = &settlements[*index].0.entry;
            tracing::error!(entry = %entry.entry_id, %cause, "the journal could not be marked; the entry stays pending");
        }
        Ok(settled.settled)
    }

    /// The mirror; none when there is no remote, or no credentials for one that needs them, which is said when it keeps
    /// something waiting.
    fn remote(&self, backlog: &Backlog) -> Result<Option<Remote>, RunError> {
        let waiting = backlog.pending.len();
        let configured = self.config.remote.as_ref().map(|remote| remote.to_string());
        let Some(name) = remote_name(self.options.remote.clone(), configured, self.environment) else {
            if waiting > 0 {
                tracing::warn!("local-only: there is no remote; set stargate.remote, or give --remote");
            }
            return Ok(None);
        };
        let repository = self.stargate.repository();
        let location = resolve(BStr::new(&name), Some(repository))?;
        let settings = Settings::from_environment(self.environment)?.with_git_config(repository)?;
        if !settings.has_credentials_for(&location) {
            if waiting > 0 {
                tracing::warn!(remote = %location, "local-only: there is no token; set GITHUB_PAT");
            }
            return Ok(None);
        }
        Ok(Some(Remote::open(location, &settings)?))
    }
}

fn report(outcome: CycleOutcome, backlog: &Backlog) -> CycleReport {
    CycleReport::empty(outcome, backlog.pending.len(), backlog.counts.failed as usize)
}

/// The mirror's name or URL: a flag, else the configuration, else `GITHUB_REPO_URL`. The variable comes last: it is one
/// for all repositories of a worker, and must not send one repository's refs to another's mirror.
pub fn remote_name(flag: Option<String>, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
    let variable = || environment("GITHUB_REPO_URL").and_then(|value| value.into_string().ok());
    flag.or(configured).or_else(variable).filter(|name| !name.is_empty())
}
