//! Puts the hook program in place.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::ByteSlice;
use durable::storage::{PROGRAM_MODE, Storage};
use ulid::Ulid;

use super::{MARKER, POST_RECEIVE, PRE_RECEIVE, chained, durability::is_durable};
use crate::{
    config::{self, Config},
    ref_pattern::RefPatterns,
};

/// What is to be installed where.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The repository.
    pub git_dir: &'a Path,
    /// The program to copy: it runs the hook when it is started under the hook's name.
    pub program: &'a Path,
    /// Whether a hook that is there is kept and run first; it is refused otherwise.
    pub chain: bool,
    /// Whether `pre-receive` is put in place too. Without it, a push is accepted whether or not it can be recorded.
    pub pre_receive: bool,
}

/// What is in place now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each hook.
    pub hooks: Vec<InPlace>,
    /// Whether `core.hooksPath` leads out of the repository, so that others may run the hooks too.
    pub outside: bool,
    /// Which refs are mirrored.
    pub refs: RefPatterns,
    /// Whether `core.fsync` makes git's own refs and objects durable: `committed`, or more.
    pub git_is_durable: bool,
}

/// A hook that is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Its path.
    pub hook: PathBuf,
    /// What was done about it.
    pub change: Change,
    /// Where the hook that runs first is kept, if there is one.
    pub chained: Option<PathBuf>,
    /// Where that hook has its own name, and is run; none where there are no symbolic links.
    pub runs_as: Option<PathBuf>,
}

/// What an installation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was no hook.
    Installed,
    /// There was another version of ours.
    Updated,
    /// The hook that was there is now chained.
    Chained,
    /// The same program was there already.
    Unchanged,
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A hook of someone else has the name.
    #[error(
        "{} exists and is not of stargate-mirror: nothing was changed. With --chain it is kept, and runs first under its \
         own name",
        .0.display()
    )]
    ForeignHook(PathBuf),
    /// A hook is chained already, and there is a second one to chain.
    #[error(
        "{} cannot be chained, because {kept} exists: nothing was changed. Where a server has written its hook anew, move \
         {kept} away and try again; else make one hook of the two",
        hook.display(),
        kept = chained.display()
    )]
    AlreadyChained {
        /// The hook that is to be chained.
        hook: PathBuf,
        /// The one that is.
        chained: PathBuf,
    },
    /// Git's configuration cannot be read, so nobody knows where hooks are.
    #[error("cannot read git's configuration of {}: {why}", git_dir.display())]
    Configuration {
        /// The repository.
        git_dir: PathBuf,
        /// Why.
        why: String,
    },
    /// Git's configuration is being changed.
    #[error(
        "{} is there, or the configuration has just changed: another process is changing it, or died while it did. Try \
         again; remove that file if nobody is",
        .0.display()
    )]
    ConfigLocked(PathBuf),
    /// The file system.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Copies the program to `hooks/post-receive` and `hooks/pre-receive`, where git will run it. Doing it again changes
/// nothing.
///
/// # Errors
/// See [`InstallError`]. A hook that was there still is, unless it was ours.
pub fn install<S: Storage>(storage: &S, installation: Installation<'_>) -> Result<Report, InstallError> {
    let Installation { git_dir, program, .. } = installation;
    let config = configuration(git_dir)?;
    let (hooks, outside) = hooks_folder(git_dir, &config)?;
    let bytes = on("read", program, fs::read(program))?;
    // What records comes before what rejects where nothing records. All is decided before anything is changed.
    let names = [POST_RECEIVE, PRE_RECEIVE];
    let names = &names[..if installation.pre_receive { 2 } else { 1 }];
    let in_place: Vec<InPlace> = names
        .iter()
        .map(|name| decide(&hooks, name, &bytes, installation.chain))
        .collect::<Result<_, _>>()?;
    if !hooks.is_dir() {
        on("create", &hooks, storage.create_dir(&hooks))?;
    }
    let chaining = in_place.iter().filter(|in_place| in_place.chained.is_some());
    let chaining: Vec<&Path> = chaining.map(|in_place| in_place.hook.as_path()).collect();
    if !chaining.is_empty() {
        // Before anything is renamed: no push is to meet a chained hook that has lost its name.
        on("link hooks in", &hooks, chained::link(storage, &hooks, &chaining))?;
    }
    for InPlace {
        hook, change, chained, ..
    } in &in_place
    {
        if *change != Change::Unchanged {
            let chained = chained.as_ref().filter(|_| *change == Change::Chained);
            put(storage, &hooks, hook, &bytes, chained)?;
        }
    }
    Ok(Report {
        hooks: in_place,
        outside,
        refs: Config::from_git_config(&config).refs,
        git_is_durable: is_durable(&config),
    })
}

/// What stands where a hook of ours belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Missing,
    /// A hook of ours, of whatever version.
    Ours,
    /// A hook of ours that git passes over: it may not be run.
    NoProgram,
    /// A hook of someone else.
    Foreign,
}

