//! The hook that was there before ours, and is run first.
//!
//! It gets the same standard input, environment and working directory, and its output goes where it would have gone.
//!
//! In `pre-receive` it is waited for, and its failure rejects the push. In `post-receive` its failure stops nothing:
//! nothing can be rejected there.
//!
//! There it is waited for, because it runs first; but the journal does not depend on it. When it has not ended after
//! [`PATIENCE`], the journal is written while it goes on, and then it is waited for to its end: git waits for a hook
//! that takes long, too, and no child is left behind.
//!
//! # Its name and its place
//!
//! A hook may ask for its own name, and look beside itself: that of Gitea runs what is in `hooks/$(basename "$0").d/`, and
//! passes a push when nothing is there. So it is kept as `hooks/pre-receive.chained`, where a relative symbolic link still
//! leads where it did, and run as `hooks/stargate-chained/pre-receive`, a symbolic link to it. In that folder are links to
//! all that lies in `hooks`, too, for a hook that looks for `$(dirname "$0")/lib` or `$0.d`. An installation makes them,
//! and adds what is missing when it is done again. Without the link, the hook is run where it is kept.
//!
//! # Limitations
//!
//! - `$(dirname "$0")/..` is the folder of the hooks, not the repository; `$GIT_DIR` always is.
//! - A hook that follows the link to itself (`readlink -f "$0"`) finds the right folder, and a name with `.chained` in it.
//! - What is put into `hooks` later is not linked before the next installation.
//! - On Windows there are no links: the hook runs where it is kept.
#[cfg(unix)]
use std::ffi::OsStr;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

#[cfg(unix)]
use durable::storage::Storage;

use super::{POST_RECEIVE, PRE_RECEIVE};

/// How long the journal waits for a chained hook.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What is put behind the name of a hook that is chained.
const SUFFIX: &str = ".chained";
/// The folder in that of the hooks in which a chained hook has its own name.
const FOLDER: &str = "stargate-chained";

/// Where the hook that `hook` replaced is kept: `post-receive.chained`, which git runs for no event.
pub(super) fn beside(hook: &Path) -> PathBuf {
    let mut name = hook.with_extension("").into_os_string();
    name.push(SUFFIX);
    name.into()
}

/// Where that hook has its own name: `stargate-chained/post-receive`, a link to where it is kept.
pub(super) fn named(hook: &Path) -> PathBuf {
    let hooks = hook.parent().unwrap_or(Path::new(""));
    hooks.join(FOLDER).join(hook.file_stem().unwrap_or_default())
}

/// What is to be run before `hook`, if anything: under its own name where that is possible. As git does, a program without
/// its x bit is passed over.
pub(super) fn program(hook: &Path) -> Option<PathBuf> {
    [named(hook), beside(hook)].into_iter().find(|path| is_program(path))
}

/// Gives the hooks that these `hooks` in `folder` run first their own names, and makes what lies beside them lie beside
/// those. What is there already stays.
///
/// # Errors
/// The folder or a link cannot be made, or something else is in its place.
#[cfg(unix)]
pub(super) fn link<S: Storage>(storage: &S, folder: &Path, hooks: &[&Path]) -> io::Result<()> {
    let links = folder.join(FOLDER);
    storage.create_dir(&links)?;
    for hook in hooks {
        point(&named(hook), beside(hook).file_name().unwrap_or_default())?;
    }
    // A hook that git runs itself must not be run as one that is chained; what is hidden is half written.
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

/// Without links, a hook runs where it is kept.
#[cfg(not(unix))]
pub(super) fn link<S: Storage>(_storage: &S, _folder: &Path, _hooks: &[&Path]) -> io::Result<()> {
    Ok(())
}

/// Makes a symbolic link at `path` to what has this name in the folder above it.
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
            // A hook need not read what it is told.
            let _ = pipe.write_all(input);
        }
        child.wait()
    }

    /// Starts `program` with this standard input, and waits for its end, or until `patience` has run out.
    pub(super) fn run_first(program: PathBuf, input: Vec<u8>, patience: Duration) -> io::Result<Self> {
        let (sender, end) = channel();
        std::thread::Builder::new().spawn(move || sender.send(Chained::run(&program, &input)))?;
        let ended = match end.recv_timeout(patience) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(io::Error::other("it was lost"))),
        };
        Ok(Chained { end, ended })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Waits for its end.
    pub(super) fn wait(self) -> io::Result<ExitStatus> {
        let lost = |_| Err(io::Error::other("it was lost"));
        self.ended.unwrap_or_else(|| self.end.recv().unwrap_or_else(lost))
    }
}

/// Whether there is a program to run. As git does, one without its x bit is passed over.
pub(super) fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    return rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    #[cfg(not(unix))]
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_hook_that_takes_long_is_left_running_and_waited_for_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (program, fifo) = (folder.path().join("hook"), folder.path().join("fifo"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::write(
            &program,
            format!("#!/bin/sh\nread word < {}\nexit $word\n", fifo.display()),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let chained = Chained::run_first(program, b"unread".to_vec(), Duration::ZERO).unwrap();
        assert!(!chained.has_ended(), "it waits for what only this test can write");
        fs::write(&fifo, "7\n").unwrap();
        assert_eq!(chained.wait().unwrap().code(), Some(7));
    }
}
