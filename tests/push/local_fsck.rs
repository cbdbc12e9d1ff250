//! Pushes to a path that checks received objects (`receive.fsckObjects`), beside `git index-pack --strict` and `git push`.
use std::{fs, fs::File, path::Path, process::Stdio};

use git_push::{Connection, Pack, Request, Verdict};
use git_push_transport::local::Local;
use gix::ObjectId;
use support::{
    git::{self, git, git_with_input},
    mirror::Format,
};

use super::{
    command::{copy, made, ours, refs, stderr, theirs},
    local::reason,
};

/// Author and committer of a commit without faults.
const AUTHOR: &str = "author A <a@example.com> 1700000000 +0000\n";
const COMMITTER: &str = "committer A <a@example.com> 1700000000 +0000\n";

/// A source with objects, and a destination that checks them.
pub(super) struct Case {
    pub folder: tempfile::TempDir,
    pub blob: String,
    pub tree: String,
    pub commit: String,
}

/// What became of a pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub accepted: bool,
    pub lines: Vec<String>,
}

impl Case {
    pub fn new(config: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["source", "remote", "oracle"] {
            git(folder.path(), &["init", "-q", "--bare", name]);
        }
        for (key, value) in [&[("receive.fsckObjects", "true")], config].concat() {
            git(&folder.path().join("remote"), &["config", key, value]);
        }
        let source = folder.path().join("source");
        let blob = git_with_input(&source, &["hash-object", "-w", "--stdin"], b"content");
        let entry = format!("100644 blob {blob}\tfile\n");
        let tree = git_with_input(&source, &["mktree"], entry.as_bytes());
        let mut case = Case {
            folder,
            blob,
            tree,
            commit: String::new(),
        };
        case.commit = case.write("commit", &case.plain_commit());
        case
    }

    fn plain_commit(&self) -> Vec<u8> {
        format!("tree {}\n{AUTHOR}{COMMITTER}\nmessage\n", self.tree).into_bytes()
    }

    /// Writes an object, whatever its content. Returns its id.
    pub fn write(&self, kind: &str, content: &[u8]) -> String {
        let arguments = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"];
        git_with_input(&self.folder.path().join("source"), &arguments, content)
    }

    /// Packs all objects of the source but `left_out`.
    pub fn pack(&self, left_out: &[String]) -> std::path::PathBuf {
        let source = self.folder.path().join("source");
        let all = git(
            &source,
            &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"],
        );
        let ids: Vec<_> = all.lines().filter(|id| !left_out.iter().any(|out| out == id)).collect();
        let name = git_with_input(&source, &["pack-objects", "-q", "../pack"], ids.join("\n").as_bytes());
        self.folder.path().join(format!("pack-{name}.pack"))
    }

    /// Gives the pack to `git index-pack --strict`, as `git receive-pack` does.
    pub fn by_git(&self, pack: &Path, options: &str) -> Outcome {
        let mut command = git::command(&self.folder.path().join("oracle"));
        command.args(["index-pack", &format!("--strict{options}"), "--fix-thin", "--stdin"]);
        command.stdin(File::open(pack).expect("a pack")).stdout(Stdio::null());
        let output = command.output().expect("the program git is needed");
        Outcome {
            accepted: output.status.success(),
            // Git finds some of these faults when all objects are there.
            lines: stderr(&output)
                .lines()
                .map(|line| line.replace("fsck error in pack objects", "fsck error in packed object"))
                .collect(),
        }
    }

    /// Pushes the pack to the path, with a ref to `tip`. What is refused leaves nothing.
    pub fn by_us(&self, pack: &Path, name: &str, tip: &str) -> Outcome {
        let remote = self.folder.path().join("remote");
        let before = files(&remote);
        let file = File::open(pack).expect("a pack");
        let length = file.metadata().expect("a length").len();
        let create = git_push::Command::create(name, ObjectId::from_hex(tip.as_bytes()).expect("an id"));
        let request = Request::new(vec![create], gix::hash::Kind::Sha1, vec!["report-status".into()]);
        let mut local = Local::open(&remote).expect("a repository");
        let report = local
            .send(&request, Some(Pack::new(file, length, 0)))
            .expect("a report");
        let verdict = report.verdict(name.into()).expect("a verdict");
        let accepted = *verdict == Verdict::Accepted;
        if !accepted {
            assert_eq!(reason(verdict), "unpacker error", "{report:?}");
            assert!(report.unpack_error().is_some());
            assert_eq!(files(&remote), before, "nothing is left");
        }
        Outcome {
            accepted,
            lines: report.server_words().iter().map(ToString::to_string).collect(),
        }
    }

