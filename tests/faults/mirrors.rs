//! `kill -9` of a worker at every change between the settlements of two mirrors.
use std::path::PathBuf;

use crate::world::{Before, assert_journal, assert_mirrored, for_each, mirror, output, push, worker, world};
use serde_json::Value;
use support::{
    stargate::{Stargate, git, stderr},
    strace::{changes, killed_at},
};

/// Paths of the mirrors, relative to the repository: the same for each copy.
const FIRST: &str = "../../mirror.git";
const SECOND: &str = "../../second.git";

/// A Stargate with two mirrors, to which nothing was pushed yet.
fn world_of_two() -> Stargate {
    let stargate = world();
    git(stargate.folder(), ["init", "-q", "--bare", "--template=", "second.git"]);
    git(&second(&stargate), ["config", "core.logAllRefUpdates", "always"]);
    stargate.configure("stargate.remote", FIRST);
    stargate.configure("stargate.second.remote", SECOND);
    push(&stargate, &["refs/kv/a", "refs/kv-index/a", "refs/kv/b"]);
    stargate
}

fn second(stargate: &Stargate) -> PathBuf {
    stargate.folder().join("second.git")
}

fn run_to(stargate: &Stargate, name: &str) -> std::process::Command {
    worker(stargate, &["run", "--json", "--repo", ".", "--remote", name])
}

/// Runs a cycle of each mirror, and returns their outcomes.
fn complete(stargate: &Stargate, after: &str) -> Vec<String> {
    let output = output(worker(stargate, &["run", "--json", "--repo", "."]));
    assert!(output.status.success(), "{after}: {}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = |line: &str| {
        let report: Value = serde_json::from_str(line).expect("a report");
        assert_eq!(report["pending"], 0, "{after}");
        report["outcome"].as_str().expect("a word").to_owned()
    };
    text.lines().map(outcome).collect()
}

/// Kills the cycle of this mirror before each change of a file of the Stargate.
fn kill_the_cycle_of(scene: &Stargate, name: &str, needs: &[&str]) {
    let before = Before::of(scene);
    let of_a_mirror = |call: &str| call.contains("mirror.git") || call.contains("second.git");
    let calls = changes(
        &run_to(&scene.copy(), name),
        &scene.folder().join(format!("trace-{}", name.len())),
        of_a_mirror,
    );
    for need in needs {
        assert!(calls.iter().any(|call| call.name == *need), "no {need}: {calls:?}");
    }
    for_each(&calls, |call| {
        let (world, after) = (scene.copy(), format!("the cycle of {name} killed before {call:?}"));
        killed_at(&run_to(&world, name), call);
        complete(&world, &after);
        for repository in [mirror(&world), second(&world)] {
            assert_mirrored(&world, &repository, &after);
        }
        assert_journal(&world, &before, &after);
        let pending = world
            .lines()
            .into_iter()
            .filter(|line| line["status"] != "done")
            .count();
        assert_eq!(pending, 0, "{after}");
        assert_eq!(complete(&world, &after), ["idle", "idle"], "{after}");
    });
}

#[test]
fn a_kill_between_the_settlements_of_two_mirrors() {
    let scene = world_of_two();
    // Its entries are only in the tally.
    kill_the_cycle_of(&scene, FIRST, &["rename", "fsync"]);
    let first = output(run_to(&scene, FIRST));
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(scene.lines().iter().all(|line| line["status"] == "pending"));
    // It ends them in the journal.
    kill_the_cycle_of(&scene, "second", &["rename", "fsync", "pwrite64"]);
}
