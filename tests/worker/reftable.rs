//! A Stargate whose refs are in reftables: from a push to the mirror, and with damaged tables.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
};

use stargate_mirror::{ref_pattern::RefPatterns, refs::Refs};
use support::stargate::{Stargate, clean_command, feed, git, git_command, start, stderr, try_git};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// A Stargate that `install` has set up, its mirror beside it, and a client.
struct World {
    stargate: Stargate,
    mirror: PathBuf,
    client: PathBuf,
}

impl World {
    fn new(format: &str) -> Self {
        let stargate = Stargate::of_formats(format, "reftable");
        let mirror = stargate.folder().join("mirror.git");
        git(
            stargate.folder(),
            ["init", "-q", "--bare", "--object-format", format, "mirror.git"],
        );
        stargate.configure("stargate.remote", &mirror.display().to_string());
        stargate.configure("stargate.attempts", "1");
        let client = stargate.client("one");
        let world = World {
            stargate,
            mirror,
            client,
        };
        let (exit, said) = world.program(&["install"]);
        assert_eq!(exit, 0, "{said}");
        world
    }

    /// One whose refs `refs/kv/a` and `refs/kv/main` are mirrored.
    fn mirrored(format: &str) -> Self {
        let world = World::new(format);
        world.push(&["HEAD:refs/kv/a", "HEAD:refs/kv/main"]);
        world.assert_runs();
        world
    }

    fn push(&self, refspecs: &[&str]) {
        git(&self.client, [&["push", "-q", "--force", "origin"], refspecs].concat());
    }

    fn commit(&self, message: &str) -> String {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.client, ["rev-parse", "HEAD"])
    }

    /// Returns the exit code and the whole output.
    fn program(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        let output = feed(command, "");
        let said = [output.stdout, output.stderr].concat();
        let exit = output.status.code().expect("an exit code");
        (exit, String::from_utf8_lossy(&said).into_owned())
    }

    fn assert_runs(&self) {
        let (exit, said) = self.program(&["run"]);
        assert_eq!(exit, 0, "{said}");
    }

    fn at(&self, name: &str) -> String {
        git(&self.mirror, ["rev-parse", name])
    }

    fn sources(&self) -> Vec<String> {
        let lines = self.stargate.lines();
        let sources = lines.iter().map(|line| line["source"].as_str().expect("a source"));
        sources.map(ToOwned::to_owned).collect()
    }

    fn pending(&self) -> usize {
        let lines = self.stargate.lines();
        lines.iter().filter(|line| line["status"] == "pending").count()
    }
}

/// Ids and names of the ledgers and indexes.
fn refs_of(repository: &Path) -> String {
    let format = "--format=%(objectname) %(refname)";
    git(repository, ["for-each-ref", format, "refs/kv/", "refs/kv-index/"])
}

#[test]
fn refs_are_read_as_from_files() {
    let files = Stargate::bare();
    let client = files.client("one");
    let mut refspecs: Vec<_> = (0..300).map(|number| format!("HEAD:refs/kv/n{number}")).collect();
    refspecs.push("HEAD:refs/heads/main".into());
    git(
        &client,
        ["push", "-q", "origin"].map(ToOwned::to_owned).iter().chain(&refspecs),
    );
    for (name, target) in [
        ("refs/kv/alias", "refs/kv/n7"),
        ("refs/kv/to-alias", "refs/kv/alias"),
        ("refs/kv/dangling", "refs/kv/none"),
        ("refs/kv/elsewhere", "refs/heads/main"),
        ("refs/kv/circle", "refs/kv/circle"),
    ] {
        git(&files.git_dir, ["symbolic-ref", name, target]);
    }
    git(&files.git_dir, ["update-ref", "-d", "refs/kv/n9"]);
    let tables = files.copy();
    // The migration of git 2.47 does not support cycles.
    git(&tables.git_dir, ["symbolic-ref", "--delete", "refs/kv/circle"]);
    git(&tables.git_dir, ["refs", "migrate", "--ref-format=reftable"]);
    git(&tables.git_dir, ["symbolic-ref", "refs/kv/circle", "refs/kv/circle"]);
    let in_files = Refs::new(&files.git_dir, gix::hash::Kind::Sha1);
    let in_tables = Refs::in_tables(&tables.git_dir, gix::hash::Kind::Sha1);
    for patterns in [
        &["refs/*"][..],
        &["refs/kv/n1*", "!refs/kv/n17"],
        &["refs/kv/alias"],
        &["refs/x/*"],
    ] {
        let patterns = RefPatterns::new(patterns).expect("patterns");
        let (one, other) = (in_files.list(&patterns), in_tables.list(&patterns));
        assert_eq!(one.known(), other.known());
        assert_eq!(one.aliases(), other.aliases());
        assert_eq!(one.dangling().collect::<Vec<_>>(), other.dangling().collect::<Vec<_>>());
        assert_eq!(one.unreadable().count(), other.unreadable().count());
    }
    for name in [
        "refs/kv/n9",
        "refs/kv/n8",
        "refs/kv/to-alias",
        "refs/kv/dangling",
        "refs/kv",
        "HEAD",
    ] {
        assert_eq!(in_files.read(name.into()), in_tables.read(name.into()), "{name}");
    }
    let circle = in_tables.read("refs/kv/circle".into());
    assert!(format!("{circle:?}").contains("TooManySteps"), "{circle:?}");

    // Writes and compactions are seen by the next read.
    git(&tables.git_dir, ["update-ref", "-d", "refs/kv/n8"]);
    git(&tables.git_dir, ["pack-refs", "--all"]);
    assert_eq!(in_tables.read("refs/kv/n8".into()).id(), None);
    assert!(in_tables.read("refs/kv/n7".into()).id().is_some());
}

