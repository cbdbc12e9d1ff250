//! Pushes to the branch of a work tree (`receive.denyCurrentBranch=updateInstead`), beside those of git.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use support::git::git;

use super::command::{ours, stderr, theirs};

/// Writes the files of a work tree, and removes all others.
fn write(folder: &Path, files: &[(&str, &str)]) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_name() == ".git" {
            true => {}
            false if entry.file_type().expect("a type").is_dir() => fs::remove_dir_all(entry.path()).expect("a folder"),
            false => fs::remove_file(entry.path()).expect("a file"),
        }
    }
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        match content.strip_prefix("-> ") {
            Some(target) => symlink(target, path).expect("a link"),
            None => fs::write(path, content).expect("a file"),
        }
    }
}

/// A source with two commits, and a clone of the first one with a work tree.
pub(super) fn pair(folder: &Path) -> (PathBuf, PathBuf) {
    let (source, remote) = (folder.join("source"), folder.join("remote"));
    git(folder, &["init", "-q", "-b", "main", "source"]);
    let commit = |files: &[(&str, &str)], executable: &str| {
        write(&source, files);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(source.join(executable), mode).expect("a mode");
        git(&source, &["add", "-A"]);
        git(&source, &["commit", "-q", "-m", executable]);
    };
    let first = [
        ("same", "same\n"),
        ("changed", "old\n"),
        ("gone/below/file", "gone\n"),
        ("gone/stays", "stays\n"),
        ("tool", "tool\n"),
        ("link", "-> same"),
        ("file-to-folder", "file\n"),
        ("folder-to-file/a", "a\n"),
        ("folder-to-file/b/c", "c\n"),
    ];
    commit(&first, "same");
    git(folder, &["clone", "-q", "source", "remote"]);
    git(&remote, &["config", "receive.denyCurrentBranch", "updateInstead"]);
    let second = [
        ("same", "same\n"),
        ("changed", "new\n"),
        ("gone/stays", "stays\n"),
        ("tool", "tool\n"),
        ("link", "-> changed"),
        ("file-to-folder/below", "below\n"),
        ("folder-to-file", "file\n"),
        ("new/folder/file", "new\n"),
        ("empty", ""),
    ];
    commit(&second, "tool");
    (source, remote)
}

/// Returns all files of a work tree with types, modes and contents.
pub(super) fn files(folder: &Path, below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(below)).expect("a folder").flatten() {
        let (path, kind) = (below.join(entry.file_name()), entry.file_type().expect("a type"));
        if path == Path::new(".git") {
            continue;
        }
        if kind.is_dir() {
            found.push(format!("{}/", path.display()));
            found.extend(files(folder, &path));
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("a link");
            found.push(format!("{} -> {}", path.display(), target.display()));
        } else {
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
            let content = fs::read_to_string(entry.path()).expect("a file");
            found.push(format!("{} {mode:o} {content:?}", path.display()));
        }
    }
    found.sort();
    found
}

/// What is done to the destination before a push.
type Prepare<'a> = &'a dyn Fn(&Path);

/// Everything that a push can change, and its reasons.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    success: bool,
    reasons: Vec<String>,
    files: Vec<String>,
    index: String,
    /// Mode of the index.
    mode: u32,
    status: String,
    refs: String,
}

fn seen(remote: &Path, pushed: &std::process::Output) -> Seen {
    let said = stderr(pushed);
    let reasons = said.lines().filter(|line| line.contains("[remote rejected]"));
    let reasons = reasons.map(str::to_owned).collect();
    // A lock that a test has put there would hide the state.
    let lock = remote.join(".git/index.lock");
    if lock.exists() {
        fs::remove_file(lock).expect("a lock");
    }
    Seen {
        success: pushed.status.success(),
        reasons,
        files: files(remote, Path::new("")),
        index: git(remote, &["ls-files", "-s"]),
        mode: fs::metadata(remote.join(".git/index")).map_or(0, |index| index.permissions().mode()),
        status: git(remote, &["status", "--porcelain"]),
        refs: git(remote, &["for-each-ref"]),
    }
}

/// Pushes with both programs after the work tree was prepared. Returns what both saw.
fn compare(about: &str, prepare: Prepare<'_>, arguments: &[&str]) -> Seen {
    let [expected, ours] = [theirs, ours].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, remote) = pair(folder.path());
        prepare(&remote);
        let pushed = program(&source, &[&["../remote"], arguments].concat());
        (seen(&remote, &pushed), stderr(&pushed))
    });
    assert_eq!(
        ours.0, expected.0,
        "{about}\n--- ours\n{}--- git\n{}",
        ours.1, expected.1
    );
    ours.0
}

