//! Mirrors of whole repositories: presets, refs that `refs/*` leaves out, and settings without effect.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use durable::clock::SystemClock;
use git_push::{Observer, Stage};
use serde_json::Value;
use stargate_mirror::worker::{self, Options, Progress};
use support::stargate::{Stargate, clean_command, creation, feed, git, start, try_git};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// Refs that `refs/*` leaves out: one of each family.
const LEFT_OUT: [&str; 16] = [
    "refs/pull/1/head",
    "refs/pull-requests/1/from",
    "refs/merge-requests/1/head",
    "refs/changes/01/1/1",
    "refs/cache-automerge/ab/cd",
    "refs/users/01/1000001",
    "refs/meta/config",
    "refs/for/main",
    "refs/keep-around/a1",
    "refs/environments/production/deployments/1",
    "refs/pipelines/1",
    "refs/stash",
    "refs/replace/a1",
    "refs/remotes/origin/main",
    "refs/original/refs/heads/main",
    "refs/stargate-parts/a1",
];

/// A Stargate with a branch and a tag, and an empty mirror beside it. No hook is installed.
struct World {
    stargate: Stargate,
    mirror: PathBuf,
    client: PathBuf,
}

impl World {
    fn new(storage: &str) -> Self {
        let stargate = Stargate::of_formats("sha1", storage);
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        let mirror = stargate.folder().join("mirror.git");
        git(&stargate.git_dir, ["symbolic-ref", "HEAD", "refs/heads/main"]);
        let client = stargate.client("one");
        git(&client, ["tag", "v1.0"]);
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main", "v1.0"]);
        World {
            stargate,
            mirror,
            client,
        }
    }

    /// Returns the exit code and the whole output.
    fn program(&self, arguments: &[&str]) -> (i32, String) {
        let (exit, stdout, stderr) = self.streams(arguments);
        (exit, stdout + &stderr)
    }

    fn streams(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = clean_command(PROGRAM);
        command
            .args(&arguments[..1])
            .arg("--repo")
            .arg(&self.stargate.git_dir)
            .args(&arguments[1..]);
        command.current_dir(self.stargate.folder());
        let output = feed(command, "");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (
            output.status.code().expect("an exit code"),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, stdout, stderr) = self.streams(arguments);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
    }

    fn install(&self, arguments: &[&str]) -> (i32, String) {
        self.program(&[&["install"], arguments].concat())
    }

    fn mirrored(&self) -> Vec<String> {
        names(&self.mirror)
    }

