//! Names that git reserves: our rule is compared with git's `fsck`.

use std::collections::BTreeMap;

use stargate_mirror::event::{check_name, is_of_git};
use support::git::{self, git, git_with_input};

/// Messages of fsck about a tree with a symbolic link of such a name.
const COMPLAINTS: [&str; 5] = [
    "hasDotgit",
    "gitmodulesSymlink",
    "gitattributesSymlink",
    "gitignoreSymlink",
    "mailmapSymlink",
];

/// Names similar to those of git, in many disguises.
fn candidates() -> Vec<String> {
    let files = [
        ("git", "git"),
        ("gitmodules", "gi7eba"),
        ("gitattributes", "gi7d29"),
        ("gitignore", "gi250a"),
        ("mailmap", "maba30"),
    ];
    let mut names: Vec<String> = ["~1000000", "~0000000", "gitkeep", ".gitkeep", "...", "git~", "~1"]
        .map(str::to_owned)
        .to_vec();
    for (file, short) in files {
        let first = &file[..file.len().min(6)];
        for begin in ["", ".", "\u{200c}.", ".\u{feff}", ". ", ".."] {
            names.push(format!("{begin}{file}"));
        }
        for point in [
            "\u{200b}", "\u{200c}", "\u{200f}", "\u{202a}", "\u{202f}", "\u{206a}", "\u{2060}", "\u{feff}", "\u{ad}",
        ] {
            names.push(format!(".{}{point}{}", &file[..2], &file[2..]));
            names.push(format!(".{file}{point}"));
        }
        for end in [
            " ",
            ".",
            " . .",
            ":",
            "::$INDEX_ALLOCATION",
            ":x",
            "x",
            "~1",
            "\u{e9}",
            ".json",
        ] {
            names.push(format!(".{file}{end}"));
            names.push(format!("{first}~1{end}"));
            names.push(format!("{short}~1{end}"));
        }
        for number in ["0", "1", "2", "4", "5", "9", "10"] {
            names.push(format!("{first}~{number}"));
            names.push(format!("{short}~{number}"));
            names.push(format!("{}~{number}", &short[..short.len() - 1]));
            names.push(format!("{}~{number}", &short[..2]));
        }
    }
    let upper: Vec<_> = names.iter().map(|name| name.to_uppercase()).collect();
    names.extend(upper);
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_rule_is_that_of_fsck() {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), &["init", "--quiet", "--bare", "."]);
    let blob = git_with_input(folder.path(), &["hash-object", "-w", "--stdin"], b"target");
    let names = candidates();
    let entries: Vec<_> = names
        .iter()
        .map(|name| format!("120000 blob {blob}\t{name}\n"))
        .collect();
    let trees = git_with_input(folder.path(), &["mktree", "--batch"], entries.join("\n").as_bytes());
    let trees: BTreeMap<_, _> = trees.lines().zip(&names).collect();
    assert_eq!(trees.len(), names.len());
    let fsck = git::command(folder.path())
        .args(["fsck", "--strict"])
        .output()
        .expect("git");
    let said = String::from_utf8_lossy(&fsck.stderr).into_owned();
    assert!(said.contains("hasDotgit"), "{said}");
    for (tree, name) in trees {
        let of_tree = |line: &&str| line.contains(&format!(" in tree {tree}: "));
        let told: Vec<_> = said.lines().filter(of_tree).collect();
        let is_complaint = told
            .iter()
            .any(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        assert_eq!(is_of_git(name.as_str().into()), is_complaint, "{name:?}: {told:?}");
        assert!(!is_complaint || check_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_name_that_is_allowed_is_a_folder_that_fsck_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), &["init", "--quiet", "--bare", "."]);
    let blob = git_with_input(folder.path(), &["hash-object", "-w", "--stdin"], b"{}");
    let file = format!("100644 blob {blob}\te.json\0");
    let day = git_with_input(folder.path(), &["mktree", "-z"], file.as_bytes());
    let fsck_with = |names: &[&str]| {
        let folders: String = names
            .iter()
            .map(|name| format!("040000 tree {day}\t{name}\n"))
            .collect();
        let tree = git_with_input(folder.path(), &["mktree"], folders.as_bytes());
        let commit = git(folder.path(), &["commit-tree", "-m", "feeds", &tree]);
        git(folder.path(), &["update-ref", "refs/heads/main", &commit]);
        git::command(folder.path())
            .args(["fsck", "--strict"])
            .output()
            .expect("git")
    };
    let names = candidates();
    let allowed: Vec<_> = names
        .iter()
        .map(String::as_str)
        .filter(|name| check_name(name).is_ok())
        .collect();
    assert!(allowed.len() > 20, "{allowed:?}");
    let fsck = fsck_with(&allowed);
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    // fsck refuses a repository with such names.
    for name in [".gitmodules", "GITMOD~1", ".gitattributes"] {
        assert!(!fsck_with(&[name]).status.success(), "{name:?}");
    }
}
