//! `run` in parts: the ledger and its watermark come last, a killed worker continues, and nothing temporary stays. And a
//! mirror that takes no thin packs.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::{
    history::{self, Shape},
    mirror::{Format, Mirror},
    stargate::{Stargate, clean_command, git, stderr},
    unthin,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const NAME: &str = "o/r.git";
const SHAPE: Shape = Shape {
    commits: 40,
    files: 2,
    bytes: 2000,
    merges: 4,
};
/// Writes down each push with a line after it. Kills the program whose number is in `victim` after three temporary refs.
const KILLER: &str = "cat >> pushes; echo >> pushes
if [ -e victim ] && [ $(grep -c stargate-parts pushes) -ge 3 ]; then victim=$(cat victim); rm victim; kill -9 $victim; fi";

/// A Stargate with a ledger and an index of 180 KB, and a mirror that takes 20 KB a push.
struct World {
    stargate: Stargate,
    mirror: Mirror,
    receiver: PathBuf,
}

impl World {
    fn new() -> Self {
        let stargate = Stargate::bare();
        history::extend(&stargate.git_dir, "refs/kv/main", SHAPE, 1);
        history::extend(
            &stargate.git_dir,
            "refs/kv-index/main",
            Shape { commits: 5, ..SHAPE },
            2,
        );
        let mirror = Mirror::with_token("token");
        let receiver = mirror.create(NAME, Format::Sha1);
        git(&receiver, ["config", "receive.maxInputSize", "20k"]);
        mirror.hook(NAME, "post-receive", KILLER);
        stargate.configure("stargate.remote", &mirror.url(NAME));
        stargate.configure("stargate.maxPackSize", "16k");
        stargate.configure("stargate.initialDelay", "1ms");
        World {
            stargate,
            mirror,
            receiver,
        }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        program(&self.stargate, arguments)
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.program(arguments).output().expect("it runs");
        let report = serde_json::from_slice(&output.stdout);
        (
            output.status.code(),
            report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))),
        )
    }

    /// Pushes to the mirror, each with its lines.
    fn pushes(&self) -> Vec<String> {
        let pushes = fs::read_to_string(self.receiver.join("pushes")).expect("what was pushed");
        pushes
            .split("\n\n")
            .filter(|push| !push.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[track_caller]
    fn assert_mirrored(&self) {
        git(&self.receiver, ["fsck", "--strict", "--no-dangling"]);
        let listed = refs(&self.receiver, "refs/");
        let main = git(&self.stargate.git_dir, ["rev-parse", "refs/kv/main"]);
        let index = git(&self.stargate.git_dir, ["rev-parse", "refs/kv-index/main"]);
        let expected = [(&index, "kv-index"), (&main, "kv-mirror"), (&main, "kv")];
        let mut expected = expected.map(|(id, family)| format!("{id} refs/{family}/main"));
        expected.sort_by(|one, other| one[40..].cmp(&other[40..]));
        assert_eq!(listed, expected);
    }
}

fn program(stargate: &Stargate, arguments: &[&str]) -> Command {
    let mut command = clean_command(PROGRAM);
    let (word, rest) = arguments.split_first().expect("a subcommand");
    command.args([word, "--repo"]).arg(&stargate.git_dir).args(rest);
    command.env("GITHUB_PAT", "token");
    command
}

fn refs(repository: &Path, prefix: &str) -> Vec<String> {
    let refs = git(
        repository,
        ["for-each-ref", "--format=%(objectname) %(refname)", prefix],
    );
    refs.lines().map(str::to_owned).collect()
}

#[test]
fn the_ledger_and_its_watermark_come_last_and_small() {
    let world = World::new();
    let (code, report) = world.run(&["run", "--json"]);
    assert_eq!((code, &report["outcome"]), (Some(0), &"mirrored".into()), "{report}");
    world.assert_mirrored();
    let pushes = world.pushes();
    assert!(pushes.len() >= 7, "180 KB in parts of 16 KB: {pushes:?}");
    let [parts @ .., last, deletions] = &pushes[..] else {
        panic!("{pushes:?}")
    };
    for name in ["refs/kv/main", "refs/kv-mirror/main", "refs/kv-index/main"] {
        assert!(
            last.contains(name) && parts.iter().all(|part| !part.contains(name)),
            "{pushes:?}"
        );
    }
    assert_eq!(last.lines().count(), 3, "one atomic push");
    assert!(
        deletions
            .lines()
            .all(|line| line.contains(" 000000") && line.contains("stargate-parts"))
    );
    assert!(world.mirror.received() < 270_000, "nothing is sent twice");
    let (code, report) = world.run(&["run", "--json"]);
    assert_eq!((code, &report["outcome"]), (Some(0), &"idle".into()));
}

#[test]
fn a_killed_worker_continues_after_the_parts_that_arrived() {
    let world = World::new();
    let killed = world.program(&["run", "--json"]);
    let mut shell = clean_command("sh");
    shell.env("GITHUB_PAT", "token");
    shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
    shell
        .arg(world.receiver.join("victim"))
        .arg(killed.get_program())
        .args(killed.get_args());
    let output: Output = shell.output().expect("a shell");
    assert_eq!(output.status.code(), None, "killed: {}", stderr(&output));
    let arrived = refs(&world.receiver, "refs/");
    assert!(arrived.len() >= 3, "{arrived:?}");
    assert!(
        arrived.iter().all(|one| one.contains(" refs/stargate-parts/")),
        "{arrived:?}"
    );
    let (code, report) = world.run(&["run", "--json"]);
    assert_eq!((code, &report["outcome"]), (Some(0), &"mirrored".into()), "{report}");
    world.assert_mirrored();
    assert!(world.mirror.received() < 270_000, "what arrived is not sent again");
}

#[test]
fn temporary_refs_are_nobodys_work_and_go_with_the_next_comparison() {
    let world = World::new();
    world.stargate.configure("stargate.ref", "refs/*");
    assert_eq!(world.run(&["run", "--json"]).0, Some(0));
    let main = git(&world.stargate.git_dir, ["rev-parse", "refs/kv/main"]);
    let left = format!("refs/stargate-parts/{main}");
    git(&world.receiver, ["update-ref", &left, &main]);
    let other = support::git::commit(&world.receiver, None, "of another repository");
    let of_other = format!("refs/stargate-parts/{other}");
    git(&world.receiver, ["update-ref", &of_other, &other]);
    let (code, sync) = world.run(&["sync", "--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{sync}");
    assert!(!sync.to_string().contains("stargate-parts"), "{sync}");
    assert_eq!(
        refs(&world.receiver, "refs/stargate-parts").len(),
        2,
        "a dry run changes nothing"
    );
    assert_eq!(world.run(&["sync", "--repair", "--json"]).0, Some(0));
    assert_eq!(
        refs(&world.receiver, "refs/stargate-parts"),
        [format!("{other} {of_other}")],
        "those of another repository stay: its push may be running"
    );
}

#[test]
fn a_mirror_without_thin_packs_is_remembered() {
    let stargate = Stargate::bare();
    let folder = stargate.folder().join("server");
    fs::create_dir(&folder).expect("a folder");
    let ssh = unthin::ssh_command(&folder);
    git(&folder, ["init", "-q", "--bare", "r.git"]);
    let receiver = folder.join("r.git");
    git(&receiver, ["config", "receive.unpackLimit", "1"]);
    stargate.configure("stargate.remote", &format!("ssh://host{}", receiver.display()));
    let mut text: String = (0..500)
        .map(|line| format!("line {line} of {}\n", line * line))
        .collect();
    let mut parent = None;
    for (version, expected) in [(1, 1), (2, 3), (3, 4)] {
        text += &format!("version {version}\n");
        let commit = support::git::commit(&stargate.git_dir, parent.as_deref(), &text);
        git(&stargate.git_dir, ["update-ref", "refs/kv/main", &commit]);
        let mut run = program(&stargate, &["run", "--json"]);
        let output = run.env("GIT_SSH_COMMAND", &ssh).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(git(&receiver, ["rev-parse", "refs/kv-mirror/main"]), commit);
        let unpacked = fs::read_to_string(unthin::log(&folder)).expect("a log");
        assert_eq!(unpacked.lines().count(), expected, "packs after version {version}");
        parent = Some(commit);
    }
    git(&receiver, ["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_mirror_that_needs_lengths_is_remembered() {
    let stargate = Stargate::bare();
    let mirror = Mirror::with_token("token");
    let receiver = mirror.create(NAME, Format::Sha1);
    stargate.configure("stargate.remote", &mirror.url(NAME));
    // One large file: no delta is tried.
    let shape = Shape {
        commits: 1,
        files: 1,
        bytes: 1_500_000,
        merges: 0,
    };
    for (seed, statuses) in [(1, &["411", "200"][..]), (2, &["411", "200", "200"])] {
        history::extend(&stargate.git_dir, "refs/kv/main", shape, seed);
        let mut run = program(&stargate, &["run", "--json"]);
        let output = run.env("GITHUB_PAT", "token").output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let tip = git(&stargate.git_dir, ["rev-parse", "refs/kv/main"]);
        assert_eq!(git(&receiver, ["rev-parse", "refs/kv-mirror/main"]), tip);
        let pushes = mirror.requests().into_iter();
        let pushes = pushes.filter(|line| line.starts_with("POST ") && line.contains("git-receive-pack"));
        let found: Vec<_> = pushes
            .filter_map(|line| line.split(' ').nth(2).map(str::to_owned))
            .collect();
        assert_eq!(found, statuses);
    }
    git(&receiver, ["fsck", "--strict", "--no-dangling"]);
}
