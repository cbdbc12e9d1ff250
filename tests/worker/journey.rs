//! The journey of a push with real parts: git pushes, the installed hook records, `run` mirrors, `wait` waits.
//! The mirror is `git http-backend` behind nginx, or a folder.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use support::{
    mirror::{Format, Mirror},
    stargate::{FORMATS, Stargate, clean_command, git, start, try_git},
};

const TOKEN: &str = "canary-4f6e9b";
const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// Runs `stargate-mirror` with the token, in `folder`.
fn stargate_mirror(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = clean_command(PROGRAM);
    command
        .args(arguments)
        .current_dir(folder)
        .env("GITHUB_PAT", TOKEN)
        .env("STARGATE_LOG", "debug");
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    start(&mut command).wait_with_output().expect("it ends")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A Stargate that `install` has set up, its remote configured, and a client that has pushed a ledger and an index.
struct Journey {
    stargate: Stargate,
    client: PathBuf,
}

impl Journey {
    fn new(format: &str, remote: &str) -> Self {
        Journey::with_refs_in("files", format, remote)
    }

    fn with_refs_in(storage: &str, format: &str, remote: &str) -> Self {
        let stargate = Stargate::of_formats(format, storage);
        let installed = stargate_mirror(stargate.folder(), &["install", "--repo", "o/r.git"]);
        assert_eq!(code(&installed), 0, "{}", stderr(&installed));
        stargate.configure("stargate.remote", remote);
        stargate.configure("stargate.initialDelay", "1ms");
        let client = stargate.client("first\n\nKV-Txn: 01JBAXF5Z8J8M7R2");
        Journey { stargate, client }
    }

    /// Pushes the client's HEAD as ledger and index of `main`, and returns its id.
    fn push(&self) -> String {
        git(
            &self.client,
            ["push", "-q", "origin", "HEAD:refs/kv/main", "HEAD:refs/kv-index/main"],
        );
        git(&self.client, ["rev-parse", "HEAD"])
    }

    /// Adds a commit with a file.
    fn commit(&self, name: &str) {
        std::fs::write(self.client.join(name), name).expect("a file");
        git(&self.client, ["add", "-A"]);
        git(&self.client, ["commit", "-q", "-m", name]);
    }

    /// Runs one cycle, and returns exit code and report.
    fn run(&self) -> (i32, Value) {
        let output = self.run_raw(&["--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{}", stderr(&output)));
        (code(&output), report)
    }

    fn run_raw(&self, arguments: &[&str]) -> Output {
        let repo = self.stargate.git_dir.display().to_string();
        stargate_mirror(
            self.stargate.folder(),
            &[&["run", "--repo", &repo][..], arguments].concat(),
        )
    }

    fn statuses(&self) -> Vec<String> {
        self.stargate
            .lines()
            .iter()
            .map(|line| line["status"].as_str().expect("a status").to_owned())
            .collect()
    }
}

fn ref_of(repository: &Path, name: &str) -> Option<String> {
    let output = try_git(repository, ["rev-parse", "-q", "--verify", name]);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Ledger, index and watermark of `main`.
fn mirrored(repository: &Path) -> [Option<String>; 3] {
    ["refs/kv/main", "refs/kv-index/main", "refs/kv-mirror/main"].map(|name| ref_of(repository, name))
}

fn wait(folder: &Path, oid: &str, remote: &str, timeout: &str) -> Output {
    stargate_mirror(
        folder,
        &[
            "wait",
            "--oid",
            oid,
            "--ns",
            "main",
            "--remote",
            remote,
            "--timeout",
            timeout,
        ],
    )
}

fn format_of(format: &str) -> Format {
    if format == "sha256" {
        Format::Sha256
    } else {
        Format::Sha1
    }
}

fn journey_over_http(storage: &str, format: &str) {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", format_of(format));
    let journey = Journey::with_refs_in(storage, format, &mirror.url("o/r.git"));
    let first = journey.push();
    assert_eq!(journey.statuses(), ["pending", "pending"]);

    let (exit, report) = journey.run();
    assert_eq!((exit, report["outcome"].as_str()), (0, Some("mirrored")), "{report}");
    let group = &report["groups"][0];
    assert_eq!(group["namespace"], "main");
    assert_eq!(group["attempts"], 1);
    assert_eq!(group["entries"], 2);
    assert_eq!(group["watermark"], first.as_str());
    assert_eq!(group["refs"][0]["ref"], "refs/kv/main");
    assert_eq!(group["refs"][0]["verdict"], "accepted");
    assert_eq!(group["error"], Value::Null);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(first.clone())));
    assert_eq!(journey.statuses(), ["done", "done"]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let waited = wait(elsewhere.path(), &first, &mirror.url("o/r.git"), "5s");
    assert_eq!(code(&waited), 0, "{}", stderr(&waited));

    // The mirror is remembered: the next push is visible after one request, and a second one reads it back.
    journey.commit("second");
    let second = journey.push();
    let before = mirror.requests().len();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["http_requests"].as_u64()), (0, Some(2)), "{report}");
    let requests = mirror.requests().split_off(before);
    assert!(
        requests[0].starts_with("POST /o/r.git/git-receive-pack 200"),
        "{requests:?}"
    );
    assert!(
        requests[1].starts_with("POST /o/r.git/git-upload-pack 200"),
        "{requests:?}"
    );
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(second.clone())));
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["outcome"].as_str(), report["http_requests"].as_u64()),
        (0, Some("idle"), Some(0))
    );
    git(&mirror.path("o/r.git"), ["fsck", "--strict", "--full"]);
}

