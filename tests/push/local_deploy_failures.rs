//! Pushes to the branch of a work tree that fail in the middle, or that a work tree must not follow, beside those of git.
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use support::git::{git, git_with_input};

use super::{
    command::{ours, stderr, theirs},
    local_deploy::{files, pair},
};

/// Commits a file in the source, beside those that are there.
fn commit(source: &Path, name: &str, content: &str) {
    let path = source.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, content).expect("a file");
    git(source, &["add", "-A"]);
    git(source, &["commit", "-q", "-m", name]);
}

/// Returns a loose object whose header says more than there is: it is found, and cannot be read.
fn damaged_blob() -> Vec<u8> {
    let data = b"blob 400\0old\n";
    let length = u16::try_from(data.len()).expect("a short text");
    let (mut low, mut high) = (1, 0);
    for byte in data {
        low = (low + u32::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    let sum = (high << 16 | low).to_be_bytes();
    [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        data,
        &sum,
    ]
    .concat()
}

/// Replaces a loose object of a repository, which may be a link to that of another one.
fn damage(git_dir: &Path, id: &str) {
    let object = git_dir.join("objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(&object).expect("a loose object");
    fs::write(object, damaged_blob()).expect("an object");
}

#[test]
fn a_failure_in_the_middle_leaves_old_or_new_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, remote) = pair(folder.path());
    git(&remote, &["pull", "-q"]);
    let second = files(&remote, Path::new(""));
    let blob = git(&source, &["rev-parse", "main~1:folder-to-file/b/c"]);
    damage(&remote.join(".git"), &blob);
    let before = git(&remote, &["for-each-ref"]);
    let pushed = ours(&source, &["../remote", "+main~1:main"]);
    let said = stderr(&pushed);
    assert!(
        !pushed.status.success() && said.contains("(Could not update working tree to new HEAD)"),
        "{said}"
    );
    assert!(said.contains("folder-to-file/b/c: "), "{said}");
    assert_eq!(git(&remote, &["for-each-ref"]), before);
    assert!(!remote.join(".git/index.lock").exists());
    git(&source, &["checkout", "-q", "main~1"]);
    let first = files(&source, Path::new(""));
    let now = files(&remote, Path::new(""));
    let is_known = |file: &String| first.contains(file) || second.contains(file);
    assert!(now.iter().all(is_known), "{now:?}");
    let names = |files: &[String]| -> Vec<String> {
        let name = |file: &String| file.split(' ').next().expect("a name").to_owned();
        files.iter().map(name).collect()
    };
    let (old, new, now) = (names(&second), names(&first), names(&now));
    // Those that go are removed last, unless they stand in the way.
    let is_in_the_way = |name: &String| name.starts_with("folder-to-file") || name.starts_with("file-to-folder");
    for name in old.iter().filter(|name| !is_in_the_way(name)) {
        assert!(now.contains(name), "{name} is missing: {now:?}");
    }
    assert!(new.iter().any(|name| !now.contains(name)), "it failed in the middle");
}

#[test]
fn what_cannot_be_written_is_refused_before_any_change() {
    let long = "x".repeat(300);
    let deep = "y".repeat(200) + &format!("/{}", "z".repeat(200)).repeat(25);
    for name in [long, deep] {
        let [expected, ours] = [theirs, ours].map(|program| {
            let folder = tempfile::tempdir().expect("a folder");
            let (source, remote) = pair(folder.path());
            let blob = git(&source, &["rev-parse", "main:same"]);
            let line = format!("100644 {blob}\t{name}\n");
            git_with_input(&source, &["update-index", "--index-info"], line.as_bytes());
            git(&source, &["commit", "-q", "-m", "long"]);
            let before = files(&remote, Path::new(""));
            let pushed = program(&source, &["../remote", "main"]);
            let said = stderr(&pushed);
            let reason = said
                .lines()
                .find(|line| line.contains("[remote rejected]"))
                .map(str::to_owned);
            (pushed.status.success(), reason, before == files(&remote, Path::new("")))
        });
        assert_eq!((ours.0, &ours.1), (expected.0, &expected.1));
        assert!(!ours.0 && ours.2, "{ours:?}");
    }
}

#[test]
fn folders_of_changed_files_stay_as_by_git() {
    let [expected, ours] = [theirs, ours].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, remote) = pair(folder.path());
        git(&remote, &["pull", "-q"]);
        commit(&source, "new/folder/file", "newer\n");
        let below = remote.join("new/folder");
        fs::set_permissions(&below, fs::Permissions::from_mode(0o2771)).expect("a mode");
        let before = fs::metadata(&below).expect("a folder").ino();
        let pushed = program(&source, &["../remote", "main"]);
        assert!(pushed.status.success(), "{}", stderr(&pushed));
        let after = fs::metadata(&below).expect("a folder");
        (
            after.ino() == before,
            after.permissions().mode(),
            files(&remote, Path::new("")),
        )
    });
    assert_eq!(ours, expected);
    assert!(ours.0, "another folder");
}

