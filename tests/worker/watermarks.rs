//! Watermarks that the mirror's ledgers do not contain: found, reported, and reset.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use support::{
    lying,
    mirror::{Format, Mirror},
    stargate::{Stargate, clean_command, feed, git, stderr, try_git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// A Stargate whose ledger and index of `main` are at `first`, here and on the mirror.
struct Place {
    stargate: Stargate,
    client: PathBuf,
    mirror: Mirror,
    first: String,
}

impl Place {
    fn new(is_lying: bool) -> Self {
        let mirror = Mirror::start();
        mirror.create("o/r.git", Format::Sha1);
        let url = mirror.url("o/r.git");
        let url = match is_lying {
            true => url.replace(
                &mirror.port().to_string(),
                &lying::in_front_of(mirror.port()).to_string(),
            ),
            false => url,
        };
        let stargate = Stargate::with_hook();
        stargate.configure("stargate.remote", &url);
        stargate.configure("stargate.initialDelay", "1ms");
        let client = stargate.client("first");
        let mut place = Place {
            stargate,
            client,
            mirror,
            first: String::new(),
        };
        place.first = place.push();
        let (exit, report) = place.run(&["run", "--json"]);
        assert_eq!(exit, Some(0), "{report}");
        assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
        place
    }

    /// Pushes one more commit as ledger and index.
    fn push(&self) -> String {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
        git(
            &self.client,
            ["push", "-q", "origin", "HEAD:refs/kv/main", "HEAD:refs/kv-index/main"],
        );
        git(&self.client, ["rev-parse", "HEAD"])
    }

    fn on_mirror(&self) -> PathBuf {
        self.mirror.path("o/r.git")
    }

    /// Somebody else's commit on top of `first`, as the mirror's ledger.
    fn overwrite(&self) -> String {
        let mirror = self.on_mirror();
        let tree = git(&mirror, ["rev-parse", &format!("{}^{{tree}}", self.first)]);
        let other = git(&mirror, ["commit-tree", "-m", "theirs", "-p", &self.first, &tree]);
        git(&mirror, ["update-ref", "refs/kv/main", &other]);
        other
    }

    fn at(&self, name: &str) -> Option<String> {
        let found = try_git(&self.on_mirror(), ["rev-parse", "-q", "--verify", name]);
        let id = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        found.status.success().then_some(id)
    }

    fn said(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        command.env("GITHUB_PAT", "token");
        feed(command, "")
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.said(arguments);
        let parsed = serde_json::from_slice(&output.stdout);
        let report = parsed.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code(), report)
    }
}

fn wait(folder: &Path, url: &str, commit: &str) -> Option<i32> {
    let mut command = clean_command(PROGRAM);
    command.args(["wait", "--remote", url, "--oid", commit, "--timeout", "200ms"]);
    command.current_dir(folder).env("GITHUB_PAT", "token");
    feed(command, "").status.code()
}

#[test]
fn a_watermark_that_a_server_moved_without_its_ledger_is_told_and_set_back() {
    let place = Place::new(true);
    let theirs = place.overwrite();
    let second = place.push();
    let (exit, report) = place.run(&["run", "--json"]);
    assert_eq!(exit, Some(3), "{report}");
    assert_eq!(
        place.at("refs/kv-index/main"),
        Some(second.clone()),
        "the server has lied"
    );
    let found = &report["watermarks"][0];
    assert_eq!(found["namespace"], "main", "{report}");
    assert_eq!(found["watermark"], second.as_str());
    assert_eq!(found["ledger"], theirs.as_str());
    assert_eq!(found["covered"], place.first.as_str());
    assert_eq!(found["set_back"], true);
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
    assert_eq!(place.at("refs/kv/main"), Some(theirs), "what is theirs is left");

    let url = place.mirror.url("o/r.git");
    assert_eq!(wait(place.stargate.folder(), &url, &place.first), Some(0));
    assert_eq!(wait(place.stargate.folder(), &url, &second), Some(10));

    let (exit, status) = place.run(&["status", "--json"]);
    assert_eq!(exit, Some(1), "the ledger is pending: {status}");
    assert_eq!(status["watermarks"][0]["found_at"], second.as_str(), "{status}");
    assert_eq!(status["watermarks"][0]["stands_at"], place.first.as_str());
    let shown = place.said(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("the watermark of main was wrong"));

    // A checked watermark is not checked again: nothing is fetched or pushed.
    let before = place.mirror.requests().len();
    let (_, report) = place.run(&["run", "--json"]);
    assert_eq!(report["watermarks"], Value::Array(Vec::new()), "{report}");
    let requests = place.mirror.requests().split_off(before);
    assert_eq!(requests.len(), 1, "the advertisement: {requests:?}");
}

