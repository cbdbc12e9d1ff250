//! Repository that the worker has opened for a cycle: its configuration, its lock, its refs and its journal.
use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use bstr::BStr;
use durable::{clock::Clock, storage::Disk};
use git_push_transport::{Location, Remote, Settings, resolve};
use gix::ObjectId;

use super::{
    choice::Chosen,
    cycle::Cycle,
    entries::Entries,
    error::RunError,
    local_view::StargateView,
    lock::WorkerLock,
    missing::Missing,
    options::{Environment, Options},
    remote_mirror::RemoteMirror,
    repository::Stargate,
    share::Share,
};
use crate::{
    config::{Config, Mirrors, USER_AGENT},
    journal::{self, Backlog},
    mirror::Rules,
};

/// Opened repository with one of its mirrors, under the worker's lock except in a dry run.
pub(super) struct Session<'a> {
    /// Settings of the mirror.
    pub(super) config: Config,
    pub(super) chosen: Chosen,
    pub(super) options: &'a Options,
    pub(super) clock: &'a dyn Clock,
    pub(super) git_dir: PathBuf,
    /// Path of the worker's memory.
    pub(super) memory: PathBuf,
    pub(super) view: StargateView<'a>,
    pub(super) entries: Entries<'a>,
    pub(super) environment: Environment<'a>,
    /// Location and settings of the mirror, once it was opened.
    reached: OnceCell<(Location, Settings)>,
    _lock: Option<WorkerLock>,
}

impl<'a> Session<'a> {
    /// Opens the repository. Returns none if there has never been anything to mirror in it.
    pub(super) fn open(
        git_dir: &Path,
        options: &'a Options,
        environment: Environment<'a>,
        clock: &'a dyn Clock,
    ) -> Result<Option<Self>, RunError> {
        let (stargate, mirrors) = opened(git_dir)?;
        let chosen = Chosen::new(mirrors, options.remote.as_deref(), stargate.repository())?;
        let config = chosen.config().clone();
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
        let share = Share::new(&folder, &chosen.mirrors, &config);
        Ok(Some(Session {
            _lock: if options.dry_run {
                None
            } else {
                Some(lock(&chosen.lock_path(git_dir))?)
            },
            view: StargateView::new(stargate, &config.refs, git_dir, share.clone(), clock),
            entries: Entries::new(git_dir, &config, share, clock),
            memory: chosen.memory_path(git_dir),
            chosen,
            config,
            options,
            environment,
            reached: OnceCell::new(),
            clock,
            git_dir: git_dir.to_owned(),
        }))
    }

    /// Reads the backlog as the mirror sees it, and brings journal and tally in line, except in a dry run.
    pub(super) fn backlog(&self, location: Option<&str>) -> Result<Backlog, RunError> {
        let backlog = if self.options.dry_run {
            self.entries.view()?
        } else {
            self.entries.backlog(location)?
        };
        self.view.set_oldest_pending(&backlog.pending);
        Ok(backlog)
    }

    /// Opens the mirror, or returns the setting that is missing for a push.
    pub(super) fn remote(&self) -> Result<Result<Remote, Missing>, RunError> {
        let stargate = self.view.stargate();
        let found = destination(stargate, &self.chosen, self.options, self.environment)?;
        let opened = found.map(|(location, settings)| {
            // The same for every call of this session.
            let _ = self.reached.set((location.clone(), settings.clone()));
            Remote::open(location, &settings)
        });
        match opened {
            Ok(remote) => Ok(Ok(remote?)),
            Err(missing) => Ok(Err(missing)),
        }
    }

    /// Returns the mirror with its remembered state.
    pub(super) fn mirror<'m>(&'m self, remote: &'m mut Remote) -> RemoteMirror<'m> {
        let (stargate, now) = (self.view.stargate(), self.clock.now());
        let mirror = RemoteMirror::new(remote, stargate, &self.config.refs, &self.memory, now);
        mirror
            .with_lfs(super::lfs::carrier(self, self.reached.get()))
            .with_max_pack_size(self.config.max_pack_size)
            .with_progress(self.options.progress.observer())
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
            local_view: &self.view,
            null: self.null(),
        }
    }

    /// Returns the null id of the repository's object format.
    pub(super) fn null(&self) -> ObjectId {
        self.view.stargate().repository().object_hash().null()
    }
}

/// Returns the setting that is missing for a push, if there is one.
pub(super) fn missing_setting(
    stargate: &Stargate,
    chosen: &Chosen,
    options: &Options,
    environment: Environment<'_>,
) -> Result<Option<Missing>, RunError> {
    Ok(destination(stargate, chosen, options, environment)?.err())
}

/// Opens the repository, and reads its configuration.
pub(super) fn opened(git_dir: &Path) -> Result<(Stargate, Mirrors), RunError> {
    let stargate = Stargate::open(git_dir)?;
    let mirrors = Mirrors::load(git_dir).map_err(|error| RunError::Unreadable(git_dir.to_owned(), error))?;
    Ok((stargate, mirrors))
}

/// Returns the location of the mirror and the transport settings, or the setting that is missing for a push.
fn destination(
    stargate: &Stargate,
    chosen: &Chosen,
    options: &Options,
    environment: Environment<'_>,
) -> Result<Result<(Location, Settings), Missing>, RunError> {
    let Some(name) = chosen.remote(options, environment) else {
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
    let settings = match chosen.config().section.as_ref() {
        Some(section) => settings.with_section(repository, section.as_ref())?,
        None => settings,
    };
    Ok(if Remote::has_credentials(&location, &settings) {
        Ok((location, settings))
    } else {
        Err(Missing::Token(location.to_string()))
    })
}

fn lock(path: &Path) -> Result<WorkerLock, RunError> {
    match WorkerLock::take(path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(RunError::Locked(path.to_owned())),
        Err(error) => Err(RunError::Lock(path.to_owned(), error)),
    }
}