#[test]
fn a_clean_work_tree_follows_its_branch_as_by_git() {
    let put = |name: &'static str, content: &'static str| {
        move |remote: &Path| fs::write(remote.join(name), content).expect("a file")
    };
    let table: &[(&str, Prepare<'_>, &[&str])] = &[
        ("clean", &|_| {}, &["main"]),
        (
            "with another ref",
            &|_| {},
            &["--atomic", "main", "main:refs/heads/other"],
        ),
        (
            "backwards",
            &|remote| drop(git(remote, &["pull", "-q"])),
            &["+main~1:main"],
        ),
        ("an untracked file", &put("untracked", "x"), &["main"]),
        (
            "an untracked file beside a removed one",
            &put("gone/below/untracked", "x"),
            &["main"],
        ),
        ("the same content again", &put("changed", "old\n"), &["main"]),
        (
            "an empty folder in the way",
            &|remote| fs::create_dir_all(remote.join("empty/below")).expect("a folder"),
            &["main"],
        ),
        (
            "an unborn branch",
            &|remote| {
                write(remote, &[]);
                drop(git(remote, &["checkout", "-q", "--orphan", "none"]));
                drop(git(remote, &["rm", "-q", "-r", "--cached", "."]));
            },
            &["main:none"],
        ),
        (
            "another branch",
            &|remote| drop(git(remote, &["checkout", "-q", "-b", "other"])),
            &["main"],
        ),
    ];
    for (about, prepare, arguments) in table {
        let seen = compare(about, *prepare, arguments);
        assert!(seen.success, "{about}: {seen:?}");
        assert!(
            !seen.status.lines().any(|line| !line.starts_with("??")),
            "{about}: {seen:?}"
        );
    }
}

#[test]
fn changes_in_a_work_tree_are_kept_as_by_git() {
    let at = |name: &'static str, content: &'static str| {
        move |remote: &Path| {
            let path = remote.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
    };
    let mode = |remote: &Path| {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(remote.join("changed"), mode).expect("a mode");
    };
    let table: &[(&str, Prepare<'_>, &str)] = &[
        (
            "modified",
            &at("changed", "mine\n"),
            "Working directory has unstaged changes",
        ),
        (
            "modified, of the same size",
            &at("same", "SAME\n"),
            "Working directory has unstaged changes",
        ),
        (
            "removed",
            &|remote| fs::remove_file(remote.join("same")).expect("a file"),
            "Working directory has unstaged changes",
        ),
        ("another mode", &mode, "Working directory has unstaged changes"),
        (
            "another type",
            &|remote| {
                fs::remove_file(remote.join("link")).expect("a link");
                fs::write(remote.join("link"), "same").expect("a file");
            },
            "Working directory has unstaged changes",
        ),
        (
            "a link above",
            &|remote| {
                fs::rename(remote.join("gone"), remote.join("moved")).expect("a folder");
                symlink("moved", remote.join("gone")).expect("a link");
            },
            "Working directory has unstaged changes",
        ),
        (
            "staged",
            &|remote| {
                fs::write(remote.join("changed"), "mine\n").expect("a file");
                drop(git(remote, &["add", "changed"]));
            },
            "Working directory has staged changes",
        ),
        (
            "staged, new",
            &|remote| {
                fs::write(remote.join("mine"), "mine\n").expect("a file");
                drop(git(remote, &["add", "mine"]));
            },
            "Working directory has staged changes",
        ),
        (
            "untracked in the way",
            &at("empty", "mine\n"),
            "Could not update working tree to new HEAD",
        ),
        (
            "untracked in the way of a folder",
            &at("new", "mine\n"),
            "Could not update working tree to new HEAD",
        ),
        (
            "untracked below a folder that goes",
            &at("folder-to-file/mine", "mine\n"),
            "Could not update working tree to new HEAD",
        ),
        (
            "untracked below a new file",
            &at("empty/mine", "mine\n"),
            "Could not update working tree to new HEAD",
        ),
        (
            "a link in the way",
            &|remote| {
                fs::create_dir(remote.join("../elsewhere")).expect("a folder");
                symlink("../elsewhere", remote.join("new")).expect("a link");
            },
            "Could not update working tree to new HEAD",
        ),
        (
            "unmerged",
            &|remote| {
                let id = git(remote, &["rev-parse", "HEAD:same"]);
                let line = format!("100644 {id} 1\tchanged\n100644 {id} 2\tchanged\n");
                support::git::git_with_input(remote, &["update-index", "--force-remove", "changed"], b"");
                support::git::git_with_input(remote, &["update-index", "--index-info"], line.as_bytes());
            },
            "Up-to-date check failed",
        ),
        (
            "locked",
            &|remote| fs::write(remote.join(".git/index.lock"), "").expect("a lock"),
            "Up-to-date check failed",
        ),
    ];
    for (about, prepare, reason) in table {
        let seen = compare(about, *prepare, &["main"]);
        assert!(
            !seen.success && seen.reasons[0].ends_with(&format!("({reason})")),
            "{about}: {seen:?}"
        );
    }
}

#[test]
fn a_linked_work_tree_is_updated_as_by_git() {
    let in_tables: Prepare<'_> = &|remote| {
        fs::remove_dir_all(remote.join(".git/logs")).expect("reflogs");
        drop(git(remote, &["refs", "migrate", "--ref-format=reftable"]));
    };
    assert!(compare("refs in reftables", in_tables, &["main"]).success);
    let seen = compare(
        "linked",
        &|remote| {
            git(remote, &["checkout", "-q", "-b", "other"]);
            git(remote, &["worktree", "add", "-q", "linked", "main"]);
            fs::write(remote.join(".git/info/exclude"), "linked\n").expect("a file");
            // It names an absolute path, which differs.
            fs::remove_file(remote.join("linked/.git")).expect("a file");
            fs::write(remote.join("linked/.git"), "gitdir: ../.git/worktrees/linked\n").expect("a file");
        },
        &["main"],
    );
    assert!(seen.success, "{seen:?}");
    assert!(
        seen.files
            .iter()
            .any(|file| file.starts_with("linked/new/folder/file ")),
        "{seen:?}"
    );
}

/// Git does these. They are refused with words, and nothing changes.
#[test]
fn what_is_not_understood_is_refused_with_words() {
    let table: &[(Prepare<'_>, &str)] = &[
        (
            &|remote| drop(git(remote, &["config", "core.autocrlf", "input"])),
            "core.autocrlf is set",
        ),
        (
            &|remote| drop(git(remote, &["config", "core.sparseCheckout", "true"])),
            "core.sparseCheckout is true",
        ),
        (
            &|remote| fs::write(remote.join(".git/info/attributes"), "* ident\n").expect("a file"),
            "the attribute ident in",
        ),
        (
            &|remote| drop(git(remote, &["update-index", "--assume-unchanged", "same"])),
            "same is skipped, assumed",
        ),
        (
            &|remote| drop(git(remote, &["update-index", "--skip-worktree", "same"])),
            "same is skipped, assumed",
        ),
    ];
    for (prepare, word) in table {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, remote) = pair(folder.path());
        prepare(&remote);
        let before = (files(&remote, Path::new("")), git(&remote, &["for-each-ref"]));
        let pushed = ours(&source, &["../remote", "main"]);
        let said = stderr(&pushed);
        assert!(
            !pushed.status.success() && said.contains("updateInstead is not supported here"),
            "{said}"
        );
        assert!(said.contains(word), "{said}");
        assert_eq!((files(&remote, Path::new("")), git(&remote, &["for-each-ref"])), before);
        assert!(!remote.join(".git/index.lock").exists());
    }
}

#[test]
fn no_file_is_written_through_a_link_of_the_same_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, remote) = pair(folder.path());
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    let write = |kind: &str, content: &[u8]| {
        let arguments = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"];
        support::git::git_with_input(&source, &arguments, content)
    };
    let entry = |mode: &str, name: &str, id: &str| {
        let id = gix::ObjectId::from_hex(id.as_bytes()).expect("an id");
        [format!("{mode} {name}\0").as_bytes(), id.as_slice()].concat()
    };
    let link = write("blob", b"../outside");
    let below = write("tree", &entry("100644", "file", &link));
    let both = [entry("120000", "x", &link), entry("40000", "x", &below)].concat();
    let tree = write("tree", &both);
    let commit = git(&source, &["commit-tree", "-p", "main", "-m", "both", &tree]);
    let pushed = ours(&source, &["../remote", &format!("{commit}:main")]);
    let said = stderr(&pushed);
    assert!(
        !pushed.status.success() && said.contains("x/file is below a file"),
        "{said}"
    );
    assert_eq!(files(&outside, Path::new("")), Vec::<String>::new());
    assert!(!remote.join("x").exists());
}

