//! `cargo bench --bench guard`: `check append-only` against `git diff --name-status`, on 100,000 event files of which one is
//! changed. Whole processes, p50.
use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const RUNS: usize = 50;
const FILES: usize = 100_000;

/// Numbers of folders that hold the files.
const FOLDERS: [usize; 2] = [100, 1];

fn main() {
    println!("{FILES} event files, one changed; p50 of {RUNS} runs of whole processes\n");
    println!("| folders | check append-only ms | git diff --name-status ms | ours / git |");
    println!("|---|---|---|---|");
    for folders in FOLDERS {
        let folder = tempfile::tempdir().expect("a folder");
        write_history(folder.path(), folders);
        let ours = p50(|| {
            let mut check = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
            check
                .args(["check", "append-only", "--base", "HEAD~1", "--repo"])
                .arg(folder.path());
            run(check, 1);
        });
        let git = p50(|| {
            let mut diff = git(folder.path());
            diff.args(["diff", "--name-status", "HEAD~1", "HEAD"]);
            run(diff, 0);
        });
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {folders} | {:.2} | {:.2} | {:.2} |",
            ms(ours),
            ms(git),
            ms(ours) / ms(git)
        );
    }
}

/// Writes two commits, packed.
fn write_history(folder: &Path, folders: usize) {
    let mut init = git(folder);
    init.args(["init", "-q", "--bare", "-b", "main"]);
    run(init, 0);
    let path = |number: usize| format!("events/feed/{:04}/{number}.json", number % folders);
    let file = |number: usize, text: &str| format!("M 100644 inline {}\ndata {}\n{text}\n", path(number), text.len());
    let head = "commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx\n";
    let mut stream = head.to_owned();
    for number in 0..FILES {
        stream += &file(number, &format!("event {number}"));
    }
    write!(stream, "\n{head}{}\n", file(FILES / 2, "changed")).expect("memory");
    let mut import = git(folder);
    import.args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut import = import.spawn().expect("git");
    import
        .stdin
        .take()
        .expect("a pipe")
        .write_all(stream.as_bytes())
        .expect("git reads");
    assert!(import.wait().expect("git ends").success());
}

fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    git
}

fn run(mut command: Command, expected: i32) {
    let status = command.stdout(Stdio::null()).status().expect("a program");
    assert_eq!(status.code(), Some(expected), "{command:?}");
}

fn p50(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}
