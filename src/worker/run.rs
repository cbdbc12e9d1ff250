//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
pub(super) mod broken;
mod follow;
mod local_view;
mod maintenance;
mod reconcile;

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use git_push::{self, Connection, repository::OpenError};
use git_push_transport::{Location, Remote, Settings, resolve};
use gix::ObjectId;

use self::{maintenance::Intents, reconcile::Reconciled};
use super::{
    backoff::{Backoff, Backoffs},
    cycle::{Cycle, EntryResults, Mirror, Settled},
    lock::{LOCK_FILE, WorkerLock},
    memory::Memory,
    missing::Missing,
    progress::Progress,
    remote_mirror::RemoteMirror,
    report::{CycleOutcome, CycleReport, GroupReport},
    repository::Stargate,
    review::{NothingMirrored, unknown_settings},
    watermarks::Attempted,
};
use crate::{
    config::{Config, Problem, USER_AGENT},
    journal::{self, Backlog, Draft, Located, Origin, Source, Status, WriteError, Writer},
    mirror::{Damaged, Grouping, Rules},
    ref_update::RefUpdate,
    refs::LocalRefs,
};

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
}

/// Reasons why a cycle could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The repository cannot be opened, or its format is not understood.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// Git's configuration of the repository cannot be read.
    #[error("cannot read git's configuration of {0}: {1}")]
    Unreadable(PathBuf, gix::Error),
    /// A value of `[stargate]` is invalid.
    #[error("{1} (in {0})")]
    Config(PathBuf, Problem),
    /// Another worker is running.
    #[error("another worker holds the lock {0}")]
    Locked(PathBuf),
    /// The worker's lock cannot be taken.
    #[error("cannot lock {0}: {1}")]
    Lock(PathBuf, io::Error),
    /// The journal cannot be read.
    #[error("cannot read the journal {0}: {1}")]
    Read(PathBuf, io::Error),
    /// The journal cannot be written. Mirrored entries stay pending, and the next cycle finds them on the mirror.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The mirror cannot be used as it is configured.
    #[error(transparent)]
    Remote(#[from] git_push::Error),
}

impl Options {
    /// Returns the name or URL of the mirror, given the configured one.
    pub(super) fn mirror(&self, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
        let nothing: Environment<'_> = &|_| None;
        let environment = if self.several { nothing } else { environment };
        remote_name(self.remote.clone(), configured, environment)
    }
}

impl RunError {
    /// Returns the instruction of the cause, if it has one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            RunError::Repository(error) => Some(error.hint()),
            RunError::Remote(error) => error.hint(),
            _ => None,
        }
    }
}

/// Runs one cycle over the repository at `git_dir`.
///
/// # Errors
/// See [`RunError`]. A failed push is not an error: it is in the report, and its entries stay pending.
pub fn run(
    git_dir: &Path,
    options: &Options,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<CycleReport, RunError> {
    let started = clock.elapsed();
    let mut report = match Work::open(git_dir, options, environment, clock)? {
        Some(work) => work.cycle_over_backlog()?,
        None => nothing_to_mirror(git_dir, options, environment)?,
    };
    report.elapsed_ms = (clock.elapsed() - started).as_millis() as u64;
    Ok(report)
}

/// A repository during a cycle, under the worker's lock except in a dry run.
pub(super) struct Work<'a> {
    pub(super) stargate: Stargate,
    pub(super) config: Config,
    options: &'a Options,
    environment: Environment<'a>,
    clock: &'a dyn Clock,
    writer: Writer<Disk, &'a dyn Clock>,
    git_dir: PathBuf,
    /// The `.stargate` folder.
    folder: PathBuf,
    /// Recently mirrored updates, read on first use.
    settled: OnceCell<Result<Vec<RefUpdate>, Damaged>>,
    /// Mirrored refs, read on first use.
    local: OnceCell<LocalRefs>,
    _lock: Option<WorkerLock>,
}