    fn configured(&self, key: &str) -> Vec<String> {
        let output = try_git(&self.stargate.git_dir, ["config", "--get-all", key]);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn names(repository: &Path) -> Vec<String> {
    let listed = git(repository, ["for-each-ref", "--format=%(refname)"]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_repository_that_existed_before_arrives_with_all_branches_and_tags() {
    for storage in ["files", "reftable"] {
        let world = World::new(storage);
        git(&world.client, ["push", "-q", "origin", "HEAD:refs/heads/dev/x"]);
        let (exit, said) = world.install(&["--remote", "mirror.git", "--mirror", "branches"]);
        assert_eq!(exit, 0, "{said}");
        assert!(
            said.contains("Set stargate.ref = refs/heads/*\nSet stargate.ref = refs/tags/*\n"),
            "{said}"
        );
        assert!(!said.contains("Branches are not mirrored"), "{said}");
        assert_eq!(
            world.configured("stargate.remote"),
            [world.mirror.display().to_string()]
        );
        assert_eq!(world.stargate.lines().len(), 0, "nothing was journaled");
        let (exit, said) = world.program(&["run"]);
        assert_eq!(exit, 0, "{said}");
        assert_eq!(world.mirrored(), names(&world.stargate.git_dir), "{said}");
        assert_eq!(world.mirrored().len(), 3);
    }
}

#[test]
fn presets_set_the_refs_and_never_replace_others() {
    for (preset, expected) in [
        ("branches", &["refs/heads/*", "refs/tags/*"][..]),
        ("all", &["refs/*"]),
        ("kv", &[]),
    ] {
        let world = World::new("files");
        let (exit, said) = world.install(&["--mirror", preset]);
        assert_eq!(
            (exit, &world.configured("stargate.ref")[..] == expected),
            (0, true),
            "{said}"
        );
        let before = std::fs::read(world.stargate.git_dir.join("config")).unwrap();
        let (exit, said) = world.install(&["--mirror", preset]);
        assert!(exit == 0 && said.contains("Unchanged: stargate.ref"), "{said}");
        assert_eq!(std::fs::read(world.stargate.git_dir.join("config")).unwrap(), before);
    }
    let world = World::new("files");
    world.stargate.configure("stargate.ref", "refs/heads/x");
    let before = std::fs::read(world.stargate.git_dir.join("config")).unwrap();
    for preset in ["kv", "branches", "all"] {
        let (exit, said) = world.install(&["--mirror", preset, "--remote", "mirror.git"]);
        assert!(
            exit == 3 && said.contains("stargate.ref is already set to refs/heads/x"),
            "{said}"
        );
        assert_eq!(
            std::fs::read(world.stargate.git_dir.join("config")).unwrap(),
            before,
            "nothing was changed"
        );
        assert!(
            !world.stargate.git_dir.join("hooks/post-receive").exists(),
            "no hook was installed"
        );
    }
}

#[test]
fn a_mirror_that_is_configured_is_not_replaced_and_no_secret_is_written_or_shown() {
    let world = World::new("files");
    let url = "https://git.example.com/o/r.git";
    assert_eq!(world.install(&["--remote", url]).0, 0);
    let (exit, said) = world.install(&["--remote", url]);
    assert!(
        exit == 0 && said.contains(&format!("Unchanged: stargate.remote = {url}")),
        "{said}"
    );
    let (exit, said) = world.install(&["--remote", "https://git.example.com/o/other.git"]);
    assert!(exit == 3 && said.contains(&format!("already set to {url}")), "{said}");
    assert_eq!(world.configured("stargate.remote"), [url]);

    git(
        &world.stargate.git_dir,
        ["config", "stargate.remote", "https://me:canary@git.example.com/r.git"],
    );
    let (exit, said) = world.install(&["--remote", url]);
    assert!(exit == 3 && !said.contains("canary"), "{said}");
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.remote"]);
    for secret in [
        "https://me:canary@h/r.git",
        "https://canary@h/r.git",
        "https://h/r.git?key=canary",
    ] {
        let (exit, said) = world.install(&["--remote", secret]);
        assert!(exit == 2 && !said.contains("canary"), "{said}");
    }
    let (exit, said) = world.install(&["--remote", "nowhere"]);
    assert!(exit == 4 && said.contains("there is no remote named nowhere"), "{said}");
    assert_eq!(world.configured("stargate.remote"), [""; 0]);
    git(&world.stargate.git_dir, ["remote", "add", "near", "../mirror.git"]);
    assert_eq!(world.install(&["--remote", "near"]).0, 0);
    assert_eq!(world.configured("stargate.remote"), ["near"]);
}

#[test]
fn refs_of_forges_are_left_out_of_all_refs_everywhere() {
    for storage in ["files", "reftable"] {
        let world = World::new(storage);
        for name in LEFT_OUT {
            git(&world.stargate.git_dir, ["update-ref", name, "refs/heads/main"]);
        }
        git(
            &world.stargate.git_dir,
            ["update-ref", "refs/notes/commits", "refs/heads/main"],
        );
        let (exit, said) = world.install(&["--remote", "mirror.git", "--mirror", "all"]);
        assert!(
            exit == 0 && said.contains("such as refs/pull/*, are left out"),
            "{said}"
        );
        // The hooks record none of them.
        for name in LEFT_OUT {
            assert!(world.stargate.run_pre_receive(creation(name)).status.success());
            assert!(world.stargate.run_hook(creation(name)).status.success());
        }
        assert_eq!((world.stargate.lines().len(), world.stargate.intents().len()), (0, 0));
        // Nor does a comparison send them, or report those of the mirror.
        assert_eq!(world.program(&["run"]).0, 0);
        let mirrored = ["refs/heads/main", "refs/notes/commits", "refs/tags/v1.0"];
        assert_eq!(world.mirrored(), mirrored);
        git(&world.mirror, ["update-ref", "refs/pull/9/head", "refs/heads/main"]);
        let sync = world.json(&["sync", "--dry-run", "--json"]);
        let listed: Vec<_> = sync["refs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["ref"].as_str().unwrap())
            .collect();
        assert_eq!(listed, mirrored, "{sync}");
        // A broken one of them is not reported.
        if storage == "files" {
            std::fs::write(world.stargate.git_dir.join("refs/pull/1/head"), "").unwrap();
        }
        assert_eq!(world.program(&["run"]), (0, "idle: nothing is pending\n".to_owned()));
        assert_eq!(world.program(&["status"]).0, 0);
        let (_, doctor) = world.program(&["doctor"]);
        assert!(
            doctor.contains("ok       refs: 3 refs") && doctor.contains("without refs that forges create"),
            "{doctor}"
        );
        // A family that is named is mirrored.
        world.stargate.configure("stargate.ref", "refs/changes/*");
        assert!(
            world
                .stargate
                .run_hook(creation("refs/changes/02/2/1"))
                .status
                .success()
        );
        assert_eq!(
            world.stargate.recorded().last().map(String::as_str),
            Some("refs/changes/02/2/1")
        );
        let sync = world.json(&["sync", "--dry-run", "--json"]);
        assert!(sync.to_string().contains("refs/changes/01/1/1"), "{sync}");
    }
}

#[test]
fn where_nothing_matches_install_run_and_doctor_count_the_refs() {
    let world = World::new("files");
    let expected = "0 of 2 refs match stargate.ref (refs/kv/*";
    let (exit, said) = world.install(&["--remote", "mirror.git"]);
    assert!(
        exit == 0 && said.contains(expected) && said.contains("--mirror branches"),
        "{said}"
    );
    for _ in 0..2 {
        let (exit, said) = world.program(&["run"]);
        assert!(
            exit == 0 && said.starts_with("idle: nothing is pending\n") && said.contains(expected),
            "{said}"
        );
    }
    let report = world.json(&["run", "--json"]);
    assert!(report["unmirrored"].as_str().unwrap().contains(expected), "{report}");
    let (_, said) = world.program(&["doctor"]);
    assert!(said.contains(&format!("warning  settings: {expected}")), "{said}");
    // With a journal, too.
    git(&world.client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    world.program(&["run"]);
    git(&world.stargate.git_dir, ["config", "stargate.ref", "refs/head/*"]);
    let (exit, said) = world.program(&["run"]);
    assert!(
        exit == 0 && said.contains("0 of 3 refs match stargate.ref (refs/head/*)"),
        "{said}"
    );
    // Nothing is reported about an empty repository.
    let empty = Stargate::bare();
    let mut command = clean_command(PROGRAM);
    command.args(["run", "--repo"]).arg(&empty.git_dir);
    let output = feed(command, "");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("match stargate.ref"));
}

#[test]
fn settings_without_effect_are_reported_by_all_and_once_by_run() {
    let world = World::new("files");
    world.install(&["--remote", "mirror.git", "--mirror", "branches"]);
    world.stargate.configure("stargate.ref", "refs/head/*");
    world.stargate.configure("stargate.ref", "!refs/heads/privat/*");
    // A family of namespaces without refs is no mistake.
    world.stargate.configure("stargate.ref", "refs/kv-chunks/*");
    world.stargate.configure("stargate.remot", "x");
    let messages = [
        "stargate.remot is not a known setting; the nearest one is stargate.remote",
        "stargate.ref = refs/head/* matches 0 of 2 refs",
        "stargate.ref = !refs/heads/privat/* matches 0 of 2 refs",
    ];
    let all_in = |said: &str| messages.iter().all(|message| said.contains(message));
    let (exit, said) = world.program(&["doctor"]);
    assert!(exit == 4 && all_in(&said), "{said}");
    let (_, said) = world.install(&[]);
    assert!(all_in(&said), "{said}");
    let report = world.json(&["run", "--json"]);
    assert_eq!(report["settings"].as_array().unwrap().len(), messages.len(), "{report}");
    let (exit, said) = world.program(&["run"]);
    assert_eq!((exit, said.contains("stargate.re")), (0, false), "{said}");
    // A tag pattern without tags is no mistake.
    let (_, said) = world.program(&["doctor"]);
    assert!(!said.contains("refs/tags/* matches"), "{said}");
    git(&world.stargate.git_dir, ["config", "stargate.forge", "sourceforge"]);
    let expected = "stargate.forge = sourceforge: expected github or gitlab or gitea or none";
    for (arguments, code) in [(&["run"][..], 4), (&["install"], 0), (&["doctor"], 4)] {
        let (exit, said) = world.program(arguments);
        assert!(exit == code && said.contains(expected), "{said}");
    }
}

#[test]
fn watch_reports_settings_and_that_nothing_matches() {
    let world = World::new("files");
    world.install(&["--remote", "mirror.git"]);
    world.stargate.configure("stargate.attemps", "5");
    let mut command = clean_command(PROGRAM);
    command
        .args(["watch", "--repo"])
        .arg(&world.stargate.git_dir)
        .stderr(Stdio::piped());
    let mut child = start(&mut command);
    let mut left = vec!["the nearest one is stargate.attempts", "0 of 2 refs match stargate.ref"];
    for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("a line");
        left.retain(|words| !line.contains(words));
        if left.is_empty() {
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(left, [""; 0], "watch ended before it said this");
}

/// Remembers the stages of pushes.
#[derive(Default)]
struct Stages(Mutex<Vec<&'static str>>);

impl Observer for Stages {
    fn stage(&self, stage: Stage<'_>) {
        self.0.lock().unwrap().push(match stage {
            Stage::Counting => "counting",
            Stage::Compressing { .. } => "compressing",
            Stage::Sending { .. } => "sending",
            _ => "other",
        });
    }
}

#[test]
fn the_first_cycle_reports_its_progress() {
    let world = World::new("files");
    world.install(&["--remote", "mirror.git", "--mirror", "branches"]);
    let stages = Arc::new(Stages::default());
    let options = Options {
        progress: Progress::to(stages.clone()),
        ..Options::default()
    };
    let report = worker::run(&world.stargate.git_dir, &options, &|_| None, &SystemClock::default()).expect("a cycle");
    assert_eq!(report.groups.len(), 2);
    let stages = stages.0.lock().unwrap();
    for stage in ["counting", "sending"] {
        assert!(stages.contains(&stage), "{stage} is missing in {stages:?}");
    }
}
