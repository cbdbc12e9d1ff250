//! Refs of a namespace on a real server: all families in one push, all or none.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use durable::clock::{Clock, SystemClock};
use jiff::Timestamp;
use serde_json::Value;
use stargate_mirror::worker::{self, Options};
use support::{
    executable,
    mirror::{Format, Mirror},
    running::Running,
    stargate::{Stargate, clean_command, feed, git, git_command},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const REPOSITORY: &str = "o/r.git";
/// Refs of the namespace `main`, one of each family.
const FAMILIES: [&str; 6] = [
    "refs/kv/main",
    "refs/kv-index/main",
    "refs/kv-chunks/main@1",
    "refs/kv-epoch/main",
    "refs/kv-archive/main@0",
    "refs/kv-watchlog/main@1",
];
const WATERMARK: &str = "refs/kv-mirror/main";

/// A Stargate that `install` has set up, a mirror behind a web server, and a client.
struct World {
    stargate: Stargate,
    server: Mirror,
    client: PathBuf,
}

impl World {
    fn new(format: Format, refs: &str) -> Self {
        let name = match format {
            Format::Sha1 => "sha1",
            Format::Sha256 => "sha256",
        };
        let stargate = Stargate::of_formats(name, refs);
        let server = Mirror::start();
        server.create(REPOSITORY, format);
        stargate.configure("stargate.remote", &server.url(REPOSITORY));
        stargate.configure("stargate.attempts", "1");
        stargate.install();
        let client = stargate.client("one");
        World {
            stargate,
            server,
            client,
        }
    }

    /// Commits a value, and pushes the commit to these refs.
    fn push_value(&self, value: &str, names: &[&str]) -> String {
        fs::write(self.client.join("value"), value).expect("a file");
        git(&self.client, ["add", "value"]);
        git(&self.client, ["commit", "-q", "-m", value]);
        let refspecs: Vec<String> = names.iter().map(|name| format!("HEAD:{name}")).collect();
        self.push(&refspecs.iter().map(String::as_str).collect::<Vec<_>>());
        git(&self.client, ["rev-parse", "HEAD"])
    }

    fn push(&self, refspecs: &[&str]) {
        git(&self.client, [&["push", "-q", "origin"], refspecs].concat());
    }

    /// Returns the exit code and the whole output.
    fn program(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        command.env("GITHUB_PAT", "token").current_dir(self.stargate.folder());
        let output = feed(command, "");
        let said = [output.stdout, output.stderr].concat();
        let exit = output.status.code().expect("an exit code");
        (exit, String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs a cycle, and returns its exit code and its groups.
    fn run(&self) -> (i32, Vec<Value>) {
        let mut command = clean_command(PROGRAM);
        command.args(["run", "--json", "--repo"]).arg(&self.stargate.git_dir);
        let output = feed(
            {
                command.env("GITHUB_PAT", "token");
                command
            },
            "",
        );
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let groups = report["groups"].as_array().expect("a list").clone();
        (output.status.code().expect("an exit code"), groups)
    }

    /// Starts a push of a new commit to the ledger and to new chunks, one after the other, with this `update` hook for
    /// the chunks. Returns the commit.
    fn start_a_push(&self, hook: &str) -> (Running, String) {
        let update = self.stargate.git_dir.join("hooks/update");
        executable::script(&update, &format!("case $1 in refs/kv-chunks/*) {hook};; esac"));
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "both"]);
        let mut push = git_command(&self.client);
        push.args(["push", "origin", "HEAD:refs/kv/main", "HEAD:refs/kv-chunks/main@1"]);
        (Running::of(push), git(&self.client, ["rev-parse", "HEAD"]))
    }

    /// Asserts that a cycle sends nothing of the namespace, because the chunks have not moved.
    fn assert_holds_the_ledger(&self, ledger: &str, before: &str) {
        assert_eq!(git(&self.stargate.git_dir, ["rev-parse", "refs/kv/main"]), ledger);
        let (exit, groups) = self.run();
        assert_eq!((exit, &groups[0]["outcome"]), (1, &"transient".into()), "{groups:#?}");
        let error = groups[0]["error"].as_str().expect("an error");
        assert!(
            error.contains("refs/kv/main has moved, refs/kv-chunks/main@1 has not yet"),
            "{error}"
        );
        assert_eq!(self.at(WATERMARK).as_deref(), Some(before));
        self.assert_waits(ledger, 10);
    }

    fn assert_waits(&self, oid: &str, expected: i32) {
        let url = self.server.url(REPOSITORY);
        let arguments = ["wait", "--timeout", "1s", "--oid", oid, "--remote", &url];
        let (exit, said) = self.program(&arguments);
        assert_eq!(exit, expected, "{said}");
    }

    /// The ids on the mirror, by name.
    fn mirrored(&self) -> Vec<(String, String)> {
        let listed = self
            .server
            .git(REPOSITORY, &["for-each-ref", "--format=%(refname) %(objectname)"]);
        let refs = listed.lines().map(|line| line.split_once(' ').expect("two words"));
        refs.map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
    }

    fn at(&self, name: &str) -> Option<String> {
        let refs = self.mirrored();
        refs.into_iter().find(|(found, _)| found == name).map(|(_, id)| id)
    }

    /// Returns the number of pushes that the server received.
    fn pushes(&self) -> usize {
        let is_push = |request: &&String| request.starts_with("POST") && request.contains("git-receive-pack");
        self.server.requests().iter().filter(is_push).count()
    }
}

fn refs_of(group: &Value) -> Vec<&str> {
    let refs = group["refs"].as_array().expect("a list").iter();
    refs.map(|one| one["ref"].as_str().expect("a name")).collect()
}

#[test]
fn every_family_lands_in_one_push_with_the_watermark() {
    for (format, refs) in [
        (Format::Sha1, "files"),
        (Format::Sha1, "reftable"),
        (Format::Sha256, "files"),
        (Format::Sha256, "reftable"),
    ] {
        let world = World::new(format, refs);
        let first = world.push_value("one", &FAMILIES);
        let (exit, groups) = world.run();
        assert_eq!((exit, groups.len()), (0, 1), "{groups:#?}");
        assert_eq!(groups[0]["namespace"], "main");
        assert_eq!(groups[0]["watermark"], first.as_str());
        let mut found = refs_of(&groups[0]);
        found.sort_unstable();
        let mut expected = FAMILIES;
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(world.pushes(), 1);

        // A new epoch: chunks under a new name, and the old ones are deleted.
        let second = world.push_value("two", &["refs/kv-chunks/main@2", "refs/kv/main"]);
        world.push(&[":refs/kv-chunks/main@1"]);
        let (exit, groups) = world.run();
        assert_eq!((exit, groups.len()), (0, 1), "{groups:#?}");
        assert_eq!(world.pushes(), 2);
        assert_eq!(world.at("refs/kv-chunks/main@1"), None);
        for name in ["refs/kv-chunks/main@2", "refs/kv/main", WATERMARK] {
            assert_eq!(world.at(name).as_ref(), Some(&second), "{name}");
        }
        world.assert_waits(&second, 0);
        for arguments in [&["status"][..], &["sync", "--dry-run"], &["doctor"]] {
            let (exit, said) = world.program(arguments);
            assert_eq!(exit, 0, "{arguments:?}: {said}");
        }
        let listed = world.program(&["journal", "list", "--namespace", "main"]).1;
        assert_eq!(listed.lines().count(), FAMILIES.len() + 3, "{listed}");
        assert_eq!(world.program(&["journal", "list", "--namespace", "main@1"]).1, "");
    }
}

#[test]
fn chunks_whose_push_was_never_journaled_land_with_the_ledger() {
    for refs in ["files", "reftable"] {
        let world = World::new(Format::Sha1, refs);
        world.push_value("one", &["refs/kv/main"]);
        assert_eq!(world.run().0, 0);
        let chunks = git(&world.client, ["rev-parse", "HEAD"]);
        git(
            &world.stargate.git_dir,
            ["update-ref", "refs/kv-chunks/main@1", &chunks],
        );
        let ledger = world.push_value("two", &["refs/kv/main"]);
        let (exit, groups) = world.run();
        assert_eq!((exit, groups.len()), (0, 1), "{groups:#?}");
        assert_eq!(world.at("refs/kv-chunks/main@1"), Some(chunks));
        assert_eq!(world.at(WATERMARK), Some(ledger));
        assert_eq!(world.pushes(), 2);
    }
}

#[test]
fn chunks_that_are_pushed_before_the_ledger_are_there_when_wait_returns() {
    let world = World::new(Format::Sha1, "files");
    let chunks = world.push_value("value", &["refs/kv-chunks/main@1"]);
    let ledger = world.push_value("ledger", &["refs/kv/main"]);
    world.assert_waits(&ledger, 10);
    assert_eq!(world.run().0, 0);
    world.assert_waits(&ledger, 0);
    assert_eq!(world.at("refs/kv-chunks/main@1"), Some(chunks));

    // Chunks alone move no watermark.
    let later = world.push_value("later", &["refs/kv-chunks/main@1"]);
    assert_eq!(world.run().0, 0);
    assert_eq!(world.at("refs/kv-chunks/main@1"), Some(later));
    assert_eq!(world.at(WATERMARK), Some(ledger));
}

/// Tests the guide's statement that a ledger covers the chunks that the Stargate had before it.
#[test]
fn chunks_that_are_pushed_after_the_ledger_may_follow_its_watermark() {
    let world = World::new(Format::Sha1, "files");
    let ledger = world.push_value("ledger", &["refs/kv/main"]);
    assert_eq!(world.run().0, 0);
    world.assert_waits(&ledger, 0);
    assert_eq!(world.at("refs/kv-chunks/main@1"), None);
    let chunks = world.push_value("value", &["refs/kv-chunks/main@1"]);
    assert_eq!(world.run().0, 0);
    assert_eq!(world.at("refs/kv-chunks/main@1"), Some(chunks));
    assert_eq!(world.at(WATERMARK), Some(ledger));
}

#[test]
fn a_refused_ref_keeps_its_whole_namespace_where_it_was() {
    for refs in ["files", "reftable"] {
        let world = World::new(Format::Sha1, refs);
        let script = "case $1 in refs/kv-chunks/main@*) echo 'no chunks' >&2; exit 1;; esac";
        world.server.hook(REPOSITORY, "update", script);
        let ledger = world.push_value("one", &FAMILIES);
        world.push(&["HEAD:refs/kv/other", "HEAD:refs/kv-chunks/other@1"]);
        let (exit, groups) = world.run();
        assert_eq!(exit, 1);
        let outcomes: Vec<_> = groups
            .iter()
            .map(|group| (group["group"].as_str(), group["outcome"].as_str()))
            .collect();
        assert_eq!(
            outcomes,
            [(Some("main"), Some("rejected")), (Some("other"), Some("mirrored"))]
        );
        let names: Vec<_> = world.mirrored().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["refs/kv-chunks/other@1", "refs/kv-mirror/other", "refs/kv/other"]
        );
        world.assert_waits(&ledger, 10);
        let (_, said) = world.program(&["status"]);
        assert!(
            said.contains("main") && said.contains("refs/kv-chunks/main@1"),
            "{said}"
        );
    }
}

