//! Whole outputs of the command line: help, errors, exit codes. `SNAPSHOTS=overwrite cargo test --test cli` records them anew.
use std::{
    path::Path,
    process::{Command, Output},
};

use snapbox::{assert_data_eq, file};

/// Runs `stargate-mirror` in `folder`, with nothing of the developer's environment.
fn stargate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stargate-mirror"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env(
            "GIT_CEILING_DIRECTORIES",
            folder.parent().expect("a folder below another"),
        )
        .output()
        .expect("stargate-mirror runs")
}

/// Everything that a command says, the folder's name replaced.
fn whole(folder: &Path, arguments: &[&str]) -> String {
    let output = stargate(folder, arguments);
    let text = |bytes: &[u8]| {
        without_times(&String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "[FOLDER]"))
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let code = output.status.code().expect("an exit code");
    format!(
        "$ stargate-mirror {}\n{stdout}--- stderr\n{stderr}--- exit {code}\n",
        arguments.join(" ")
    )
}

/// Log lines start with the time; JSON says how long it took.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.split_once(' ') {
        Some((time, rest)) if time.parse::<jiff::Timestamp>().is_ok() => format!("[TIME] {rest}\n"),
        _ => match line.split_once("\"elapsed_ms\":") {
            Some((before, after)) if before.starts_with('{') => {
                format!(
                    "{before}\"elapsed_ms\":[MS]{}\n",
                    after.trim_start_matches(|c: char| c.is_ascii_digit())
                )
            }
            _ => format!("{line}\n"),
        },
    };
    text.lines().map(line).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A bare repository with one pending entry for `refs/kv/main`.
fn stargate_repository(folder: &Path) {
    let repository = gix::init_bare(folder.join("r.git")).expect("a bare repository");
    let journal = stargate_mirror::journal::path_in(repository.git_dir());
    std::fs::create_dir(journal.parent().expect("a folder")).expect("the .stargate folder");
    let entry = r#"{"entry_id":"01JBAXF5Z8J8M7R2TK7G9QW3EN","timestamp":"2025-10-26T12:34:56.789Z","event":"ref_update","ref":"refs/kv/main","old_oid":null,"new_oid":"a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2","pusher":null,"repo":null,"source":"post-receive","status":"pending","meta":null}"#;
    std::fs::write(journal, format!("{entry}\n")).expect("a journal");
}

#[test]
fn help() {
    let folder = folder();
    let mut all = String::new();
    for arguments in [
        &["--help"][..],
        &["install", "--help"],
        &["run", "--help"],
        &["push", "--help"],
        &["wait", "--help"],
        &["demo", "--help"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/help.txt"].raw());
}

#[test]
fn usage_errors_exit_2() {
    let folder = folder();
    let mut all = String::new();
    for arguments in [
        &["push-it"][..],
        &["push", "origin"],
        &["push", "origin", "main", "--json", "--porcelain"],
        &["wait"],
        &["wait", "--oid", "main"],
        &[
            "wait",
            "--oid",
            "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2",
            "--ns",
            "a..b",
        ],
        &[
            "wait",
            "--oid",
            "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2",
            "--timeout",
            "soon",
        ],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/usage.txt"].raw());
}

#[test]
fn main_errors_say_what_why_and_what_to_do() {
    let folder = folder();
    stargate_repository(folder.path());
    let mut all = String::new();
    for arguments in [
        &["run", "--repo", "nowhere.git"][..],
        &["run"],
        &["run", "--repo", "r.git", "--remote", "nowhere"],
        &["run", "--repo", "r.git", "--remote", "http://git.example.com/o/r.git"],
        &["run", "--repo", "r.git", "--remote", "ftp://git.example.com/o/r.git"],
        &["run", "--root", "nowhere"],
        &["push", "--repo", "r.git", "nowhere", "main"],
        &["push", "--repo", "r.git", "r.git", "main"],
        &["push", "--repo", "r.git", "r.git", "main:a..b"],
        &["push", "--repo", "r.git", "r.git", "--force-with-lease=main:x", "main"],
        &["wait", "--oid", "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2"],
        &["install", "--repo", "nowhere.git"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/errors.txt"].raw());
}

#[test]
fn without_a_remote_or_a_token_there_is_no_push() {
    let folder = folder();
    stargate_repository(folder.path());
    let mut all = String::new();
    for arguments in [
        &["run", "--repo", "r.git"][..],
        &["run", "--repo", "r.git", "--json"],
        &["run", "--repo", "r.git", "--remote", "https://git.example.com/o/r.git"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/local-only.txt"].raw());
}

#[test]
fn a_second_worker_exits_9() {
    let folder = folder();
    stargate_repository(folder.path());
    let _lock = stargate_mirror::worker::WorkerLock::take(&folder.path().join("r.git/.stargate"))
        .unwrap()
        .unwrap();
    let said = whole(folder.path(), &["run", "--repo", "r.git", "--remote", "r.git"]);
    assert_data_eq!(said, file!["snapshots/locked.txt"].raw());
}

#[test]
fn a_bad_setting_exits_4_and_names_it() {
    let folder = folder();
    stargate_repository(folder.path());
    let config = folder.path().join("r.git/config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "[stargate]\n\tlockTimeout = soon\n").unwrap();
    assert_data_eq!(
        whole(folder.path(), &["run", "--repo", "r.git"]),
        file!["snapshots/bad-setting.txt"].raw()
    );
}

#[test]
fn the_demo_shows_the_whole_journey() {
    let folder = folder();
    let output = stargate(folder.path(), &["demo"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for step in [
        "1. install",
        "2. push",
        "pending",
        "4. run: mirrored",
        "done",
        "refs/kv-mirror/main",
        "5. wait",
        "visible",
    ] {
        assert!(said.contains(step), "{step:?} is missing in:\n{said}");
    }
}