#[test]
fn a_push_arrives_over_http_and_wait_returns() {
    journey_over_http("files", "sha1");
    journey_over_http("reftable", "sha1");
}

#[test]
fn a_push_arrives_over_http_in_sha256_repositories() {
    journey_over_http("files", "sha256");
    journey_over_http("reftable", "sha256");
}

#[test]
fn a_push_arrives_at_a_local_path_of_either_format() {
    for (format, storage) in FORMATS {
        let mirror = Stargate::of_format(format);
        let journey = Journey::with_refs_in(storage, format, &mirror.git_dir.display().to_string());
        let first = journey.push();
        let (exit, report) = journey.run();
        assert_eq!((exit, report["outcome"].as_str()), (0, Some("mirrored")), "{report}");
        assert_eq!(mirrored(&mirror.git_dir), [0; 3].map(|_| Some(first.clone())));
        let file_url = format!("file://{}", mirror.git_dir.display());
        assert_eq!(code(&wait(mirror.folder(), &first, &file_url, "5s")), 0);
        git(&mirror.git_dir, ["fsck", "--strict", "--full"]);
    }
}

/// An `update` hook for the mirror: notes each ref with its old id, and runs `verdict`.
fn noting_hook(verdict: &str) -> String {
    format!("echo \"$1 $2\" >>noted\n{verdict}\n")
}

#[test]
fn a_watermark_that_the_mirror_refuses_once_moves_neither_ref_and_the_second_attempt_succeeds() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    let refuse_once = "[ \"$1\" != refs/kv-mirror/main ] || [ -e refused ] || { touch refused; exit 1; }";
    mirror.hook("o/r.git", "update", &noting_hook(refuse_once));
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["groups"][0]["attempts"].as_u64()),
        (0, Some(2)),
        "{report}"
    );
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(first.clone())));
    // Both attempts tried to create each ref.
    let noted = std::fs::read_to_string(path.join("noted")).expect("the hook's notes");
    assert_eq!(
        noted.matches(&format!("refs/kv/main {}", "0".repeat(40))).count(),
        2,
        "{noted}"
    );
}

#[test]
fn a_watermark_that_the_mirror_always_refuses_is_tried_three_times_and_again_by_the_next_cycle() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    mirror.hook("o/r.git", "update", &noting_hook("[ \"$1\" != refs/kv-mirror/main ]"));
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["outcome"].as_str()), (1, Some("incomplete")));
    assert_eq!(
        (report["groups"][0]["attempts"].as_u64(), report["pending"].as_u64()),
        (Some(3), Some(2))
    );
    assert_eq!(report["groups"][0]["outcome"], "rejected");
    assert_eq!(mirrored(&path), [None, None, None]);
    assert_eq!(journey.statuses(), ["pending", "pending"]);
    let log = stderr(&journey.run_raw(&[]));
    assert_eq!(log.matches("attempt failed").count(), 2, "{log}");
    assert_eq!(
        log.matches("not mirrored; the entries stay pending").count(),
        1,
        "{log}"
    );
    assert!(log.contains("hook declined"), "{log}");

    std::fs::remove_file(path.join("hooks/update")).expect("the hook goes");
    assert_eq!(journey.run().0, 0);
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(first.clone())));
}

