//! Refs of the Stargate that cannot be read, that name missing objects, or that are symbolic, with real files, real git
//! and a real mirror.
#![cfg(unix)]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::stargate::{Stargate, clean_command, feed, git};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
/// The user `nobody`, on every Linux.
const OWNER: u32 = 65534;

/// Damage to the files of refs by a power cut, a disk or an administrator.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    EmptyFile,
    Garbage,
    NullId,
    BrokenLink,
    FileOfAnotherUser,
    FolderOfAnotherUser,
    PackedId,
    PackedLine,
    PackedCutOff,
    PackedEmpty,
    PackedOfAnotherUser,
}

const DAMAGES: [Damage; 11] = [
    Damage::EmptyFile,
    Damage::Garbage,
    Damage::NullId,
    Damage::BrokenLink,
    Damage::FileOfAnotherUser,
    Damage::FolderOfAnotherUser,
    Damage::PackedId,
    Damage::PackedLine,
    Damage::PackedCutOff,
    Damage::PackedEmpty,
    Damage::PackedOfAnotherUser,
];

impl Damage {
    fn is_of_another_user(self) -> bool {
        matches!(
            self,
            Damage::FileOfAnotherUser | Damage::FolderOfAnotherUser | Damage::PackedOfAnotherUser
        )
    }

    fn is_packed(self) -> bool {
        matches!(
            self,
            Damage::PackedId
                | Damage::PackedLine
                | Damage::PackedCutOff
                | Damage::PackedEmpty
                | Damage::PackedOfAnotherUser
        )
    }

    /// The reason that is reported for it.
    fn reason(self) -> &'static str {
        match self {
            Damage::EmptyFile => "refs/kv/main is empty",
            Damage::Garbage | Damage::NullId => "refs/kv/main contains neither an object id nor a ref name",
            Damage::BrokenLink => "refs/kv/main is a symbolic link to a missing file",
            Damage::FileOfAnotherUser => "refs/kv/main cannot be read: Permission denied",
            Damage::FolderOfAnotherUser => "refs/kv/ cannot be read: Permission denied",
            Damage::PackedId => "packed-refs is damaged in line 3",
            Damage::PackedLine | Damage::PackedCutOff => "packed-refs is damaged in line 3",
            Damage::PackedEmpty => "packed-refs is empty",
            Damage::PackedOfAnotherUser => "packed-refs cannot be read: Permission denied",
        }
    }
}

/// A Stargate whose refs `refs/kv/a` and `refs/kv/main` are mirrored.
struct World {
    stargate: Stargate,
    mirror: PathBuf,
    client: PathBuf,
    /// The user that runs the program.
    user: Option<u32>,
}

impl World {
    fn new() -> Self {
        let stargate = Stargate::with_hook();
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        let mirror = stargate.folder().join("mirror.git");
        stargate.configure("stargate.remote", &mirror.display().to_string());
        stargate.configure("stargate.attempts", "1");
        let client = stargate.client("one");
        let world = World {
            stargate,
            mirror,
            client,
            user: None,
        };
        world.push(&["HEAD:refs/kv/a", "HEAD:refs/kv/main"]);
        assert_eq!(world.program(&["run"]).0, 0);
        world
    }

    fn push(&self, refspecs: &[&str]) {
        let arguments = ["push", "-q", "--force", "origin"].iter().chain(refspecs);
        git(&self.client, arguments);
    }

