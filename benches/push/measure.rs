//! Measurement of processes, and git.
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of runs of each measurement; the fastest counts.
const RUNS: usize = 3;
/// After this time there is no further run.
const LONG: Duration = Duration::from_secs(60);

/// Cost of a measured process.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Over HTTP.
    pub requests: u64,
    pub bytes: u64,
    pub wall: Duration,
    pub cpu: f64,
    /// KiB.
    pub memory: u64,
}

/// Prints the lines with their heading.
pub fn print(lines: &[String]) {
    println!(
        "{:<22} {:<6} {:>9} {:>26} {:>19} {:>19} {:>19}",
        "", "", "requests", "bytes", "wall ms", "CPU ms", "memory MiB"
    );
    lines.iter().for_each(|line| println!("{line}"));
}

/// Returns the line of a row: ours, git's, and the ratio.
pub fn line(name: &str, what: &str, [ours, theirs]: [Cost; 2]) -> String {
    let column = |ours: f64, theirs: f64, digits: usize| {
        let ratio = ours / theirs.max(f64::MIN_POSITIVE);
        format!("{ours:.digits$}/{theirs:.digits$} {ratio:>5.2}")
    };
    let requests = column(ours.requests as f64, theirs.requests as f64, 0);
    let bytes = column(ours.bytes as f64, theirs.bytes as f64, 0);
    let wall = column(ours.wall.as_secs_f64() * 1e3, theirs.wall.as_secs_f64() * 1e3, 0);
    let cpu = column(ours.cpu * 1e3, theirs.cpu * 1e3, 0);
    let memory = column(ours.memory as f64 / 1024.0, theirs.memory as f64 / 1024.0, 1);
    format!("{name:<22} {what:<6} {requests:>9} {bytes:>26} {wall:>19} {cpu:>19} {memory:>19}")
}

/// The best of some runs, or the first if it takes long.
pub fn best(measure: impl Fn() -> Cost) -> Cost {
    let start = Instant::now();
    let runs = (0..RUNS).take_while(|run| *run == 0 || start.elapsed() < LONG);
    runs.map(|_| measure()).min_by_key(|cost| cost.wall).expect("a run")
}

/// Runs a command to its end. Its bytes are those of standard output, or the number that it prints.
pub fn measure(command: &mut Command, stdin: Option<&Path>) -> Cost {
    let (report, output) = (temporary(), temporary());
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-f", "%U %S %M", "-o"])
        .arg(report.path())
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        timed.current_dir(folder);
    }
    let input = stdin.map_or(Stdio::null(), |path| {
        std::fs::File::open(path).expect("its input").into()
    });
    timed.stdin(input).stdout(output.reopen().expect("an output"));
    let start = Instant::now();
    let status = timed
        .status()
        .unwrap_or_else(|error| panic!("this needs GNU time, /usr/bin/time: {error}"));
    let wall = start.elapsed();
    assert!(status.success(), "{command:?}");
    let report = std::fs::read_to_string(report.path()).expect("the report of time");
    let numbers: Vec<f64> = report
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let output = std::fs::read(output.path()).expect("the output");
    let number = std::str::from_utf8(&output)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Cost {
        requests: 0,
        bytes: number.unwrap_or(output.len() as u64),
        wall,
        cpu: numbers[0] + numbers[1],
        memory: numbers[2] as u64,
    }
}

fn temporary() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().expect("a temporary file")
}

pub fn init(folder: &Path) {
    let parent = folder.parent().expect("a parent");
    git(
        parent,
        &["init", "-q", "--bare", "-b", "main", &folder.display().to_string()],
    );
}

pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(
        status
            .unwrap_or_else(|error| panic!("this needs cp: {error}"))
            .success()
    );
}

/// Runs git, which must succeed.
pub fn git(folder: &Path, arguments: &[&str]) {
    let status = git_command(folder).args(arguments).status();
    assert!(
        status
            .unwrap_or_else(|error| panic!("this needs git: {error}"))
            .success()
    );
}

/// Runs git, which must succeed. Returns what it prints, without the last line feed.
pub fn git_output(folder: &Path, arguments: &[&str]) -> String {
    let output = git_command(folder).args(arguments).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("this needs git: {error}"));
    assert!(output.status.success(), "git {arguments:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim_end_matches('\n').to_owned()
}

/// git, without the configuration of the current user, and without work in the background.
pub fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}
