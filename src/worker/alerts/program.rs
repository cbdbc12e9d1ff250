//! Delivery to a program: `stargate.alertCommand`.
use std::{
    io::{self, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use bstr::BString;
use durable::clock::{Clock, SystemClock};
use git_push_transport::SECRET_VARIABLES;

use super::failure::Failure;

/// Time after which the program is killed.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Interval between checks for the end of the program.
const GLANCE: Duration = Duration::from_millis(10);

/// Runs the program in the repository, or in `/` if that is missing, with `body` on its standard input, and kills it after `limit`. Its standard error is that
/// of the worker.
///
/// # Errors
/// It cannot run, fails, or was killed, as text.
pub(super) fn run(command: &[BString], repository: &Path, body: &str, limit: Duration) -> Result<(), Failure> {
    let argv = command.iter().map(|word| gix::path::from_bstring(word.clone()));
    let argv = argv
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Failure::not_sent("its name is not UTF-8".into()))?;
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Failure::not_sent("there is no command".into()));
    };
    let mut command = Command::new(program);
    let folder = if repository.is_dir() {
        repository
    } else {
        Path::new("/")
    };
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    in_own_group(&mut command);
    let named = |error: io::Error| format!("{}: {error}", program.display());
    let mut child = command.spawn().map_err(|error| Failure::not_sent(named(error)))?;
    let stdin = child.stdin.take();
    let written = match stdin.map(|stdin| write(stdin, body)).transpose() {
        Ok(written) => written,
        Err(error) => {
            kill(&mut child);
            return Err(Failure::unanswered(named(error)));
        }
    };
    match ended_within(&mut child, limit).map_err(|error| Failure::unanswered(named(error)))? {
        Some(status) if status.success() => match written.and_then(|written| written.try_recv().ok()) {
            // A program need not read its input, and a child of it may keep it open.
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::refused(named(error))),
            _ => Ok(()),
        },
        Some(status) => Err(Failure::refused(format!("{}: {status}", program.display()))),
        None => {
            kill(&mut child);
            Err(Failure::unanswered(format!(
                "{}: killed after {limit:?}",
                program.display()
            )))
        }
    }
}

/// Writes the alert in a thread, because a program that does not read its input would block this one. The thread ends when
/// nobody has the other end of the pipe open.
///
/// # Errors
/// There is no thread.
fn write(mut stdin: ChildStdin, body: &str) -> io::Result<Receiver<io::Result<()>>> {
    let line = format!("{body}\n");
    let (sender, written) = mpsc::channel();
    let write = move || {
        // Fails only if nobody waits for it any more.
        let _ = sender.send(stdin.write_all(line.as_bytes()));
    };
    thread::Builder::new().spawn(write)?;
    Ok(written)
}

fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let clock = SystemClock::default();
    loop {
        match child.try_wait()? {
            None if clock.elapsed() < limit => clock.sleep(GLANCE),
            status => return Ok(status),
        }
    }
}

/// Gives the program a process group of its own, so that its children are killed with it.
#[cfg(unix)]
fn in_own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn in_own_group(_: &mut Command) {}

/// Kills the program and its children.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        // It may have ended meanwhile.
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    // It may have ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::{super::failure::Extent, *};

    fn sh(folder: &Path, script: &str, limit: Duration) -> Result<(), Failure> {
        sh_with(folder, script, "{\"a\":1}", limit)
    }

    fn sh_with(folder: &Path, script: &str, body: &str, limit: Duration) -> Result<(), Failure> {
        let command = ["/bin/sh", "-c", script].map(BString::from);
        run(&command, folder, body, limit)
    }

    #[test]
    fn the_program_gets_the_alert_in_the_repository() {
        let folder = tempfile::tempdir().expect("a folder");
        sh(folder.path(), "cat > alert", LIMIT).expect("it ends");
        assert_eq!(fs::read(folder.path().join("alert")).expect("a file"), b"{\"a\":1}\n");
        sh(folder.path(), "exec 0<&-", LIMIT).expect("it reads nothing");
        let large = "x".repeat(1 << 20);
        sh_with(folder.path(), "exit 0", &large, LIMIT).expect("it reads nothing of a large one");
        sh_with(folder.path(), "cat > alert", &large, LIMIT).expect("it ends");
        let length = fs::metadata(folder.path().join("alert")).expect("a file").len();
        assert_eq!(length, large.len() as u64 + 1);
    }

    #[test]
    fn without_the_repository_the_program_runs_in_the_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("cwd");
        let script = format!("pwd > '{}'", out.display());
        sh(&folder.path().join("missing.git"), &script, LIMIT).expect("it ends");
        assert_eq!(fs::read(out).expect("a file"), b"/\n");
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_an_error_and_its_children_are_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let failed = sh(folder.path(), "exit 3", LIMIT).expect_err("it fails");
        assert_eq!(failed, Failure::refused("/bin/sh: exit status: 3".into()));
        let nowhere = run(&["/nowhere/notify".into()], folder.path(), "{}", LIMIT).expect_err("there is none");
        assert_eq!(nowhere.extent, Extent::NotSent);
        assert!(nowhere.why.starts_with("/nowhere/notify: "), "{nowhere:?}");
        // The child holds the lock of a file as long as it lives.
        // It does not read its input, which is larger than the buffer of a pipe.
        let script = "exec 9> lock; flock 9; sleep 600 & wait";
        let large = "x".repeat(1 << 20);
        let killed = sh_with(folder.path(), script, &large, Duration::from_millis(300)).expect_err("it hangs");
        assert_eq!(killed, Failure::unanswered("/bin/sh: killed after 300ms".into()));
        let mut flock = Command::new("flock");
        flock.args(["-w", "60"]).arg(folder.path().join("lock")).arg("true");
        assert!(flock.status().expect("flock").success(), "a child holds the lock");
    }
}