#[test]
fn a_missing_object_of_the_chunks_keeps_the_whole_namespace_where_it_was() {
    for missing in ["HEAD", "HEAD^{tree}", "HEAD:value"] {
        let world = World::new(Format::Sha1, "files");
        let first = world.push_value("one", &FAMILIES);
        assert_eq!(world.run().0, 0);
        world.push_value("large", &["refs/kv-chunks/main@1"]);
        let lost = git(&world.client, ["rev-parse", missing]);
        git(&world.client, ["reset", "-q", "--hard", "HEAD~1"]);
        world.push_value("two", &["refs/kv/main"]);
        world.push(&["HEAD:refs/kv/other"]);
        let object = world.stargate.git_dir.join("objects").join(&lost[..2]).join(&lost[2..]);
        fs::remove_file(object).expect("a loose object");
        let (exit, groups) = world.run();
        assert_eq!(groups[0]["outcome"], "broken", "{missing}: {groups:#?}");
        assert_eq!(groups[1]["outcome"], "mirrored", "{missing}: {groups:#?}");
        assert_ne!(exit, 0);
        for name in FAMILIES.iter().chain(&[WATERMARK]) {
            assert_eq!(world.at(name).as_ref(), Some(&first), "{missing}: {name}");
        }
    }
}

#[test]
fn a_namespace_that_the_mirror_cannot_have_beside_another_names_both_refs() {
    let world = World::new(Format::Sha1, "files");
    world.stargate.configure("stargate.deletes", "false");
    world.push_value("one", &["refs/kv/a"]);
    assert_eq!(world.run().0, 0);
    world.push(&[":refs/kv/a"]);
    world.push(&["HEAD:refs/kv/a/b", "HEAD:refs/kv/c"]);
    let (_, groups) = world.run();
    let held = groups.iter().find(|group| group["group"] == "a/b").expect("a group");
    assert_eq!(held["outcome"], "diverged");
    let error = held["error"].as_str().expect("an error");
    assert!(
        error.starts_with("refs/kv/a/b cannot be created: the mirror has refs/kv/a,"),
        "{error}"
    );
    assert!(world.at("refs/kv/c").is_some());

    // The operator deletes the ref that the Stargate does not have.
    let force = ["sync", "--force", "refs/kv/a", "--yes", "--allow-mass-delete"];
    let (exit, said) = world.program(&force);
    // The remaining updates are pushed in the next cycle.
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains("a: mirrored to "), "{said}");
    assert_eq!(world.run().0, 0);
    assert!(world.at("refs/kv-mirror/a/b").is_some());
}

