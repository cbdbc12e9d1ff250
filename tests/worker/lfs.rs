//! Git LFS: the objects are on the mirror before the refs are. Real git-lfs pushes to the Stargate and reads the mirror.
mod faults;
mod pointers;
mod pusher;
mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use stargate_mirror::lfs::Pointer;
use support::{
    executable,
    stargate::{Stargate, clean_command, feed, git, git_command, stderr, try_git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "canary-4f6e9b";
/// A header of an action.
const SECRET: &str = "canary-action-77";

/// A Stargate with a client, and a mirror in a folder.
struct World {
    stargate: Stargate,
    client: PathBuf,
}

impl World {
    fn new() -> Self {
        let stargate = Stargate::with_hook();
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        let mirror = stargate.folder().join("mirror.git");
        stargate.configure("stargate.remote", mirror.to_str().expect("UTF-8"));
        stargate.configure("stargate.attempts", "1");
        stargate.configure("stargate.initialDelay", "10ms");
        for pattern in ["refs/kv/*", "refs/heads/*"] {
            stargate.configure("stargate.ref", pattern);
        }
        let client = stargate.client("first");
        World { stargate, client }
    }

    fn mirror(&self) -> PathBuf {
        self.stargate.folder().join("mirror.git")
    }

    /// Commits the pointer of an object at `dir/big`, and pushes it to this ref. Returns the pointer.
    fn push_pointer(&self, contents: &str, name: &str) -> Pointer {
        let pointer = pointer(contents);
        self.commit("dir/big", &pointer.to_string());
        self.push(name);
        pointer
    }

    /// Commits a file.
    fn commit(&self, path: &str, contents: &str) {
        let file = self.client.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, contents).expect("a file");
        git(&self.client, ["add", path]);
        git(&self.client, ["commit", "-q", "-m", path]);
    }

    /// Pushes HEAD without the hook that git-lfs installs, which requires the objects. Returns what the pusher sees.
    fn push(&self, name: &str) -> String {
        let output = try_git(&self.client, ["push", "--no-verify", "origin", &format!("HEAD:{name}")]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }

    /// Puts an object into the Stargate, as git-lfs does.
    fn store(&self, pointer: &Pointer, contents: &str) {
        let oid = pointer.oid.as_str();
        let folder = self
            .stargate
            .git_dir
            .join("lfs/objects")
            .join(&oid[..2])
            .join(&oid[2..4]);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(oid), contents).expect("an object");
    }

    fn program(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        command.env("GITHUB_PAT", TOKEN).envs(environment.iter().copied());
        feed(command, "")
    }

    /// Runs a cycle. No secret appears in its output or in its memory.
    fn run(&self) -> Value {
        self.run_with(&[])
    }

    fn run_with(&self, environment: &[(&str, &str)]) -> Value {
        let output = self.program(&["run", "--json"], environment);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let memory = fs::read_to_string(self.stargate.git_dir.join(".stargate/worker.json")).expect("a memory");
        for text in [&printed, &stderr(&output), &memory] {
            assert!(!text.contains("canary"), "{text}");
        }
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }

    fn has(&self, name: &str) -> bool {
        try_git(&self.mirror(), ["rev-parse", "-q", "--verify", name])
            .status
            .success()
    }

    fn mirror_object(&self, pointer: &Pointer) -> PathBuf {
        let oid = pointer.oid.as_str();
        self.mirror()
            .join("lfs/objects")
            .join(&oid[..2])
            .join(&oid[2..4])
            .join(oid)
    }
}

/// The pointer that git-lfs makes for these contents.
fn pointer(contents: &str) -> Pointer {
    let mut command = clean_command("git-lfs");
    command.args(["clean"]);
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), ["init", "-q"]);
    command.current_dir(folder.path());
    let output = feed(command, contents);
    assert!(output.status.success(), "git-lfs: {}", stderr(&output));
    let pointer = Pointer::parse(&output.stdout).expect("a pointer");
    assert_eq!(pointer.to_string().as_bytes(), output.stdout, "round trip");
    pointer
}

/// git with the filters of git-lfs.
fn with_filters(folder: &Path, arguments: &[&str]) {
    let mut command = git_command(folder);
    for setting in [
        "filter.lfs.clean=git-lfs clean -- %f",
        "filter.lfs.smudge=git-lfs smudge -- %f",
        "filter.lfs.process=git-lfs filter-process",
        "filter.lfs.required=true",
    ] {
        command.args(["-c", setting]);
    }
    command.args(arguments).env("HOME", folder);
    let output = feed(command, "");
    assert!(output.status.success(), "git {arguments:?}: {}", stderr(&output));
}

fn group<'a>(report: &'a Value, name: &str) -> &'a Value {
    let groups = report["groups"].as_array().expect("groups");
    groups.iter().find(|group| group["group"] == name).expect("the group")
}

