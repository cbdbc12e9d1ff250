//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
pub(super) mod broken;
mod knowledge;
mod reconcile;
mod upkeep;

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

use self::{reconcile::Reconciled, upkeep::Intents};
use super::{
    cycle::{Cycle, Marks, Mirror, Settled},
    lock::{LOCK_FILE, WorkerLock},
    memory::Memory,
    missing::Missing,
    remote_mirror::RemoteMirror,
    report::{CycleOutcome, CycleReport, GroupReport},
    repository::Stargate,
    trouble::{Trouble, Troubles},
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

/// What the caller of a cycle decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The mirror, instead of the configured one.
    pub remote: Option<String>,
    /// This is one of several repositories: `GITHUB_REPO_URL`, which is one for all of them, is not its mirror.
    pub several: bool,
    /// Plan only; send and record nothing.
    pub dry_run: bool,
    /// Compare the refs of both sides first, whenever that was done last.
    pub reconcile: bool,
    /// Leave groups alone that have failed, until it is time for them or something new arrives.
    pub patient: bool,
}

/// Why there was no cycle.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The repository cannot be opened, or its format is not understood.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// Git's configuration of the repository cannot be read.
    #[error("cannot read git's configuration of {0}: {1}")]
    Unreadable(PathBuf, gix::Error),
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
    Remote(#[from] git_push::Error),
}

impl Options {
    /// What names the mirror of a repository, given what its configuration says.
    pub(super) fn mirror(&self, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
        let nothing: Environment<'_> = &|_| None;
        let environment = if self.several { nothing } else { environment };
        remote_name(self.remote.clone(), configured, environment)
    }
}

impl RunError {
    /// What to do about it, where the cause knows.
    pub fn hint(&self) -> Option<&str> {
        match self {
            RunError::Repository(error) => Some(error.hint()),
            RunError::Remote(error) => error.hint(),
            _ => None,
        }
    }
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
    let mut report = match Work::open(git_dir, options, environment, clock)? {
        Some(work) => work.cycle_over_backlog()?,
        None => nothing_to_mirror(git_dir, options, environment)?,
    };
    report.elapsed_ms = (clock.elapsed() - started).as_millis() as u64;
    Ok(report)
}

/// A repository that is worked on, under the worker's lock (but for a dry run).
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
    /// Updates that were carried lately, once somebody asked.
    settled: OnceCell<Result<Vec<RefUpdate>, Damaged>>,
    /// The mirrored refs, once somebody asked.
    local: OnceCell<LocalRefs>,
    _lock: Option<WorkerLock>,
}