impl<'a> Work<'a> {
    /// Opens the repository. Returns none if there has never been anything to mirror in it.
    pub(super) fn open(
        git_dir: &Path,
        options: &'a Options,
        environment: Environment<'a>,
        clock: &'a dyn Clock,
    ) -> Result<Option<Self>, RunError> {
        let stargate = Stargate::open(git_dir)?;
        let config = Config::load(git_dir).map_err(|error| RunError::Unreadable(git_dir.to_owned(), error))?;
        if let Some(problem) = config.problems.first() {
            return Err(RunError::Config(git_dir.join("config"), problem.clone()));
        }
        let folder = git_dir.join(journal::FOLDER);
        if !folder.is_dir() && !options.dry_run {
            // Refs pushed before the hook was installed must be mirrored, too.
            if stargate.mirrored_refs(&config.refs).is_empty() {
                return Ok(None);
            }
            journal::create_folder(&Disk, git_dir).map_err(|error| RunError::Lock(folder.clone(), error))?;
        }
        if let Some(kept_out) = journal::kept_out(git_dir).filter(|_| !options.dry_run) {
            tracing::warn!("{kept_out}");
        }
        Ok(Some(Work {
            _lock: if options.dry_run { None } else { Some(lock(&folder)?) },
            writer: Writer::new(Disk, clock, git_dir, config.lock_timeout).allow_network(config.allow_nfs),
            git_dir: git_dir.to_owned(),
            stargate,
            config,
            options,
            environment,
            clock,
            folder,
            settled: OnceCell::new(),
            local: OnceCell::new(),
        }))
    }

    fn cycle_over_backlog(&self) -> Result<CycleReport, RunError> {
        let mut intents = Intents::default();
        if !self.options.dry_run {
            self.writer.repair()?;
            intents = self.recover_intents()?;
        }
        let local = self.local_refs();
        // The refs are read before the backlog, so the backlog explains every move except that of a push whose hook still runs.
        let mut backlog = self.backlog()?;
        if !self.options.dry_run && !backlog.problems.is_empty() && self.mend(&backlog)? {
            backlog = self.backlog()?;
        }
        let mut remote = match self.remote()? {
            Ok(remote) => remote,
            Err(missing) => {
                self.remember_missing(&missing);
                let (pending, failed) = (backlog.pending.len(), backlog.counts.failed as usize);
                let report = CycleReport::local_only(missing, pending, failed).with_unwritten(intents.unwritten);
                return Ok(self.with_settings_reviewed(report.with_try_at(intents.stale_at), true));
            }
        };
        let location = remote.location().to_string();
        let mut mirror = self.mirror(&mut remote);
        let due = self.options.reconcile || mirror.needs_comparison(local, &*self.pending(&backlog));
        let local = due.then_some(local);
        let compared = local.is_some();
        let mut report = if self.options.dry_run {
            self.dry_run(&mut mirror, local, &backlog)?
        } else {
            mirror.forget_missing();
            self.reconcile_and_push(&mut mirror, local, backlog)?
        };
        report.asked = mirror.was_asked();
        report.remote = (report.outcome != CycleOutcome::Idle).then_some(location);
        let unwritten = intents.unwritten.max(report.unwritten);
        let report = report.with_unwritten(unwritten).with_try_at(intents.stale_at);
        let report = self.with_head_followed(self.with_settings_reviewed(report, compared), &mut remote, compared);
        Ok(report.with_traffic(remote.traffic()))
    }