#[test]
fn doctor_and_sync_tell_of_a_false_watermark_and_change_nothing() {
    let place = Place::new(false);
    let second = place.push();
    assert_eq!(place.run(&["run", "--json"]).0, Some(0));
    let theirs = place.overwrite();
    for arguments in [&["doctor"][..], &["sync", "--dry-run"]] {
        let output = place.said(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_ne!(output.status.code(), Some(0), "{said}");
        for word in ["refs/kv-mirror/main", &second, &theirs] {
            assert!(said.contains(word), "{arguments:?}: {word}: {said}");
        }
    }
    assert_eq!(place.at("refs/kv-mirror/main"), Some(second.clone()));
    let (exit, report) = place.run(&["sync", "--dry-run", "--json"]);
    assert_eq!(
        (exit, &report["watermarks"][0]["set_back"]),
        (Some(3), &Value::Bool(false)),
        "{report}"
    );

    // The next comparison resets it.
    let (exit, report) = place.run(&["sync", "--repair", "--json"]);
    assert_eq!(
        (exit, &report["watermarks"]),
        (Some(3), &Value::Array(Vec::new())),
        "{report}"
    );
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
    assert_eq!(place.at("refs/kv/main"), Some(theirs));
}

#[test]
fn a_ledger_that_contains_its_watermark_needs_nothing() {
    let place = Place::new(false);
    place.overwrite();
    let (exit, report) = place.run(&["sync", "--repair", "--json"]);
    assert_eq!(
        (exit, &report["watermarks"]),
        (Some(3), &Value::Array(Vec::new())),
        "{report}"
    );
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
}

#[test]
fn a_ledger_that_was_rewound_is_brought_forward_again() {
    let place = Place::new(false);
    let second = place.push();
    assert_eq!(place.run(&["run", "--json"]).0, Some(0));
    git(&place.on_mirror(), ["update-ref", "refs/kv/main", &place.first]);
    let (exit, report) = place.run(&["sync", "--repair", "--json"]);
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!(place.at("refs/kv/main"), Some(second.clone()));
    assert_eq!(place.at("refs/kv-mirror/main"), Some(second));
}

#[test]
fn a_ledger_that_is_hidden_from_pushes_is_not_taken_for_absent() {
    let place = Place::new(false);
    git(&place.on_mirror(), ["config", "receive.hideRefs", "refs/kv/main"]);
    let output = place.said(&["sync", "--repair"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
}

#[test]
fn a_watermark_whose_ledger_is_gone_on_both_sides_is_deleted() {
    let place = Place::new(false);
    git(&place.on_mirror(), ["update-ref", "refs/kv-mirror/stray", &place.first]);
    let (exit, report) = place.run(&["sync", "--repair", "--json"]);
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!(place.at("refs/kv-mirror/stray"), None);
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
}

#[test]
fn a_ledger_that_is_no_commit_covers_nothing_else_and_holds_up_nobody() {
    let place = Place::new(false);
    let mirror = place.on_mirror();
    let second = place.push();
    assert_eq!(place.run(&["run", "--json"]).0, Some(0));
    let blob = git(&mirror, ["hash-object", "-w", "--stdin"]);
    let tree = git(&mirror, ["rev-parse", &format!("{second}^{{tree}}")]);
    git(&mirror, ["update-ref", "refs/kv-mirror/a", &blob]);
    git(&mirror, ["update-ref", "refs/kv/a", &tree]);
    place.overwrite();
    place.run(&["sync", "--repair", "--json"]);
    assert_eq!(place.at("refs/kv-mirror/a"), None);
    assert_eq!(place.at("refs/kv/a"), Some(tree));
    assert_eq!(place.at("refs/kv-mirror/main").as_ref(), Some(&place.first));
}