    /// Compares both. Returns the lines.
    fn compare(&self, about: &str, (name, tip): (&str, &str)) -> Vec<String> {
        let pack = self.pack(&[]);
        let (expected, ours) = (self.by_git(&pack, ""), self.by_us(&pack, name, tip));
        // A file with several faults: git reports them in the order of its lines.
        let sorted = |outcome: &Outcome| {
            let mut lines = outcome.lines.clone();
            lines.sort();
            (outcome.accepted, lines)
        };
        assert_eq!(sorted(&ours), sorted(&expected), "{about}");
        ours.lines
    }
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// Content of a tree: `mode name` and an id for each entry.
pub(super) fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (entry, id) in entries {
        content.extend_from_slice(entry.as_bytes());
        content.push(0);
        content.extend_from_slice(ObjectId::from_hex(id.as_bytes()).expect("an id").as_slice());
    }
    content
}

#[test]
fn faults_of_commits_are_those_of_git() {
    let parts = |tree: &str, author: &str, committer: &str, rest: &str| format!("{tree}{author}{committer}{rest}");
    let plain = Case::new(&[]);
    let of_tree = format!("tree {}\n", plain.tree);
    let author = |line: &str| parts(&of_tree, &format!("author {line}\n"), COMMITTER, "\nm\n");
    let good_parent = format!("parent {}\n", plain.commit);
    let mut refused = 0;
    for content in [
        parts(&of_tree, AUTHOR, COMMITTER, "\nm\n"),
        parts(&of_tree, AUTHOR, COMMITTER, ""),
        parts(&of_tree, AUTHOR, COMMITTER, "\nm\0m"),
        parts(&of_tree, AUTHOR, "committer A <a@b> 1 +0000", ""),
        parts(&of_tree, "", COMMITTER, "\nm\n"),
        parts(&of_tree, AUTHOR, "", "\nm\n"),
        parts(&of_tree, &AUTHOR.repeat(2), COMMITTER, "\nm\n"),
        parts(&of_tree, AUTHOR, COMMITTER, "encoding\0x\n\nm\n"),
        parts(&of_tree, AUTHOR, COMMITTER, "encoding latin1\nmore\n\nm\n"),
        parts("tree abc\n", AUTHOR, COMMITTER, "\nm\n"),
        parts("", AUTHOR, COMMITTER, "\nm\n"),
        parts(&of_tree, &format!("{good_parent}{AUTHOR}"), COMMITTER, "\nm\n"),
        parts(&of_tree, &format!("parent abc\n{AUTHOR}"), COMMITTER, "\nm\n"),
        parts(&of_tree, &format!("{AUTHOR}{good_parent}"), COMMITTER, "\nm\n"),
        author("A <a@example.com> 01700000000 +0000"),
        author("A <a@example.com> 0 +0000"),
        author("A <a@example.com> 99999999999999999999 +0000"),
        author("A <a@example.com> 9223372036854775808 +0000"),
        author("A <a@example.com>  17 +0000"),
        author("A <a@example.com> never +0000"),
        author("A <a@example.com> -1 +0000"),
        author("A <a@example.com> 17 +00"),
        author("A <a@example.com> 17 +0000 "),
        author("A <a@example.com> 17"),
        author("A <a@example.com>17 +0000"),
        author("A <a@example.com>"),
        author("A a@example.com 17 +0000"),
        author("A<a@example.com> 17 +0000"),
        author("<a@example.com> 17 +0000"),
        author(" <a@example.com> 17 +0000"),
        author("A> <a@example.com> 17 +0000"),
        author("A <a@<example.com> 17 +0000"),
        author("A <a@example.com 17 +0000"),
        author(""),
        String::new(),
    ] {
        let case = Case::new(&[]);
        let tip = case.write("commit", content.as_bytes());
        let lines = case.compare(&content, ("refs/heads/main", &tip));
        refused += usize::from(!lines.is_empty());
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn faults_of_trees_are_those_of_git() {
    let long = format!("100644 {}", "x".repeat(4097));
    let case = Case::new(&[]);
    let (blob, tree_id, null) = (case.blob.clone(), case.tree.clone(), "0".repeat(40));
    let b = blob.as_str();
    let t = tree_id.as_str();
    let table: &[&[(&str, &str)]] = &[
        &[
            ("100644 a", b),
            ("100755 b", b),
            ("120000 c", b),
            ("40000 d", t),
            ("160000 e", t),
        ],
        &[("100644 b", b), ("100644 a", b)],
        &[("100644 a", b), ("100644 a", b)],
        &[("100644 a", b), ("40000 a", t)],
        &[("100644 a", b), ("100644 a.b", b), ("40000 a", t)],
        &[
            ("100644 a", b),
            ("100644 a.b", b),
            ("100644 a.b.c", b),
            ("40000 a.b", t),
            ("40000 a", t),
        ],
        &[("100644 a", b), ("100644 a-", b), ("100644 a-b", b), ("40000 a", t)],
        &[("40000 a", t), ("100644 a.b", b)],
        &[("100644 a.b", b), ("40000 a", t), ("100644 a0", b)],
        &[("0100644 a", b)],
        &[("040000 a", t)],
        &[("100664 a", b)],
        &[("100600 a", b)],
        &[("107777 a", b)],
        &[("10 a", b)],
        &[("100644 a/b", b)],
        &[("100644 .", b)],
        &[("40000 ..", t)],
        &[("40000 .git", t)],
        &[("100644 .GiT", b)],
        &[("100644 git~1", b)],
        &[("100644 .git ", b)],
        &[("100644 .git. .", b)],
        &[("100644 .git\\x", b)],
        &[("100644 x\\.git", b)],
        &[("100644 x\\git~1\\y", b)],
        &[("100644 .g\u{200c}it", b)],
        &[("100644 .gi\u{200b}t", b)],
        &[("100644 .git:stream", b)],
        &[("100644 .gitx", b)],
        &[("120000 .gitmodules", b)],
        &[("120000 .GITMODULES ", b)],
        &[("120000 gitmod~1", b)],
        &[("120000 gi7eba~1", b)],
        &[("120000 x\\.gitmodules", b)],
        &[("120000 .gitattributes", b)],
        &[("120000 gi7d29~2", b)],
        &[("120000 .gitignore", b)],
        &[("120000 .mailmap", b)],
        &[("100644 .mailmap", b)],
        &[("40000 .gitmodules", t)],
        &[("40000 .gitattributes", t)],
        &[(&long, b)],
        &[("100644 a", &null)],
        &[("100644 ", b)],
        &[("1006x4 a", b)],
        &[(" a", b)],
        &[("100644 z", b), ("0100644 a", b), ("100644 a", b), ("100644 .git", b)],
        &[],
    ];
    let mut refused = 0;
    for entries in table {
        let case = Case::new(&[]);
        let id = case.write("tree", &tree(entries));
        let content = format!("tree {id}\n{AUTHOR}{COMMITTER}\nm\n");
        let tip = case.write("commit", content.as_bytes());
        let lines = case.compare(&format!("{entries:?}"), ("refs/heads/main", &tip));
        refused += usize::from(lines.iter().any(|line| line.starts_with("fatal")));
    }
    assert!(refused > 25, "{refused}");
    for entry in [("100644 a", t), ("40000 a", b)] {
        let case = Case::new(&[]);
        let id = case.write("tree", &tree(&[entry]));
        let pack = case.pack(&[]);
        let (expected, ours) = (case.by_git(&pack, ""), case.by_us(&pack, "refs/tags/tree", &id));
        assert!(!expected.accepted && !ours.accepted, "{entry:?} {ours:?}");
        assert!(ours.lines[0].contains("expected type"), "{ours:?}");
    }
    let mut torn = tree(&[("100644 a", b), ("100644 b", b)]);
    torn.truncate(torn.len() - 3);
    let case = Case::new(&[]);
    let id = case.write("tree", &torn);
    let lines = case.compare("torn", ("refs/tags/tree", &id));
    assert!(lines[1].contains("badTree: cannot be parsed as a tree"), "{lines:?}");
}

#[test]
fn faults_of_tags_are_those_of_git() {
    let case = Case::new(&[]);
    let (object, tagger) = (
        format!("object {}\n", case.commit),
        "tagger A <a@example.com> 1700000000 +0000\n",
    );
    let mut refused = 0;
    for content in [
        format!("{object}type commit\ntag v1\n{tagger}\nm\n"),
        format!("{object}type commit\ntag v1\n\nm\n"),
        format!("{object}type commit\ntag v1\n{tagger}"),
        format!("{object}type commit\ntag v1\n{tagger}extra x\n\nm\n"),
        format!("{object}type commit\ntag v 1\n{tagger}\nm\n"),
        format!("{object}type commit\ntag v1\ntagger A <a@example.com> x +0000\n\nm\n"),
        format!("{object}type commit\n{tagger}\nm\n"),
        format!("{object}type\ntag v1\n{tagger}\nm\n"),
        format!("{object}type thing\ntag v1\n{tagger}\nm\n"),
        format!("{object}tag v1\n{tagger}\nm\n"),
        format!("{object}type commit\ntag v1\n{tagger}x\0y\n\nm\n"),
        format!("{object}type commit\ntag v1\n{tagger}more"),
        format!("type commit\ntag v1\n{tagger}\nm\n"),
        format!("object abc\ntype commit\ntag v1\n{tagger}\nm\n"),
    ] {
        let case = Case::new(&[]);
        let tip = case.write("tag", content.as_bytes());
        let lines = case.compare(&content, ("refs/tags/v1", &tip));
        refused += usize::from(lines.iter().any(|line| line.starts_with("fatal")));
    }
    assert!(refused >= 8, "{refused}");
    // A tag of a tag that is shorter than git reads one.
    let short = Case::new(&[]);
    let inner = short.write("tag", format!("{object}type commit\ntag v1\n{tagger}\nm\n").as_bytes());
    let tip = short.write("tag", format!("object {inner}\ntype tag\ntag x\n").as_bytes());
    let lines = short.compare("a short tag", ("refs/tags/x", &tip));
    assert_eq!(lines, ["fatal: invalid tag"]);
    let content = format!("{object}type tree\ntag v1\n{tagger}\nm\n");
    let tip = case.write("tag", content.as_bytes());
    let pack = case.pack(&[]);
    let ours = case.by_us(&pack, "refs/tags/v1", &tip);
    assert!(!ours.accepted && !case.by_git(&pack, "").accepted, "{ours:?}");
    let wrong = format!("fatal: object {}: expected type tree, found commit", case.commit);
    assert_eq!(ours.lines, [wrong]);
}

#[test]
fn files_of_submodules_and_attributes_are_checked_as_by_git() {
    let long = format!("* {}\n", "x".repeat(2048));
    let mut refused = 0;
    for (name, content) in [
        (
            ".gitmodules",
            "[submodule \"a\"]\n\tpath = a\n\turl = https://example.com/a.git\n",
        ),
        (".gitmodules", "[submodule \"../x\"]\n\tpath = a\n"),
        (".gitmodules", "[submodule \"a\\\\..\"]\n\tpath = a\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = -u./x\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = ../../:x\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = https://example.com/%0ax\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = https:///x\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = git://host/%0a\n"),
        (
            ".gitmodules",
            "[submodule \"a\"]\n\tpath = -x\n\tupdate = !rm\n\turl = -y\n",
        ),
        (".gitmodules", "[submodule \"a\"]\n\tupdate = rebase\n"),
        (".GitModules", "[submodule \"a\"]\n\tpath = -x\n"),
        ("gitmod~1", "[submodule \"a\"]\n\tpath = -x\n"),
        ("x\\.gitmodules", "[submodule \"a\"]\n\tpath = -x\n"),
        (".gitattributes", "* text\n"),
        (".gitattributes", &long),
    ] {
        let case = Case::new(&[]);
        let blob = case.write("blob", content.as_bytes());
        let id = case.write("tree", &tree(&[(&format!("100644 {name}"), &blob)]));
        let commit = format!("tree {id}\n{AUTHOR}{COMMITTER}\nm\n");
        let tip = case.write("commit", commit.as_bytes());
        let lines = case.compare(&format!("{name} {content}"), ("refs/heads/main", &tip));
        refused += usize::from(!lines.is_empty());
    }
    assert_eq!(refused, 12);
}

#[test]
fn what_cannot_be_parsed_is_refused_unless_configuration_accepts_it() {
    let write = |case: &Case| {
        let blob = case.write("blob", b"[submodule \"a\n");
        let id = case.write("tree", &tree(&[("100644 .gitmodules", &blob)]));
        let commit = format!("tree {id}\n{AUTHOR}{COMMITTER}\nm\n");
        case.write("commit", commit.as_bytes())
    };
    let case = Case::new(&[]);
    let tip = write(&case);
    let ours = case.by_us(&case.pack(&[]), "refs/heads/main", &tip);
    assert!(!ours.accepted, "{ours:?}");
    assert!(
        ours.lines[0].contains("gitmodulesParse: could not parse gitmodules blob"),
        "{ours:?}"
    );
    assert!(ours.lines[1].contains("it cannot be checked"), "{ours:?}");
    for severity in ["warn", "ignore"] {
        let case = Case::new(&[("receive.fsck.gitmodulesParse", severity)]);
        let tip = write(&case);
        assert!(
            case.by_us(&case.pack(&[]), "refs/heads/main", &tip).accepted,
            "{severity}"
        );
    }
}

#[test]
fn severities_and_exceptions_are_those_of_the_configuration() {
    let broken = |case: &Case| {
        let author = "author A <a@example.com> 01700000000 +0000\n";
        let content = format!("tree {}\n{author}{COMMITTER}\nm\n", case.tree);
        case.write("commit", content.as_bytes())
    };
    for (key, value, options, accepted) in [
        ("receive.fsck.zeroPaddedDate", "warn", "=zeropaddeddate=warn", true),
        ("receive.fsck.ZEROPADDEDDATE", "ignore", "=zeropaddeddate=ignore", true),
        ("receive.fsck.badDate", "ignore", "=baddate=ignore", false),
        ("receive.fsck.zeroPaddedDate", "error", "=zeropaddeddate=error", false),
    ] {
        let case = Case::new(&[(key, value)]);
        let tip = broken(&case);
        let pack = case.pack(&[]);
        let expected = case.by_git(&pack, options);
        assert_eq!(case.by_us(&pack, "refs/heads/main", &tip), expected, "{key}");
        assert_eq!(expected.accepted, accepted, "{key}");
    }
    let case = Case::new(&[("receive.fsck.skipList", "skipped"), ("receive.fsck.unheardOf", "warn")]);
    let tip = broken(&case);
    let list = case.folder.path().join("remote/skipped");
    fs::write(&list, format!("# known\n\n{} # old\n", case.commit)).expect("a list");
    let refused = case.by_us(&case.pack(&[]), "refs/heads/main", &tip);
    assert!(!refused.accepted, "{refused:?}");
    assert_eq!(refused.lines[0], "warning: skipping unknown msg id 'unheardOf'");
    fs::write(&list, format!("{tip}\n")).expect("a list");
    assert!(case.by_us(&case.pack(&[]), "refs/heads/main", &tip).accepted);

    for (key, value) in [
        ("receive.fsck.zeroPaddedDate", "perhaps"),
        ("receive.fsck.nulInHeader", "warn"),
        ("receive.fsck.skipList", "nowhere"),
        ("receive.fsckObjects", "perhaps"),
    ] {
        let case = Case::new(&[(key, value)]);
        let create = git_push::Command::create(
            "refs/heads/x",
            ObjectId::from_hex(case.commit.as_bytes()).expect("an id"),
        );
        let request = Request::new(vec![create], gix::hash::Kind::Sha1, Vec::new());
        let sent = Local::open(&case.folder.path().join("remote"))
            .expect("a repository")
            .send(&request, None);
        let error = sent.expect_err(key);
        assert_eq!(error.kind(), git_push::ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn what_the_pack_lacks_is_missed_as_by_git() {
    let case = Case::new(&[]);
    for (left_out, found) in [(&case.blob, "blob"), (&case.tree, "tree")] {
        let pack = case.pack(std::slice::from_ref(left_out));
        let ours = case.by_us(&pack, "refs/heads/main", &case.commit);
        assert_eq!(ours, case.by_git(&pack, ""), "{found}");
        assert_eq!(
            ours.lines,
            [format!("fatal: did not receive expected object {left_out}")]
        );
    }
    let child = format!("tree {}\nparent {}\n{AUTHOR}{COMMITTER}\nm\n", case.tree, case.commit);
    let child = case.write("commit", child.as_bytes());
    let pack = case.pack(std::slice::from_ref(&case.commit));
    let ours = case.by_us(&pack, "refs/heads/main", &child);
    assert_eq!(ours, case.by_git(&pack, ""));
    assert!(!ours.accepted);
}

/// Objects that the destination has count only with everything below them, unless a ref reaches them.
#[test]
fn objects_that_no_ref_reaches_are_followed_as_by_git() {
    let case = Case::new(&[]);
    let (remote, oracle) = (case.folder.path().join("remote"), case.folder.path().join("oracle"));
    let entry = format!("100644 blob {}\tfile\n", case.blob);
    for side in [&remote, &oracle] {
        // The tree is there, its file is not.
        git_with_input(side, &["mktree", "--missing"], entry.as_bytes());
    }
    let pack = case.pack(&[case.tree.clone(), case.blob.clone()]);
    let before = files(&remote);
    assert!(case.by_git(&pack, "").accepted, "git looks at the tips after that");
    let mut walk = git::command(&oracle);
    walk.args(["rev-list", "--objects", "--quiet", &case.commit, "--not", "--all"]);
    assert!(!walk.output().expect("the program git is needed").status.success());
    let push = |pack: &Path| {
        let file = File::open(pack).expect("a pack");
        let length = file.metadata().expect("a length").len();
        let id = ObjectId::from_hex(case.commit.as_bytes()).expect("an id");
        let create = git_push::Command::create("refs/heads/main", id);
        let request = Request::new(vec![create], gix::hash::Kind::Sha1, Vec::new());
        let mut local = Local::open(&remote).expect("a repository");
        local
            .send(&request, Some(Pack::new(file, length, 0)))
            .expect("a report")
    };
    let report = push(&pack);
    let (_, verdict) = report.verdicts().next().expect("a verdict");
    assert_eq!(reason(verdict), "missing necessary objects");
    assert_eq!(files(&remote), before, "nothing is left");
    // With its file, the tree is complete, although no ref reaches it.
    git_with_input(&remote, &["hash-object", "-w", "--stdin"], b"content");
    assert!(push(&pack).all_accepted());
}

/// A pack has only what is new. What it builds on is there, and refs reach it.
#[test]
fn a_push_onto_what_refs_reach_is_accepted() {
    let template = made(Format::Sha1);
    let remote = template.path().join("remote.git");
    git(&remote, &["config", "receive.fsckObjects", "true"]);
    let pushed = ours(
        &template.path().join("source"),
        &["../remote.git", "main", "side", ":gone", "main~1:refs/heads/old"],
    );
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    git(&remote, &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_push_with_a_fault_prints_what_git_prints() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let tree = git(&source, &["rev-parse", "main^{tree}"]);
    let parent = git(&source, &["rev-parse", "main"]);
    let author = "author A <a@example.com> 01700000000 +0000\n";
    let content = format!("tree {tree}\nparent {parent}\n{author}{COMMITTER}\nm\n");
    let arguments = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"];
    let broken = git_with_input(&source, &arguments, content.as_bytes());
    let refspec = format!("{broken}:refs/heads/new");
    for (key, options) in [
        ("transfer.fsckObjects", &[][..]),
        ("receive.fsckObjects", &["--atomic"]),
    ] {
        let [theirs, ours] = [theirs, ours].map(|program| {
            let folder = tempfile::tempdir().expect("a folder");
            copy(template.path(), folder.path());
            let remote = folder.path().join("remote.git");
            git(&remote, &["config", key, "true"]);
            let arguments = [options, &["../remote.git", &refspec, "side"]].concat();
            let pushed = program(&folder.path().join("source"), &arguments);
            // The program that git unpacks with is none of ours.
            let said = stderr(&pushed).replace("unpack-objects abnormal exit", "fsck error in packed object");
            let mut lines: Vec<_> = said.lines().map(|line| line.trim_end().to_owned()).collect();
            // Git prints the error of the server before the table, this program after it.
            lines.sort();
            (pushed.status.success(), lines, refs(&remote))
        });
        assert_eq!(ours, theirs);
        assert!(ours.1.iter().any(|line| line.contains("zeroPaddedDate")), "{ours:?}");
    }
}
