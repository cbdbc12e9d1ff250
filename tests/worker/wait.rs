//! The fence with a real mirror: visible commits, invisible ones, and tolerated errors.

use std::{
    path::Path,
    process::{Child, Output, Stdio},
};

use support::{
    mirror::{Format, Mirror},
    sshd::Server,
    stargate::{clean_command, git, start},
};

/// A mirror whose `o/r.git` has three commits, oldest first, and the watermark on the second.
fn mirror(filter: bool) -> (Mirror, [String; 3]) {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let path = mirror.path("o/r.git");
    git(
        &path,
        [
            "config",
            "uploadpack.allowFilter",
            if filter { "true" } else { "false" },
        ],
    );
    let tree = git(&path, ["hash-object", "-t", "tree", "-w", "--stdin"]);
    let first = git(&path, ["commit-tree", "-m", "first", &tree]);
    let second = git(&path, ["commit-tree", "-m", "second", "-p", &first, &tree]);
    let third = git(&path, ["commit-tree", "-m", "third", "-p", &second, &tree]);
    for family in ["kv", "kv-mirror"] {
        git(&path, ["update-ref", &format!("refs/{family}/main"), &second]);
        git(&path, ["update-ref", &format!("refs/{family}/main2"), &third]);
    }
    (mirror, [first, second, third])
}

