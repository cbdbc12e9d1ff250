//! Faults of the operating system, injected by strace: a call of a program fails, or kills the program.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output},
};

/// System calls that change a disk, or may. A kill before a call that only reads leaves the same state as a kill before
/// the next one of these.
const CHANGES: &str = "open,openat,openat2,creat,mkdir,mkdirat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,\
                       renameat2,unlink,unlinkat,rmdir,flock,ftruncate,fallocate,chmod,fchmod,fchmodat,link,linkat,symlink,\
                       symlinkat,copy_file_range,sendfile,utimensat,msync,sync_file_range,syncfs";

/// One call of a program: its name, and its number among the calls of this name in its thread, from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: String,
    pub number: usize,
}

/// The calls by which a command changes the disk, each once, except those for whose line in the trace `passed_over`
/// returns true. The lines show the paths of descriptors. The command is run, and must succeed.
pub fn changes(command: &Command, trace: &Path, passed_over: fn(&str) -> bool) -> Vec<Call> {
    let what = format!("trace={CHANGES}");
    let words = ["-f", "-qq", "-y", "-s", "0", "-e", &what, "-o"].map(str::to_owned);
    let output = behind(command, words.into_iter().chain([trace.display().to_string()]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    let trace = fs::read_to_string(trace).expect("strace writes a trace");
    let mut counts = BTreeMap::new();
    let mut calls = BTreeSet::new();
    for line in trace.lines() {
        // `PID name(arguments) = result`. The end of an interrupted call has no such beginning.
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let number = counts.entry((thread.to_owned(), name.to_owned())).or_insert(0);
        *number += 1;
        let opens = name.starts_with("open");
        if passed_over(line) {
            continue;
        }
        if !opens || arguments.contains("O_CREAT") || arguments.contains("O_TMPFILE") || arguments.contains("O_TRUNC") {
            calls.insert(Call {
                name: name.to_owned(),
                number: *number,
            });
        }
    }
    calls.into_iter().collect()
}

/// Runs a command that is killed before it makes this call.
pub fn killed_at(command: &Command, call: &Call) -> Output {
    let output = injected(command, &call.name, &format!("signal=KILL:when={}", call.number));
    let killed = output.status.signal() == Some(9) || output.status.code() == Some(128 + 9);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(killed, "it makes no {call:?}: {}: {said}", output.status);
    output
}

/// Runs a command with `fault`, such as `error=EIO:when=2+`, at calls of this name.
pub fn injected(command: &Command, name: &str, fault: &str) -> Output {
    let words = [
        "-f".to_owned(),
        "-qq".to_owned(),
        "-o".to_owned(),
        "/dev/null".to_owned(),
        "-e".to_owned(),
        format!("trace={name}"),
        "-e".to_owned(),
        format!("inject={name}:{fault}"),
    ];
    behind(command, words.into_iter())
}

/// Runs a command behind strace with these arguments, and returns its output.
fn behind(command: &Command, words: impl Iterator<Item = String>) -> Output {
    let mut strace = Command::new("strace");
    strace
        .args(words)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    strace.env_clear();
    for (key, value) in command.get_envs() {
        strace.envs(value.map(|value| (key, value)));
    }
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace
        .output()
        .unwrap_or_else(|error| panic!("cannot run strace, which this test needs: {error}"))
}