    /// Runs a cycle over the backlog. If `local` refs are given, compares them first and adds what the journal missed.
    fn reconcile_and_push(
        &self,
        mirror: &mut RemoteMirror<'_>,
        local: Option<&LocalRefs>,
        mut backlog: Backlog,
    ) -> Result<CycleReport, RunError> {
        let mut reconciled = Reconciled::default();
        if let Some(local) = local {
            reconciled = self.reconcile(mirror, local, &backlog)?;
            if reconciled.appended > 0 {
                backlog = self.backlog()?;
            }
        }
        let mut report = report(CycleOutcome::Idle, &backlog);
        let compared_with = remembered(mirror);
        let newest = self.newest(&backlog.pending);
        mirror.forget_backoffs(|label| !newest.contains_key(label));
        if !backlog.pending.is_empty() {
            self.push_backlog(mirror, &backlog, &mut report)?;
        }
        self.maintain(&backlog);
        let watermarks = mirror.set_back_watermarks(&|namespace| attempted(&report, namespace));
        let report = report.with_unwritten(reconciled.unwritten).with_watermarks(watermarks);
        let report = report.with_comparison(reconciled.failed, mirror.compares_again_at());
        Ok(self.with_broken(report, &compared_with))
    }

    /// Remembers for `status` why there was no push.
    fn remember_missing(&self, missing: &Missing) {
        if self.options.dry_run {
            return;
        }
        let mut memory = Memory::load(&self.folder);
        let missing = Some(missing.to_string());
        if memory.missing == missing && memory.comparison.is_none() {
            return;
        }
        (memory.missing, memory.comparison) = (missing, None);
        if let Err(error) = memory.save(&self.folder) {
            tracing::warn!(%error, "cannot write the worker's memory; status will not show that the repository is local-only");
        }
    }

    pub(super) fn mirror<'m>(&'m self, remote: &'m mut Remote) -> RemoteMirror<'m> {
        RemoteMirror::new(
            remote,
            &self.stargate,
            &self.config.refs,
            &self.folder,
            self.clock.now(),
        )
        .with_progress(self.options.progress.observer())
    }