#[test]
fn pushes_and_deletions_reach_the_mirror_with_objects_of_either_format() {
    for format in ["sha1", "sha256"] {
        let world = World::new(format);
        world.push(&["HEAD:refs/kv/main", "HEAD:refs/kv-index/main", "HEAD:refs/kv/gone"]);
        world.assert_runs();
        let tip = world.commit("two");
        world.push(&["HEAD:refs/kv/main", ":refs/kv/gone"]);
        git(&world.stargate.git_dir, ["pack-refs", "--all"]);
        world.assert_runs();
        assert_eq!(refs_of(&world.mirror), refs_of(&world.stargate.git_dir), "{format}");
        assert_eq!(world.at("refs/kv-mirror/main"), tip);
        assert_eq!(world.pending(), 0);
        for arguments in [
            &["wait", "--ns", "main", "--oid", &tip][..],
            &["sync", "--dry-run"],
            &["status"],
            &["doctor"],
            &["journal", "verify"],
        ] {
            let (exit, said) = world.program(arguments);
            assert_eq!(exit, 0, "{arguments:?}: {said}");
        }
        assert!(world.sources().iter().all(|source| source == "post-receive"));
        git(&world.mirror, ["fsck", "--strict", "--full"]);
    }
}

#[test]
fn a_push_whose_post_receive_never_ran_is_found_by_reconcile() {
    for format in ["sha1", "sha256"] {
        let world = World::mirrored(format);
        let tip = world.commit("two");
        for hook in ["pre-receive", "post-receive"] {
            fs::remove_file(world.stargate.git_dir.join("hooks").join(hook)).expect("a hook");
        }
        world.push(&["HEAD:refs/kv/main", "HEAD:refs/kv/new"]);
        world.assert_runs();
        assert_eq!(world.at("refs/kv/main"), tip);
        assert_eq!(world.at("refs/kv-mirror/new"), tip);
        assert_eq!(world.sources()[2..], ["reconcile", "reconcile"]);
    }
}

