//! `--root`: the repositories below a folder that are mirrored, and the reports about the others.
#![cfg(unix)]

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Output,
};

use support::stargate::{clean_command, feed, git, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
/// A user without the rights of root.
const NOBODY: u32 = 65534;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        Root(folder)
    }

    fn repository(&self, name: &str, config: &str) -> PathBuf {
        let path = self.0.path().join(name);
        git(self.0.path(), ["init", "-q", "--bare", path.to_str().expect("UTF-8")]);
        let mut text = fs::read_to_string(path.join("config")).expect("git's");
        text += config;
        fs::write(path.join("config"), text).expect("a file");
        path
    }

    fn run(&self, user: Option<u32>) -> Output {
        run(self.0.path(), user)
    }
}

fn run(root: &Path, user: Option<u32>) -> Output {
    let mut command = clean_command(PROGRAM);
    command.args(["run", "--json", "--root"]).arg(root).current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    feed(command, "")
}

/// A commit at `refs/kv/main`, from before any hook.
fn fill(repository: &Path) -> String {
    let tree = git(repository, ["hash-object", "-t", "tree", "-w", "--stdin"]);
    let commit = git(repository, ["commit-tree", "-m", "first", &tree]);
    git(repository, ["update-ref", "refs/kv/main", &commit]);
    commit
}

fn lines(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn a_repository_with_a_remote_and_refs_from_before_the_hook_is_carried() {
    let root = Root::new();
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare"]);
    let shown = mirror.path().display();
    let commit = fill(&root.repository("deep/er/with-remote.git", &format!("[stargate]\nremote = {shown}\n")));
    fill(&root.repository("without-anything.git", "[core]\nlogAllRefUpdates = false\n"));
    let output = root.run(None);
    assert_eq!(
        (output.status.code(), lines(&output)),
        (Some(0), 1),
        "{}",
        stderr(&output)
    );
    assert_eq!(git(mirror.path(), ["rev-parse", "refs/kv/main"]), commit);
}

#[test]
fn each_report_for_a_person_names_its_repository() {
    let root = Root::new();
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare"]);
    let remote = format!("[stargate]\nremote = {}\n", mirror.path().display());
    let (one, other) = (root.repository("one.git", &remote), root.repository("other.git", ""));
    let commit = fill(&one);
    fs::create_dir(other.join(".stargate")).expect("a folder");
    let mut command = clean_command(PROGRAM);
    command
        .args(["run", "-v", "--root"])
        .arg(root.0.path())
        .current_dir("/");
    let output = feed(command, "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!(
        "{}:\nmain: mirrored to {}, 1 entry\n  refs/kv/main  (none) -> {short}  accepted\n  \
         watermark refs/kv-mirror/main  {short}\n0 pending, 0 failed\n{}:\nlocal-only: 0 pending\n\
         2 cycles: 1 local-only, 1 mirrored\n",
        one.display(),
        mirror.path().display(),
        other.display(),
        short = &commit[..10],
    );
    assert_eq!(printed, expected);
}

#[test]
fn a_section_an_included_section_and_a_journal_make_one_too() {
    let root = Root::new();
    root.repository("section.git", "[stargate]\nappendOnly = events/\n");
    let included = root.repository("included.git", "[include]\npath = more\n");
    fs::write(included.join("more"), "[stargate]\nrepoId = o/r\n").expect("a file");
    let journal = root.repository("journal.git", "");
    fs::create_dir(journal.join(".stargate")).expect("a folder");
    root.repository("none.git", "");
    let output = root.run(None);
    assert_eq!(
        (output.status.code(), lines(&output)),
        (Some(0), 3),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_root_without_one_says_so() {
    let root = Root::new();
    root.repository("none.git", "");
    let output = root.run(None);
    assert_eq!((output.status.code(), lines(&output)), (Some(0), 0));
    let said = stderr(&output);
    assert!(
        said.contains("no repository below") && said.contains(root.0.path().to_str().expect("UTF-8")),
        "{said}"
    );
}

#[test]
fn a_folder_that_cannot_be_read_is_named_and_the_others_are_searched() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root, to be somebody else"
    );
    let root = Root::new();
    root.repository("section.git", "[stargate]\nrepoId = o/r\n");
    let closed = root.0.path().join("closed");
    fs::create_dir(&closed).expect("a folder");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
    let output = root.run(Some(NOBODY));
    assert_eq!(
        (output.status.code(), lines(&output)),
        (Some(0), 1),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains(closed.to_str().expect("UTF-8")),
        "{}",
        stderr(&output)
    );
    let output = run(&closed, Some(NOBODY));
    assert_eq!(output.status.code(), Some(5), "the root itself: {}", stderr(&output));
}

#[test]
fn a_repository_whose_configuration_cannot_be_read_is_not_taken_for_one_without() {
    let root = Root::new();
    root.repository("damaged.git", "[stargate\n");
    let output = root.run(None);
    assert_eq!((output.status.code(), lines(&output)), (Some(5), 0));
    assert!(stderr(&output).contains("damaged.git"), "{}", stderr(&output));
}
