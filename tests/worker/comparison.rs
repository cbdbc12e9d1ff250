//! The first cycle over a repository that has refs and no journal yet: the refs of both sides are compared, and the
//! result decides the outcome of the cycle.

use std::process::Output;

use serde_json::Value;
use support::{
    mirror::{Format, Mirror},
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "right";

/// A Stargate whose ledger was pushed before the hook was installed.
fn stargate(remote: &str) -> Stargate {
    let stargate = Stargate::bare();
    stargate.configure("stargate.remote", remote);
    stargate.configure("stargate.initialDelay", "1ms");
    git(&stargate.client("first"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    stargate
}

fn told(stargate: &Stargate, arguments: &[&str], token: &str) -> Output {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).arg("--repo").arg(&stargate.git_dir);
    if !token.is_empty() {
        command.env("GITHUB_PAT", token);
    }
    feed(command, "")
}

fn json(stargate: &Stargate, command: &str, token: &str) -> (Option<i32>, Value) {
    let output = told(stargate, &[command, "--json"], token);
    let parsed = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        parsed.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))),
    )
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_wrong_token_is_misconfigured_until_it_is_right() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let stargate = stargate(&mirror.url("o/r.git"));
    let (exit, report) = json(&stargate, "run", "wrong");
    assert_eq!(
        (exit, report["outcome"].as_str()),
        (Some(4), Some("incomplete")),
        "{report}"
    );
    assert_eq!(report["comparison"]["outcome"], "misconfigured", "{report}");
    assert!(report["comparison"]["error"].is_string() && report["comparison"]["hint"].is_string());

    let (exit, status) = json(&stargate, "status", "");
    assert_eq!((exit, status["pending"].as_u64()), (Some(1), Some(0)), "{status}");
    assert_eq!(status["comparison"]["attempts"], 1);
    assert_eq!(status["comparison"]["reason"], report["comparison"]["error"]);
    let shown = stdout(&told(&stargate, &["status"], ""));
    assert!(shown.contains("could not be compared"), "{shown}");

    let human = told(&stargate, &["run"], "wrong");
    assert_eq!(human.status.code(), Some(4));
    assert!(stdout(&human).contains("could not be compared"), "{}", stdout(&human));
    assert!(!stdout(&human).contains("idle"), "{}", stdout(&human));
    assert_eq!(json(&stargate, "status", "").1["comparison"]["attempts"], 2);

    let (exit, report) = json(&stargate, "run", TOKEN);
    assert_eq!(
        (exit, report["outcome"].as_str()),
        (Some(0), Some("mirrored")),
        "{report}"
    );
    assert_eq!(report["comparison"], Value::Null);
    let (exit, status) = json(&stargate, "status", "");
    assert_eq!((exit, &status["comparison"]), (Some(0), &Value::Null), "{status}");
}

#[test]
fn a_repository_that_is_not_there_is_misconfigured() {
    let mirror = Mirror::with_token(TOKEN);
    let stargate = stargate(&mirror.url("o/missing.git"));
    let (exit, report) = json(&stargate, "run", TOKEN);
    assert_eq!(
        (exit, report["outcome"].as_str()),
        (Some(4), Some("incomplete")),
        "{report}"
    );
    assert_eq!(report["comparison"]["outcome"], "misconfigured", "{report}");
}

#[test]
fn a_mirror_that_cannot_be_reached_is_incomplete() {
    let mut mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let stargate = stargate(&mirror.url("o/r.git"));
    mirror.stop();
    let (exit, report) = json(&stargate, "run", TOKEN);
    assert_eq!(
        (exit, report["outcome"].as_str()),
        (Some(1), Some("incomplete")),
        "{report}"
    );
    assert_eq!(report["comparison"]["outcome"], "unreachable", "{report}");
    let (exit, status) = json(&stargate, "status", "");
    assert_eq!(exit, Some(1), "{status}");
    mirror.start_again();
    assert_eq!(json(&stargate, "run", TOKEN).0, Some(0));
    assert_eq!(json(&stargate, "status", "").0, Some(0));
}

#[test]
fn without_a_token_or_a_remote_it_is_local_only_and_says_what_is_missing() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let stargate = stargate(&mirror.url("o/r.git"));
    for missing in ["GITHUB_PAT", "stargate.remote"] {
        if missing == "stargate.remote" {
            git(&stargate.git_dir, ["config", "--unset", "stargate.remote"]);
        }
        let output = told(&stargate, &["run"], "");
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(0), 1), "{said}");
        assert!(said.contains("local-only") && said.contains(missing), "{said}");
        assert!(stdout(&output).contains("local-only"), "{}", stdout(&output));

        let (exit, report) = json(&stargate, "run", "");
        assert_eq!(
            (exit, report["outcome"].as_str()),
            (Some(0), Some("local-only")),
            "{report}"
        );
        assert!(
            report["missing"].as_str().expect("a reason").contains(missing),
            "{report}"
        );

        let (exit, status) = json(&stargate, "status", "");
        assert_eq!(exit, Some(0), "{status}");
        assert!(
            status["missing"].as_str().expect("a reason").contains(missing),
            "{status}"
        );
        for command in ["status", "doctor"] {
            let shown = stdout(&told(&stargate, &[command], ""));
            assert!(
                shown.contains("local-only") && shown.contains(missing),
                "{command}: {shown}"
            );
        }
    }
    stargate.configure("stargate.remote", &mirror.url("o/r.git"));
    assert_eq!(json(&stargate, "run", TOKEN).1["outcome"], "mirrored");
    assert_eq!(json(&stargate, "status", "").1["missing"], Value::Null);
}

#[test]
fn an_empty_repository_without_a_remote_is_local_only_too() {
    let stargate = Stargate::bare();
    let (exit, report) = json(&stargate, "run", "");
    assert_eq!(
        (exit, report["outcome"].as_str()),
        (Some(0), Some("local-only")),
        "{report}"
    );
    assert!(!stargate.git_dir.join(".stargate").exists(), "nothing was made in it");
}

#[test]
fn status_says_that_what_the_worker_remembers_cannot_be_read() {
    let stargate = Stargate::with_hook();
    git(&stargate.client("first"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    std::fs::write(stargate.git_dir.join(".stargate/worker.json"), "{").expect("a file");
    let (_, status) = json(&stargate, "status", "");
    assert!(
        status["forgotten"].as_str().expect("why").contains("worker.json"),
        "{status}"
    );
    let output = told(&stargate, &["run"], "");
    assert!(stderr(&output).contains("worker.json"), "{}", stderr(&output));
    assert_eq!(json(&stargate, "status", "").1["forgotten"], Value::Null);
}