    pub(super) fn backlog(&self) -> Result<Backlog, RunError> {
        let journal = self.folder.join(journal::JOURNAL);
        let backlog = Backlog::load(&Disk, &self.git_dir).map_err(|error| RunError::Read(journal.clone(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not a journal entry");
        }
        Ok(backlog)
    }

    fn push_backlog(
        &self,
        mirror: &mut RemoteMirror<'_>,
        backlog: &Backlog,
        report: &mut CycleReport,
    ) -> Result<(), RunError> {
        let due = self.due(&backlog.pending, mirror.backoffs());
        let (settled, counts) = self.push_entries(self.cycle(), mirror, &due)?;
        report.groups = settled.iter().map(GroupReport::settled).collect();
        report.pending -= counts.settled();
        report.failed += counts.failed;
        let backoffs = self.backoffs(&settled, &due, mirror.backoffs());
        report.next_try = backoffs.values().map(|backoff| backoff.next_try).min();
        mirror.remember_backoffs(backoffs);
        report.outcome = match (report.pending, counts.failed) {
            (0, 0) => CycleOutcome::Mirrored,
            _ => CycleOutcome::Incomplete,
        };
        Ok(())
    }

    /// Returns the entries of groups that are due.
    fn due(&self, pending: &[Located], backoffs: &Backoffs) -> Vec<Located> {
        let now = self.clock.now();
        let newest = self.newest(pending);
        let grouping = self.grouping();
        let is_waiting = |located: &&Located| {
            let label = grouping.label(located.entry.update.name.as_bstr()).to_string();
            let backoff = backoffs.get(&label);
            backoff.is_some_and(|backoff| backoff.is_waiting(&newest[&label], now))
        };
        let due = pending
            .iter()
            .filter(|located| !self.options.patient || !is_waiting(located));
        due.cloned().collect()
    }

    /// Returns the backoffs after these groups were tried. Those of other groups stay unchanged.
    fn backoffs(&self, settled: &[Settled], tried: &[Located], earlier: &Backoffs) -> Backoffs {
        let newest = self.newest(tried);
        let mut backoffs = earlier.clone();
        for one in settled {
            let label = one.group.label().to_string();
            let before = backoffs.remove(&label);
            if let (Some(reason), Some(newest)) = (&one.result.error, newest.get(&label)) {
                let backoff = Backoff::after(before.as_ref(), reason, newest, self.clock.now());
                backoffs.insert(label, backoff);
            }
        }
        backoffs
    }

    /// Pushes these entries. Returns the results of their groups, and the number of statuses written to the journal.
    pub(super) fn push_entries(
        &self,
        cycle: Cycle<'_>,
        mirror: &mut RemoteMirror<'_>,
        entries: &[Located],
    ) -> Result<(Vec<Settled>, StatusCounts), RunError> {
        let mut counts = StatusCounts::default();
        let record = |results: &EntryResults| self.record(entries, results, &mut counts);
        let settled = cycle.run(mirror, &updates(entries), record)?;
        Ok((settled, counts))
    }

    /// Appends entries for these ref updates, and returns their number.
    pub(super) fn append_entries(&self, updates: Vec<RefUpdate>, source: Source) -> Result<usize, RunError> {
        if updates.is_empty() {
            return Ok(0);
        }
        let origin = Arc::new(Origin {
            repo: self.config.repo_id.clone(),
            ..Origin::of(source)
        });
        let draft = |update| Draft {
            update,
            txn_id: None,
            origin: origin.clone(),
        };
        let drafts: Vec<Draft> = updates.into_iter().map(draft).collect();
        let appended = self.writer.append(&drafts)?;
        for (index, cause) in &appended.failed {
            tracing::error!(ref = %drafts[*index].update.name, %cause, "cannot write a journal entry");
        }
        Ok(appended.written.len())
    }

    /// Creates a cycle with the configured rules.
    pub(super) fn cycle(&self) -> Cycle<'_> {
        Cycle {
            rules: Rules {
                refs: self.config.refs.clone(),
                force: self.config.force,
                deletes: self.config.deletes,
            },
            retry: self.config.retry,
            verify: self.config.verify,
            clock: self.clock,
            local_view: self,
            null: self.stargate.repository().object_hash().null(),
        }
    }

    /// Returns the newest entry of each group, by label.
    fn newest(&self, entries: &[Located]) -> BTreeMap<String, String> {
        let grouping = self.grouping();
        let label = |located: &Located| grouping.label(located.entry.update.name.as_bstr()).to_string();
        let newest = entries
            .iter()
            .map(|located| (label(located), located.entry.entry_id.to_string()));
        newest.collect()
    }

    /// Returns a test for whether the backlog has an entry of a ref, under any of its names.
    fn pending<'b>(&self, backlog: &'b Backlog) -> Box<dyn Fn(&BStr) -> bool + 'b> {
        let (pending, grouping): (_, Grouping) = (backlog.pending_refs(), self.grouping());
        Box::new(move |name| grouping.names_of(name).any(|name| pending.contains(name)))
    }

    /// Writes the new statuses to the journal, and counts them.
    fn record(&self, pending: &[Located], results: &EntryResults, counts: &mut StatusCounts) -> Result<(), RunError> {
        let each = [
            (&results.mirrored, Status::Done),
            (&results.skipped, Status::Skipped),
            (&results.failed, Status::Failed),
        ];
        for (indexes, status) in each.into_iter().filter(|(indexes, _)| !indexes.is_empty()) {
            let settlements: Vec<_> = indexes.iter().map(|index| (pending[*index].clone(), status)).collect();
            let settled = self.writer.settle(&settlements)?;
            for (index, cause) in &settled.failed {
                let entry = &settlements[*index].0.entry;
                tracing::error!(entry = %entry.entry_id, %cause, "cannot write the entry's status; the entry stays pending");
            }
            match status {
                Status::Failed => counts.failed += settled.settled,
                _ => counts.others += settled.settled,
            }
        }
        Ok(())
    }

    /// Opens the mirror, or returns the setting that is missing for a push.
    pub(super) fn remote(&self) -> Result<Result<Remote, Missing>, RunError> {
        let found = destination(&self.stargate, &self.config, self.options, self.environment)?;
        let opened = found.map(|(location, settings)| Remote::open(location, &settings));
        match opened {
            Ok(remote) => Ok(Ok(remote?)),
            Err(missing) => Ok(Err(missing)),
        }
    }
}

