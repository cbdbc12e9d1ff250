//! Chained hook: the hook that existed before ours was installed. It runs first.
//!
//! It gets the same standard input, environment and working directory, and writes to the same standard error.
//!
//! In `pre-receive`, our hook waits for it, and its failure rejects the push. In `post-receive`, its failure is only
//! logged, because git cannot reject a push any more.
//!
//! `post-receive` waits for at most [`PATIENCE`] before it writes the journal, so that a slow hook cannot delay it for
//! longer. Then it waits until the chained hook ends, so that no child process is left behind. git would wait, too.
//!
//! # Name and location
//!
//! Hooks may depend on their name and their siblings. Gitea's hook runs the scripts in `hooks/$(basename "$0").d/`, and
//! accepts every push when that folder is missing. So the chained hook is stored as `hooks/pre-receive.chained`, where
//! relative symbolic links stay valid, and run as `hooks/stargate-chained/pre-receive`, a symbolic link to it.
//! `stargate-chained` also has links to everything else in `hooks`, for hooks that use `$(dirname "$0")/lib` or `$0.d`.
//! Each installation adds missing links. Without its link, the hook runs from where it is stored.
//!
//! # Limitations
//!
//! - `$(dirname "$0")/..` is the hooks folder, not the repository. Hooks should use `$GIT_DIR`.
//! - A hook that resolves its own link (`readlink -f "$0"`) finds the right folder, but a name with `.chained` in it.
//! - Files added to `hooks` later are linked by the next installation.
//! - There are no links on Windows: the hook runs from where it is stored.
#[cfg(unix)]
use std::ffi::OsStr;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use durable::storage::{Folders, Names};

#[cfg(unix)]
use super::{POST_RECEIVE, PRE_RECEIVE};

/// Longest time that the journal waits for a chained hook.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Suffix of a stored chained hook.
const SUFFIX: &str = ".chained";
/// Folder inside the hooks folder in which a chained hook keeps its own name.
const FOLDER: &str = "stargate-chained";

/// Path at which the hook that `hook` replaced is stored: `post-receive.chained`, a name that git never runs.
pub(super) fn stored_path(hook: &Path) -> PathBuf {
    let mut name = hook.with_extension("").into_os_string();
    name.push(SUFFIX);
    name.into()
}

/// Path of the link through which that hook is run: `stargate-chained/post-receive`.
pub(super) fn link_path(hook: &Path) -> PathBuf {
    let hooks = hook.parent().unwrap_or(Path::new(""));
    hooks.join(FOLDER).join(hook.file_stem().unwrap_or_default())
}

/// Returns the program to run before `hook`, if any, as the path of its link if there is one. Like git, skips a file
/// that is not executable.
pub(super) fn program(hook: &Path) -> Option<PathBuf> {
    [link_path(hook), stored_path(hook)]
        .into_iter()
        .find(|path| is_program(path))
}

/// Removes the links that [`link()`] has created in `folder`, and their folder if nothing else is in it.
///
/// # Errors
/// A link cannot be removed.
pub(super) fn unlink<S: Folders + Names>(storage: &S, folder: &Path) -> io::Result<()> {
    let links = folder.join(FOLDER);
    for name in storage.list(&links)? {
        let path = links.join(name);
        if path.symlink_metadata()?.is_symlink() {
            storage.remove(&path)?;
        }
    }
    match std::fs::remove_dir(&links) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        removed => removed,
    }
}

/// Creates `stargate-chained/<name>` symlinks in `folder` so that the hooks chained to `hooks` run under their original
/// names, and links their sibling files next to them. Keeps what exists already.
///
/// # Errors
/// The folder or a link cannot be created, or its name is taken.
#[cfg(unix)]
pub(super) fn link<S: Folders>(storage: &S, folder: &Path, hooks: &[&Path]) -> io::Result<()> {
    let links = folder.join(FOLDER);
    storage.create_dir(&links)?;
    for hook in hooks {
        point(&link_path(hook), stored_path(hook).file_name().unwrap_or_default())?;
    }
    // Our own hooks must not run as chained ones. Hidden files are incomplete copies.
    let is_beside = |name: &str| {
        ![FOLDER, PRE_RECEIVE, POST_RECEIVE].contains(&name) && !name.starts_with('.') && !name.ends_with(SUFFIX)
    };
    for name in storage.list(folder)? {
        if name.to_str().is_some_and(is_beside) {
            point(&links.join(&name), &name)?;
        }
    }
    storage.sync_dir(&links)
}

/// Does nothing: without links, a hook runs from where it is stored.
#[cfg(not(unix))]
pub(super) fn link<S: Folders>(_storage: &S, _folder: &Path, _hooks: &[&Path]) -> io::Result<()> {
    Ok(())
}

/// Creates a symbolic link at `path` to `../name`.
#[cfg(unix)]
fn point(path: &Path, name: &OsStr) -> io::Result<()> {
    let target = Path::new("..").join(name);
    match std::fs::read_link(path) {
        Ok(found) if found == target => return Ok(()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, path)
}

/// A chained hook that has been started.
pub(super) struct Chained {
    end: Receiver<io::Result<ExitStatus>>,
    ended: Option<io::Result<ExitStatus>>,
}

impl Chained {
    /// Runs `program` with this standard input to its end.
    pub(super) fn run(program: &Path, input: &[u8]) -> io::Result<ExitStatus> {
        let mut child = Command::new(program).stdin(Stdio::piped()).spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A hook need not read its input.
            let _ = pipe.write_all(input);
        }
        child.wait()
    }

    /// Starts `program` with this standard input and waits until it ends, for at most `patience`.
    pub(super) fn run_first(program: PathBuf, input: Vec<u8>, patience: Duration) -> io::Result<Self> {
        let (sender, end) = channel();
        std::thread::Builder::new().spawn(move || sender.send(Chained::run(&program, &input)))?;
        let ended = match end.recv_timeout(patience) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(lost())),
        };
        Ok(Chained { end, ended })
    }

    /// Returns true if it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Waits until it ends.
    pub(super) fn wait(self) -> io::Result<ExitStatus> {
        self.ended
            .unwrap_or_else(|| self.end.recv().unwrap_or_else(|_| Err(lost())))
    }
}

fn lost() -> io::Error {
    io::Error::other("the thread that waited for it has died")
}

/// Returns true if `path` is an executable file.
pub(super) fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    #[cfg(not(unix))]
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_slow_hook_runs_on_and_is_awaited_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (program, fifo) = (folder.path().join("hook"), folder.path().join("fifo"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        support::executable::script(&program, &format!("read word < {}\nexit $word", fifo.display()));
        let chained = Chained::run_first(program, b"unread".to_vec(), Duration::ZERO).unwrap();
        assert!(!chained.has_ended(), "it waits for input that only this test can write");
        fs::write(&fifo, "7\n").unwrap();
        assert_eq!(chained.wait().unwrap().code(), Some(7));
    }
}
