//! Deletions of refs that the mirror hides, against a real `git-receive-pack`: a ref that is not advertised may
//! still exist.

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{
    mirror::{Format, Mirror},
    stargate::{Stargate, clean_command, git, stderr, try_git},
};

/// A Stargate whose ledger, index and two other refs are on its mirror, and the client that pushed them.
struct World {
    mirror: Mirror,
    stargate: Stargate,
    client: PathBuf,
}

const OTHERS: [&str; 2] = ["refs/kv/other", "refs/heads/other"];

impl World {
    fn new() -> Self {
        let mirror = Mirror::start();
        mirror.create("o/r.git", Format::Sha1);
        let stargate = Stargate::with_hook();
        stargate.configure("stargate.remote", &mirror.url("o/r.git"));
        stargate.configure("stargate.attempts", "1");
        for pattern in ["refs/kv/*", "refs/kv-index/*", "refs/heads/*"] {
            stargate.configure("stargate.ref", pattern);
        }
        let client = stargate.client("first");
        let world = World {
            mirror,
            stargate,
            client,
        };
        world.push(&["HEAD:refs/kv/main", "HEAD:refs/kv-index/main"]);
        world.push(&OTHERS.map(|name| format!("HEAD:{name}")).each_ref().map(String::as_str));
        let (exit, report) = world.run();
        assert_eq!(exit, 0, "{report}");
        world
    }

    fn push(&self, refspecs: &[&str]) {
        git(&self.client, [&["push", "-q", "origin"], refspecs].concat());
    }

    /// Hides these refs on the mirror, and no others, from now on.
    fn hide(&self, key: &str, names: &[&str]) {
        let path = self.path();
        for key in ["receive.hideRefs", "transfer.hideRefs"] {
            try_git(&path, ["config", "--unset-all", key]);
        }
        for name in names {
            git(&path, ["config", "--add", key, name]);
        }
    }

    fn path(&self) -> PathBuf {
        self.mirror.path("o/r.git")
    }

    /// Runs one cycle, and returns exit code and report.
    fn run(&self) -> (i32, Value) {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.args(["run", "--json", "--repo"]).arg(&self.stargate.git_dir);
        let output = command.env("GITHUB_PAT", "token").output().expect("it ends");
        let report =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code().expect("an exit code"), report)
    }

    fn pending(&self) -> usize {
        let lines = self.stargate.lines();
        lines.iter().filter(|line| line["status"] == "pending").count()
    }
}

fn has(repository: &Path, name: &str) -> bool {
    try_git(repository, ["rev-parse", "-q", "--verify", name])
        .status
        .success()
}

fn group<'a>(report: &'a Value, of: &str) -> &'a Value {
    let groups = report["groups"].as_array().expect("groups");
    let is_it = |group: &&Value| group["namespace"] == of || group["refs"][0]["ref"] == of;
    groups.iter().find(is_it).unwrap_or_else(|| panic!("{of} in {report}"))
}

fn a_hidden_ref_is_not_taken_for_gone(key: &str) {
    let world = World::new();
    world.hide(key, &["refs/kv/main"]);
    world.push(&[
        ":refs/kv/main",
        ":refs/kv-index/main",
        ":refs/kv/other",
        ":refs/heads/other",
    ]);
    // The second cycle has nothing else to do.
    for number in 1..=2 {
        let (exit, report) = world.run();
        assert_eq!(exit, 1, "{key}, cycle {number}: {report}");
        let group = group(&report, "main");
        assert_eq!(group["outcome"], "rejected", "{report}");
        let told = group["error"].as_str().expect("a reason");
        assert!(told.contains("refs/kv/main (deny deleting a hidden ref)"), "{told}");
        assert_eq!(
            (&group["refs"][0]["ref"], &group["refs"][0]["verdict"]),
            (&"refs/kv/main".into(), &"rejected".into())
        );
        // No ref of the group has moved; the other groups have.
        for name in ["refs/kv/main", "refs/kv-index/main", "refs/kv-mirror/main"] {
            assert!(has(&world.path(), name), "{key}: {name}");
        }
        for name in OTHERS {
            assert!(!has(&world.path(), name), "{key}: {name}");
        }
        assert_eq!(world.pending(), 2, "{report}");
    }
    world.hide(key, &[]);
    let (exit, report) = world.run();
    assert_eq!((exit, world.pending()), (0, 0), "{report}");
    assert_eq!(git(&world.path(), ["for-each-ref"]), "");
}

#[test]
fn a_ref_that_is_hidden_from_pushes_is_not_taken_for_gone() {
    a_hidden_ref_is_not_taken_for_gone("receive.hideRefs");
}

#[test]
fn a_ref_that_is_hidden_from_everybody_is_not_taken_for_gone() {
    a_hidden_ref_is_not_taken_for_gone("transfer.hideRefs");
}

#[test]
fn a_watermark_that_moved_without_its_hidden_ledger_is_set_back() {
    let world = World::new();
    let before = git(&world.path(), ["rev-parse", "refs/kv/main"]);
    world.hide("receive.hideRefs", &["refs/kv/main"]);
    git(&world.client, ["commit", "-q", "--allow-empty", "-m", "later"]);
    world.push(&["HEAD:refs/kv/main"]);
    // git applies the rest of an atomic push when one ref is hidden, so each attempt moves the watermark.
    for number in 1..=2 {
        let (exit, report) = world.run();
        assert_eq!(exit, 1, "cycle {number}: {report}");
        assert_eq!(group(&report, "main")["outcome"], "rejected", "{report}");
        assert_eq!(report["watermarks"][0]["namespace"], "main", "cycle {number}: {report}");
        assert_eq!(report["watermarks"][0]["set_back"], true, "cycle {number}: {report}");
        let watermark = git(&world.path(), ["rev-parse", "refs/kv-mirror/main"]);
        assert_eq!(watermark, before, "cycle {number}");
    }
}

#[test]
fn a_ref_that_is_gone_from_the_mirror_or_never_was_there_is_settled() {
    let world = World::new();
    git(&world.path(), ["update-ref", "-d", "refs/heads/other"]);
    git(&world.path(), ["update-ref", "-d", "refs/kv-index/main"]);
    world.push(&[
        ":refs/heads/other",
        ":refs/kv/main",
        ":refs/kv-index/main",
        "HEAD:refs/heads/short",
    ]);
    world.push(&[":refs/heads/short"]);
    let (exit, report) = world.run();
    assert_eq!((exit, world.pending()), (0, 0), "{report}");
    for name in ["refs/heads/other", "refs/heads/short", "main"] {
        assert_eq!(group(&report, name)["outcome"], "mirrored", "{report}");
    }
    assert_eq!(
        git(&world.path(), ["for-each-ref", "--format=%(refname)"]),
        "refs/kv-mirror/other\nrefs/kv/other"
    );
}

#[test]
fn a_folder_answers_for_what_it_does_not_have() {
    let stargate = Stargate::with_hook();
    let folder = stargate.folder().join("mirror.git");
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    stargate.configure("stargate.remote", &folder.display().to_string());
    git(&stargate.client("first"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    git(
        &stargate.folder().join("client"),
        ["push", "-q", "origin", ":refs/kv/main"],
    );
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    let output = command
        .args(["run", "--repo"])
        .arg(&stargate.git_dir)
        .output()
        .expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stargate.lines().iter().all(|line| line["status"] == "done"),
        "{:?}",
        stargate.lines()
    );
    assert_eq!(git(&folder, ["for-each-ref"]), "");
}
