//! What an operator sees on the terminal: summaries, tables, quiet and verbose output.
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use durable::clock::SystemClock;
use git_push::{Observer, Stage};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stargate_mirror::worker::{Options, Progress, WorkerLock, run};
use support::stargate::{Stargate, clean_command, feed, git, git_command, start, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
/// A mirror that cannot be reached.
const NOWHERE: &str = "http://127.0.0.1:1/o/misspelt.git";
/// Number of tags of the Stargate.
const TAGS: usize = 60;

/// A Stargate with a branch and many tags, and an empty mirror, in a folder of their own.
struct Scene {
    stargate: Stargate,
    mirror: String,
}

impl Scene {
    fn new() -> Self {
        let stargate = Stargate::bare();
        let git_dir = &stargate.git_dir;
        for pattern in ["refs/heads/*", "refs/tags/*"] {
            git(git_dir, ["config", "--add", "stargate.ref", pattern]);
        }
        let tree = git(git_dir, ["hash-object", "-t", "tree", "-w", "--stdin"]);
        let commit = git(git_dir, ["commit-tree", "-m", "first", &tree]);
        let mut names = vec!["refs/heads/main".to_owned()];
        names.extend((0..TAGS).map(|number| format!("refs/tags/v{number}")));
        let lines = |word: &dyn Fn(&String) -> String| names.iter().map(word).collect::<String>();
        let mut update = git_command(git_dir);
        update.args(["update-ref", "--stdin"]);
        let updated = feed(update, lines(&|name| format!("create {name} {commit}\n")));
        assert!(updated.status.success(), "{}", stderr(&updated));
        let recorded = stargate.run_hook(lines(&|name| format!("{} {commit} {name}\n", "0".repeat(40))));
        assert!(recorded.status.success(), "{}", stderr(&recorded));
        git(git_dir, ["config", "stargate.attempts", "1"]);
        let mirror = stargate.folder().join("mirror.git").display().to_string();
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        Scene { stargate, mirror }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        command
    }

    /// Runs a command with this mirror. Returns its exit code, stdout and stderr.
    fn run(&self, arguments: &[&str], mirror: &str) -> (Option<i32>, String, String) {
        let mut command = self.command(arguments);
        command.arg("--remote").arg(mirror).env("GITHUB_PAT", "token");
        ended(command)
    }

    /// Runs `status` for a terminal of 80 columns.
    fn status(&self, arguments: &[&str]) -> String {
        let mut command = self.command(&[&["status"], arguments].concat());
        command.env("COLUMNS", "80");
        ended(command).1
    }
}

fn ended(command: Command) -> (Option<i32>, String, String) {
    let output = feed(command, "");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), stdout, stderr(&output))
}

#[test]
fn output_does_not_grow_with_the_number_of_refs() {
    let scene = Scene::new();
    let (_, printed, logged) = scene.run(&["run"], NOWHERE);
    let expected = format!("61 refs: not mirrored to {NOWHERE} (transient), 61 entries\n");
    assert!(printed.starts_with(&expected), "{printed}");
    assert!(
        printed.contains("refs/tags/v0, refs/tags/v1 and 58 more\n"),
        "{printed}"
    );
    let lines = printed.lines().count() + logged.lines().count();
    assert!(lines <= 12, "{printed}\n{logged}");
    let (_, printed, logged) = scene.run(&["run", "-q"], NOWHERE);
    assert_eq!((printed.as_str(), logged.lines().count()), ("", 1), "{logged}");

    let (exit, planned, _) = scene.run(&["run", "--dry-run", "-v"], &scene.mirror);
    assert_eq!(
        (exit, planned.contains("  refs/tags/v59  (none) -> ")),
        (Some(0), true),
        "{planned}"
    );
    let (exit, printed, logged) = scene.run(&["run"], &scene.mirror);
    let expected = format!(
        "61 refs: mirrored to {}, 61 entries\n0 pending, 0 failed\n",
        scene.mirror
    );
    assert_eq!((exit, printed), (Some(0), expected), "{logged}");

    git(scene.mirror.as_ref(), ["update-ref", "-d", "refs/tags/v7"]);
    let (_, compared, _) = scene.run(&["sync", "--dry-run"], &scene.mirror);
    assert!(
        compared.starts_with("missing ") && compared.contains("\n1 of 61 refs differ"),
        "{compared}"
    );
    assert_eq!(compared.lines().count(), 2, "{compared}");
    let (_, all, _) = scene.run(&["sync", "--dry-run", "-v"], &scene.mirror);
    assert_eq!(all.lines().count(), 62, "{all}");
    let (_, json, _) = scene.run(&["sync", "--dry-run", "-q", "--json"], &scene.mirror);
    let json: Value = serde_json::from_str(&json).expect("JSON in spite of -q");
    assert_eq!(json["refs"].as_array().map(Vec::len), Some(61));
}