#[test]
fn several_namespaces_and_a_bad_one() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    mirror.hook("o/r.git", "update", "case $1 in */bad) exit 1;; esac\n");
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    git(
        &journey.client,
        [
            "push",
            "-q",
            "origin",
            "HEAD:refs/kv/team/a",
            "HEAD:refs/kv/bad",
            "HEAD:refs/kv/z",
            "HEAD:refs/heads/x",
        ],
    );
    let (exit, report) = journey.run();
    assert_eq!((exit, report["pending"].as_u64()), (1, Some(1)), "{report}");
    for name in [
        "refs/kv/team/a",
        "refs/kv-mirror/team/a",
        "refs/kv/z",
        "refs/kv-mirror/z",
    ] {
        assert!(ref_of(&path, name).is_some(), "{name}");
    }
    for name in ["refs/kv/bad", "refs/kv-mirror/bad", "refs/heads/x"] {
        assert_eq!(ref_of(&path, name), None, "{name}");
    }
}

#[test]
fn a_deletion_is_carried_with_its_watermark() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    journey.run();
    git(
        &journey.client,
        ["push", "-q", "origin", ":refs/kv/main", ":refs/kv-index/main"],
    );
    let (exit, report) = journey.run();
    assert_eq!(exit, 0, "{report}");
    assert_eq!(mirrored(&mirror.path("o/r.git")), [None, None, None]);
}

#[test]
fn a_forced_update_waits_as_diverged_until_it_is_allowed() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    journey.run();
    git(
        &journey.client,
        ["commit", "-q", "--amend", "--allow-empty", "-m", "rewritten"],
    );
    git(&journey.client, ["push", "-q", "-f", "origin", "HEAD:refs/kv/main"]);
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["groups"][0]["outcome"].as_str()),
        (3, Some("diverged")),
        "{report}"
    );
    assert_eq!(ref_of(&path, "refs/kv/main"), Some(first));
    journey.stargate.configure("stargate.force", "true");
    assert_eq!(journey.run().0, 0);
    assert_eq!(
        ref_of(&path, "refs/kv/main"),
        Some(git(&journey.client, ["rev-parse", "HEAD"]))
    );
}

#[test]
fn what_someone_else_put_on_the_mirror_is_never_overwritten() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    journey.run();
    let theirs = git(&journey.client, ["commit-tree", "-m", "theirs", "HEAD^{tree}"]);
    git(
        &journey.client,
        [
            "push",
            "-q",
            "-f",
            &mirror.path("o/r.git").display().to_string(),
            &format!("{theirs}:refs/kv/main"),
        ],
    );
    journey.commit("second");
    journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["outcome"].as_str()), (3, Some("incomplete")), "{report}");
    assert_eq!(ref_of(&mirror.path("o/r.git"), "refs/kv/main"), Some(theirs));
}

#[test]
fn atomic_not_offered_is_refused_and_nothing_is_sent() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    git(&mirror.path("o/r.git"), ["config", "receive.advertiseAtomic", "false"]);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["bytes_sent"].as_u64()), (4, Some(0)), "{report}");
    assert!(
        report["groups"][0]["error"]
            .as_str()
            .expect("an error")
            .contains("atomic"),
        "{report}"
    );
    assert_eq!(mirrored(&mirror.path("o/r.git")), [None, None, None]);
}

#[test]
fn another_object_format_a_wrong_token_and_a_missing_repository_are_misconfigured() {
    let mirror = Mirror::with_token("another token");
    mirror.create("o/r.git", Format::Sha1);
    for name in ["o/r.git", "o/missing.git"] {
        let journey = Journey::new("sha1", &mirror.url(name));
        journey.push();
        let (exit, report) = journey.run();
        assert_eq!(
            (exit, report["groups"][0]["attempts"].as_u64()),
            (4, Some(1)),
            "{report}"
        );
    }
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha256);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["bytes_sent"].as_u64()), (4, Some(0)), "{report}");
}

