//! Installation of the hook program.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::ByteSlice;
use durable::{
    replace::NewFile,
    storage::{Folders, Names, PROGRAM_MODE},
};
use ulid::Ulid;

pub use super::install_error::InstallError;
use super::{
    MARKER, POST_RECEIVE, PRE_RECEIVE, chained,
    durability::is_durable,
    install_error::{configuration, on, unreadable},
};
use crate::{config::Config, ref_pattern::RefPatterns};

/// Parameters of an installation.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The repository.
    pub git_dir: &'a Path,
    /// The program to copy. Started under a hook's name, it runs that hook.
    pub program: &'a Path,
    /// Keep an existing hook and run it first. If false, an existing hook is an error.
    pub chain: bool,
    /// Install `pre-receive` too. Without it, git accepts a push even if it cannot be recorded.
    pub pre_receive: bool,
}

/// Result of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each hook.
    pub hooks: Vec<InPlace>,
    /// True if `core.hooksPath` is outside the repository, so that other repositories may run the hooks too.
    pub outside: bool,
    /// The mirrored refs.
    pub refs: RefPatterns,
    /// True if `core.fsync` makes git's own refs and objects durable (`committed` or more).
    pub git_is_durable: bool,
}

/// An installed hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Its path.
    pub hook: PathBuf,
    /// The change that was made.
    pub change: Change,
    /// Path at which the chained hook is stored, if there is one.
    pub chained: Option<PathBuf>,
    /// Path of the link through which the chained hook is run. `None` without symbolic links.
    pub runs_as: Option<PathBuf>,
}

/// Change made by an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was no hook.
    Installed,
    /// Another version of our hook was replaced.
    Updated,
    /// The existing hook is now chained.
    Chained,
    /// The same program was installed already.
    Unchanged,
}

/// Copies the program to `hooks/post-receive` and `hooks/pre-receive`, where git runs it. Idempotent.
///
/// # Errors
/// See [`InstallError`]. A hook of another program stays in place.
pub fn install<S: Folders + Names>(storage: &S, installation: Installation<'_>) -> Result<Report, InstallError> {
    let Installation { git_dir, program, .. } = installation;
    let config = configuration(git_dir)?;
    let (hooks, outside) = hooks_folder(git_dir, &config)?;
    let bytes = on("read", program, fs::read(program))?;
    // post-receive first: pre-receive must not promise a record that no hook makes. Decide everything before any change.
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
        // Link before renaming, so that no push runs a chained hook without its own name.
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

/// State of one of our hooks in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no hook.
    Missing,
    /// Our hook, in any version.
    Ours,
    /// Our hook, but not executable, so git skips it.
    NoProgram,
    /// Another program's hook.
    Foreign,
}

/// Returns the paths and states of the hooks of the repository at `git_dir`.
///
/// # Errors
/// The configuration or a hook cannot be read.
pub fn look(git_dir: &Path) -> Result<Vec<(PathBuf, Standing)>, InstallError> {
    let config = configuration(git_dir)?;
    let look = |name: &str| standing(git_dir, &config, name);
    [PRE_RECEIVE, POST_RECEIVE].into_iter().map(look).collect()
}

/// Returns the path and the state of the hook `name` of the repository at `git_dir`.
pub(super) fn standing(
    git_dir: &Path,
    config: &gix::config::File,
    name: &str,
) -> Result<(PathBuf, Standing), InstallError> {
    let hook = path_of(&hooks_folder(git_dir, config)?.0, name);
    let standing = standing_at(&hook)?;
    Ok((hook, standing))
}

/// Returns the state of the hook at this path.
///
/// # Errors
/// It cannot be read.
pub fn standing_at(hook: &Path) -> Result<Standing, InstallError> {
    Ok(match found_at(hook, b"")? {
        Found::Nothing => Standing::Missing,
        Found::Foreign => Standing::Foreign,
        Found::Same | Found::Ours if chained::is_program(hook) => Standing::Ours,
        Found::Same | Found::Ours => Standing::NoProgram,
    })
}

/// State of the hook that runs before one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// There is none.
    None,
    /// It runs.
    Whole,
    /// It is skipped, because the file at this path is not executable.
    NoProgram(PathBuf),
    /// It runs from where it is stored, because the link at this path, which has its own name, is missing.
    NoLink(PathBuf),
    /// It is gone: the link at this path leads nowhere.
    Dangling(PathBuf),
}

/// Returns the state of the hook that runs before `hook`.
///
/// # Errors
/// A file cannot be accessed.
pub fn chain_of(hook: &Path) -> Result<Chain, InstallError> {
    let (stored, link) = (chained::stored_path(hook), chained::link_path(hook));
    Ok(match (exists(&stored)?, exists(&link)?) {
        (false, false) => Chain::None,
        (false, true) => Chain::Dangling(link),
        (true, _) if !chained::is_program(&stored) => Chain::NoProgram(stored),
        (true, false) if cfg!(unix) => Chain::NoLink(link),
        (true, _) => Chain::Whole,
    })
}

fn path_of(hooks: &Path, name: &str) -> PathBuf {
    hooks.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Decides on the change to a hook.
fn decide(hooks: &Path, name: &str, bytes: &[u8], chain: bool) -> Result<InPlace, InstallError> {
    let hook = path_of(hooks, name);
    let chained = chained::stored_path(&hook);
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
        runs_as: (runs_first && cfg!(unix)).then(|| chained::link_path(&hook)),
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
        // git runs an empty program without an error. It is not ours.
        Ok(found) if !found.is_empty() && found == bytes && chained::is_program(hook) => Found::Same,
        Ok(found) if !found.starts_with(b"#!") && found.contains_str(MARKER) => Found::Ours,
        Ok(_) => Found::Foreign,
        // A dangling symbolic link is another program's hook.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Foreign,
        Err(error) => return on("read", hook, Err(error)),
    })
}

/// Installs the program at `hook`. It is complete and durable before it gets this name, so git never runs half of it.
fn put<S: Folders + Names>(
    storage: &S,
    hooks: &Path,
    hook: &Path,
    bytes: &[u8],
    chained: Option<&PathBuf>,
) -> Result<(), InstallError> {
    let temporary = hooks.join(format!(".stargate-hook.{}", Ulid::generate()));
    let new = NewFile::write(storage, temporary.clone(), hook, bytes, PROGRAM_MODE);
    let new = on("write", &temporary, new)?;
    if let Some(chained) = chained {
        on("rename", hook, storage.rename(hook, chained))?;
    }
    on("replace", hook, new.commit())
}

/// Returns the folder in which git looks for hooks, and true if it is outside the repository. A relative
/// `core.hooksPath` is relative to the hook's working directory, which is `$GIT_DIR` in a push (git-config, githooks).
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

/// Returns true if `path` exists, even as a dangling symbolic link. Nothing exists below a file, such as `/dev/null`.
///
/// # Errors
/// It cannot be accessed.
pub fn exists(path: &Path) -> Result<bool, InstallError> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        found => on("access", path, found).map(|_| true),
    }
}
