//! Checks of received objects beside those that the destination has already: duplicates, bases of thin packs, and damage.
use std::{
    fs,
    path::{Path, PathBuf},
};

use support::git::{self, git, git_with_input};

use super::local_fsck::{Case, tree};

/// A case with a tree that has a fault, a tree that is like it without the fault, and commits of both.
struct Pair {
    case: Case,
    faulty: String,
    parent: String,
    child: String,
}

impl Pair {
    fn new() -> Self {
        let case = Case::new(&[]);
        let blobs: Vec<_> = (0..40)
            .map(|number| case.write("blob", format!("{number}").repeat(9).as_bytes()))
            .collect();
        let names: Vec<_> = (0..40).map(|number| format!("100644 name{number:02}")).collect();
        let good: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(blobs.iter().map(String::as_str))
            .collect();
        let faulty = case.write(
            "tree",
            &tree(&[&[("100644 .git", blobs[0].as_str())], &good[..]].concat()),
        );
        let good = case.write("tree", &tree(&good));
        let commit = |tree: &str, parent: &str| {
            let people = "author a <a> 0 +0000\ncommitter a <a> 0 +0000";
            case.write("commit", format!("tree {tree}\n{parent}{people}\n\nm\n").as_bytes())
        };
        let parent = commit(&faulty, "");
        let child = commit(&good, &format!("parent {parent}\n"));
        Pair {
            case,
            faulty,
            parent,
            child,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.case.folder.path().join(name)
    }

    /// Puts all objects into both destinations, with a ref to the commit of the faulty tree if `is_known`.
    fn place(&self, is_known: bool) {
        let source = self.at("source");
        git(&source, &["update-ref", "refs/heads/parent", &self.parent]);
        for side in ["remote", "oracle"] {
            git(&self.at(side), &["fetch", "-q", "../source", "parent:known"]);
            if !is_known {
                git(&self.at(side), &["update-ref", "-d", "refs/heads/known"]);
            }
        }
    }

    /// Packs these objects for a destination that has the parent.
    fn thin(&self) -> Vec<u8> {
        let source = self.at("source");
        let revisions = format!("{}\n^{}\n", self.child, self.parent);
        let mut command = git::command(&source);
        let name = self.at("revisions");
        fs::write(&name, revisions).expect("a file");
        command.args(["pack-objects", "-q", "--thin", "--revs", "--stdout"]);
        command.stdin(fs::File::open(name).expect("a file"));
        let output = command.output().expect("the program git is needed");
        assert!(output.status.success());
        output.stdout
    }

    fn write(&self, name: &str, pack: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, pack).expect("a file");
        path
    }
}

/// Returns the entries of a pack, and their number.
fn entries(pack: &[u8]) -> (u32, &[u8]) {
    let count = pack[8..12].try_into().expect("four bytes");
    (u32::from_be_bytes(count), &pack[12..pack.len() - 20])
}

/// Returns a pack with the entries of both.
fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let ((one, first), (two, second)) = (entries(first), entries(second));
    let mut pack = [b"PACK\0\0\0\x02", (one + two).to_be_bytes().as_slice(), first, second].concat();
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("a hash").as_slice());
    pack
}

#[test]
fn objects_of_the_stream_are_checked_although_they_exist_as_by_git() {
    for is_known in [false, true] {
        let pair = Pair::new();
        pair.place(is_known);
        let pack = pair.case.pack(&[]);
        let (expected, ours) = (
            pair.case.by_git(&pack, ""),
            pair.case.by_us(&pack, "refs/heads/main", &pair.child),
        );
        assert_eq!(ours, expected, "{is_known}");
        assert!(!ours.accepted && ours.lines[0].contains(&pair.faulty), "{ours:?}");
    }
}

#[test]
fn bases_of_a_thin_pack_are_checked_only_if_the_stream_has_them_as_by_git() {
    let pair = Pair::new();
    pair.place(true);
    let thin = pair.thin();
    let source = pair.at("source");
    let alone = git_with_input(&source, &["pack-objects", "-q", "../alone"], pair.faulty.as_bytes());
    let alone = fs::read(pair.at(&format!("alone-{alone}.pack"))).expect("a pack");
    let ours = |pack: &Path| pair.case.by_us(pack, "refs/heads/main", &pair.child);
    for (name, first, second) in [("before", &alone, &thin), ("after", &thin, &alone)] {
        let both = pair.write(name, &joined(first, second));
        let (expected, ours) = (pair.case.by_git(&both, ""), ours(&both));
        assert_eq!(ours.accepted, expected.accepted, "{name}: {ours:?} {expected:?}");
        assert!(
            !ours.accepted && ours.lines[0].contains(&pair.faulty),
            "{name}: {ours:?}"
        );
    }
    let thin = pair.write("thin", &thin);
    let mut whole = git::command(&pair.at("oracle"));
    whole
        .args(["index-pack", "--stdin"])
        .stdin(fs::File::open(&thin).expect("a pack"));
    let whole = whole.output().expect("the program git is needed");
    assert!(!whole.status.success(), "it is no thin pack");
    assert!(pair.case.by_git(&thin, "").accepted);
    let ours = ours(&thin);
    assert!(ours.accepted, "{ours:?}");
}

/// Replaces a loose object of the destination with other bytes.
fn damage(remote: &Path, id: &str) {
    let object = remote.join("objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(&object).expect("a loose object");
    fs::write(object, "damaged").expect("an object");
}

/// Git refuses such a push. It need not: nothing that is pushed is damaged.
#[test]
fn damage_that_a_push_does_not_reach_is_a_warning() {
    let people = "author a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nm\n";
    for is_tip in [true, false] {
        let case = Case::new(&[]);
        let remote = case.folder.path().join("remote");
        git(
            &case.folder.path().join("source"),
            &["update-ref", "refs/heads/main", &case.commit],
        );
        git(&remote, &["fetch", "-q", "../source", "main:main"]);
        let write = |content: String| {
            let arguments = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"];
            git_with_input(&remote, &arguments, content.as_bytes())
        };
        let tree = &case.tree;
        let lost = write(format!("tree {tree}\n{people}\nlost\n"));
        let tip = write(format!("tree {tree}\nparent {lost}\n{people}\ntip\n"));
        let other = if is_tip { &lost } else { &tip };
        git(&remote, &["update-ref", "refs/heads/other", other]);
        if !is_tip {
            // Otherwise, the walk ends before the damage.
            git(&remote, &["update-ref", "-d", "refs/heads/main"]);
        }
        damage(&remote, &lost);
        let child = case.write(
            "commit",
            format!("tree {tree}\nparent {}\n{people}\nchild\n", case.commit).as_bytes(),
        );
        let pack = case.pack(&[case.commit.clone(), case.tree.clone(), case.blob.clone()]);
        let ours = case.by_us(&pack, "refs/heads/child", &child);
        assert!(ours.accepted, "{is_tip}: {ours:?}");
        // The object, or its file.
        let warning = |line: &String| line.starts_with("warning: ") && line.contains(&lost[2..]);
        let named = |line: &String| !is_tip || line.contains(" refs/heads/other: ");
        assert!(
            ours.lines.iter().any(|line| warning(line) && named(line)),
            "{is_tip}: {ours:?}"
        );
    }
}