#[test]
fn a_mirror_that_is_not_as_remembered_is_asked() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    journey.run();
    git(&mirror.path("o/r.git"), ["update-ref", "-d", "refs/kv-mirror/main"]);
    journey.commit("second");
    let second = journey.push();
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["groups"][0]["attempts"].as_u64()),
        (0, Some(1)),
        "{report}"
    );
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(second.clone())));
    // A lost or damaged memory costs one more request.
    std::fs::write(journey.stargate.git_dir.join(".stargate/worker.json"), "{").expect("a file");
    journey.commit("third");
    let third = journey.push();
    assert_eq!(journey.run().0, 0);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(third.clone())));
}

#[test]
fn a_thin_base_that_the_mirror_has_lost_is_sent_again() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let lines: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    std::fs::write(journey.client.join("long"), &lines).expect("a file");
    journey.commit("one");
    git(&journey.client, ["push", "-q", "origin", "HEAD:refs/kv/other"]);
    assert_eq!(journey.run().0, 0);
    // The mirror loses everything, and the worker does not notice.
    git(&path, ["update-ref", "-d", "refs/kv/other"]);
    git(&path, ["update-ref", "-d", "refs/kv-mirror/other"]);
    git(&path, ["-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now"]);
    std::fs::write(journey.client.join("long"), lines + "one more\n").expect("a file");
    journey.commit("two");
    let second = journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["outcome"].as_str()), (0, Some("mirrored")), "{report}");
    assert_eq!(report["groups"][0]["attempts"], 1, "{report}");
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(second.clone())));
    git(&path, ["fsck", "--strict", "--full"]);
}

#[test]
fn what_the_journal_missed_is_found_and_carried() {
    for (format, storage) in FORMATS {
        missed_pushes_are_carried(format, storage);
    }
}

fn missed_pushes_are_carried(format: &str, storage: &str) {
    let mirror = Mirror::start();
    mirror.create("o/r.git", format_of(format));
    let path = mirror.path("o/r.git");
    let journey = Journey::with_refs_in(storage, format, &mirror.url("o/r.git"));
    // No hook at the first push; there is no journal at all.
    std::fs::remove_file(journey.stargate.git_dir.join("hooks/post-receive")).expect("the hook goes");
    let first = journey.push();
    let (exit, report) = journey.run();
    assert_eq!((exit, report["outcome"].as_str()), (0, Some("mirrored")), "{report}");
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(first.clone())));
    let sources: Vec<_> = journey
        .stargate
        .lines()
        .iter()
        .map(|line| line["source"].clone())
        .collect();
    assert_eq!(sources, ["reconcile", "reconcile"]);

    // A ref that moves without an entry is noticed by the next cycle, not only after a quarter of an hour.
    journey.commit("second");
    let second = journey.push();
    assert_eq!(journey.run().1["outcome"], "mirrored");
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(second.clone())));

    // A ref that exists only on the mirror, or that would be rewound, stays as it is.
    let git_dir = &journey.stargate.git_dir;
    git(git_dir, ["update-ref", "refs/kv/main", &first]);
    git(git_dir, ["update-ref", "-d", "refs/kv-index/main"]);
    std::fs::remove_file(git_dir.join(".stargate/worker.json")).expect("the memory goes");
    assert_eq!(journey.run().1["outcome"], "idle");
    assert_eq!(mirrored(&path), [0; 3].map(|_| Some(second.clone())));
}

#[test]
fn an_entry_whose_object_is_gone_fails_and_the_others_go_on() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    git(&journey.client, ["push", "-q", "origin", "HEAD:refs/kv/other"]);
    // An update to a commit that never reached the disk, and whose ref is lost, too.
    let gone = "a1".repeat(20);
    let lost = journey
        .stargate
        .run_hook(format!("{} {gone} refs/kv-index/lost\n", "0".repeat(40)));
    assert!(lost.status.success());
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["failed"].as_u64(), report["pending"].as_u64()),
        (5, Some(1), Some(0)),
        "{report}"
    );
    assert_eq!(report["outcome"], "incomplete");
    assert_eq!(journey.statuses(), ["done", "done", "done", "failed"]);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(first.clone())));
    // One cycle reports the failure; every later one reports the failed entry.
    let idle = journey.run_raw(&[]);
    let said = String::from_utf8_lossy(&idle.stdout).into_owned();
    assert_eq!(code(&idle), 0, "{said}");
    assert!(said.contains("idle: nothing is pending, 1 failed"), "{said}");
    assert!(said.contains("journal list --status failed"), "{said}");
}