    fn commit(&self, message: &str) -> String {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.client, ["rev-parse", "HEAD"])
    }

    /// A deletion and a creation of `refs/kv/main` that both wait to be mirrored.
    fn recreate(&self) {
        self.push(&[":refs/kv/main"]);
        self.push(&["HEAD:refs/kv/main"]);
    }

    /// Gives everything to [`OWNER`], who runs the program from now on.
    fn give_away(&mut self) {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root, to be one user and to keep files from another"
        );
        let folder = self.stargate.folder();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("ours");
        let mut copy = clean_command("cp");
        copy.arg(PROGRAM).arg(folder.join("program"));
        assert!(feed(copy, "").status.success());
        for path in all_below(folder) {
            chown(path, Some(OWNER), Some(OWNER)).expect("root may");
        }
        self.user = Some(OWNER);
    }

    fn damage(&mut self, damage: Damage) {
        let git_dir = self.stargate.git_dir.clone();
        if damage.is_packed() {
            git(&git_dir, ["pack-refs", "--all"]);
        }
        if damage.is_of_another_user() {
            self.give_away();
        }
        let (loose, packed) = (git_dir.join("refs/kv/main"), git_dir.join("packed-refs"));
        let edit = |edit: &dyn Fn(String) -> String| {
            let text = fs::read_to_string(&packed).expect("packed refs");
            fs::write(&packed, edit(text)).expect("ours");
        };
        let line = |text: &str| text.lines().last().expect("the ref").to_owned();
        match damage {
            Damage::EmptyFile => fs::write(loose, "").expect("ours"),
            Damage::Garbage => fs::write(loose, "\0".repeat(41)).expect("ours"),
            Damage::NullId => fs::write(loose, "0".repeat(40)).expect("ours"),
            Damage::BrokenLink => {
                fs::remove_file(&loose).expect("ours");
                std::os::unix::fs::symlink("nowhere", loose).expect("ours");
            }
            Damage::FileOfAnotherUser => keep_away(&loose),
            Damage::FolderOfAnotherUser => keep_away(&git_dir.join("refs/kv")),
            Damage::PackedId => edit(&|text| {
                text.replace(&line(&text)[..40], &"x".repeat(40))
                    .replacen(&"x".repeat(40), &line(&text)[..40], 1)
            }),
            Damage::PackedLine => edit(&|text| text.replace(&line(&text)[20..], "\0\0\0")),
            Damage::PackedCutOff => edit(&|text| text.trim_end().to_owned()),
            Damage::PackedEmpty => fs::write(packed, "").expect("ours"),
            Damage::PackedOfAnotherUser => keep_away(&packed),
        }
    }

    /// Returns the exit code and the whole output.
    fn program(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = match self.user {
            Some(user) => {
                let mut command = clean_command(self.stargate.folder().join("program"));
                command.uid(user).gid(user);
                command
            }
            None => clean_command(PROGRAM),
        };
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        let output = feed(command, "");
        let said = [output.stdout, output.stderr].concat();
        let exit = output.status.code().expect("an exit code");
        (exit, String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs the same command with `--json`, and returns its output.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--json");
        command.arg("--repo").arg(&self.stargate.git_dir);
        let output = feed(command, "");
        let report = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code().expect("an exit code"), report)
    }

    /// Every ref of the mirror.
    fn mirrored(&self) -> String {
        git(&self.mirror, ["-c", "safe.directory=*", "for-each-ref"])
    }

    fn at(&self, name: &str) -> String {
        git(&self.mirror, ["rev-parse", name])
    }

    fn statuses(&self) -> Vec<String> {
        let lines = self.stargate.lines();
        let statuses = lines.iter().map(|line| line["status"].as_str().expect("a status"));
        statuses.map(ToOwned::to_owned).collect()
    }
}

fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => found.extend(all_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Accessible to root only.
fn keep_away(path: &Path) {
    chown(path, Some(0), Some(0)).expect("root may");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("root may");
}

/// Every command reports the problem, and leaves the mirror unchanged.
fn assert_is_told(world: &World, reason: &str, before: &str) {
    let commands: [(&[&str], i32); 7] = [
        (&["run", "--dry-run"], 5),
        (&["run"], 5),
        (&["sync", "--dry-run"], 5),
        (&["sync", "--repair"], 5),
        (&["sync", "--force", "--yes", "--allow-mass-delete"], 5),
        (&["status"], 5),
        (&["doctor"], 4),
    ];
    for (arguments, expected) in commands {
        let (exit, said) = world.program(arguments);
        assert!(said.contains(reason), "{arguments:?}: {reason:?} is not in {said}");
        assert!(!said.contains("extra "), "{arguments:?}: {said}");
        assert_eq!(exit, expected, "{arguments:?}: {said}");
        assert_eq!(world.mirrored(), before, "{arguments:?}: {said}");
    }
}

#[test]
fn a_ref_that_cannot_be_read_is_never_deleted_whatever_is_pending() {
    for damage in DAMAGES {
        for recreated in [false, true] {
            let mut world = World::new();
            if recreated {
                world.recreate();
            }
            world.damage(damage);
            let before = world.mirrored();
            assert_eq!(before.lines().count(), 4, "two ledgers, two watermarks");
            assert_is_told(&world, damage.reason(), &before);
            let pending = world.statuses().iter().filter(|status| **status == "pending").count();
            assert_eq!(pending, if recreated { 2 } else { 0 }, "{damage:?}");
        }
    }
}

#[test]
fn what_can_be_read_again_is_mirrored() {
    let mut world = World::new();
    let tip = world.commit("two");
    world.recreate();
    world.damage(Damage::EmptyFile);
    let (exit, report) = world.json(&["run"]);
    let group = &report["groups"][0];
    assert_eq!((exit, &report["outcome"]), (5, &"incomplete".into()));
    assert_eq!((&group["outcome"], &group["entries"]), (&"broken".into(), &2.into()));
    fs::write(world.stargate.git_dir.join("refs/kv/main"), &tip).expect("ours");
    assert_eq!(world.program(&["run"]).0, 0);
    assert_eq!(
        (world.at("refs/kv/main"), world.at("refs/kv-mirror/main")),
        (tip.clone(), tip)
    );
    assert!(world.statuses().iter().all(|status| status == "done"));
}

#[test]
fn a_group_with_an_unreadable_ref_is_listed_once_when_the_mirror_is_unreachable() {
    let mut world = World::new();
    world.recreate();
    world.damage(Damage::EmptyFile);
    // Nothing listens there.
    let (exit, report) = world.json(&["run", "--remote", "git://127.0.0.1:1/r.git"]);
    assert_eq!(exit, 5, "{report}");
    let groups = report["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1, "{report}");
    let (group, error) = (&groups[0], groups[0]["error"].as_str().expect("an error"));
    assert_eq!((&group["group"], &group["outcome"]), (&"main".into(), &"broken".into()));
    assert_eq!((&group["entries"], &group["attempts"]), (&2.into(), &1.into()));
    for reason in ["refs/kv/main is empty", "127.0.0.1:1"] {
        assert!(error.contains(reason), "{reason:?} is not in {error}");
    }
}

#[test]
fn one_ref_that_cannot_be_read_does_not_hold_up_another_group() {
    let mut world = World::new();
    let tip = world.commit("two");
    world.push(&["HEAD:refs/kv/a"]);
    world.damage(Damage::Garbage);
    assert_eq!(world.program(&["run"]).0, 5);
    assert_eq!(
        (world.at("refs/kv/a"), world.at("refs/kv-mirror/a")),
        (tip.clone(), tip)
    );
}

#[test]
fn a_broken_ref_cannot_be_forced_by_its_name() {
    let mut world = World::new();
    world.damage(Damage::EmptyFile);
    let (exit, said) = world.program(&["sync", "--force", "refs/kv/main", "--yes"]);
    assert_eq!(exit, 5, "{said}");
    assert!(said.contains("cannot force refs/kv/main"), "{said}");
}

#[test]
fn a_missing_object_is_told_as_one_and_force_without_a_choice_asks_nobody() {
    let world = World::new();
    let before = world.mirrored();
    let tip = world.commit("two");
    world.push(&["HEAD:refs/kv/main"]);
    let object = world.stargate.git_dir.join("objects").join(&tip[..2]).join(&tip[2..]);
    fs::remove_file(object).expect("a loose object");
    let missing = format!("object {tip} ");
    for arguments in [
        &["run", "--dry-run"][..],
        &["status"],
        &["run"],
        &["sync", "--dry-run"],
        &["sync", "--force"],
    ] {
        let (exit, said) = world.program(arguments);
        assert_eq!(exit, 5, "{arguments:?}: {said}");
        assert!(
            said.contains("broken") && said.contains(&missing),
            "{arguments:?}: {said}"
        );
        for wrong in ["diverged", "rejected", "decide", "refuses"] {
            assert!(!said.contains(wrong), "{arguments:?}: {wrong} in {said}");
        }
        assert_eq!(world.mirrored(), before);
    }
}

#[test]
fn an_object_that_is_damaged_stays_pending_and_is_mirrored_when_it_is_whole() {
    let world = World::new();
    let before = world.mirrored();
    let tip = world.commit("two");
    world.push(&["HEAD:refs/kv/main"]);
    let path = world.stargate.git_dir.join("objects").join(&tip[..2]).join(&tip[2..]);
    let whole = fs::read(&path).expect("a loose object");
    fs::remove_file(&path).expect("ours");
    fs::write(&path, "").expect("ours");
    for (arguments, expected) in [
        (&["run"][..], 5),
        (&["status"], 5),
        (&["sync", "--force"], 5),
        (&["doctor"], 4),
    ] {
        let (exit, said) = world.program(arguments);
        assert!(said.contains(&format!("object {tip} ")), "{arguments:?}: {said}");
        assert_eq!(exit, expected, "{arguments:?}: {said}");
    }
    assert_eq!(world.mirrored(), before);
    fs::write(&path, whole).expect("ours");
    assert_eq!(world.program(&["run"]).0, 0);
    assert_eq!(world.at("refs/kv/main"), tip);
}

/// A Stargate with branches, of which `master` is symbolic, and a symbolic ledger.
fn with_aliases() -> World {
    let world = World::new();
    let git_dir = &world.stargate.git_dir;
    for pattern in ["refs/kv/*", "refs/heads/*"] {
        world.stargate.configure("stargate.ref", pattern);
    }
    world.push(&["HEAD:refs/heads/trunk"]);
    git(git_dir, ["symbolic-ref", "refs/heads/master", "refs/heads/trunk"]);
    git(git_dir, ["symbolic-ref", "refs/kv/latest", "refs/kv/main"]);
    assert_eq!(world.program(&["run"]).0, 0);
    let (exit, said) = world.program(&["sync", "--dry-run"]);
    assert_eq!(exit, 0, "{said}");
    world
}

#[test]
fn a_symbolic_ref_is_mirrored_as_its_target_and_moves_with_it() {
    let world = with_aliases();
    let tip = world.commit("two");
    world.push(&["HEAD:refs/heads/trunk", "HEAD:refs/kv/main"]);
    assert_eq!(world.program(&["run"]).0, 0);
    for name in [
        "refs/heads/trunk",
        "refs/heads/master",
        "refs/kv/main",
        "refs/kv/latest",
        "refs/kv-mirror/main",
        "refs/kv-mirror/latest",
    ] {
        assert_eq!(world.at(name), tip, "{name}");
    }
    // A push to the symbolic ref moves its target.
    let tip = world.commit("three");
    world.push(&["HEAD:refs/heads/master"]);
    assert_eq!(world.program(&["run"]).0, 0);
    assert_eq!(
        (world.at("refs/heads/trunk"), world.at("refs/heads/master")),
        (tip.clone(), tip)
    );
    assert_eq!(world.program(&["sync", "--dry-run"]).0, 0);
}

#[test]
fn a_dangling_symbolic_ref_is_told_and_what_the_mirror_has_of_it_stays() {
    let world = with_aliases();
    git(
        &world.stargate.git_dir,
        ["symbolic-ref", "refs/heads/master", "refs/heads/gone"],
    );
    let before = world.mirrored();
    let reason = "refs/heads/gone does not exist";
    for (arguments, expected) in [
        (&["run"][..], 0),
        (&["status"], 0),
        (&["sync", "--dry-run"], 3),
        (&["sync", "--force", "--yes", "--allow-mass-delete"], 3),
        (&["doctor"], 0),
    ] {
        let (exit, said) = world.program(arguments);
        assert_eq!(exit, expected, "{arguments:?}: {said}");
        assert!(
            said.contains(reason) || said.contains("refs/heads/gone"),
            "{arguments:?}: {said}"
        );
        assert_eq!(world.mirrored(), before, "{arguments:?}");
    }
}

#[test]
fn the_deletion_of_a_target_goes_to_the_mirror_with_its_symbolic_refs() {
    let world = with_aliases();
    world.push(&[":refs/heads/trunk"]);
    assert_eq!(world.program(&["run"]).0, 0);
    assert!(!world.mirrored().contains("refs/heads/"), "{}", world.mirrored());
    assert!(world.statuses().iter().all(|status| status == "done"));
}