#[test]
fn attributes_of_the_pushed_commit_and_submodules_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, remote) = pair(folder.path());
    let push = |source: &Path| {
        let pushed = ours(source, &["../remote", "main"]);
        (pushed.status.success(), stderr(&pushed))
    };
    fs::write(source.join(".gitattributes"), "*.bin filter=lfs\n").expect("a file");
    git(&source, &["add", "-A"]);
    git(&source, &["commit", "-q", "-m", "attributes"]);
    let (success, said) = push(&source);
    assert!(
        !success && said.contains("the attribute filter=lfs in .gitattributes"),
        "{said}"
    );

    fs::write(source.join(".gitattributes"), "* text=auto\n").expect("a file");
    let id = git(&source, &["rev-parse", "HEAD"]);
    git(
        &source,
        &["update-index", "--add", "--cacheinfo", &format!("160000,{id},module")],
    );
    git(&source, &["add", ".gitattributes"]);
    git(&source, &["commit", "-q", "-m", "a submodule"]);
    let (success, said) = push(&source);
    assert!(!success && said.contains("the submodule module changes"), "{said}");

    git(&source, &["update-index", "--force-remove", "module"]);
    git(&source, &["commit", "-q", "-m", "no submodule"]);
    let (success, said) = push(&source);
    assert!(success, "{said}");
    assert_eq!(git(&remote, &["status", "--porcelain"]), "");
    assert_eq!(git(&remote, &["fsck", "--strict", "--no-dangling"]), "");
}