#[test]
fn status_is_a_table_of_80_columns_that_shows_the_worker() {
    let scene = Scene::new();
    let shown = scene.status(&[]);
    for words in ["61 pending", "no cycle yet", "there is no remote", "\n61 refs  "] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    scene.run(&["run"], NOWHERE);
    git(&scene.stargate.git_dir, ["config", "stargate.remote", "nowhere"]);
    let shown = scene.status(&["-v"]);
    assert!(
        shown.contains("last cycle ") && shown.contains("1 failed attempt: "),
        "{shown}"
    );
    for line in shown.lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 80 && !line.contains('\x1b'), "{line}");
    }
    let lock = scene.stargate.git_dir.join(".stargate/worker.lock");
    let held = WorkerLock::take(&lock).expect("a file").expect("not locked");
    assert!(scene.status(&[]).contains("a cycle is running"));
    drop(held);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(72 * 60 * 60);
    let file = std::fs::File::options().append(true).open(&lock).expect("a file");
    file.set_modified(old).expect("ours");
    assert!(
        scene.status(&[]).contains("no cycle for 3d 0h"),
        "{}",
        scene.status(&[])
    );
    scene.run(&["run"], &scene.mirror);
    assert!(scene.status(&[]).contains("\nsuccess "), "{}", scene.status(&[]));
}

#[test]
fn status_names_what_differs_and_each_repository_below_a_root() {
    let scene = Scene::new();
    scene.run(&["run"], &scene.mirror);
    let root = scene.stargate.folder();
    let tree = git(scene.mirror.as_ref(), ["rev-parse", "refs/heads/main^{tree}"]);
    let other = git(scene.mirror.as_ref(), ["commit-tree", "-m", "other", &tree]);
    git(scene.mirror.as_ref(), ["update-ref", "refs/heads/main", &other]);
    git(root, ["init", "-q", "--bare", "second.git"]);
    git(&root.join("second.git"), ["config", "stargate.repoId", "o/second"]);
    std::fs::remove_file(scene.stargate.git_dir.join(".stargate/worker.json")).expect("a file");
    scene.run(&["run"], &scene.mirror);
    let shown = scene.status(&[]);
    assert!(shown.contains("diverged: refs/heads/main"), "{shown}");

    let below = |arguments: &[&str]| {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--root").arg(root);
        ended(command)
    };
    let (exit, printed, logged) = below(&["status", "--json"]);
    let lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let named: Vec<_> = lines
        .iter()
        .map(|line| line["repository"].as_str().expect("a path"))
        .collect();
    let [first, second] =
        [scene.stargate.git_dir.clone(), root.join("second.git")].map(|path| path.display().to_string());
    assert_eq!((exit, named), (Some(0), vec![first.as_str(), &second]), "{logged}");
    assert_eq!(lines[0]["differing"][0]["standing"], "diverged", "{}", lines[0]);
    assert_eq!(lines[0]["worker"]["alive"], true, "{}", lines[0]);
    assert_eq!(
        lines[0]["last_success"],
        Value::Null,
        "the mirror does not have everything"
    );
    let (_, printed, _) = below(&["status"]);
    assert!(printed.contains(&format!("{second}:\n")), "{printed}");

    git(&scene.stargate.git_dir, ["config", "stargate.remote", &scene.mirror]);
    let (exit, printed, _) = below(&["sync", "--dry-run"]);
    assert_eq!(exit, Some(3), "{printed}");
    assert!(printed.starts_with(&format!("{first}:\ndiverged ")), "{printed}");
    std::fs::remove_file(scene.stargate.git_dir.join(".stargate/worker.json")).expect("a file");
    let (exit, printed, logged) = below(&["run", "--json"]);
    assert_eq!((exit, printed.lines().count()), (Some(0), 2), "{logged}");
    let warned = logged
        .lines()
        .find(|line| line.contains("the mirror's ref stays unchanged"));
    assert!(
        warned.is_some_and(|line| line.ends_with(&format!("repository={first}"))),
        "{logged}"
    );
    let line: Value = serde_json::from_str(printed.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["repository"], first.as_str());
    let (_, printed, _) = below(&["run"]);
    assert!(printed.ends_with("2 cycles: 1 idle, 1 local-only\n"), "{printed}");
}

#[test]
fn status_watches_until_it_is_interrupted() {
    let scene = Scene::new();
    let mut command = scene.command(&["status", "--watch", "--json"]);
    let mut child = start(command.stdout(Stdio::piped()));
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    printed.read_line(&mut line).expect("a line");
    assert!(line.contains("\"pending\":61"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// The stages of a cycle.
#[derive(Default)]
struct Stages(Mutex<Vec<String>>);

impl Observer for Stages {
    fn stage(&self, stage: Stage<'_>) {
        let name = format!("{stage:?}");
        let name = name.split([' ', '{']).next().expect("a name").to_owned();
        self.0.lock().expect("no panic").push(name);
    }
}

#[test]
fn a_cycle_reports_its_progress_from_the_first_request() {
    let scene = Scene::new();
    let stages = Arc::new(Stages::default());
    let options = Options {
        remote: Some(scene.mirror.clone()),
        progress: Progress::to(stages.clone()),
        ..Default::default()
    };
    run(&scene.stargate.git_dir, &options, &|_| None, &SystemClock::default()).expect("a cycle");
    let stages = stages.0.lock().expect("no panic");
    assert_eq!(stages.first().map(String::as_str), Some("Asking"), "{stages:?}");
    for stage in ["Counting", "Sending"] {
        assert!(stages.iter().any(|name| name == stage), "{stage}: {stages:?}");
    }
}
