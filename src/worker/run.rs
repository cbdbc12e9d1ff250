//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString};

use super::{
    cycle::{Cycle, Mirror},
    lock::{LOCK_FILE, WorkerLock},
    memory::Memory,
    report::{CycleOutcome, CycleReport, GroupReport},
    repository::Stargate,
};
use crate::{
    clock::Clock,
    config::{Config, Problem},
    journal::{self, Backlog, Located, Status, WriteError, Writer},
    mirror::{Rules, watermark::is_watermark},
    push::{self, Advertisement, Command, Connection, RemoteRef, Report},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    storage::Disk,
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
        return Ok(CycleReport::empty(CycleOutcome::Idle, 0, 0));
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
        let backlog = Backlog::read(journal).map_err(|error| RunError::Read(journal.to_owned(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not an entry");
        }
        let failed = backlog.counts.failed as usize;
        if backlog.pending.is_empty() {
            return Ok(CycleReport::empty(CycleOutcome::Idle, 0, failed));
        }
        let Some(mut remote) = self.remote()? else {
            return Ok(CycleReport::empty(
                CycleOutcome::LocalOnly,
                backlog.pending.len(),
                failed,
            ));
        };
        let updates: Vec<RefUpdate> = backlog
            .pending
            .iter()
            .map(|located| located.entry.update.clone())
            .collect();
        let mut report = CycleReport::empty(CycleOutcome::Incomplete, updates.len(), failed);
        report.remote = Some(remote.location().to_string());
        let folder = journal.parent().unwrap_or(journal);
        let mut mirror = RemoteMirror::new(&mut remote, self.stargate, self.cycle().rules.refs, folder);
        if self.options.dry_run {
            let plan = self.cycle().dry_run(&mut mirror, &updates)?;
            report.groups = plan.groups.iter().map(GroupReport::planned).collect();
        } else {
            let settled = self.cycle().run(&mut mirror, &updates, |mirrored, skipped| {
                report.pending -= self.record(&backlog.pending, mirrored, skipped)?;
                Ok::<(), RunError>(())
            })?;
            report.groups = settled.iter().map(GroupReport::settled).collect();
        }
        if report.pending == 0 {
            report.outcome = CycleOutcome::Mirrored;
        }
        Ok(report.with_traffic(remote.traffic()))
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

    /// The mirror; none when there is no remote, or no credentials for one that needs them.
    fn remote(&self) -> Result<Option<Remote>, RunError> {
        let configured = self.config.remote.as_ref().map(|remote| remote.to_string());
        let Some(name) = remote_name(self.options.remote.clone(), configured, self.environment) else {
            tracing::warn!("local-only: there is no remote; set stargate.remote, or give --remote");
            return Ok(None);
        };
        let repository = self.stargate.repository();
        let location = resolve(BStr::new(&name), Some(repository))?;
        let settings = Settings::from_environment(self.environment)?.with_git_config(repository)?;
        if !settings.has_credentials_for(&location) {
            tracing::warn!(remote = %location, "local-only: there is no token; set GITHUB_PAT");
            return Ok(None);
        }
        Ok(Some(Remote::open(location, &settings)?))
    }
}

/// The mirror's name or URL: a flag, else the configuration, else `GITHUB_REPO_URL`. The variable comes last: it is one
/// for all repositories of a worker, and must not send one repository's refs to another's mirror.
pub fn remote_name(flag: Option<String>, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
    let variable = || environment("GITHUB_REPO_URL").and_then(|value| value.into_string().ok());
    flag.or(configured).or_else(variable).filter(|name| !name.is_empty())
}

/// A remote that is pushed to from a Stargate, and remembered.
struct RemoteMirror<'a> {
    remote: &'a mut Remote,
    stargate: &'a Stargate,
    refs: RefPatterns,
    /// The `.stargate` folder.
    folder: &'a Path,
    memory: Option<Memory>,
}

impl<'a> RemoteMirror<'a> {
    fn new(remote: &'a mut Remote, stargate: &'a Stargate, refs: RefPatterns, folder: &'a Path) -> Self {
        let memory = Memory::load(
            folder,
            &remote.location().to_string(),
            stargate.repository().object_hash(),
        );
        if let Some(offered) = memory.as_ref().and_then(Memory::upload_pack) {
            remote.remember_reading(offered);
        }
        RemoteMirror {
            remote,
            stargate,
            refs,
            folder,
            memory,
        }
    }
}

impl Mirror for RemoteMirror<'_> {
    fn remembered(&mut self) -> Option<Advertisement> {
        self.memory.as_ref().map(Memory::advertisement)
    }

    fn remember(&mut self, advertisement: Option<Advertisement>) {
        let memory = advertisement.map(|advertisement| {
            let remote = self.remote.location().to_string();
            let format = self.stargate.repository().object_hash();
            let relevant = |name: &BStr| self.refs.matches(name) || is_watermark(name);
            Memory::new(&remote, format, &advertisement, self.remote.reading(), relevant)
        });
        if memory != self.memory {
            if let Err(error) = Memory::save(memory.as_ref(), self.folder) {
                tracing::warn!(%error, "what the mirror has cannot be remembered; it will be asked next time");
            }
            self.memory = memory;
        }
    }

    fn advertisement(&mut self) -> Result<Advertisement, push::Error> {
        self.remote.advertisement()
    }

    fn push(&mut self, advertisement: &Advertisement, commands: Vec<Command>) -> Result<Report, push::Error> {
        let options = push::Options {
            atomic: true,
            ..Default::default()
        };
        push::push(
            self.remote,
            advertisement,
            self.stargate.repository(),
            commands,
            &options,
        )
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, push::Error> {
        let remembered = self.remote.reading().is_some();
        match self.remote.read_refs(prefixes) {
            // The error has made it forget what the server offers: now it asks.
            Err(_) if remembered => self.remote.read_refs(prefixes),
            answered => answered,
        }
    }
}