#[test]
fn what_is_on_the_mirror_only_is_extra_and_what_is_equal_is_kept() {
    let world = World::mirrored("sha1");
    let tip = world.at("refs/kv/a");
    git(&world.mirror, ["update-ref", "refs/kv/extra", &tip]);
    let (_, said) = world.program(&["sync", "--dry-run", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let standings = report["refs"].as_array().expect("a list").iter();
    let standings: Vec<_> = standings
        .map(|one| format!("{} {}", one["ref"].as_str().unwrap(), one["standing"].as_str().unwrap()))
        .collect();
    assert_eq!(
        standings,
        ["refs/kv/a equal", "refs/kv/extra extra", "refs/kv/main equal"]
    );
    let (exit, said) = world.program(&["sync", "--force", "--yes", "--allow-mass-delete"]);
    assert_eq!(exit, 0, "{said}");
    assert_eq!(refs_of(&world.mirror), refs_of(&world.stargate.git_dir));
}

/// Damage to the tables by a power cut or an administrator.
#[derive(Debug, Clone, Copy)]
enum Damage {
    NoFolder,
    NoList,
    GarbageInList,
    MissingTable,
    CutOffTable,
    EmptyTable,
    ZeroedBlocks,
}

impl Damage {
    fn apply(self, folder: &Path) {
        let list = folder.join("tables.list");
        let names = fs::read_to_string(&list).expect("a list");
        let table = folder.join(names.lines().next_back().expect("a table"));
        match self {
            Damage::NoFolder => fs::remove_dir_all(folder).expect("ours"),
            Damage::NoList => fs::remove_file(list).expect("ours"),
            Damage::GarbageInList => fs::write(list, "\0\0\0\n").expect("ours"),
            Damage::MissingTable => fs::remove_file(table).expect("ours"),
            Damage::EmptyTable => fs::write(table, "").expect("ours"),
            Damage::CutOffTable => edit(&table, |bytes| bytes.truncate(bytes.len() / 2)),
            // After the header, before the footer.
            Damage::ZeroedBlocks => edit(&table, |bytes| {
                let end = bytes.len() - 68;
                bytes[24..end].fill(0);
            }),
        }
    }
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a table");
    edit(&mut bytes);
    // git makes tables read-only.
    fs::remove_file(path).expect("ours");
    fs::write(path, bytes).expect("ours");
}

#[test]
fn damaged_tables_hold_everything_up_and_nothing_is_deleted() {
    for damage in [
        Damage::NoFolder,
        Damage::NoList,
        Damage::GarbageInList,
        Damage::MissingTable,
        Damage::CutOffTable,
        Damage::EmptyTable,
        Damage::ZeroedBlocks,
    ] {
        let world = World::mirrored("sha1");
        world.push(&[":refs/kv/main"]);
        world.push(&["HEAD:refs/kv/main"]);
        let folder = world.stargate.git_dir.join("reftable");
        git(&world.stargate.git_dir, ["pack-refs", "--all"]);
        let whole = world.stargate.copy();
        damage.apply(&folder);
        assert_nothing_moves(&world, damage);
        assert_eq!(world.pending(), 2, "{damage:?}");

        // Once the tables are restored, everything continues.
        let _ = fs::remove_dir_all(&folder);
        fs::rename(whole.git_dir.join("reftable"), &folder).expect("one file system");
        world.assert_runs();
        assert_eq!(world.pending(), 0, "{damage:?}");
    }
}

fn assert_nothing_moves(world: &World, damage: Damage) {
    let before = git(&world.mirror, ["for-each-ref"]);
    for (arguments, expected) in [
        (&["run", "--dry-run"][..], 5),
        (&["run"], 5),
        (&["sync", "--dry-run"], 5),
        (&["sync", "--repair"], 5),
        (&["sync", "--force", "--yes", "--allow-mass-delete"], 5),
        (&["status"], 5),
        (&["doctor"], 4),
    ] {
        let (exit, said) = world.program(arguments);
        assert!(
            said.contains("reftable cannot be read: "),
            "{damage:?} {arguments:?}: {said}"
        );
        assert!(!said.contains("extra "), "{damage:?} {arguments:?}: {said}");
        assert_eq!(exit, expected, "{damage:?} {arguments:?}: {said}");
        assert_eq!(git(&world.mirror, ["for-each-ref"]), before, "{damage:?} {arguments:?}");
    }
}

/// git 2.47 does not wait for the lock of the tables, so some of the pushes are rejected.
#[test]
fn of_sixty_four_pushes_at_once_every_accepted_one_is_mirrored() {
    for format in ["sha1", "sha256"] {
        assert_accepted_pushes_are_mirrored(format);
    }
}

fn assert_accepted_pushes_are_mirrored(format: &str) {
    let world = World::mirrored(format);
    world.commit("two");
    let push = |number: usize| {
        let mut command = git_command(&world.client);
        command.args(["push", "-q", "origin", &format!("HEAD:refs/kv/at-once-{number}")]);
        command.stderr(std::process::Stdio::null());
        start(&mut command)
    };
    let mut pushes: Vec<Child> = (0..64).map(push).collect();
    // The worker reads while tables are added and compacted.
    world.assert_runs();
    let ended = pushes.iter_mut().map(|push| push.wait().expect("it ends"));
    let accepted = ended.filter(|status| status.success()).count();
    assert!(accepted > 0, "none was accepted");
    world.assert_runs();
    assert_eq!(refs_of(&world.mirror), refs_of(&world.stargate.git_dir));
    assert!(refs_of(&world.mirror).lines().count() >= 2 + accepted);
}

#[test]
fn the_append_only_guard_reads_branches_and_symbolic_refs() {
    for format in ["sha1", "sha256"] {
        let world = World::new(format);
        world.stargate.configure("stargate.appendOnly", "events/");
        let set = |content: &str| {
            fs::create_dir_all(world.client.join("events")).expect("a folder");
            fs::write(world.client.join("events/a.json"), content).expect("a file");
            git(&world.client, ["add", "-A"]);
            world.commit(content);
        };
        set("first");
        world.push(&["HEAD:refs/heads/main"]);
        git(
            &world.stargate.git_dir,
            ["symbolic-ref", "refs/x/latest", "refs/heads/main"],
        );
        set("changed");
        for name in ["refs/heads/main", "refs/x/latest"] {
            let rejected = try_git(&world.client, ["push", "-q", "origin", &format!("HEAD:{name}")]);
            let said = stderr(&rejected);
            assert!(!rejected.status.success(), "{name}");
            assert!(said.contains("events/a.json"), "{name}: {said}");
        }
        fs::remove_file(world.stargate.git_dir.join("reftable/tables.list")).expect("a list");
        let head = git(&world.client, ["rev-parse", "HEAD"]);
        let null = "0".repeat(head.len());
        let refused = world.stargate.run_pre_receive(format!("{null} {head} refs/heads/x\n"));
        assert!(!refused.status.success());
        assert!(
            stderr(&refused).contains("cannot read the reftables"),
            "{}",
            stderr(&refused)
        );
    }
}