#[test]
fn a_ref_whose_object_is_gone_is_told_of_and_makes_no_entries() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    let broken = journey.stargate.git_dir.join("refs/kv/new");
    std::fs::write(broken, format!("{}\n", "a1".repeat(20))).expect("a ref");
    let output = journey.run_raw(&[]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("refs/kv/new"), "{}", stderr(&output));
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(first.clone())));
    for _ in 0..2 {
        let (exit, report) = journey.run();
        assert_eq!((exit, report["http_requests"].as_u64()), (5, Some(0)), "{report}");
    }
    assert_eq!(journey.statuses(), ["done", "done"]);
    let sync = stargate_mirror(journey.stargate.folder(), &["sync", "--dry-run", "--repo", "o/r.git"]);
    let said = String::from_utf8_lossy(&sync.stdout).into_owned();
    assert_eq!(code(&sync), 5, "{said}");
    assert!(said.contains("broken"), "{said}");
}

#[test]
fn an_object_that_a_power_cut_has_emptied_holds_up_its_own_namespace_only() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.commit("bad");
    git(&journey.client, ["push", "-q", "origin", "HEAD:refs/kv/bad"]);
    let blob = git(&journey.client, ["rev-parse", "HEAD:bad"]);
    git(&journey.client, ["reset", "-q", "--hard", "HEAD^"]);
    journey.commit("good");
    let good = journey.push();
    let object = journey
        .stargate
        .git_dir
        .join(format!("objects/{}/{}", &blob[..2], &blob[2..]));
    std::fs::remove_file(&object).expect("a loose object");
    std::fs::write(&object, "").expect("an empty one");
    let (exit, report) = journey.run();
    assert_eq!((exit, report["pending"].as_u64()), (5, Some(1)), "{report}");
    let bad = &report["groups"][0];
    assert_eq!((&bad["namespace"], &bad["outcome"]), (&"bad".into(), &"broken".into()));
    assert!(bad["error"].as_str().is_some_and(|why| why.contains(&blob)), "{report}");
    assert_eq!(journey.statuses(), ["pending", "done", "done"]);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(good.clone())));
}

#[test]
fn a_creation_whose_hook_is_later_than_the_carried_deletion_stays_deleted() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    assert_eq!(journey.run().0, 0);
    let zero = "0".repeat(40);
    for (old, new) in [(&first, &zero), (&zero, &first)] {
        let told = journey.stargate.run_hook(format!("{old} {new} refs/kv/brief\n"));
        assert!(told.status.success());
        assert_eq!(journey.run().0, 0);
    }
    assert_eq!(journey.statuses(), ["done"; 4]);
    assert_eq!(ref_of(&mirror.path("o/r.git"), "refs/kv/brief"), None);
}

#[test]
fn a_dry_run_sends_nothing_and_records_nothing() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    let output = journey.run_raw(&["--json", "--dry-run"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (code(&output), report["groups"][0]["outcome"].as_str()),
        (0, Some("planned")),
        "{report}"
    );
    assert_eq!(report["bytes_sent"], 0);
    assert_eq!(journey.statuses(), ["pending", "pending"]);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [None, None, None]);
}

#[test]
fn a_dry_run_plans_what_the_journal_missed() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    std::fs::remove_dir_all(journey.stargate.git_dir.join(".stargate")).expect("the journal goes");
    let output = journey.run_raw(&["--json", "--dry-run"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (code(&output), report["groups"][0]["outcome"].as_str()),
        (0, Some("planned")),
        "{report}"
    );
    assert_eq!(
        (report["pending"].as_u64(), report["bytes_sent"].as_u64()),
        (Some(2), Some(0))
    );
    assert!(!journey.stargate.git_dir.join(".stargate").exists());
    assert_eq!(journey.run().1["outcome"], "mirrored");
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(first.clone())));
    let output = journey.run_raw(&["--json", "--dry-run"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (code(&output), report["outcome"].as_str()),
        (0, Some("idle")),
        "{report}"
    );
}

