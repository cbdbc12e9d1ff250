//! The run of one hook: its input, its output line by line, its end.
//!
//! The output is read to its end, as by git, so that a process that the hook leaves behind keeps the push waiting if it keeps
//! the output open. An interrupt kills the hook; processes that it has started lose their output, and end by themselves.
use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use git_push::{MAX_LINE, cleaned};

/// Interval between looks at the interrupt flag and for the end of a hook.
const GLANCE: Duration = Duration::from_millis(5);
/// Number of lines that are read ahead.
const AHEAD: usize = 64;
/// Error of the system for a program without `#!` (ENOEXEC).
#[cfg(unix)]
const NO_FORMAT: i32 = 8;

/// End of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Success,
    Failure,
    /// It was killed, because the caller asked to stop.
    Killed,
}

/// The caller's wish to stop, and the time that a hook has after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop<'a> {
    pub flag: &'a AtomicBool,
    pub grace: Duration,
}

/// Runs a hook with this input to its end.
///
/// # Errors
/// It cannot be started, or its output cannot be read.
pub(super) fn run(program: Command, input: Option<Vec<u8>>, stop: Stop<'_>, say: impl Fn(&str)) -> io::Result<Ended> {
    let (output, written) = io::pipe()?;
    // When this returns, only the hook has the writing end.
    let mut child = start(program, written, input.is_some())?;
    feed(&mut child, input);
    let lines = lines_of(output);
    let mut since = None;
    loop {
        if is_over(stop, &mut since) {
            return kill(&mut child);
        }
        match lines.recv_timeout(GLANCE) {
            Ok(line) => say(&line?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() {
                Ended::Success
            } else {
                Ended::Failure
            });
        }
        if is_over(stop, &mut since) {
            return kill(&mut child);
        }
        thread::sleep(GLANCE);
    }
}

/// Starts a program that writes to this pipe. One without `#!` is a script of the shell, as for git.
fn start(mut program: Command, written: PipeWriter, has_input: bool) -> io::Result<Child> {
    let connect = |program: &mut Command| {
        let stdin = if has_input { Stdio::piped() } else { Stdio::null() };
        let (stdout, stderr) = (written.try_clone()?, written.try_clone()?);
        program.stdin(stdin).stdout(stdout).stderr(stderr);
        io::Result::Ok(())
    };
    connect(&mut program)?;
    match program.spawn() {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(NO_FORMAT) => {
            let mut shell = by_shell(&program);
            connect(&mut shell)?;
            shell.spawn()
        }
        started => started,
    }
}

/// Returns the shell with this program as its script.
#[cfg(unix)]
fn by_shell(program: &Command) -> Command {
    let mut shell = Command::new(super::SHELL);
    shell.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(folder) = program.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// Gives a hook its input. It need not read it.
fn feed(child: &mut Child, input: Option<Vec<u8>>) {
    if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
        thread::spawn(move || stdin.write_all(&input));
    }
}

/// Reads lines in a thread, which ends with the output, or when nobody takes its lines.
fn lines_of(output: PipeReader) -> Receiver<io::Result<String>> {
    let (give, lines) = sync_channel(AHEAD);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let read = output.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                read => read.map(|_| cleaned(&line)),
            };
            let is_wanted = line.as_ref().map_or(true, |line| !line.trim().is_empty());
            let (is_last, is_taken) = (line.is_err(), !is_wanted || give.send(line).is_ok());
            if is_last || !is_taken {
                return;
            }
        }
    });
    lines
}

/// Returns true if the caller asked to stop, and the time after that is over.
fn is_over(stop: Stop<'_>, since: &mut Option<Instant>) -> bool {
    stop.flag.load(Ordering::Relaxed) && since.get_or_insert_with(Instant::now).elapsed() >= stop.grace
}

fn kill(child: &mut Child) -> io::Result<Ended> {
    // It may have ended meanwhile.
    let _ = child.kill();
    child.wait()?;
    Ok(Ended::Killed)
}

/// Returns the program that runs a line of the shell with these arguments.
pub(super) fn of_line(line: &OsStr, arguments: &[&OsStr]) -> Command {
    let mut script = line.to_owned();
    script.push(" \"$@\"");
    let mut program = Command::new(super::SHELL);
    program.arg("-c").arg(script).arg(line).args(arguments);
    program
}
