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
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// How long the journal waits for a chained hook.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What is put behind the name of a hook that is chained.
const SUFFIX: &str = ".chained";

/// Where the hook that `hook` replaced is kept: `post-receive.chained`, which git runs for no event.
pub(super) fn beside(hook: &Path) -> PathBuf {
    let mut name = hook.with_extension("").into_os_string();
    name.push(SUFFIX);
    name.into()
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
