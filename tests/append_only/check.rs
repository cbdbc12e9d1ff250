//! `check append-only`, compared with git's own report about histories made by real git.
#![cfg(unix)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
};

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    git::{command, git, git_with_input},
    stargate::{FORMATS, clean_command, feed, stderr},
};
use tempfile::TempDir;

/// Letter, path, new path, commit.
type Row = (String, String, Option<String>, String);

/// A repository with a work tree, on `main`, with two events and another file.
pub struct Repository {
    folder: TempDir,
}

impl Repository {
    pub fn new() -> Self {
        Repository::of_formats("sha1", "files")
    }

    fn of_formats(ids: &str, refs: &str) -> Self {
        let repository = Repository {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let formats = [format!("--object-format={ids}"), format!("--ref-format={refs}")];
        repository.git(&["init", "-q", "-b", "main", &formats[0], &formats[1]]);
        repository.write("events/f/a.json", "a");
        repository.write("events/f/b.json", "b");
        repository.write("notes/n.txt", "n");
        repository.commit("base");
        repository
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.path().join(path)).expect("a file that goes");
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.commit_index(message)
    }

    /// Commits the index, not the state of the work tree.
    fn commit_index(&self, message: &str) -> String {
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn merge(&self, branch: &str) {
        self.git(&["merge", "-q", "--no-ff", "-m", "merge", branch]);
    }

    pub fn check(&self, arguments: &[&str]) -> Output {
        check(self.path(), arguments)
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.check(&[arguments, &["--format", "json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                stderr(&output)
            )
        });
        let clean = report["outcome"] == "clean";
        assert_eq!(output.status.code(), Some(if clean { 0 } else { 1 }), "{report}");
        report
    }
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .current_dir(folder)
        .args(["check", "append-only"])
        .args(arguments);
    feed(command, "")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn rows(report: &Value) -> BTreeSet<Row> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let row = |violation: &Value| {
        let (path, to) = match &violation["old_path"] {
            Value::Null => (&violation["path"], None),
            old => (old, Some(text(&violation["path"]))),
        };
        (text(&violation["status"]), text(path), to, text(&violation["commit"]))
    };
    report["violations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(row)
        .collect()
}

/// The commits reachable from `head` but not from `base`, as a difference of two lists, because `base..head` trusts
/// clocks.
fn new_commits(folder: &Path, base: Option<&str>, head: &str) -> BTreeSet<String> {
    let list = |id: &str| {
        git(folder, &["rev-list", id])
            .lines()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let old = base.map(list).unwrap_or_default();
    list(head).difference(&old).cloned().collect()
}

/// Returns git's list of the changes that these commits made below `events/`, each against each of its parents.
fn told_by_git(folder: &Path, commits: &BTreeSet<String>) -> BTreeSet<Row> {
    let input: String = commits.iter().map(|id| format!("{id}\n")).collect();
    let arguments = [
        "diff-tree",
        "--stdin",
        "--root",
        "-m",
        "-r",
        "-M100%",
        "--name-status",
        "-z",
    ];
    let output = git_with_input(folder, &arguments, input.as_bytes());
    let mut words = output.split('\0').filter(|word| !word.is_empty());
    let mut rows = BTreeSet::new();
    let mut commit = String::new();
    while let Some(word) = words.next() {
        // A commit is shown by its id, followed for a merge by " (from <parent>)".
        if word.len() >= 40 {
            commit = word.split(' ').next().unwrap_or_default().to_owned();
            continue;
        }
        let path = words.next().expect("a path").to_owned();
        let to = word.starts_with('R').then(|| words.next().expect("a path").to_owned());
        if path.starts_with("events/") && word != "A" {
            rows.insert((word[..1].to_owned(), path, to, commit.clone()));
        }
    }
    rows
}

/// A name, the changes on top of the base, and the expected violations (letter and path), in order.
type Case = (&'static str, fn(&Repository), &'static [&'static str]);

const CASES: &[Case] = &[
    ("add", |r| r.write("events/f/c.json", "c"), &[]),
    (
        "modify",
        |r| r.write("events/f/a.json", "other"),
        &["M events/f/a.json"],
    ),
    ("delete", |r| r.remove("events/f/a.json"), &["D events/f/a.json"]),
    (
        "elsewhere",
        |r| {
            r.write("notes/n.txt", "other");
            r.write("events.json", "new");
            r.write("Events/f/a.json", "other case");
        },
        &[],
    ),
    ("delete elsewhere", |r| r.remove("notes/n.txt"), &[]),
    (
        "rename in",
        |r| drop(r.git(&["mv", "notes/n.txt", "events/f/n.json"])),
        &[],
    ),
    (
        "rename out",
        |r| drop(r.git(&["mv", "events/f/a.json", "notes/a.json"])),
        &["R events/f/a.json"],
    ),
    (
        "rename within",
        |r| drop(r.git(&["mv", "events/f/a.json", "events/f/z.json"])),
        &["R events/f/a.json"],
    ),
    (
        "rename a folder",
        |r| drop(r.git(&["mv", "events/f", "events/g"])),
        &["R events/f/a.json", "R events/f/b.json"],
    ),
    (
        "rename and edit",
        |r| {
            r.git(&["mv", "events/f/a.json", "events/f/z.json"]);
            r.write("events/f/z.json", "edited beyond all likeness");
            r.git(&["add", "-A"]);
        },
        &["D events/f/a.json"],
    ),
    (
        "case change",
        |r| drop(r.git(&["mv", "events/f/a.json", "events/f/A.json"])),
        &["R events/f/a.json"],
    ),
    ("copy", |r| r.write("events/f/c.json", "a"), &[]),
    (
        "mode",
        |r| drop(r.git(&["update-index", "--chmod=+x", "events/f/a.json"])),
        &["M events/f/a.json"],
    ),
    (
        "symlink",
        |r| {
            r.remove("events/f/a.json");
            symlink("b.json", r.path().join("events/f/a.json")).expect("a link");
            r.git(&["add", "-A"]);
        },
        &["T events/f/a.json"],
    ),
    (
        "submodule",
        |r| {
            let head = r.git(&["rev-parse", "HEAD"]);
            r.git(&["update-index", "--cacheinfo", &format!("160000,{head},events/f/a.json")]);
        },
        &["T events/f/a.json"],
    ),
    (
        "a new submodule",
        |r| {
            let head = r.git(&["rev-parse", "HEAD"]);
            r.git(&[
                "update-index",
                "--add",
                "--cacheinfo",
                &format!("160000,{head},events/f/module"),
            ]);
        },
        &[],
    ),
    (
        "a file becomes a folder",
        |r| {
            r.remove("events/f/a.json");
            r.write("events/f/a.json/inner", "x");
        },
        &["D events/f/a.json"],
    ),
    (
        "a folder becomes a file",
        |r| {
            fs::remove_dir_all(r.path().join("events/f")).expect("a folder");
            r.write("events/f", "file");
        },
        &["D events/f/a.json", "D events/f/b.json"],
    ),
    (
        "all of it goes",
        |r| {
            fs::remove_dir_all(r.path().join("events")).expect("a folder");
        },
        &["D events/f/a.json", "D events/f/b.json"],
    ),
    (
        "two become one",
        |r| {
            r.write("events/f/c.json", "same");
            r.write("events/f/d.json", "same");
            r.commit("two alike");
            r.remove("events/f/c.json");
            r.git(&["mv", "events/f/d.json", "notes/d.json"]);
            r.git(&["add", "-A"]);
        },
        &["D events/f/c.json", "R events/f/d.json"],
    ),
    (
        "delete and re-add",
        |r| {
            r.remove("events/f/a.json");
            r.commit("gone");
            r.write("events/f/a.json", "a");
        },
        &["D events/f/a.json"],
    ),
    (
        "modify and revert",
        |r| {
            r.write("events/f/a.json", "other");
            r.commit("changed");
            r.git(&["revert", "--no-edit", "HEAD"]);
        },
        &["M events/f/a.json", "M events/f/a.json"],
    ),
    (
        "revert of an addition",
        |r| {
            r.write("events/f/c.json", "c");
            r.commit("added");
            r.git(&["revert", "--no-edit", "HEAD"]);
        },
        &["D events/f/c.json"],
    ),
    (
        "merge of a good branch",
        |r| {
            r.git(&["checkout", "-q", "-b", "side"]);
            r.write("events/f/c.json", "c");
            r.commit("on side");
            r.git(&["checkout", "-q", "-"]);
            r.write("events/f/d.json", "d");
            r.commit("here");
            r.merge("side");
        },
        &[],
    ),
    (
        "merge of a violating branch",
        |r| {
            r.git(&["checkout", "-q", "-b", "side"]);
            r.remove("events/f/a.json");
            r.commit("on side");
            r.git(&["checkout", "-q", "-"]);
            r.write("events/f/d.json", "d");
            r.commit("here");
            r.merge("side");
        },
        &["D events/f/a.json", "D events/f/a.json"],
    ),
    (
        "merge that drops what the other side added",
        |r| {
            r.git(&["checkout", "-q", "-b", "side"]);
            r.write("events/f/c.json", "c");
            r.commit("on side");
            r.git(&["checkout", "-q", "-"]);
            r.write("notes/m.txt", "m");
            r.commit("here");
            r.git(&["merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", "side"]);
        },
        &["D events/f/c.json"],
    ),
    (
        "an octopus",
        |r| {
            for side in ["one", "two"] {
                r.git(&["checkout", "-q", "-b", side, "main"]);
                r.write(&format!("events/f/{side}.json"), side);
                r.commit(side);
            }
            r.git(&["checkout", "-q", "-B", "work", "main"]);
            r.git(&["commit", "-q", "--allow-empty", "-m", "here"]);
            r.git(&["merge", "-q", "-m", "octopus", "one", "two"]);
        },
        &[],
    ),
    (
        "names",
        |r| {
            r.git(&["mv", "events/f/a.json", "events/f/a \"b\"\n%:,\u{e9}.json"]);
        },
        &["R events/f/a.json"],
    ),
    ("empty range", |r| drop(r.git(&["checkout", "-q", "main"])), &[]),
];

#[test]
fn every_case_is_what_git_says() {
    for (name, act, expected) in CASES {
        let repository = Repository::new();
        repository.git(&["checkout", "-q", "-b", "work"]);
        act(&repository);
        let is_staged = repository.git(&["diff", "--cached", "--name-only"]);
        match (*name, is_staged.is_empty()) {
            ("empty range", _) => {}
            (_, false) => drop(repository.commit_index(name)),
            (_, true) => drop(repository.commit(name)),
        }
        let report = repository.json(&["--base", "main"]);
        let commits = new_commits(repository.path(), Some("main"), "HEAD");
        assert_eq!(report["commits"], commits.len(), "{name}");
        let found = rows(&report);
        assert_eq!(found, told_by_git(repository.path(), &commits), "{name}");
        assert_eq!(report["violation_count"], found.len(), "{name}");
        let told: Vec<_> = report["violations"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|violation| {
                let path = match &violation["old_path"] {
                    Value::Null => &violation["path"],
                    old => old,
                };
                format!("{} {}", violation["status"].as_str().unwrap(), path.as_str().unwrap())
            })
            .collect();
        let sorted = told.iter().map(String::as_str).collect::<BTreeSet<_>>();
        assert_eq!(sorted, expected.iter().copied().collect(), "{name}");
        assert_eq!(told.len(), expected.len(), "{name}: {told:?}");
    }
}

#[test]
fn the_first_commit_has_nothing_to_break() {
    let repository = Repository::new();
    let zeros = "0".repeat(40);
    let report = repository.json(&["--base", &zeros]);
    assert_eq!((&report["commits"], &report["base"]), (&json!(1), &Value::Null));
    repository.write("events/f/a.json", "other");
    repository.commit("changed");
    let report = repository.json(&["--base", &zeros]);
    assert_eq!(
        rows(&report),
        told_by_git(repository.path(), &new_commits(repository.path(), None, "HEAD"))
    );
    assert_eq!(report["violation_count"], 1);
    // A repository without a commit has no revision at all.
    let empty = tempfile::tempdir().unwrap();
    git(empty.path(), &["init", "-q"]);
    let output = check(empty.path(), &["--base", &zeros]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn what_the_base_gained_meanwhile_is_lost_only_by_a_replacement() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    repository.write("events/f/mine.json", "mine");
    let mine = repository.commit("mine");
    repository.git(&["checkout", "-q", "main"]);
    repository.write("events/f/theirs.json", "theirs");
    repository.commit("theirs");
    assert_eq!(
        repository.json(&["--base", "main", "--head", "work"])["outcome"],
        "clean"
    );
    let report = repository.json(&["--base", "main", "--head", "work", "--replace"]);
    let lost = ("D".into(), "events/f/theirs.json".into(), None, mine);
    assert_eq!(rows(&report), [lost].into());
    // A rewind has no new commit at all.
    let report = repository.json(&["--base", "main", "--head", "main~1", "--replace"]);
    assert_eq!((&report["commits"], &report["violation_count"]), (&json!(0), &json!(1)));
}

#[test]
fn histories_that_never_were_one_are_compared_at_their_ends() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "--orphan", "other"]);
    repository.write("events/f/b.json", "another");
    repository.write("events/f/c.json", "c");
    repository.commit("other");
    let report = repository.json(&["--base", "main"]);
    let head = repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(
        rows(&report),
        [("M".into(), "events/f/b.json".into(), None, head)].into()
    );
}

#[test]
fn a_shallow_clone_passes_only_with_all_that_is_needed() {
    let repository = Repository::new();
    for number in 0..5 {
        repository.write(&format!("events/f/{number}.json"), "x");
        repository.commit("more");
    }
    let base = repository.git(&["rev-parse", "HEAD~3"]);
    let clone = |depth: &str| {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", repository.path().display());
        git(folder.path(), &["clone", "-q", "--depth", depth, &url, "clone"]);
        let path: PathBuf = folder.path().join("clone");
        (folder, path)
    };
    let hint = "fetch the whole history: run `git fetch --unshallow`, or set fetch-depth: 0";
    for depth in ["1", "3"] {
        let (_folder, clone) = clone(depth);
        let output = check(&clone, &["--base", &base]);
        assert_eq!(output.status.code(), Some(5), "{depth}");
        let told = stderr(&output);
        assert!(told.contains(hint) && told.contains("there is no revision"), "{told}");
        assert_eq!(stdout(&output), "");
        let told = stderr(&check(&clone, &["--base", "HEAD~3"]));
        assert!(told.contains("which has no ~3") && !told.contains("delegate"), "{told}");
    }
    // The base is present. Its parents are missing, but they are not needed.
    let (_folder, enough) = clone("4");
    assert_eq!(check(&enough, &["--base", &base]).status.code(), Some(0));

    // A new commit whose parents are missing.
    let (_folder, cut) = clone("1");
    let zeros = "0".repeat(40);
    let output = check(&cut, &["--base", &zeros]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("so its changes are unknown"),
        "{}",
        stderr(&output)
    );
    // Both ends are present, but the history between them and their merge base are missing.
    git(&cut, &["checkout", "-q", "--orphan", "other"]);
    git(&cut, &["commit", "-q", "-m", "other"]);
    let output = check(&cut, &["--base", "main", "--head", "other"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("before a common ancestor of base and head"),
        "{}",
        stderr(&output)
    );
    git(&cut, &["fetch", "-q", "--unshallow"]);
    assert_eq!(
        check(&cut, &["--base", &zeros, "--head", "main"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_violation_that_the_base_has_already_is_not_new_whatever_the_clocks_said() {
    let repository = Repository::new();
    let dated = |date: &str, message: &str| {
        let mut commit = command(repository.path());
        commit
            .args(["commit", "-q", "-a", "--allow-empty", "-m", message])
            .env("GIT_COMMITTER_DATE", date);
        assert!(feed(commit, "").status.success());
    };
    // The old violation is dated in the far future, and its descendants in the past.
    repository.write("events/f/a.json", "other");
    dated("2000000000 +0000", "violates");
    dated("100000000 +0000", "old");
    dated("100000001 +0000", "base");
    repository.git(&["branch", "base"]);
    repository.git(&["checkout", "-q", "-b", "work", "HEAD~2"]);
    repository.write("events/f/new.json", "new");
    repository.git(&["add", "-A"]);
    dated("1999999999 +0000", "work");
    let report = repository.json(&["--base", "base", "--head", "work"]);
    assert_eq!((&report["outcome"], &report["commits"]), (&json!("clean"), &json!(1)));
}

#[test]
fn replacement_refs_hide_nothing() {
    let repository = Repository::new();
    let good = repository.git(&["rev-parse", "HEAD"]);
    repository.write("events/f/a.json", "other");
    let bad = repository.commit("changed");
    repository.git(&["replace", &bad, &good]);
    assert_eq!(
        repository.json(&["--base", &good, "--head", &bad])["violation_count"],
        1
    );
}

#[test]
fn paths_are_what_is_asked_for() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    repository.write("notes/n.txt", "other");
    repository.write("events/f/a.json", "other");
    repository.commit("both");
    let count =
        |arguments: &[&str]| repository.json(&[&["--base", "main"], arguments].concat())["violation_count"].clone();
    assert_eq!(count(&["--path", "notes"]), 1);
    assert_eq!(count(&["--path", "notes/", "--path", "events"]), 2);
    assert_eq!(count(&["--path", "."]), 2);
    assert_eq!(count(&["--path", "events/f/a.json"]), 1);
    assert_eq!(count(&["--path", "events/f/a"]), 0);
    let output = repository.check(&["--base", "main", "--path", "../x"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_path_that_guards_nothing_is_a_warning() {
    let repository = Repository::new();
    repository.write("later/x.json", "x");
    repository.commit("later");
    let output = repository.check(&[
        "--base",
        "HEAD~1",
        "--path",
        "event/",
        "--path",
        "later",
        "--path",
        "events/f/a.json",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(said.contains("neither base nor head has event/"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let everything = repository.check(&["--base", "HEAD~1", "--path", "."]);
    assert_eq!(stderr(&everything), "");
}

#[test]
fn a_person_and_a_workflow_are_told_letter_path_commit_and_rule() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    repository.git(&["mv", "events/f/a.json", "events/f/x,y:z%.json"]);
    repository.write("events/f/b.json", "other");
    let id = repository.commit("both");
    let id = &id[..10];
    let rule = "existing files must not be changed, moved or deleted; write corrections as new events";
    let summary = format!("append-only: events/ in 1 new commit: 2 violations: {rule}");
    assert_eq!(
        stdout(&repository.check(&["--base", "main"])),
        format!("R  events/f/a.json -> events/f/x,y:z%.json  {id}\nM  events/f/b.json  {id}\n{summary}\n")
    );
    assert_eq!(
        stdout(&repository.check(&["--base", "main", "--format", "github"])),
        format!(
            "::error file=events/f/x%2Cy%3Az%25.json,title=append-only::\
             R  events/f/a.json -> events/f/x,y:z%25.json  {id}%0A{rule}\n\
             ::error file=events/f/b.json,title=append-only::M  events/f/b.json  {id}%0A{rule}\n{summary}\n"
        )
    );
    let kept = stdout(&repository.check(&["--base", "work"]));
    assert_eq!(kept, "append-only: events/ in 0 new commits: kept\n");
}

#[test]
fn a_name_that_is_not_utf8_is_told_as_it_is() {
    let repository = Repository::new();
    let blob = git_with_input(repository.path(), &["hash-object", "-w", "--stdin"], b"x");
    let index = |line: &[u8]| git_with_input(repository.path(), &["update-index", "-z", "--index-info"], line);
    index(&[format!("100644 {blob}\tevents/").as_bytes(), b"\xff\0"].concat());
    repository.git(&["commit", "-q", "-m", "added"]);
    index(&[format!("0 {}\tevents/", "0".repeat(40)).as_bytes(), b"\xff\0"].concat());
    repository.git(&["commit", "-q", "-m", "gone"]);
    let report = repository.json(&["--base", "HEAD~1"]);
    let violation = &report["violations"][0];
    assert_eq!(
        (&violation["path"], &violation["path_b64"]),
        (&json!("events/\u{fffd}"), &json!("ZXZlbnRzL/8="))
    );
}

#[test]
fn new_files_are_events_at_their_paths() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    let event = |id: &str| {
        json!({"event_id": id, "feed_id": "f", "type": "message", "author_identity_id": "i",
               "source": {"platform": "p", "adapter_id": "a", "source_msg_id": "m"},
               "ts": "2026-01-10T12:34:56.000Z", "payload": {}})
        .to_string()
    };
    repository.write("events/f/2026-01-10/1.json", &event("1"));
    repository.write("events/f/2026-01-10/12/2.json", &event("2"));
    repository.write("events/f/.gitkeep", "");
    repository.commit("good");
    let report = repository.json(&["--base", "main", "--schema"]);
    assert_eq!(
        (&report["outcome"], &report["malformed"]),
        (&json!("clean"), &json!([]))
    );
    // Without the flag, names are not checked.
    repository.write("events/f/2026-01-11/3.json", &event("3"));
    repository.write("events/f/2026-01-10/4.json", "{}");
    repository.write("events/f/2026-01-10/5.json", &" ".repeat((8 << 20) + 1));
    symlink("4.json", repository.path().join("events/f/2026-01-10/6.json")).unwrap();
    let bad = repository.commit("bad");
    assert_eq!(repository.json(&["--base", "main"])["outcome"], "clean");

    // Changes that a merge brings in were checked where they were added.
    repository.git(&["checkout", "-q", "-b", "side", "main"]);
    repository.write("events/f/2026-01-10/7.json", &event("7"));
    repository.commit("side");
    repository.merge("work");
    let report = repository.json(&["--base", "main", "--schema"]);
    let told: Vec<_> = report["malformed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            assert_eq!(file["commit"], bad.as_str());
            let problems: Vec<_> = file["problems"]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap())
                .collect();
            (
                file["path"].as_str().unwrap().rsplit('/').next().unwrap(),
                problems.join("; "),
            )
        })
        .collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for (name, why) in [
        (
            "3.json",
            "the event belongs at events/f/2026-01-10/3.json or at events/f/2026-01-10/12/3.json",
        ),
        ("4.json", "`event_id` is missing; `feed_id` is missing"),
        ("5.json", "the event is longer than 8388608 bytes"),
        ("6.json", "it is a symbolic link"),
    ] {
        assert!(
            told.iter()
                .any(|(file, problem)| *file == name && problem.starts_with(why)),
            "{name}: {told:?}"
        );
    }
    let said = stdout(&repository.check(&["--base", "main", "--schema", "--format", "github"]));
    assert!(
        said.contains("::error file=events/f/2026-01-10/6.json,title=event schema::in "),
        "{said}"
    );
    assert!(said.ends_with(": 4 new files malformed\n"), "{said}");
}

#[test]
fn what_cannot_be_judged_is_no_pass() {
    let repository = Repository::new();
    let output = repository.check(&["--base", "nowhere"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("there is no revision \"nowhere\""),
        "{}",
        stderr(&output)
    );
    let output = repository.check(&["--base", &"a1".repeat(20)]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let output = repository.check(&["--base", "main", "--head", "main^{tree}"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("is not a commit"), "{}", stderr(&output));
    // A tree in which one reader finds an old file, and another reader a different file.
    let entry = |content: &str| {
        let blob = git_with_input(repository.path(), &["hash-object", "-w", "--stdin"], content.as_bytes());
        let id = gix::ObjectId::from_hex(blob.as_bytes()).unwrap();
        [b"100644 a.json\0", id.as_slice()].concat()
    };
    let tree = |bytes: &[u8]| {
        let arguments = ["hash-object", "-w", "-t", "tree", "--literally", "--stdin"];
        git_with_input(repository.path(), &arguments, bytes)
    };
    let folder = |name: &str, inner: &str| {
        let id = gix::ObjectId::from_hex(inner.as_bytes()).unwrap();
        tree(&[format!("40000 {name}\0").as_bytes(), id.as_slice()].concat())
    };
    let two = tree(&[entry("a"), entry("other")].concat());
    let root = folder("events", &folder("f", &two));
    let head = git(
        repository.path(),
        &["commit-tree", &root, "-p", "main", "-m", "two faces"],
    );
    let output = repository.check(&["--base", "main", "--head", &head]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("or two have the same name"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_range_is_given_by_names_and_by_ids_of_refs_in_files_and_in_reftables() {
    for (ids, refs) in FORMATS {
        let repository = Repository::of_formats(ids, refs);
        let base = repository.git(&["rev-parse", "main"]);
        repository.git(&["checkout", "-q", "-b", "work"]);
        repository.write("events/f/a.json", "changed");
        let head = repository.commit("changed");
        repository.git(&["tag", "-a", "-m", "v1", "v1", "main"]);
        repository.git(&["update-ref", "refs/remotes/origin/main", "main"]);
        repository.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
        let expected = rows(&repository.json(&["--base", &base, "--head", &head]));
        assert_eq!(
            expected,
            told_by_git(repository.path(), &BTreeSet::from([head.clone()]))
        );
        for (base, head) in [
            ("main", "work"),
            ("refs/heads/main", "HEAD"),
            ("v1", "@"),
            ("v1^{commit}", "heads/work"),
            ("origin/main", "work"),
            ("origin", "work"),
            ("HEAD~1", &head),
            ("work^", "HEAD"),
        ] {
            let report = repository.json(&["--base", base, "--head", head]);
            assert_eq!(rows(&report), expected, "{refs}: {base}..{head}");
        }
        for nothing in ["nowhere", "nowhere~1", "refs/heads/none", "main@{upstream}", "@{-2}"] {
            let output = repository.check(&["--base", nothing]);
            assert_eq!(output.status.code(), Some(5), "{nothing}");
            let said = stderr(&output);
            assert!(said.contains("there is no revision"), "{nothing}: {said}");
        }
    }
}

#[test]
fn refs_that_cannot_be_read_are_no_pass() {
    let repository = Repository::of_formats("sha1", "reftable");
    let list = repository.path().join(".git/reftable/tables.list");
    fs::remove_file(&list).expect("ours");
    for base in ["main", "nowhere"] {
        let output = repository.check(&["--base", base]);
        assert_eq!(output.status.code(), Some(5));
        let said = stderr(&output);
        assert!(
            said.contains("cannot read the refs of ") && said.contains("git fsck"),
            "{said}"
        );
    }
}

#[derive(Debug, Clone)]
struct Step {
    parents: Vec<prop::sample::Index>,
    time: u32,
    edits: Vec<(u8, Option<u8>)>,
}

fn step() -> impl Strategy<Value = Step> {
    let parents = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
    let edits = proptest::collection::vec((0u8..12, proptest::option::weighted(0.85, 0u8..200)), 0..3);
    (parents, 0u32..1000, edits).prop_map(|(parents, time, edits)| Step { parents, time, edits })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Random histories with merges, several roots and arbitrary clocks. All contents are different.
    #[test]
    fn random_histories_are_judged_as_git_tells_them(
        steps in proptest::collection::vec(step(), 2..25),
        base in any::<prop::sample::Index>(),
        head in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare"]);
        let mut stream = String::new();
        for (number, step) in steps.iter().enumerate() {
            let time = 1_500_000_000 + step.time;
            stream += &format!("commit refs/heads/c{number}\nmark :{}\ncommitter A <a@b> {time} +0000\ndata 1\nx\n", number + 1);
            let mut parents: Vec<usize> = match number {
                0 => Vec::new(),
                _ => step.parents.iter().map(|parent| parent.index(number)).collect(),
            };
            parents.dedup();
            for (place, parent) in parents.iter().enumerate() {
                stream += &format!("{} :{}\n", if place == 0 { "from" } else { "merge" }, parent + 1);
            }
            for (path, content) in &step.edits {
                let path = if *path < 9 { format!("events/{}/{path}", path % 2) } else { format!("notes/{path}") };
                match content {
                    Some(content) => {
                        let content = format!("{number} {content} {path}");
                        stream += &format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len());
                    }
                    None => stream += &format!("D {path}\n"),
                }
            }
            stream += "\n";
        }
        git_with_input(folder.path(), &["fast-import", "--quiet", "--force"], stream.as_bytes());
        let [base, head] = [base, head].map(|index| format!("c{}", index.index(steps.len())));
        let output = check(folder.path(), &["--base", &base, "--head", &head, "--format", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let commits = new_commits(folder.path(), Some(&base), &head);
        let mut expected = told_by_git(folder.path(), &commits);
        let meet = command(folder.path()).args(["merge-base", &base, &head]).output().unwrap().status.success();
        if !meet {
            let id = git(folder.path(), &["rev-parse", &head]);
            let lost = git(folder.path(), &["diff-tree", "-r", "-M100%", "--name-status", &base, &head, "--", "events"]);
            for line in lost.lines() {
                let (letter, path) = line.split_once('\t').unwrap();
                let blamed = expected.iter().any(|row| row.1 == path);
                if letter != "A" && !blamed {
                    expected.insert((letter.into(), path.into(), None, id.clone()));
                }
            }
        }
        prop_assert_eq!(rows(&report), expected);
        // Commits that only appear new because of a clock are counted if there is no violation.
        prop_assert!(report["commits"].as_u64().unwrap() as usize >= commits.len());
    }
}

#[test]
fn new_names_that_are_taken_for_others_are_told_and_break_the_rule_when_that_is_asked_for() {
    let repository = Repository::new();
    repository.write("events/Old/x.json", "x");
    repository.write("events/old/x.json", "x");
    repository.commit("odd before anybody looked");
    repository.git(&["checkout", "-q", "-b", "work"]);
    let hidden = "events/f/ev\u{202e}li.json";
    for path in [
        "events/F/c.json",
        "events/f/A.json",
        hidden,
        "events/f/z\u{200b}.json",
        "events/Old/y.json",
        "Notes/n.txt",
    ] {
        repository.write(path, path);
    }
    repository.commit("work");
    let report = repository.json(&["--base", "main"]);
    assert_eq!(report["outcome"], "clean");
    let odd: Vec<_> = report["odd_names"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| {
            (
                name["path"].as_str().expect("a path"),
                name["oddity"].as_str().expect("a word"),
            )
        })
        .collect();
    let expected = [
        ("events/F", "case"),
        ("events/f/A.json", "case"),
        (hidden, "bidirectional"),
        ("events/f/z\u{200b}.json", "invisible"),
    ];
    assert_eq!(odd, expected);
    let told = repository.check(&["--base", "main"]);
    let lines = stdout(&told);
    assert!(
        lines.contains("warning: A  events/F  differs only in case from events/f\n"),
        "{lines}"
    );
    assert!(
        lines.contains("\\u{202e}li.json  has the bidirectional control U+202E\n"),
        "{lines}"
    );
    assert!(lines.ends_with("kept\n"), "{lines}");
    let annotations = stdout(&repository.check(&["--base", "main", "--format", "github"]));
    assert!(
        annotations.contains("::warning file=events/F,title=odd name::"),
        "{annotations}"
    );

    let strict = repository.check(&["--base", "main", "--strict-names"]);
    let lines = stdout(&strict);
    assert_eq!(strict.status.code(), Some(1), "{lines}");
    assert!(
        lines.ends_with("4 odd names\n") && !lines.contains("warning: "),
        "{lines}"
    );
    assert_eq!(
        repository.json(&["--base", "work", "--strict-names"])["outcome"],
        "clean"
    );
}
