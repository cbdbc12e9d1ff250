//! Several mirrors of one repository: a folder, and a server behind nginx.
mod repair;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use support::{
    mirror::{Format, Mirror},
    running::Running,
    scripted::{Scripted, Step},
    stargate::{Stargate, clean_command, feed, git, stderr, try_git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "canary-7b1d02";

/// A Stargate with hooks and a client, and two mirrors that need not be configured.
struct World {
    stargate: Stargate,
    client: PathBuf,
    /// A mirror in a folder.
    near: PathBuf,
    /// A mirror behind nginx, which requires the token.
    web: Mirror,
}

impl World {
    fn new() -> Self {
        let stargate = Stargate::with_hook();
        git(stargate.folder(), ["init", "-q", "--bare", "near.git"]);
        let near = stargate.folder().join("near.git");
        let web = Mirror::with_token(TOKEN);
        web.create("o/r.git", Format::Sha1);
        stargate.configure("stargate.attempts", "1");
        let client = stargate.client("first");
        World {
            stargate,
            client,
            near,
            web,
        }
    }

    /// The folder by `stargate.remote`, and the server by a section of its own.
    fn with_both() -> Self {
        let world = World::new();
        world.add_near();
        world.add_web();
        world
    }

    fn add_near(&self) {
        self.set("remote", &self.near.display().to_string());
    }

    fn add_web(&self) {
        self.set("web.remote", &self.web.url("o/r.git"));
    }

    fn set(&self, key: &str, value: &str) {
        self.stargate.configure(&format!("stargate.{key}"), value);
    }

    /// Name of the mirror in the folder.
    fn near_name(&self) -> String {
        self.near.display().to_string()
    }

    /// Pushes one more commit to these refs, and returns it.
    fn push(&self, names: &[&str]) -> String {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
        self.push_head(names);
        git(&self.client, ["rev-parse", "HEAD"])
    }

    /// Pushes HEAD to these refs by force, and returns what the pusher sees.
    fn push_head(&self, names: &[&str]) -> String {
        let refspecs = names.iter().map(|name| format!("+HEAD:{name}"));
        let arguments = ["push", "origin"].map(str::to_owned).into_iter().chain(refspecs);
        let output = try_git(&self.client, arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }

    fn program(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        feed_with_token(command)
    }

    /// Runs the command with `--json`, and returns its exit code and its lines.
    fn json(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let output = self.program(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let lines: Vec<Value> = text.lines().map(parse).collect();
        assert!(!text.contains(TOKEN));
        (output.status.code().expect("an exit code"), lines)
    }

    /// Runs a cycle of each mirror. Returns the exit code, and outcome and pending entries of each.
    fn run(&self) -> (i32, Vec<(String, u64)>) {
        let (code, lines) = self.json(&["run"]);
        let of = |line: &Value| {
            let outcome = line["outcome"].as_str().expect("a word");
            (outcome.to_owned(), line["pending"].as_u64().expect("a number"))
        };
        (code, lines.iter().map(of).collect())
    }

    /// Statuses of the journal's entries.
    fn statuses(&self) -> Vec<String> {
        let lines = self.stargate.lines();
        let status = |line: &Value| line["status"].as_str().expect("a status").to_owned();
        lines.iter().map(status).collect()
    }

    fn on_near(&self, name: &str) -> Option<String> {
        stands(&self.near, name)
    }

    fn on_web(&self, name: &str) -> Option<String> {
        stands(&self.web.path("o/r.git"), name)
    }

    fn tally(&self) -> String {
        fs::read_to_string(self.stargate.git_dir.join(".stargate/mirrors.json")).unwrap_or_else(|_| "{}".into())
    }
}

fn feed_with_token(mut command: std::process::Command) -> Output {
    command.env("GITHUB_PAT", TOKEN);
    feed(command, "")
}

fn stands(repository: &Path, name: &str) -> Option<String> {
    let output = try_git(repository, ["rev-parse", "--verify", "-q", name]);
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!id.is_empty()).then_some(id)
}

fn all(outcomes: &[(&str, u64)]) -> Vec<(String, u64)> {
    outcomes
        .iter()
        .map(|(word, pending)| ((*word).into(), *pending))
        .collect()
}

#[test]
fn every_mirror_gets_a_push_and_the_journal_says_done_once_all_have_it() {
    let world = World::with_both();
    let commit = world.push(&["refs/kv/main", "refs/kv-index/main"]);
    let (code, lines) = world.json(&["run"]);
    assert_eq!(code, 0, "{lines:?}");
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["mirror"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, [world.near_name().as_str(), "web"]);
    for name in ["refs/kv/main", "refs/kv-index/main", "refs/kv-mirror/main"] {
        assert_eq!(
            (world.on_near(name), world.on_web(name)),
            (Some(commit.clone()), Some(commit.clone()))
        );
    }
    assert_eq!(world.statuses(), ["done", "done"]);
    assert!(!world.tally().contains("01"), "nothing is left: {}", world.tally());
    assert_eq!(world.run(), (0, all(&[("idle", 0), ("idle", 0)])));
    let (code, lines) = world.json(&["status"]);
    assert_eq!((code, lines.len()), (0, 2));
    assert_eq!(
        (&lines[1]["mirror"], &lines[1]["remote"]),
        (&"web".into(), &world.web.url("o/r.git").into())
    );
    // Readers wait for all mirrors.
    let (code, lines) = world.json(&["wait", "--oid", &commit]);
    let outcomes: Vec<_> = lines.iter().map(|line| (&line["mirror"], &line["outcome"])).collect();
    let (near, visible) = (world.near_name().into(), "visible".into());
    assert_eq!(
        (code, outcomes),
        (0, vec![(&near, &visible), (&"web".into(), &visible)])
    );
}

#[test]
fn a_mirror_that_is_down_holds_up_no_other_and_catches_up() {
    let mut world = World::with_both();
    world.web.stop();
    world.push(&["refs/kv/main"]);
    assert_eq!(world.run(), (1, all(&[("mirrored", 0), ("incomplete", 1)])));
    let commit = world.push(&["refs/kv/main", "refs/kv/other"]);
    assert_eq!(world.run(), (1, all(&[("mirrored", 0), ("incomplete", 3)])));
    assert_eq!(world.on_near("refs/kv-mirror/main"), Some(commit.clone()));
    assert_eq!(world.statuses(), ["pending"; 3]);

    let (code, lines) = world.json(&["status"]);
    assert_eq!(
        (code, &lines[0]["pending"], &lines[1]["pending"]),
        (1, &0.into(), &3.into())
    );
    assert!(lines[0]["oldest_pending_age_s"].is_null() && lines[1]["oldest_pending_age_s"].is_u64());
    assert_eq!(lines[1]["groups"][0]["attempts"], 1);
    let waited = |remote: &str| {
        let (code, lines) = world.json(&["wait", "--oid", &commit, "--remote", remote, "--timeout", "1ms"]);
        (code, lines[0]["outcome"].as_str().expect("a word").to_owned())
    };
    assert_eq!(waited(&world.near_name()), (0, "visible".into()));
    assert_eq!(waited("web"), (10, "timed-out".into()));
    let (code, lines) = world.json(&["wait", "--oid", &commit, "--timeout", "1ms"]);
    assert_eq!((code, lines.len()), (10, 2));

    // Without the tally, the mirror that has everything is asked once more.
    fs::remove_file(world.stargate.git_dir.join(".stargate/mirrors.json")).expect("a tally");
    assert_eq!(world.run(), (1, all(&[("mirrored", 0), ("incomplete", 3)])));
    world.web.start_again();
    assert_eq!(world.run(), (0, all(&[("idle", 0), ("mirrored", 0)])));
    assert_eq!(world.statuses(), ["done"; 3]);
    assert_eq!(world.on_web("refs/kv-mirror/main"), Some(commit));
}

#[test]
fn a_mirror_that_is_added_later_is_filled_and_the_first_one_continues() {
    let world = World::new();
    world.set("remote", &world.web.url("o/r.git"));
    world.push(&["refs/kv/main", "refs/kv/other"]);
    let (code, lines) = world.json(&["run"]);
    assert_eq!((code, lines.len()), (0, 1));
    assert_eq!(lines[0].get("mirror"), None, "a single mirror has no name");
    let memory = world.stargate.git_dir.join(".stargate/worker.json");
    let before = fs::read(&memory).expect("the worker's memory");
    let commit = world.push(&["refs/kv/main"]);

    world.add_near();
    let (code, lines) = world.json(&["run"]);
    assert_eq!(code, 0, "{lines:?}");
    // One push and one look, as before: its memory is still known.
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["http_requests"]),
        (&"mirrored".into(), &2.into())
    );
    assert_eq!(world.on_near("refs/kv-mirror/main"), Some(commit));
    assert_eq!(
        world.on_near("refs/kv-mirror/other"),
        world.on_web("refs/kv-mirror/other")
    );
    assert_ne!(fs::read(&memory).expect("the worker's memory"), before);
    let (_, lines) = world.json(&["run"]);
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["http_requests"]),
        (&"idle".into(), &0.into())
    );
    assert!(
        world.statuses().iter().all(|status| status == "done"),
        "{:?}",
        world.statuses()
    );
}