impl<'a> Work<'a> {
    /// Opens the repository; none when there never was anything to mirror in it.
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
            // Pushes from before the hook was installed count, too.
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
        // In this order: of what has moved one of these refs, the backlog knows, but for a push whose hook still runs.
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
                return Ok(report.with_try_at(intents.stale_at));
            }
        };
        let location = remote.location().to_string();
        let mut mirror = self.mirror(&mut remote);
        let due = self.options.reconcile || mirror.is_due(local, &*self.pending(&backlog));
        let local = due.then_some(local);
        let mut report = if self.options.dry_run {
            self.dry_run(&mut mirror, local, &backlog)?
        } else {
            mirror.forget_missing();
            self.reconcile_and_carry(&mut mirror, local, backlog)?
        };
        report.asked = mirror.was_asked();
        report.remote = (report.outcome != CycleOutcome::Idle).then_some(location);
        let unwritten = intents.unwritten.max(report.unwritten);
        let report = report.with_unwritten(unwritten).with_try_at(intents.stale_at);
        Ok(report.with_traffic(remote.traffic()))
    }

    /// A cycle over the backlog and, where `local` refs are to be compared, what the journal missed.
    fn reconcile_and_carry(
        &self,
        mirror: &mut RemoteMirror<'_>,
        local: Option<&LocalRefs>,
        mut backlog: Backlog,
    ) -> Result<CycleReport, RunError> {
        let mut reconciled = Reconciled::default();
        if let Some(local) = local {
            reconciled = self.reconcile(mirror, local, &backlog)?;
            if reconciled.told > 0 {
                backlog = self.backlog()?;
            }
        }
        let mut report = report(CycleOutcome::Idle, &backlog);
        let compared_with = remembered(mirror);
        let newest = self.newest(&backlog.pending);
        mirror.forget_troubles(|label| !newest.contains_key(label));
        if !backlog.pending.is_empty() {
            self.work_off(mirror, &backlog, &mut report)?;
        }
        self.maintain(&backlog);
        let in_order = |namespace: &BStr| {
            let mut groups = report.groups.iter().filter(|group| group.watermark.is_some());
            groups.any(|group| {
                group
                    .namespace
                    .as_deref()
                    .is_some_and(|label| BStr::new(label) == namespace)
            })
        };
        let watermarks = mirror.set_back_watermarks(&in_order);
        let report = report.with_unwritten(reconciled.unwritten).with_watermarks(watermarks);
        let report = report.with_comparison(reconciled.failed, mirror.compares_again_at());
        Ok(self.with_broken(report, &compared_with))
    }

    /// Remembers for `status` that there was no push, and why.
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
            tracing::warn!(%error, "that nothing can be pushed cannot be remembered; status does not know");
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
    }

    pub(super) fn backlog(&self) -> Result<Backlog, RunError> {
        let journal = self.folder.join(journal::JOURNAL);
        let backlog = Backlog::load(&Disk, &self.git_dir).map_err(|error| RunError::Read(journal.clone(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not an entry");
        }
        Ok(backlog)
    }

    fn work_off(
        &self,
        mirror: &mut RemoteMirror<'_>,
        backlog: &Backlog,
        report: &mut CycleReport,
    ) -> Result<(), RunError> {
        let awake = self.awake(&backlog.pending, mirror.troubles());
        let (settled, marked) = self.carry(self.cycle(), mirror, &awake)?;
        report.groups = settled.iter().map(GroupReport::settled).collect();
        report.pending -= marked.settled();
        report.failed += marked.failed;
        let troubles = self.troubles(&settled, &awake, mirror.troubles());
        report.next_try = troubles.values().map(|trouble| trouble.next_try).min();
        mirror.remember_troubles(troubles);
        report.outcome = match (report.pending, marked.failed) {
            (0, 0) => CycleOutcome::Mirrored,
            _ => CycleOutcome::Incomplete,
        };
        Ok(())
    }

    /// The entries of groups that are to be tried now.
    fn awake(&self, pending: &[Located], troubles: &Troubles) -> Vec<Located> {
        let now = self.clock.now();
        let newest = self.newest(pending);
        let grouping = self.grouping();
        let rests = |located: &&Located| {
            let label = grouping.label(located.entry.update.name.as_bstr()).to_string();
            let trouble = troubles.get(&label);
            trouble.is_some_and(|trouble| trouble.rests(&newest[&label], now))
        };
        let awake = pending
            .iter()
            .filter(|located| !self.options.patient || !rests(located));
        awake.cloned().collect()
    }

    /// What is in trouble after these groups were tried; the others as they were.
    fn troubles(&self, settled: &[Settled], tried: &[Located], earlier: &Troubles) -> Troubles {
        let newest = self.newest(tried);
        let mut troubles = earlier.clone();
        for one in settled {
            let label = one.group.label().to_string();
            let before = troubles.remove(&label);
            if let (Some(reason), Some(newest)) = (&one.result.error, newest.get(&label)) {
                let trouble = Trouble::after(before.as_ref(), reason, newest, self.clock.now());
                troubles.insert(label, trouble);
            }
        }
        troubles
    }

    /// Carries these entries; what became of their groups, and what was marked in the journal.
    pub(super) fn carry(
        &self,
        cycle: Cycle<'_>,
        mirror: &mut RemoteMirror<'_>,
        entries: &[Located],
    ) -> Result<(Vec<Settled>, Marked), RunError> {
        let mut marked = Marked::default();
        let record = |marks: &Marks| self.record(entries, marks, &mut marked);
        let settled = cycle.run(mirror, &updates(entries), record)?;
        Ok((settled, marked))
    }

    /// Appends entries for these ref updates; how many.
    pub(super) fn tell(&self, updates: Vec<RefUpdate>, source: Source) -> Result<usize, RunError> {
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
            tracing::error!(ref = %drafts[*index].update.name, %cause, "no entry could be written");
        }
        Ok(appended.written.len())
    }

    /// A cycle by the configured rules.
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
            knowledge: self,
            null: self.stargate.repository().object_hash().null(),
        }
    }

    /// The newest entry of each group, by label.
    fn newest(&self, entries: &[Located]) -> BTreeMap<String, String> {
        let grouping = self.grouping();
        let label = |located: &Located| grouping.label(located.entry.update.name.as_bstr()).to_string();
        let newest = entries
            .iter()
            .map(|located| (label(located), located.entry.entry_id.to_string()));
        newest.collect()
    }

    /// Whether the backlog has an entry of a ref, by this name or another one.
    fn pending<'b>(&self, backlog: &'b Backlog) -> Box<dyn Fn(&BStr) -> bool + 'b> {
        let (pending, grouping): (_, Grouping) = (backlog.pending_refs(), self.grouping());
        Box::new(move |name| grouping.names_of(name).any(|name| pending.contains(name)))
    }

    /// Marks entries in the journal, and counts.
    fn record(&self, pending: &[Located], marks: &Marks, marked: &mut Marked) -> Result<(), RunError> {
        let each = [
            (&marks.mirrored, Status::Done),
            (&marks.skipped, Status::Skipped),
            (&marks.failed, Status::Failed),
        ];
        for (indexes, status) in each.into_iter().filter(|(indexes, _)| !indexes.is_empty()) {
            let settlements: Vec<_> = indexes.iter().map(|index| (pending[*index].clone(), status)).collect();
            let settled = self.writer.settle(&settlements)?;
            for (index, cause) in &settled.failed {
                let entry = &settlements[*index].0.entry;
                tracing::error!(entry = %entry.entry_id, %cause, "the journal could not be marked; the entry stays pending");
            }
            match status {
                Status::Failed => marked.failed += settled.settled,
                _ => marked.others += settled.settled,
            }
        }
        Ok(())
    }

    /// The mirror, or what is missing for a push.
    pub(super) fn remote(&self) -> Result<Result<Remote, Missing>, RunError> {
        let found = destination(&self.stargate, &self.config, self.options, self.environment)?;
        let opened = found.map(|(location, settings)| Remote::open(location, &settings));
        match opened {
            Ok(remote) => Ok(Ok(remote?)),
            Err(missing) => Ok(Err(missing)),
        }
    }
}