#[test]
fn a_mirror_that_is_down_leaves_entries_pending_and_gets_them_when_it_is_back() {
    let mut mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    let first = journey.push();
    mirror.stop();
    let (exit, report) = journey.run();
    assert_eq!(
        (exit, report["groups"][0]["outcome"].as_str()),
        (1, Some("transient")),
        "{report}"
    );
    mirror.start_again();
    assert_eq!(journey.run().0, 0);
    assert_eq!(mirrored(&mirror.path("o/r.git")), [0; 3].map(|_| Some(first.clone())));
}

#[test]
fn root_finds_every_repository() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    let output = stargate_mirror(journey.stargate.folder(), &["run", "--root", ".", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["outcome"], "mirrored");
}

#[test]
fn a_mirror_that_the_environment_names_is_not_that_of_several_repositories() {
    let (public, private) = (Stargate::with_hook(), Stargate::with_hook());
    let mirror = public.folder().join("mirror.git");
    git(public.folder(), ["init", "-q", "--bare", "mirror.git"]);
    git(
        &private.client("secret"),
        ["push", "-q", "origin", "HEAD:refs/kv/secret"],
    );
    let root = public.folder().join("root");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::rename(&private.git_dir, root.join("private.git")).expect("a move");
    let (one, other) = (root.join("private.git"), public.git_dir.clone());
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = clean_command(PROGRAM);
        command.arg("run").args(arguments).env("GITHUB_REPO_URL", &mirror);
        support::stargate::feed(command, "")
    };
    let (repo, root) = (std::ffi::OsStr::new("--repo"), root.as_os_str());
    for arguments in [
        &["--root".as_ref(), root][..],
        &[repo, one.as_os_str(), repo, other.as_os_str()],
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains("local-only") && said.contains("GITHUB_REPO_URL"),
            "{said}"
        );
        assert_eq!(git(&mirror, ["for-each-ref"]), "");
    }
    assert_eq!(code(&run(&[repo, one.as_os_str()])), 0);
    assert!(
        git(&mirror, ["for-each-ref"]).contains("refs/kv/secret"),
        "of a single one it is"
    );
}