/// Git converts the content; this program refuses.
#[test]
fn attributes_that_are_not_tracked_count() {
    let put = |remote: &Path, name: &str| fs::write(remote.join(name), "* eol=crlf\n").expect("a file");
    for name in [".gitattributes", "gone/.gitattributes"] {
        let [git_pushed, our_pushed] = [theirs, ours].map(|program| {
            let folder = tempfile::tempdir().expect("a folder");
            let (source, remote) = pair(folder.path());
            commit(&source, "gone/stays", "line\n");
            put(&remote, name);
            let pushed = program(&source, &["../remote", "main"]);
            let content = fs::read_to_string(remote.join("gone/stays")).expect("a file");
            (pushed.status.success(), content, stderr(&pushed))
        });
        assert_eq!((git_pushed.0, git_pushed.1.as_str()), (true, "line\r\n"), "{name}");
        assert_eq!((our_pushed.0, our_pushed.1.as_str()), (false, "stays\n"), "{name}");
        let word = format!("the attribute eol=crlf in {name}");
        assert!(our_pushed.2.contains(&word), "{}", our_pushed.2);
    }
    // Links are not followed, and other folders do not count.
    for (name, target) in [
        (".gitattributes", Some("../attributes")),
        ("folder-to-file/.gitattributes", None),
    ] {
        let [expected, ours] = [theirs, ours].map(|program| {
            let folder = tempfile::tempdir().expect("a folder");
            let (source, remote) = pair(folder.path());
            git(&remote, &["pull", "-q"]);
            commit(&source, "gone/stays", "line\n");
            match target {
                Some(target) => {
                    put(folder.path(), "attributes");
                    std::os::unix::fs::symlink(target, remote.join(name)).expect("a link");
                }
                None => {
                    fs::create_dir(remote.join("beside")).expect("a folder");
                    put(&remote, "beside/.gitattributes");
                }
            }
            let pushed = program(&source, &["../remote", "main"]);
            assert!(pushed.status.success(), "{}", stderr(&pushed));
            fs::read_to_string(remote.join("gone/stays")).expect("a file")
        });
        assert_eq!((ours.as_str(), expected.as_str()), ("line\n", "line\n"), "{name}");
    }
}

/// A rebase that stops, or a bisection, of `main` in a work tree.
fn begin(work_tree: &Path, what: &str) {
    let run = |arguments: &[&str]| {
        let mut command = support::git::command(work_tree);
        // A rebase that stops at a conflict fails.
        command.args(arguments).output().expect("the program git is needed")
    };
    match what {
        "bisect" => {
            run(&["bisect", "start", "main", "main~2"]);
        }
        backend => {
            run(&["checkout", "-q", "-b", "base", "main~1"]);
            commit(work_tree, "same", "another\n");
            run(&["checkout", "-q", "main"]);
            run(&["rebase", "-q", backend, "base"]);
        }
    }
    let head = support::git::command(work_tree)
        .args(["symbolic-ref", "-q", "HEAD"])
        .output();
    assert!(
        !head.expect("the program git is needed").status.success(),
        "{what}: HEAD is not detached"
    );
}

#[test]
fn a_branch_that_a_work_tree_rebases_or_bisects_is_checked_out_as_for_git() {
    for what in ["bisect", "--merge", "--apply"] {
        for is_linked in [false, true] {
            let [expected, ours] = [theirs, ours].map(|program| {
                let folder = tempfile::tempdir().expect("a folder");
                let (source, remote) = pair(folder.path());
                git(&remote, &["pull", "-q"]);
                commit(&remote, "same", "mine\n");
                let mut work_tree = remote.clone();
                if is_linked {
                    git(&remote, &["checkout", "-q", "-b", "other"]);
                    git(&remote, &["worktree", "add", "-q", "../linked", "main"]);
                    work_tree = folder.path().join("linked");
                }
                begin(&work_tree, what);
                [
                    ("refuse", "+main~1:main"),
                    ("refuse", ":main"),
                    ("ignore", ":main"),
                    ("refuse", "main:elsewhere"),
                ]
                .map(|(denied, refspec)| {
                    git(&remote, &["config", "receive.denyCurrentBranch", denied]);
                    let pushed = program(&source, &["../remote", refspec]);
                    let said = stderr(&pushed);
                    let reason = said.lines().find(|line| line.contains("[remote rejected]"));
                    (pushed.status.success(), reason.map(str::to_owned))
                })
            });
            assert_eq!(ours, expected, "{what} {is_linked}");
            let checked_out = "branch is currently checked out";
            let words = [checked_out, checked_out, "deletion of the current branch prohibited"];
            for ((success, reason), word) in ours.iter().zip(words) {
                let reason = reason.as_deref().unwrap_or_default();
                assert!(!success && reason.contains(word), "{what} {is_linked}: {reason}");
            }
            assert!(ours[3].0);
        }
    }
}