#[test]
fn a_namespace_that_replaces_another_one_is_carried() {
    for refs in ["files", "reftable"] {
        let world = World::new(Format::Sha1, refs);
        world.push_value("one", &["refs/kv/a", "refs/kv/x/y"]);
        assert_eq!(world.run().0, 0);
        git(&world.stargate.git_dir, ["config", "stargate.attempts", "3"]);
        git(&world.stargate.git_dir, ["config", "stargate.initialDelay", "1ms"]);
        world.push(&[":refs/kv/a", "HEAD:refs/kv/a/b"]);
        world.push(&[":refs/kv/x/y", "HEAD:refs/kv/x"]);
        let (exit, groups) = world.run();
        assert_eq!(exit, 0, "{groups:#?}");
        let names: Vec<_> = world.mirrored().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["refs/kv-mirror/a/b", "refs/kv-mirror/x", "refs/kv/a/b", "refs/kv/x"]
        );
    }
}

#[test]
fn the_watermark_waits_for_chunks_that_git_has_not_moved_yet() {
    for refs in ["files", "reftable"] {
        let world = World::new(Format::Sha1, refs);
        let first = world.push_value("one", &["refs/kv/main"]);
        assert_eq!(world.run().0, 0);
        // The older entry because of which the worker runs.
        world.push_value("older", &["refs/kv-index/main"]);
        let fifo = world.stargate.folder().join("continue");
        let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        let hook = format!("echo the chunks wait >&2; read line < {}", fifo.display());
        let (push, ledger) = world.start_a_push(&hook);
        push.until("the chunks wait");
        world.assert_holds_the_ledger(&ledger, &first);

        fs::write(&fifo, "go\n").expect("a reader");
        let (exit, said) = push.wait();
        assert_eq!(exit, 0, "{said}");
        let (exit, groups) = world.run();
        assert_eq!(exit, 0, "{groups:#?}");
        for name in ["refs/kv/main", "refs/kv-chunks/main@1", WATERMARK] {
            assert_eq!(world.at(name).as_ref(), Some(&ledger), "{name}");
        }
        world.assert_waits(&ledger, 0);
    }
}

/// The machine's clock, two minutes ahead.
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now() + Duration::from_secs(120)
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
    fn random(&self) -> f64 {
        self.0.random()
    }
}

#[test]
fn a_push_that_was_killed_between_its_refs_holds_the_namespace_for_a_minute_only() {
    let world = World::new(Format::Sha1, "files");
    let first = world.push_value("one", &["refs/kv/main"]);
    assert_eq!(world.run().0, 0);
    world.push_value("older", &["refs/kv-index/main"]);
    let (push, ledger) = world.start_a_push("kill -9 $PPID");
    assert_ne!(push.wait().0, 0);
    world.assert_holds_the_ledger(&ledger, &first);

    let token = |name: &str| (name == "GITHUB_PAT").then(|| "token".into());
    let clock = Ahead(SystemClock::default());
    let report = worker::run(&world.stargate.git_dir, &Options::default(), &token, &clock).expect("a cycle");
    assert_eq!(report.pending, 0, "{report:#?}");
    assert_eq!(world.at(WATERMARK), Some(ledger));
    assert_eq!(world.at("refs/kv-chunks/main@1"), None);
    assert_eq!(world.stargate.intents(), [""; 0]);
}