/// Where a repository is mirrored to and by which settings, or what is missing for a push.
fn destination(
    stargate: &Stargate,
    config: &Config,
    options: &Options,
    environment: Environment<'_>,
) -> Result<Result<(Location, Settings), Missing>, RunError> {
    let configured = config.remote.as_ref().map(|remote| remote.to_string());
    let Some(name) = options.mirror(configured, environment) else {
        return Ok(Err(match options.several {
            true => Missing::RemoteOfSeveral,
            false => Missing::Remote,
        }));
    };
    let repository = stargate.repository();
    let location = resolve(BStr::new(&name), Some(repository))?;
    let settings = Settings::from_environment(environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(repository)?;
    match settings.has_credentials_for(&location) {
        true => Ok(Ok((location, settings))),
        false => Ok(Err(Missing::Token(location.to_string()))),
    }
}

/// The report on a repository without a mirrored ref and without a journal.
fn nothing_to_mirror(git_dir: &Path, options: &Options, environment: Environment<'_>) -> Result<CycleReport, RunError> {
    let stargate = Stargate::open(git_dir)?;
    let config = Config::load(git_dir).map_err(|error| RunError::Unreadable(git_dir.to_owned(), error))?;
    Ok(match destination(&stargate, &config, options, environment)? {
        Ok(_) => CycleReport::empty(CycleOutcome::Idle, 0, 0),
        Err(missing) => CycleReport::local_only(missing, 0, 0),
    })
}

/// How many entries were marked in the journal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marked {
    failed: usize,
    others: usize,
}

impl Marked {
    fn settled(self) -> usize {
        self.failed + self.others
    }
}

fn updates(entries: &[Located]) -> Vec<RefUpdate> {
    entries.iter().map(|located| located.entry.update.clone()).collect()
}

/// What the mirror has, as far as that is remembered.
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

/// The mirror's name or URL: a flag, else the configuration, else `GITHUB_REPO_URL`.
pub fn remote_name(flag: Option<String>, configured: Option<String>, environment: Environment<'_>) -> Option<String> {
    // What is not UTF-8 is no URL, which is said when it is used: it is not the same as none.
    let variable = || environment("GITHUB_REPO_URL").map(|value| value.to_string_lossy().into_owned());
    flag.or(configured).or_else(variable).filter(|name| !name.is_empty())
}