#[test]
fn the_token_is_nowhere() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    mirror.hook("o/r.git", "pre-receive", "echo no >&2\nexit 1\n");
    let journey = Journey::new("sha1", &mirror.url("o/r.git"));
    journey.push();
    let outputs = [
        journey.run_raw(&[]),
        journey.run_raw(&["--json"]),
        journey.run_raw(&["--remote", &mirror.url("o/missing.git")]),
        journey.run_raw(&[
            "--remote",
            &mirror.url("o/r.git").replace("://", &format!("://u:{TOKEN}@")),
        ]),
        journey.run_raw(&["--remote", &format!("http://u:{TOKEN}@git.example.com/o/r.git")]),
        journey.run_raw(&["--remote", &format!("https://{TOKEN}@127.0.0.1:1/o/r.git")]),
    ];
    let mut said: Vec<u8> = outputs
        .iter()
        .flat_map(|output| [&output.stdout[..], &output.stderr].concat())
        .collect();
    for file in files(&journey.stargate.git_dir) {
        said.extend(std::fs::read(file).expect("a file"));
    }
    let said = String::from_utf8_lossy(&said);
    use base64::{Engine, prelude::BASE64_STANDARD};
    for form in [
        TOKEN.to_owned(),
        TOKEN.replace('-', "%2D"),
        BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")),
        BASE64_STANDARD.encode(format!("u:{TOKEN}")),
    ] {
        assert!(!said.contains(&form), "{form} was said");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

#[test]
fn status_tells_what_waits_since_when_and_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nowhere.git");
    let journey = Journey::new("sha1", &missing.display().to_string());
    journey.push();
    let status = |arguments: &[&str]| {
        let all = [&["status", "--repo", "o/r.git"], arguments].concat();
        let output = stargate_mirror(journey.stargate.folder(), &all);
        (code(&output), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let json = || {
        let (exit, text) = status(&["--json"]);
        (exit, serde_json::from_str::<Value>(&text).expect("JSON"))
    };
    let (exit, before) = json();
    assert_eq!(
        (exit, &before["pending"], &before["intents"]),
        (1, &2.into(), &0.into())
    );
    assert_eq!(before["groups"][0]["group"], "main");
    assert!(before["oldest_pending_age_s"].is_i64() && before["groups"][0]["reason"].is_null());
    journey.run_raw(&[]);
    let (exit, told) = status(&[]);
    assert_eq!(exit, 1);
    let is_group = |line: &str| line.split_whitespace().take(2).eq(["main", "2"]);
    assert!(
        told.contains("2 pending, the oldest for ") && told.lines().any(is_group),
        "{told}"
    );
    git(folder.path(), ["init", "-q", "--bare", "nowhere.git"]);
    journey.run_raw(&[]);
    let (exit, after) = json();
    assert_eq!(
        (exit, &after["pending"], &after["groups"]),
        (0, &0.into(), &Value::Array(vec![]))
    );
    assert_eq!(after["remote"], missing.display().to_string());
    let (_, told) = status(&[]);
    assert!(
        told.contains("nothing is pending") && told.contains("compared "),
        "{told}"
    );
}

#[test]
fn doctor_says_what_is_missing_and_what_is_well() {
    let stargate = Stargate::bare();
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let doctor = |arguments: &[&str]| {
        let all = [&["doctor", "--repo", "o/r.git", "--json"], arguments].concat();
        let output = stargate_mirror(stargate.folder(), &all);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains(TOKEN), "{text}");
        let diagnosis: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let of = |check: &Value| {
            let word = |key: &str| check[key].as_str().expect("a word").to_owned();
            (word("check"), word("verdict"))
        };
        let checks: Vec<_> = diagnosis["checks"].as_array().expect("checks").iter().map(of).collect();
        (code(&output), checks)
    };
    let verdicts = |words: &[(&str, &str)]| -> Vec<(String, String)> {
        words
            .iter()
            .map(|(check, verdict)| ((*check).into(), (*verdict).into()))
            .collect()
    };
    let (exit, checks) = doctor(&[]);
    let nothing_yet = [
        ("mirrored refs", "ok"),
        ("hook", "warning"),
        ("hook", "problem"),
        ("core.fsync", "warning"),
        ("disk", "ok"),
        ("refs", "ok"),
        ("journal", "ok"),
        ("mirror", "warning"),
    ];
    assert_eq!((exit, checks), (4, verdicts(&nothing_yet)));
    let installed = stargate_mirror(
        stargate.folder(),
        &["install", "--repo", "o/r.git", "--fsync-committed"],
    );
    assert_eq!(code(&installed), 0, "{}", stderr(&installed));
    stargate.configure("stargate.remote", &mirror.url("o/r.git"));
    let mut well: Vec<_> = nothing_yet.map(|(check, _)| (check, "ok")).into();
    well.insert(7, ("worker", "ok"));
    well.push(("clock", "ok"));
    assert_eq!(doctor(&[]), (0, verdicts(&well)));
    let client = stargate.client("first");
    for name in ["refs/kv/main", "refs/kv/Main", "refs/kv/ma\u{2066}in"] {
        git(&client, ["push", "-q", "origin", &format!("HEAD:{name}")]);
    }
    let (exit, checks) = doctor(&[]);
    assert_eq!((exit, &checks[7]), (0, &("ref names".to_owned(), "warning".to_owned())));
    let output = stargate_mirror(stargate.folder(), &["doctor", "--repo", "o/r.git"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("refs/kv/main differs only in case from refs/kv/Main; refs/kv/ma\\u{2066}in has the bidirectional control U+2066"),
        "{told}"
    );
    for name in ["refs/kv/Main", "refs/kv/ma\u{2066}in"] {
        git(&client, ["push", "-q", "origin", &format!(":{name}")]);
    }
    let (exit, checks) = doctor(&["--remote", &mirror.url("o/nowhere.git")]);
    assert_eq!((exit, &checks[8]), (4, &("mirror".to_owned(), "problem".to_owned())));
    let output = stargate_mirror(stargate.folder(), &["doctor", "--repo", "o/r.git"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("ok       mirror: ") && told.contains(" answers and has 0 refs"),
        "{told}"
    );
}