/// Commits a file with git-lfs, and pushes it with its object.
fn push_with_git_lfs(world: &World, contents: &str) {
    fs::write(
        world.client.join(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )
    .expect("a file");
    fs::write(world.client.join("big.bin"), contents).expect("a file");
    with_filters(&world.client, &["add", "."]);
    with_filters(&world.client, &["commit", "-q", "-m", "big"]);
    let url = format!("file://{}", world.stargate.git_dir.display());
    with_filters(&world.client, &["lfs", "push", &url, "HEAD"]);
    world.push("refs/heads/main");
}

#[test]
fn what_git_lfs_pushed_is_in_a_clone_of_the_mirror() {
    let world = World::new();
    let contents = "contents ".repeat(50_000);
    push_with_git_lfs(&world, &contents);
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert_eq!(report["lfs"]["uploaded"], 1, "{report}");
    let url = format!("file://{}", world.mirror().display());
    with_filters(world.stargate.folder(), &["clone", "-q", "-b", "main", &url, "reader"]);
    let read = fs::read_to_string(world.stargate.folder().join("reader/big.bin")).expect("the file");
    assert!(read == contents, "{} bytes", read.len());
    assert!(world.run().get("lfs").is_none(), "nothing new");
}

#[test]
fn a_missing_object_holds_up_its_own_group_and_the_next_pusher_sees_it() {
    let world = World::new();
    world.stargate.configure("stargate.lfs", "require");
    world.push("refs/heads/plain");
    let pointer = world.push_pointer("big", "refs/kv/main");
    let commit = git(&world.client, ["rev-parse", "HEAD"]);
    let report = world.run();
    assert_eq!(group(&report, "refs/heads/plain")["outcome"], "mirrored", "{report}");
    let held = group(&report, "main");
    assert_eq!(
        (held["outcome"].as_str(), held["watermark"].as_str()),
        (Some("broken"), None),
        "{report}"
    );
    let error = held["error"].as_str().expect("an error");
    for part in [pointer.oid.as_str(), "dir/big", &commit] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(report["lfs"]["missing"], 1, "{report}");
    assert!(!world.has("refs/kv/main") && !world.has("refs/kv-mirror/main"));
    git(&world.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
    let seen = world.push("refs/kv/main");
    assert!(
        seen.contains(pointer.oid.as_str()) && seen.contains("dir/big"),
        "{seen}"
    );
    // The layout of Gitea.
    let store = world.stargate.folder().join("gitea");
    let oid = pointer.oid.as_str();
    let folder = store.join(&oid[..2]).join(&oid[2..4]);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(&oid[4..]), "big").expect("an object");
    world
        .stargate
        .configure("stargate.lfsStore", store.to_str().expect("UTF-8"));
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert_eq!(
        fs::read_to_string(world.mirror_object(&pointer)).expect("the object"),
        "big"
    );
    assert!(world.has("refs/kv-mirror/main"));
}

#[test]
fn without_any_object_in_the_stargate_refs_go_alone_and_status_says_so() {
    let world = World::new();
    let pointer = world.push_pointer("big", "refs/heads/main");
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    let why = report["lfs"]["not_carried"].as_str().expect("a reason");
    assert!(why.contains(pointer.oid.as_str()), "{why}");
    let status = world.program(&["status", "--json"], &[]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert!(status.to_string().contains(pointer.oid.as_str()), "{status}");
}

#[test]
fn off_looks_for_no_pointer() {
    let world = World::new();
    world.stargate.configure("stargate.lfs", "off");
    let pointer = world.push_pointer("big", "refs/heads/main");
    world.store(&pointer, "big");
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert!(
        report.get("lfs").is_none() && !world.mirror_object(&pointer).exists(),
        "{report}"
    );
}

#[test]
fn doctor_run_and_status_say_in_words_what_happens_to_the_objects() {
    let world = World::new();
    let says = |arguments: &[&str], words: &str| {
        let output = world.program(arguments, &[]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains(words), "{printed}\n{}", stderr(&output));
    };
    world.stargate.configure("stargate.lfs", "off");
    let output = world.program(&["doctor"], &[]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("LFS"));
    let pointer = world.push_pointer("big", "refs/heads/main");
    says(&["doctor"], "the repository uses Git LFS, but stargate.lfs is off");
    world.stargate.configure("stargate.lfs", "auto");
    says(&["doctor"], "the repository uses Git LFS, but has no LFS objects");
    says(&["run"], "LFS: the Stargate has no LFS objects");
    says(&["status"], "LFS        the Stargate has no LFS objects");
    world.store(&pointer, "big");
    says(&["doctor"], "its objects are uploaded before the refs");
    world.push_pointer("bigger", "refs/heads/other");
    says(&["run"], "1 LFS object missing");
    world.store(&crate::lfs::pointer("bigger"), "bigger");
    says(&["run"], "1 LFS object uploaded, 6 bytes");
}

#[test]
fn a_file_with_other_contents_is_not_carried() {
    let world = World::new();
    let pointer = world.push_pointer("big", "refs/heads/main");
    for contents in ["bug", "larger"] {
        world.store(&pointer, contents);
        let report = world.run();
        let held = group(&report, "refs/heads/main");
        assert_eq!(held["outcome"], "broken", "{report}");
        assert!(!world.mirror_object(&pointer).exists() && !world.has("refs/heads/main"));
    }
}