/// Returns the location of the mirror and the transport settings, or the setting that is missing for a push.
fn destination(
    stargate: &Stargate,
    config: &Config,
    options: &Options,
    environment: Environment<'_>,
) -> Result<Result<(Location, Settings), Missing>, RunError> {
    let configured = config.remote.as_ref().map(|remote| remote.to_string());
    let Some(name) = options.mirror(configured, environment) else {
        return Ok(Err(if options.several {
            Missing::RemoteOfSeveral
        } else {
            Missing::Remote
        }));
    };
    let repository = stargate.repository();
    let location = resolve(BStr::new(&name), Some(repository))?;
    let settings = Settings::from_environment(environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(repository)?;
    Ok(if settings.has_credentials_for(&location) {
        Ok((location, settings))
    } else {
        Err(Missing::Token(location.to_string()))
    })
}

/// Reports on a repository without mirrored refs and without a journal.
fn nothing_to_mirror(git_dir: &Path, options: &Options, environment: Environment<'_>) -> Result<CycleReport, RunError> {
    let stargate = Stargate::open(git_dir)?;
    let config = Config::load(git_dir).map_err(|error| RunError::Unreadable(git_dir.to_owned(), error))?;
    let mut report = match destination(&stargate, &config, options, environment)? {
        Ok(_) => CycleReport::empty(CycleOutcome::Idle, 0, 0),
        Err(missing) => CycleReport::local_only(missing, 0, 0),
    };
    report.unmirrored = NothingMirrored::find(&stargate, &config.refs).map(|nothing| nothing.to_string());
    // There is no memory without a journal, so these are repeated.
    report.settings = unknown_settings(git_dir);
    report.settings.iter().for_each(|finding| tracing::warn!("{finding}"));
    Ok(report)
}

/// The outcome of the group of this namespace, as far as its watermark goes.
fn attempted(report: &CycleReport, namespace: &BStr) -> Option<Attempted> {
    let is_its_group = |group: &&GroupReport| {
        group
            .namespace
            .as_deref()
            .is_some_and(|name| BStr::new(name) == namespace)
    };
    let group = report.groups.iter().find(is_its_group)?;
    Some(if group.watermark.is_some() {
        Attempted::Mirrored
    } else {
        Attempted::Failed
    })
}

/// Number of statuses written to the journal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatusCounts {
    failed: usize,
    others: usize,
}

impl StatusCounts {
    fn settled(self) -> usize {
        self.failed + self.others
    }
}

fn updates(entries: &[Located]) -> Vec<RefUpdate> {
    entries.iter().map(|located| located.entry.update.clone()).collect()
}

/// Returns the remembered refs of the mirror.
fn remembered(mirror: &mut RemoteMirror<'_>) -> BTreeMap<BString, ObjectId> {
    let remembered = mirror.remembered();
    remembered.map_or_else(BTreeMap::new, |advertisement| advertisement.refs)
}

fn lock(folder: &Path) -> Result<WorkerLock, RunError> {
    match WorkerLock::take(folder) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(RunError::Locked(folder.join(LOCK_FILE))),
        Err(error) => Err(RunError::Lock(folder.join(LOCK_FILE), error)),
    }
}

fn report(outcome: CycleOutcome, backlog: &Backlog) -> CycleReport {
    CycleReport::empty(outcome, backlog.pending.len(), backlog.counts.failed as usize)
}

/// Returns the mirror's name or URL: the flag, else the configuration, else `GITHUB_REPO_URL`.
pub fn remote_name(flag: Option<String>, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
    // A value that is not UTF-8 is kept, so that its use reports an invalid URL instead of a missing one.
    let variable = || environment("GITHUB_REPO_URL").map(|value| value.to_string_lossy().into_owned());
    flag.or(configured).or_else(variable).filter(|name| !name.is_empty())
}