/// What stands where the hooks of the repository at `git_dir` belong, with their paths.
///
/// # Errors
/// The configuration or a hook cannot be read.
pub fn look(git_dir: &Path) -> Result<Vec<(PathBuf, Standing)>, InstallError> {
    let (hooks, _) = hooks_folder(git_dir, &configuration(git_dir)?)?;
    let look = |name: &str| {
        let hook = path_of(&hooks, name);
        let standing = match found_at(&hook, b"")? {
            Found::Nothing => Standing::Missing,
            Found::Foreign => Standing::Foreign,
            Found::Same | Found::Ours if chained::is_program(&hook) => Standing::Ours,
            Found::Same | Found::Ours => Standing::NoProgram,
        };
        Ok((hook, standing))
    };
    [PRE_RECEIVE, POST_RECEIVE].into_iter().map(look).collect()
}

fn path_of(hooks: &Path, name: &str) -> PathBuf {
    hooks.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// What is to be done about a hook.
fn decide(hooks: &Path, name: &str, bytes: &[u8], chain: bool) -> Result<InPlace, InstallError> {
    let hook = path_of(hooks, name);
    let chained = chained::beside(&hook);
    let change = match found_at(&hook, bytes)? {
        Found::Same => Change::Unchanged,
        Found::Nothing => Change::Installed,
        Found::Ours => Change::Updated,
        Found::Foreign if !chain => return Err(InstallError::ForeignHook(hook)),
        Found::Foreign if exists(&chained)? => return Err(InstallError::AlreadyChained { hook, chained }),
        Found::Foreign => Change::Chained,
    };
    let runs_first = change == Change::Chained || exists(&chained)?;
    Ok(InPlace {
        runs_as: (runs_first && cfg!(unix)).then(|| chained::named(&hook)),
        hook,
        change,
        chained: runs_first.then_some(chained),
    })
}

enum Found {
    Nothing,
    Same,
    Ours,
    Foreign,
}

fn found_at(hook: &Path, bytes: &[u8]) -> Result<Found, InstallError> {
    if !exists(hook)? {
        return Ok(Found::Nothing);
    }
    Ok(match fs::read(hook) {
        Ok(found) if found == bytes && chained::is_program(hook) => Found::Same,
        Ok(found) if !found.starts_with(b"#!") && found.contains_str(MARKER) => Found::Ours,
        Ok(_) => Found::Foreign,
        // A symbolic link that leads nowhere is someone's, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Foreign,
        Err(error) => return on("read", hook, Err(error)),
    })
}

/// The program is complete and durable before it gets its name, so git never runs half of it.
fn put<S: Storage>(
    storage: &S,
    hooks: &Path,
    hook: &Path,
    bytes: &[u8],
    chained: Option<&PathBuf>,
) -> Result<(), InstallError> {
    let temporary = hooks.join(format!(".stargate-hook.{}", Ulid::generate()));
    on("write", &temporary, storage.write_new(&temporary, bytes, PROGRAM_MODE))?;
    let kept = chained.map_or(Ok(()), |chained| on("rename", hook, storage.rename(hook, chained)));
    let renamed = kept.and_then(|()| on("replace", hook, storage.rename(&temporary, hook)));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    renamed.and_then(|()| on("sync", hooks, storage.sync_dir(hooks)))
}

pub(super) fn configuration(git_dir: &Path) -> Result<gix::config::File, InstallError> {
    config::git_config(git_dir).map_err(|error| unreadable(git_dir, &error))
}

pub(super) fn unreadable(git_dir: &Path, why: &dyn std::fmt::Display) -> InstallError {
    InstallError::Configuration {
        git_dir: git_dir.into(),
        why: why.to_string(),
    }
}

/// Where git looks for hooks, and whether that is outside of the repository. A relative `core.hooksPath` begins where
/// the hook runs, which is `$GIT_DIR` for those of a push (git-config, githooks).
fn hooks_folder(git_dir: &Path, config: &gix::config::File) -> Result<(PathBuf, bool), InstallError> {
    let home = gix::path::env::home_dir();
    let context = gix::config::path::interpolate::Context {
        home_dir: home.as_deref(),
        ..Default::default()
    };
    match config.path("core.hooksPath").filter(|path| !path.is_empty()) {
        None => Ok((git_dir.join("hooks"), false)),
        Some(path) => {
            let path = path.interpolate(context).map_err(|error| unreadable(git_dir, &error))?;
            let folder = git_dir.join(path);
            let outside = !folder.starts_with(git_dir) || folder.components().any(|part| part.as_os_str() == "..");
            Ok((folder, outside))
        }
    }
}

/// Whether something has the name, be it a symbolic link that leads nowhere.
fn exists(path: &Path) -> Result<bool, InstallError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => on("look at", path, found).map(|_| true),
    }
}

pub(super) fn on<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, InstallError> {
    result.map_err(|source| InstallError::Io {
        what,
        path: path.into(),
        source,
    })
}