#[test]
fn a_mirror_that_is_removed_leaves_nothing_pending() {
    let mut world = World::with_both();
    world.web.stop();
    world.push(&["refs/kv/main"]);
    assert_eq!(world.run().0, 1);
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.web.remote"]);
    let (code, lines) = world.json(&["status"]);
    assert_eq!((code, lines.len(), &lines[0]["pending"]), (0, 1, &0.into()));
    assert_eq!(world.run(), (0, all(&[("idle", 0)])));
    assert_eq!(world.statuses(), ["done"]);
}

#[test]
fn a_mirror_that_refuses_for_ever_is_named_to_the_pusher_and_stays_pending_alone() {
    let world = World::with_both();
    world
        .web
        .hook("o/r.git", "pre-receive", "echo 'never here' >&2; exit 1");
    world.push(&["refs/kv/main"]);
    assert_eq!(world.run(), (1, all(&[("mirrored", 0), ("incomplete", 1)])));
    let told = world.push_head(&["refs/kv/main", "refs/kv/main2"]);
    assert!(!told.contains("rejected"), "nothing was pushed to main: {told}");
    git(&world.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
    let told = world.push_head(&["refs/kv/main"]);
    assert!(
        told.contains("the mirror web rejected an earlier update of refs/kv/main:"),
        "{told}"
    );
    assert!(told.contains("never here"), "{told}");
    assert_eq!(world.run(), (1, all(&[("mirrored", 0), ("incomplete", 3)])));
    let (_, lines) = world.json(&["status"]);
    assert_eq!((&lines[0]["pending"], &lines[1]["pending"]), (&0.into(), &3.into()));
    assert_eq!(lines[1]["groups"][0]["server_words"][0], "never here");
    let (code, lines) = world.json(&["run", "--remote", &world.near_name()]);
    assert_eq!((code, lines.len(), &lines[0]["outcome"]), (0, 1, &"idle".into()));
}

#[test]
fn mirrors_differ_in_refs_force_and_deletions() {
    let world = World::with_both();
    for (key, value) in [
        ("ref", "refs/kv/*"),
        ("force", "true"),
        ("web.ref", "refs/kv/*"),
        ("web.ref", "refs/heads/*"),
        ("web.force", "false"),
        ("web.deletes", "false"),
        ("web.defaultBranch", "leave"),
    ] {
        world.set(key, value);
    }
    let first = world.push(&["refs/kv/main", "refs/heads/only-web", "refs/kv/gone"]);
    assert_eq!(world.run(), (0, all(&[("mirrored", 0), ("mirrored", 0)])));
    assert_eq!(world.statuses(), ["done"; 3]);
    assert_eq!(
        (
            world.on_near("refs/heads/only-web"),
            world.on_web("refs/heads/only-web")
        ),
        (None, Some(first.clone()))
    );

    git(&world.client, ["push", "-q", "origin", ":refs/kv/gone"]);
    assert_eq!(world.run(), (0, all(&[("mirrored", 0), ("mirrored", 0)])));
    assert_eq!(
        (world.on_near("refs/kv/gone"), world.on_web("refs/kv/gone")),
        (None, Some(first.clone()))
    );

    git(
        &world.client,
        ["commit", "-q", "--amend", "--allow-empty", "-m", "another"],
    );
    world.push_head(&["refs/kv/main"]);
    let forced = git(&world.client, ["rev-parse", "HEAD"]);
    assert_eq!(world.run(), (3, all(&[("mirrored", 0), ("incomplete", 1)])));
    assert_eq!(
        (world.on_near("refs/kv/main"), world.on_web("refs/kv/main")),
        (Some(forced.clone()), Some(first))
    );
    assert_eq!(world.statuses().last().expect("an entry"), "pending");

    // The operator forces one mirror. The entry that `sync` adds is not for the other one.
    let refused = world.program(&["sync", "--force", "--yes", "refs/kv/main"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("several"), "{}", stderr(&refused));
    let before = fs::read(world.near.join("refs/kv/main")).expect("a ref");
    let (code, lines) = world.json(&["sync", "--force", "--yes", "--remote", "web", "refs/kv/main"]);
    assert_eq!(
        (code, lines.len(), &lines[0]["mirror"]),
        (3, 1, &"web".into()),
        "gone is left: {lines:?}"
    );
    assert_eq!(
        (
            world.on_web("refs/kv/main"),
            fs::read(world.near.join("refs/kv/main")).expect("a ref")
        ),
        (Some(forced), before)
    );
    assert_eq!(world.run(), (0, all(&[("idle", 0), ("idle", 0)])));
    assert!(
        world.statuses().iter().all(|status| status == "done"),
        "{:?}",
        world.statuses()
    );
    let (code, lines) = world.json(&["sync", "--dry-run"]);
    assert_eq!((code, lines.len()), (3, 2), "{lines:?}");
}

#[test]
fn a_bad_setting_of_one_mirror_stops_that_mirror_only() {
    let world = World::with_both();
    world.set("web.attempts", "none");
    world.set("web.retention", "1d");
    let commit = world.push(&["refs/kv/main"]);
    let output = world.program(&["run", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("mirror web: stargate.web.attempts = none"),
        "{}",
        stderr(&output)
    );
    assert_eq!(world.on_near("refs/kv-mirror/main"), Some(commit));
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.web.attempts"]);
    let (code, lines) = world.json(&["run"]);
    assert_eq!((code, lines[0].get("settings")), (0, None));
    assert_eq!(
        lines[1]["settings"],
        serde_json::json!(["stargate.web.retention is not a known setting"])
    );

    let elsewhere = world.program(&["run", "--remote", "https://example.com/x.git"]);
    assert_eq!(elsewhere.status.code(), Some(4));
    assert!(
        stderr(&elsewhere).contains("is none of the mirrors: "),
        "{}",
        stderr(&elsewhere)
    );
    // A mirror is also known by its location.
    let (code, lines) = world.json(&["run", "--remote", &world.web.url("o/r.git")]);
    assert_eq!((code, &lines[0]["mirror"]), (0, &"web".into()));
}

#[test]
fn doctor_checks_each_mirror_and_names_it() {
    let mut world = World::with_both();
    world.push(&["refs/kv/main"]);
    world.web.stop();
    let (code, lines) = world.json(&["doctor"]);
    assert_eq!(code, 4);
    let checks = lines[0]["checks"].as_array().expect("checks");
    let of_mirror = checks.iter().filter(|check| check["check"] == "mirror");
    let found: Vec<_> = of_mirror.map(|check| (&check["mirror"], &check["verdict"])).collect();
    let near = world.near_name().into();
    assert_eq!(found, [(&near, &"ok".into()), (&"web".into(), &"problem".into())]);
    assert_eq!(
        checks.iter().filter(|check| check["check"] == "mirrored refs").count(),
        2
    );
    let hook = checks.iter().find(|check| check["check"] == "hook").expect("a check");
    assert_eq!(hook.get("mirror"), None);
}

#[test]
fn an_entry_that_is_tried_again_is_tried_at_every_mirror() {
    let mut world = World::with_both();
    world.web.stop();
    world.push(&["refs/kv/main"]);
    assert_eq!(world.run().0, 1);
    assert!(world.tally().contains("done"), "{}", world.tally());
    let id = world.stargate.lines()[0]["entry_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let retried = world.program(&["journal", "retry", &id]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    assert!(!world.tally().contains(&id), "{}", world.tally());
    world.web.start_again();
    assert_eq!(world.run(), (0, all(&[("mirrored", 0), ("mirrored", 0)])));
}

#[test]
fn a_watch_pushes_to_one_mirror_while_the_other_never_answers() {
    let world = World::new();
    let silent = Scripted::serve(vec![Step::Silence; 4]);
    world.set("silent.remote", &silent.url("o/r.git"));
    world.add_near();
    let repo = world.stargate.git_dir.display().to_string();
    let watch = Running::start(
        &["watch", "--repo", &repo],
        &[("GITHUB_PAT", TOKEN), ("STARGATE_LOG", "debug")],
    );
    for _ in 0..2 {
        let commit = world.push(&["refs/kv/main"]);
        let mut wait = clean_command(PROGRAM);
        wait.args(["wait", "--oid", &commit, "--remote"]).arg(&world.near);
        let waited = feed_with_token(wait);
        assert!(waited.status.success(), "{}", stderr(&waited));
    }
    drop(watch);
    // A comparison between the move of a ref and its entry adds entries of its own, for the mirror that is there.
    let lines = world.stargate.lines();
    let pushed = lines.iter().filter(|line| line["source"] == "post-receive");
    let pending: Vec<_> = pushed.map(|line| line["status"] == "pending").collect();
    assert_eq!(pending, [true; 2], "the other mirror has neither");
}