fn spawn(folder: &Path, remote: &str, oid: &str, more: &[&str]) -> Child {
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .args(["wait", "--oid", oid, "--remote", remote])
        .args(more)
        .current_dir(folder);
    start(
        command
            .env("GITHUB_PAT", "token")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

fn wait(remote: &str, oid: &str, more: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    told(
        spawn(folder.path(), remote, oid, more)
            .wait_with_output()
            .expect("it ends"),
    )
}

fn told(output: Output) -> (i32, String) {
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("an exit code"),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn the_watermark_itself_passes() {
    let (mirror, [_, second, _]) = mirror(true);
    let (exit, said) = wait(&mirror.url("o/r.git"), &second, &[]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains(&format!("{second} is visible")), "{said}");
}

#[test]
fn a_watermark_that_descends_from_the_commit_passes_with_and_without_filter() {
    for filter in [true, false] {
        let (mirror, [first, ..]) = mirror(filter);
        let (exit, said) = wait(&mirror.url("o/r.git"), &first, &[]);
        assert_eq!(exit, 0, "{said}");
    }
}

#[test]
fn a_mirror_that_is_behind_the_commit_times_out() {
    for filter in [true, false] {
        let (mirror, [_, second, third]) = mirror(filter);
        let (exit, said) = wait(&mirror.url("o/r.git"), &third, &["--timeout", "300ms"]);
        assert_eq!(exit, 10, "{said}");
        assert!(said.contains(&second), "what was seen last is told: {said}");
    }
}

#[test]
fn a_commit_that_nobody_has_and_a_watermark_that_is_absent_time_out() {
    let (mirror, [first, ..]) = mirror(true);
    let (exit, _) = wait(&mirror.url("o/r.git"), &"a1".repeat(20), &["--timeout", "200ms"]);
    assert_eq!(exit, 10);
    let (exit, said) = wait(&mirror.url("o/r.git"), &first, &["--ns", "other", "--timeout", "200ms"]);
    assert_eq!(exit, 10);
    assert!(said.contains("refs/kv-mirror/other does not exist"), "{said}");
}

#[test]
fn ancestry_comes_from_a_local_repository_that_has_the_commits() {
    let (mirror, [first, ..]) = mirror(true);
    let path = mirror.path("o/r.git").display().to_string();
    let before = mirror.requests().len();
    let (exit, said) = wait(&mirror.url("o/r.git"), &first, &["--repo", &path]);
    assert_eq!(exit, 0, "{said}");
    // Capabilities and one read of the refs; no fetch.
    assert_eq!(mirror.requests().len() - before, 2);
}

#[test]
fn a_local_path_is_fenced_on_as_well() {
    let (mirror, [first, _, third]) = mirror(true);
    let path = mirror.path("o/r.git").display().to_string();
    assert_eq!(wait(&path, &first, &[]).0, 0);
    assert_eq!(wait(&path, &third, &["--timeout", "200ms"]).0, 10);
}

#[test]
fn a_mirror_that_is_down_is_borne_until_it_is_up() {
    let (mut mirror, [_, second, _]) = mirror(true);
    mirror.stop();
    let folder = tempfile::tempdir().expect("a folder");
    let waiting = spawn(folder.path(), &mirror.url("o/r.git"), &second, &["--timeout", "60s"]);
    mirror.start_again();
    let (exit, said) = told(waiting.wait_with_output().expect("it ends"));
    assert_eq!(exit, 0, "{said}");

    mirror.stop();
    let (exit, said) = wait(&mirror.url("o/r.git"), &second, &["--timeout", "200ms"]);
    assert_eq!(exit, 10);
    assert!(said.contains("the last poll failed"), "{said}");
}

#[test]
fn a_missing_repository_is_told_at_once() {
    let (mirror, [first, ..]) = mirror(true);
    let (exit, said) = wait(&mirror.url("o/missing.git"), &first, &["--timeout", "60s"]);
    assert_eq!(exit, 4, "{said}");
}

#[test]
fn a_refused_key_and_an_unknown_host_key_are_told_at_once() {
    let server = Server::ssh(true);
    server.create("r.git", "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = folder.path().join("known");
    std::fs::write(&nobody, "").expect("a file without hosts");
    let cases = [
        (
            server.ssh_command_with_key("host"),
            "Permission denied (publickey)",
            "help: add the public key",
        ),
        (
            server.ssh_command_with_known_hosts(&nobody),
            "Host key verification failed",
            "help: compare the server's host key",
        ),
    ];
    for (ssh_command, words, help) in cases {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.args([
            "wait",
            "--timeout",
            "10m",
            "--oid",
            &"a1".repeat(20),
            "--remote",
            &server.url("r.git"),
        ]);
        command.env("GIT_SSH_COMMAND", ssh_command).current_dir(folder.path());
        let (exit, said) = told(command.output().expect("it ends"));
        assert_eq!(exit, 4, "{said}");
        assert!(said.contains(words) && said.contains(help), "{said}");
    }
}

#[test]
fn json_is_one_object() {
    let (mirror, [_, second, third]) = mirror(true);
    let (_, said) = wait(&mirror.url("o/r.git"), &second, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(
        (report["outcome"].as_str(), report["watermark"].as_str()),
        (Some("visible"), Some(second.as_str()))
    );
    let (_, said) = wait(&mirror.url("o/r.git"), &third, &["--json", "--timeout", "100ms"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(
        (report["outcome"].as_str(), report["watermark"].as_str()),
        (Some("timed-out"), Some(second.as_str()))
    );
}

/// Moves the ledger of `main` away from its watermark.
fn move_ledger(mirror: &Mirror, to: Option<&str>) {
    let path = mirror.path("o/r.git");
    match to {
        Some(commit) => git(&path, ["update-ref", "refs/kv/main", commit]),
        None => git(&path, ["update-ref", "-d", "refs/kv/main"]),
    };
}

#[test]
fn a_mirror_that_was_rewound_has_its_own_word_and_the_exit_of_a_timeout() {
    let (mirror, [first, second, third]) = mirror(true);
    let url = mirror.url("o/r.git");
    for ledger in [Some(first.as_str()), None] {
        move_ledger(&mirror, ledger);
        for commit in [&first, &second] {
            let (exit, said) = wait(&url, commit, &["--timeout", "200ms", "--json"]);
            assert_eq!(exit, 10, "{said}");
            let report: serde_json::Value = serde_json::from_str(&said).expect("one JSON object");
            assert_eq!(
                (
                    report["outcome"].as_str(),
                    report["watermark"].as_str(),
                    report["ledger"].as_str()
                ),
                (Some("rewound"), Some(second.as_str()), ledger)
            );
        }
        let (exit, said) = wait(&url, &second, &["--timeout", "200ms"]);
        assert_eq!(exit, 10, "{said}");
        assert!(said.contains("was rewound") && said.contains(&second), "{said}");
    }
    // A ledger that is ahead of the watermark contains everything that the watermark promises.
    move_ledger(&mirror, Some(&third));
    assert_eq!(wait(&url, &first, &[]).0, 0);
}

#[test]
fn watermark_and_ledger_are_asked_for_in_one_request() {
    let (mirror, [_, second, _]) = mirror(true);
    let (_, said) = wait(&mirror.url("o/r.git"), &second, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("one JSON object");
    // Capabilities, and one read of both refs.
    assert_eq!(report["http_requests"], 2, "{report}");
}

/// Waits for refs, in a folder without a repository.
fn wait_for(remote: &str, arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .args(["wait", "--remote", remote])
        .args(arguments)
        .current_dir(folder.path());
    told(command.env("GITHUB_PAT", "token").output().expect("it ends"))
}

/// The mirror of [`mirror()`], with the branch `main` and the annotated tag `v1` on the second commit.
fn branches(filter: bool) -> (Mirror, [String; 3]) {
    let (mirror, commits) = mirror(filter);
    let path = mirror.path("o/r.git");
    git(&path, ["update-ref", "refs/heads/main", &commits[1]]);
    git(&path, ["update-ref", "refs/heads/main2", &commits[2]]);
    git(&path, ["tag", "-a", "-m", "one", "v1", &commits[1]]);
    (mirror, commits)
}

#[test]
fn a_branch_passes_by_itself_at_the_commit_or_after_it() {
    for filter in [true, false] {
        let (mirror, [first, second, third]) = branches(filter);
        for remote in [mirror.url("o/r.git"), mirror.path("o/r.git").display().to_string()] {
            for commit in [&first, &second] {
                let (exit, said) = wait_for(&remote, &["--ref", "refs/heads/main", "--oid", commit]);
                assert_eq!(exit, 0, "{said}");
                assert!(
                    said.contains(&format!("{commit} is visible: refs/heads/main is at {second}")),
                    "{said}"
                );
            }
            let late = ["--ref", "refs/heads/main", "--oid", &third, "--timeout", "200ms"];
            let (exit, said) = wait_for(&remote, &late);
            assert_eq!(exit, 10, "{said}");
            assert!(said.contains(&format!("refs/heads/main is at {second} on ")), "{said}");
        }
    }
}

#[test]
fn a_tag_passes_by_its_own_id_and_by_its_commit() {
    let (mirror, [first, second, third]) = branches(true);
    let tag = mirror.git("o/r.git", &["rev-parse", "refs/tags/v1"]);
    assert_ne!(tag.trim(), second);
    for (id, expected) in [(tag.trim(), 0), (&second, 0), (&first, 0), (&third, 10)] {
        let arguments = ["--ref", "refs/tags/v1", "--oid", id, "--timeout", "200ms"];
        let (exit, said) = wait_for(&mirror.url("o/r.git"), &arguments);
        assert_eq!(exit, expected, "{said}");
    }
}

#[test]
fn of_several_refs_each_must_pass_in_one_request() {
    let (mirror, [_, second, third]) = branches(true);
    let url = mirror.url("o/r.git");
    let two = |one: &str, other: &str| {
        let arguments = [
            "--ref",
            "refs/heads/main",
            "--ref",
            "refs/heads/main2",
            "--oid",
            one,
            "--oid",
            other,
            "--timeout",
            "200ms",
            "--json",
            "--visible-on=github",
        ];
        let (exit, said) = wait_for(&url, &arguments);
        let report: serde_json::Value = serde_json::from_str(&said).expect("one JSON object");
        (exit, report)
    };
    let (exit, report) = two(&second, &third);
    assert_eq!((exit, report["outcome"].as_str()), (0, Some("visible")), "{report}");
    assert_eq!(report["http_requests"], 2, "capabilities, and one look: {report}");
    assert_eq!(
        (report["refs"][0]["ref"].as_str(), report["refs"][0]["remote"].as_str()),
        (Some("refs/heads/main"), Some(second.as_str()))
    );
    assert!(report["watermark"].is_null() && report["namespace"].is_null());
    let (exit, report) = two(&third, &third);
    assert_eq!((exit, report["outcome"].as_str()), (10, Some("timed-out")), "{report}");
    let (exit, said) = wait_for(
        &url,
        &["--ref", "refs/heads/none", "--oid", &second, "--timeout", "200ms"],
    );
    assert!(exit == 10 && said.contains("refs/heads/none does not exist"), "{said}");
}

#[test]
fn without_ids_those_of_the_named_repository_are_awaited() {
    for storage in ["files", "reftable"] {
        let stargate = support::stargate::Stargate::of_formats("sha1", storage);
        let client = stargate.client("one");
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
        git(stargate.folder(), ["clone", "-q", "--bare", "o/r.git", "mirror.git"]);
        let remote = stargate.folder().join("mirror.git").display().to_string();
        let repo = stargate.git_dir.display().to_string();
        let wait = |name: &str| wait_for(&remote, &["--ref", name, "--repo", &repo, "--timeout", "200ms"]);
        let (exit, said) = wait("refs/heads/main");
        assert_eq!(exit, 0, "{said}");
        let (exit, said) = wait("refs/heads/other");
        assert!(
            exit == 5 && said.contains("refs/heads/other does not exist in"),
            "{said}"
        );
        git(&client, ["commit", "-q", "--allow-empty", "-m", "two"]);
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
        assert_eq!(wait("refs/heads/main").0, 10);
    }
}

#[test]
fn a_ref_fence_that_makes_no_sense_is_refused() {
    let id = "a1".repeat(20);
    for (arguments, words) in [
        (
            &["--ref", "main", "--oid", &id][..],
            "expected a full name, such as refs/heads/main",
        ),
        (
            &["--ref", "refs/heads/main"],
            "the number of --ref (1) and the number of --oid (0) differ",
        ),
        (
            &["--ref", "refs/heads/main", "--oid", &id, "--oid", &id],
            "the number of --ref (1) and the number of --oid (2) differ",
        ),
        (
            &["--oid", &id, "--oid", &id],
            "--oid was given more than once without --ref",
        ),
        (
            &["--ref", "refs/heads/main", "--oid", &id, "--ns", "a"],
            "cannot be used with",
        ),
        (
            &["--oid", &id, "--visible-on", "moon"],
            "possible values: github, mirror",
        ),
        (&["--timeout", "1s"], "--oid <OID>"),
    ] {
        let (exit, said) = wait_for("nowhere", arguments);
        assert!(exit == 2 && said.contains(words), "{arguments:?}: {said}");
    }
}
