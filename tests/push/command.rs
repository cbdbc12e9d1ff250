//! `stargate-mirror push` compared with `git push`: the same arguments on identical copies of repositories must give
//! the same lines, exit codes and refs.
#[path = "../../examples/push.rs"]
#[expect(dead_code, reason = "its main")]
mod example;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bstr::BString;
use git_push::{
    Advertisement, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic, refspec::Refspecs,
};
use git_push_transport::local::Local;
use proptest::prelude::*;
use stargate_mirror::{
    local_repository::LocalRepository,
    porcelain::{self, Fate, Order, ReadBack, Tracking},
};
use support::{
    git::{self, commit, git},
    mirror::{Format, Mirror},
};

/// A repository `source` with branches and tags, beside `remote.git`, which has some of them in other places.
///
/// ```text
/// source  main = three, topic = two, side = fork (beside two), HEAD -> main, tags light = two, signed (annotated) = three
///         topic is a tag, too: refs/tags/topic; refs/kv/main = three
/// remote  main = two, topic = three, gone = one, x/main = three, odd = unknown to the source; tag light = one; refs/kv/main = two
/// ```
fn make(folder: &Path, format: Format) {
    let (source, remote) = (folder.join("source"), folder.join("remote.git"));
    let format = match format {
        Format::Sha1 => "--object-format=sha1",
        Format::Sha256 => "--object-format=sha256",
    };
    git(folder, &["init", "-q", "--template=", "-b", "main", format, "source"]);
    git(
        folder,
        &[
            "init",
            "-q",
            "--template=",
            "--bare",
            "-b",
            "main",
            format,
            "remote.git",
        ],
    );
    let one = commit(&source, None, "one");
    let two = commit(&source, Some(&one), "two");
    let three = commit(&source, Some(&two), "three");
    let fork = commit(&source, Some(&one), "fork");
    let refs = [
        ("refs/heads/main", &three),
        ("refs/heads/topic", &two),
        ("refs/heads/side", &fork),
        ("refs/tags/light", &two),
        ("refs/tags/topic", &one),
        ("refs/kv/main", &three),
    ];
    for (name, id) in refs {
        git(&source, &["update-ref", name, id]);
    }
    git(&source, &["tag", "-a", "signed", "-m", "signed", "main"]);
    let there = [
        "main:refs/heads/main",
        "main:refs/heads/topic",
        "main:refs/heads/x/main",
    ];
    let there = there.map(|refspec| refspec.replace("main:refs/heads/main", &format!("{two}:refs/heads/main")));
    let tags = [
        format!("{one}:refs/tags/light"),
        format!("{one}:refs/heads/gone"),
        format!("{two}:refs/kv/main"),
    ];
    let mut push = vec!["push", "-q", "../remote.git"];
    push.extend(there.iter().chain(&tags).map(String::as_str));
    git(&source, &push);
    let odd = commit(&remote, Some(&two), "odd");
    git(&remote, &["update-ref", "refs/heads/odd", &odd]);
    git(&source, &["remote", "add", "origin", "../remote.git"]);
    git(&source, &["update-ref", "refs/remotes/origin/main", &two]);
    git(&source, &["update-ref", "refs/remotes/origin/topic", &two]);
    git(&source, &["update-ref", "refs/remotes/origin/gone", &one]);
}

pub(crate) fn made(format: Format) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), format);
    folder
}

/// The same, with the source's refs in reftables.
fn made_with_tables(format: Format) -> tempfile::TempDir {
    let template = made(format);
    let source = template.path().join("source");
    // git 2.47 migrates no reflogs.
    fs::remove_dir_all(source.join(".git/logs")).expect("reflogs");
    git(&source, &["refs", "migrate", "--ref-format=reftable"]);
    template
}

/// One with the source's refs in files, and one with reftables.
fn made_in_each_storage() -> [tempfile::TempDir; 2] {
    [made(Format::Sha1), made_with_tables(Format::Sha1)]
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy")),
        }
    }
}

/// `git push …` in a repository.
pub(crate) fn theirs(source: &Path, arguments: &[&str]) -> Output {
    let mut command = git::command(source);
    command.arg("push").args(arguments);
    command.output().expect("the program git is needed")
}

/// `stargate-mirror push …` in a repository.
pub(crate) fn ours(source: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.arg("push").args(arguments).current_dir(source).env_clear();
    command.envs(git::ISOLATED).env("HOME", source);
    command.output().expect("stargate-mirror runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the parts of a push that scripts can see: standard output and exit code.
fn seen(output: &Output) -> (String, Option<i32>) {
    (stdout(output), output.status.code())
}

pub(crate) fn refs(repository: &Path) -> String {
    git(repository, &["for-each-ref"])
}

/// Pushes with both programs, with `--porcelain` and these arguments, each in its own copy. Lines, exit codes and refs
/// must be equal.
fn compare(template: &Path, arguments: &[&str]) {
    let arguments = [&["--porcelain"][..], arguments].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let [git_side, our_side] = ["git", "ours"].map(|side| {
        let side = folder.path().join(side);
        copy(template, &side);
        side
    });
    let git_push = theirs(&git_side.join("source"), &arguments);
    let our_push = ours(&our_side.join("source"), &arguments);
    assert_eq!(
        seen(&our_push),
        seen(&git_push),
        "{arguments:?}\n--- ours\n{}--- git\n{}",
        stderr(&our_push),
        stderr(&git_push)
    );
    assert_ne!(
        git_push.status.code(),
        Some(128),
        "{arguments:?}: {}",
        stderr(&git_push)
    );
    for repository in ["remote.git", "source"] {
        let [expected, our_refs] = [&git_side, &our_side].map(|side| refs(&side.join(repository)));
        assert_eq!(our_refs, expected, "{arguments:?}: refs of {repository}");
    }
    git(&our_side.join("remote.git"), &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn pushes_are_those_of_git_lines_codes_and_refs() {
    let cases: &[&[&str]] = &[
        &["origin", "main"],
        &["origin", "main", "side", "signed", "refs/kv/main"],
        &["origin", "main:refs/heads/new"],
        &["origin", "main~1:refs/heads/topic"],
        &["origin", "+main~2:refs/heads/main"],
        &["origin", "--force", "side:topic", "light"],
        &["origin", "main:topic"],
        &["origin", "main:topic", ":gone"],
        &["origin", ":gone", ":refs/heads/missing"],
        &["origin", "--delete", "gone", "light"],
        &["origin", ":missing"],
        &["origin", ":refs/heads/gone", "main:refs/heads/gone/below"],
        &["origin", "light"],
        &["origin", "main:odd"],
        &["origin", "+main:odd"],
        &["origin", "main", "light", "main:odd", "main:refs/heads/new"],
        &[
            "origin",
            "--atomic",
            "main",
            "light",
            "main:odd",
            "main:refs/heads/new",
            "main:x/main",
        ],
        &["origin", "--atomic", "main", "signed"],
        &["origin", "refs/heads/*", "^refs/heads/topic"],
        &["origin", "+refs/heads/*:refs/heads/*", "tag", "signed"],
        &["origin", "refs/heads/*:refs/mirror/*"],
        &["origin", ":"],
        &["origin", "--quiet", "main"],
        &["origin", "--quiet", "light"],
        &["origin", "--force-with-lease", "side:main"],
        &["origin", "--force-with-lease", "side:topic", "main:refs/heads/new"],
        &["origin", "--force-with-lease=main", "side:main", "main~2:topic"],
        &["origin", "--force-with-lease=topic:main", "side:topic"],
        &["origin", "--force-with-lease=topic:", "side:topic"],
        &[
            "origin",
            "--force-with-lease=gone",
            "--force-with-lease=refs/heads/topic:topic",
            ":gone",
            "side:topic",
        ],
        &["../remote.git", "main"],
        &["../remote.git", "--force-with-lease", "main"],
        &["../remote.git", "main^{tree}:refs/kv/tree"],
    ];
    for template in made_in_each_storage() {
        for arguments in cases {
            compare(template.path(), arguments);
        }
    }
}

#[test]
fn sha256_is_the_same() {
    for template in [made(Format::Sha256), made_with_tables(Format::Sha256)] {
        compare(template.path(), &["origin", "main", "light", "+side:topic", ":gone"]);
        compare(template.path(), &["origin", "--force-with-lease", "side:main"]);
        compare_dry_run(
            &template.path().join("source"),
            &["HEAD~1:new", "main^{tree}:refs/kv/tree"],
        )
        .unwrap();
    }
}

#[test]
fn abbreviated_ids_are_those_of_git_in_sha256_repositories() {
    for template in [made(Format::Sha256), made_with_tables(Format::Sha256)] {
        let source = template.path().join("source");
        let ambiguous = ambiguous_id(&source);
        let short = git(&source, &["rev-parse", "--short=9", "main"]);
        let loose = refspecs_of_ids(&short, &ambiguous);
        for refspec in &loose {
            compare_dry_run(&source, &[refspec]).unwrap();
        }
        let pushed = ours(&source, &["--porcelain", "../remote.git", &loose[0]]);
        assert!(pushed.status.success(), "{}", stderr(&pushed));
        git(&source, &["repack", "-qad"]);
        for refspec in refspecs_of_ids(&short, &ambiguous) {
            compare_dry_run(&source, &[&refspec]).unwrap();
        }
        git(&source, &["update-ref", &format!("refs/heads/{short}"), "side"]);
        compare_dry_run(&source, &[&loose[0]]).unwrap();
    }
}

fn refspecs_of_ids(short: &str, ambiguous: &str) -> Vec<String> {
    vec![
        format!("{short}:refs/heads/by-id"),
        format!("{short}~1:refs/heads/parent"),
        format!("{short}^{{tree}}:refs/x/tree"),
        format!("{}:refs/heads/by-id", short.to_uppercase()),
        format!("light-1-g{short}:refs/heads/described"),
        short.to_owned(),
        format!("{ambiguous}:refs/x/blob"),
        "0000:refs/heads/nothing".to_owned(),
    ]
}

/// The four digits with which the ids of two blobs start.
fn ambiguous_id(source: &Path) -> String {
    let repository = gix::open(source).expect("a repository");
    let mut seen = std::collections::HashSet::new();
    let mut starts = (0..).map(|number: u32| {
        let id = repository.write_blob(number.to_string()).expect("a blob");
        id.to_hex_with_len(4).to_string()
    });
    let collision = starts.find(|start| !seen.insert(start.clone()));
    collision.expect("numbers are unlimited")
}

/// Both report what they would do.
fn compare_dry_run(source: &Path, arguments: &[&str]) -> Result<(), String> {
    let arguments = [&["--dry-run", "--porcelain", "../remote.git"][..], arguments].concat();
    let (git_push, our_push) = (theirs(source, &arguments), ours(source, &arguments));
    if seen(&our_push) == seen(&git_push) {
        return Ok(());
    }
    Err(format!("{arguments:?}\n--- ours\n{our_push:?}\n--- git\n{git_push:?}"))
}

#[test]
fn refspecs_mean_what_they_mean_to_git() {
    for template in made_in_each_storage() {
        assert_refspecs_are_understood(&template.path().join("source"));
    }
}

fn assert_refspecs_are_understood(source: &Path) {
    let abbreviated = git(source, &["rev-parse", "--short", "main"]);
    let described = format!("light-1-g{abbreviated}:refs/heads/described");
    git(source, &["fetch", "-q", "../remote.git", "x/main"]);
    git(source, &["update-ref", "ORIG_HEAD", "main~1"]);
    for (name, target) in [
        ("refs/heads/symbolic", "refs/heads/main"),
        ("refs/heads/dangling", "refs/heads/none"),
        ("refs/tags/latest", "refs/tags/signed"),
        ("refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
    ] {
        git(source, &["symbolic-ref", name, target]);
    }
    let by_id = format!("{abbreviated}:refs/heads/by-id");
    let cases: &[&[&str]] = &[
        &["main"],
        &["heads/main"],
        &["refs/heads/main"],
        &["HEAD"],
        &["@"],
        &["+HEAD"],
        &["HEAD:new"],
        &["@:new"],
        &["topic"],
        &["heads/topic"],
        &["tags/topic"],
        &["topic:new"],
        &["tag", "light"],
        &["signed"],
        &["signed:new"],
        &["kv/main"],
        &["refs/kv/main"],
        &["main:kv/main"],
        &["main:x/main"],
        &["main:gone"],
        &["main:light"],
        &["main~1:main"],
        &["main~1:new"],
        &["main~1"],
        &["main^{tree}:refs/heads/tree"],
        &["main:refs/heads/main"],
        &[&by_id],
        &[&abbreviated],
        &[&described],
        &["FETCH_HEAD:refs/heads/fetched"],
        &["ORIG_HEAD:refs/heads/before"],
        &["origin:refs/heads/their-head"],
        &["main^{/one}:refs/heads/by-message"],
        &["signed^{}:refs/heads/peeled"],
        &["heads/main~1:refs/heads/parent"],
        &["refs/kv/main@{none}:x"],
        &["symbolic"],
        &["symbolic:new"],
        &["dangling"],
        &["latest:refs/heads/new"],
        &["nowhere"],
        &["nowhere:main"],
        &[":main"],
        &[":new"],
        &[":refs/heads/new"],
        &[":light"],
        &["main", "main"],
        &["main:a", "side:a"],
        &["main:refs/heads/a", "side:a"],
        &["origin/main:new"],
        &["remotes/origin/main"],
        &["origin/main:refs/heads/new"],
        &["refs/heads/*"],
        &["+refs/heads/*"],
        &["refs/heads/*:refs/heads/*"],
        &["refs/heads/s*:refs/heads/t*"],
        &["refs/heads/*e:refs/e/*"],
        &["refs/*:refs/*"],
        &["refs/heads/*:refs/heads/x/*", "^refs/heads/main"],
        &["refs/heads/*:refs/heads/x/*", "^refs/heads/x/main"],
        &["refs/heads/*", "^main"],
        &["main", "^refs/heads/main"],
        &["main:refs/heads/q", "^refs/heads/*"],
        &["^refs/heads/main"],
        &[":"],
        &["+:"],
        &[":", "+side:topic"],
        &["+:", "refs/heads/t*"],
        &["refs/heads/*:refs/a/*", "+refs/heads/*:refs/b/*"],
        &["refs/heads/none*"],
        &["main:"],
        &[""],
        &["+"],
        &["^"],
        &["a b"],
        &["main:a..b"],
        &["*"],
        &["refs/heads/*:refs/heads/x"],
        &["refs/heads/x:refs/heads/*"],
        &["^main:x"],
        &["main:refs/heads/a~1"],
        &["refs/*/m*:refs/*/n*"],
        &["--delete", "gone", "tag", "light"],
        &["--delete", "a:b"],
        &["--delete", "gone", "missing"],
        &["--atomic", "main", "light"],
        &["--atomic", "main", "side"],
        &["--force", "refs/heads/*", "light"],
        &["--force-with-lease", "main"],
        &["--force-with-lease=main:main~1", "main"],
        &["--force-with-lease=main:topic", "side:main"],
        &["--force-with-lease=main:nowhere", "main"],
        &["--force-with-lease=new:", "main:refs/heads/new"],
        &["--force-with-lease=heads/topic:main", "topic:refs/heads/topic"],
        &["--force-with-lease=light:main~2", "light"],
        &["--force-with-lease=light:main", "--force", "light"],
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|arguments| compare_dry_run(source, arguments).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_detached_head_is_no_branch() {
    for template in made_in_each_storage() {
        let source = template.path().join("source");
        git(&source, &["update-ref", "--no-deref", "HEAD", "refs/heads/topic"]);
        assert_heads_are_equal(&source);
    }
}

fn assert_heads_are_equal(source: &Path) {
    for arguments in [&["HEAD"][..], &["HEAD:refs/heads/new"], &["HEAD:main"], &["HEAD:new"]] {
        compare_dry_run(source, arguments).unwrap();
    }
}

#[test]
fn a_work_tree_has_its_own_head_and_its_own_refs() {
    for template in made_in_each_storage() {
        let source = template.path().join("source");
        git(&source, &["worktree", "add", "-q", "../linked", "topic"]);
        git(&source, &["update-ref", "refs/bisect/bad", "main"]);
        let linked = template.path().join("linked");
        git(&linked, &["update-ref", "refs/bisect/bad", "side"]);
        git(&linked, &["update-ref", "refs/worktree/own", "side"]);
        for work_tree in [&linked, &source] {
            assert_heads_are_equal(work_tree);
            for refspec in [
                "refs/*:refs/x/*",
                "bisect/bad:refs/heads/bad",
                "worktree/own:refs/heads/own",
            ] {
                compare_dry_run(work_tree, &[refspec]).unwrap();
            }
        }
    }
}

#[test]
fn an_unborn_branch_is_no_source() {
    for template in made_in_each_storage() {
        let source = template.path().join("source");
        git(&source, &["symbolic-ref", "HEAD", "refs/heads/unborn"]);
        assert_heads_are_equal(&source);
    }
}

/// Everything that git shows of the refs that a push writes into its own repository.
fn local_state(work_tree: &Path) -> Vec<String> {
    let commands: [&[&str]; 6] = [
        &["status", "-sb"],
        &["rev-parse", "origin/main"],
        &[
            "for-each-ref",
            "--format=%(refname) %(objectname) %(*objectname) %(symref)",
        ],
        &["reflog", "show", "--format=%gd %H %gn %gs", "origin/main"],
        &["refs", "verify"],
        &["fsck", "--no-dangling", "--no-progress"],
    ];
    commands.map(|command| git(work_tree, command)).into()
}

/// Pushes with both programs from `work_tree`, each in its own copy of the template with a linked work tree. Returns the
/// copies of git and of ours.
fn push_with_both(template: &Path, work_tree: &str, arguments: &[&str]) -> [tempfile::TempDir; 2] {
    let copies = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [git_side, our_side] = [0, 1].map(|side: usize| copies[side].path());
    for side in [git_side, our_side] {
        copy(template, side);
        git(&side.join("source"), &["worktree", "add", "-q", "../linked", "topic"]);
    }
    let arguments = [&["--porcelain"][..], arguments].concat();
    let git_push = theirs(&git_side.join(work_tree), &arguments);
    let our_push = ours(&our_side.join(work_tree), &arguments);
    assert_eq!(our_push.status.code(), git_push.status.code(), "{}", stderr(&our_push));
    assert!(!stderr(&our_push).contains("remote-tracking"), "{}", stderr(&our_push));
    copies
}

#[test]
fn remote_tracking_refs_in_reftables_are_those_of_git() {
    for (format, work_tree) in [(Format::Sha1, "source"), (Format::Sha256, "linked")] {
        let template = made_with_tables(format);
        let source = template.path().join("source");
        for (key, value) in [
            ("user.name", "A U Thor"),
            ("user.email", "author@example.com"),
            ("branch.main.remote", "origin"),
            ("branch.main.merge", "refs/heads/main"),
        ] {
            git(&source, &["config", key, value]);
        }
        for arguments in [
            // The remote's topic differs from refs/remotes/origin/topic.
            &["origin", "main", "side:topic", "--force-with-lease", "main:new"][..],
            &[
                "origin",
                "+main~2:main",
                ":gone",
                "signed",
                "main:gone/below",
                "+refs/heads/*:refs/heads/many/*",
            ],
        ] {
            let copies = push_with_both(template.path(), work_tree, arguments);
            let [git_side, our_side] = copies.each_ref().map(|copy| local_state(&copy.path().join(work_tree)));
            assert_eq!(our_side, git_side, "{work_tree}: {arguments:?}");
        }
    }
}

#[test]
fn tags_among_the_remote_tracking_refs_in_reftables_are_peeled() {
    let template = made_with_tables(Format::Sha1);
    let source = template.path().join("source");
    git(
        &source,
        &[
            "config",
            "--add",
            "remote.origin.fetch",
            "+refs/tags/*:refs/remote-tags/*",
        ],
    );
    git(&source, &["config", "core.logAllRefUpdates", "false"]);
    let pushed = ours(&source, &["origin", "signed"]);
    assert_eq!(pushed.status.code(), Some(0), "{}", stderr(&pushed));
    let shown = git(
        &source,
        &["for-each-ref", "--format=%(*objectname)", "refs/remote-tags"],
    );
    assert_eq!(shown, git(&source, &["rev-parse", "main"]));
    assert_eq!(git(&source, &["reflog", "list"]), "", "reflogs are switched off");
}

#[test]
fn remote_tracking_refs_in_reftables_that_cannot_be_written_are_a_warning() {
    let template = made_with_tables(Format::Sha1);
    let source = template.path().join("source");
    let before = refs(&source);
    let lock = source.join(".git/reftable/tables.list.lock");
    fs::write(&lock, "").expect("a lock");
    let pushed = ours(&source, &["origin", "main", "main:new"]);
    let said = stderr(&pushed);
    assert_eq!(pushed.status.code(), Some(0), "{said}");
    assert_eq!(
        said.matches("the remote-tracking ref could not be updated").count(),
        1,
        "{said}"
    );
    assert!(
        said.contains("and 1 more") && said.contains("tables.list.lock"),
        "{said}"
    );
    assert_eq!(refs(&source), before);
    fs::remove_file(&lock).expect("ours");

    // An impossible one does not hold up the others.
    git(&source, &["update-ref", "refs/remotes/origin/newer/below", "main"]);
    let pushed = ours(&source, &["origin", "main", "main:newer", "main:newest"]);
    let said = stderr(&pushed);
    assert_eq!(pushed.status.code(), Some(0), "{said}");
    assert_eq!(
        said.matches("the remote-tracking ref could not be updated").count(),
        1,
        "{said}"
    );
    assert!(said.contains("refs/remotes/origin/newer/below exists"), "{said}");
    for name in ["origin/main", "origin/newest"] {
        assert_eq!(git(&source, &["rev-parse", name]), git(&source, &["rev-parse", "main"]));
    }
}

#[test]
fn a_setting_that_is_not_understood_is_an_error_before_anything_is_sent() {
    for key in ["stargate.maxPackSize", "stargate.verify"] {
        let template = made(Format::Sha1);
        let (source, remote) = (template.path().join("source"), template.path().join("remote.git"));
        let before = refs(&remote);
        git(&source, &["config", key, "much"]);
        for (arguments, exit) in [
            (&["origin", "main:new"][..], 4),
            (&["--porcelain", "origin", "main:new"], 128),
        ] {
            let pushed = ours(&source, arguments);
            assert_eq!(pushed.status.code(), Some(exit), "{}", stderr(&pushed));
            let said = format!("{key} = much");
            assert!(stderr(&pushed).contains(&said), "{}", stderr(&pushed));
        }
        assert_eq!(refs(&remote), before);

        // A push does not use this one.
        git(&source, &["config", "--unset", key]);
        git(&source, &["config", "stargate.pushesPerMinute", "much"]);
        let pushed = ours(&source, &["origin", "main:new"]);
        assert_eq!(pushed.status.code(), Some(0), "{}", stderr(&pushed));
    }
}

#[test]
fn damaged_reftables_are_an_error_before_anything_is_sent() {
    let template = made_with_tables(Format::Sha1);
    let source = template.path().join("source");
    let remote = template.path().join("remote.git");
    let before = refs(&remote);
    let list = source.join(".git/reftable/tables.list");
    let table = fs::read_to_string(&list)
        .expect("a list")
        .lines()
        .next()
        .expect("a table")
        .to_owned();
    let table = list.with_file_name(table);
    let whole = fs::read(&table).expect("a table");
    for (path, bytes) in [(&table, &whole[..whole.len() / 2]), (&list, &b"\0"[..])] {
        // git makes tables read-only.
        fs::remove_file(path).expect("ours");
        fs::write(path, bytes).expect("ours");
        for arguments in [
            &["origin", "main"][..],
            &["origin", ":gone"],
            &["origin", "--force-with-lease=gone:main", ":gone"],
        ] {
            let refused = ours(&source, arguments);
            let said = stderr(&refused);
            assert_eq!(refused.status.code(), Some(5), "{arguments:?}: {said}");
            assert!(
                said.contains("cannot read the refs of ") && said.contains("reftable cannot be read"),
                "{said}"
            );
        }
    }
    assert_eq!(refs(&remote), before);
}

fn refspec() -> impl Strategy<Value = String> {
    let sources = [
        "main",
        "topic",
        "side",
        "heads/topic",
        "refs/heads/side",
        "light",
        "signed",
        "HEAD",
        "main~1",
        "nowhere",
        "",
        "kv/main",
    ];
    let destinations = [
        "",
        ":main",
        ":topic",
        ":light",
        ":new",
        ":refs/heads/new",
        ":refs/tags/new",
        ":odd",
        ":kv/main",
        ":x/main",
        ":gone",
    ];
    let one = (
        prop::sample::select(sources.to_vec()),
        prop::sample::select(destinations.to_vec()),
    );
    let patterns = [
        "refs/heads/*",
        "refs/heads/*:refs/heads/x/*",
        "refs/*:refs/*",
        "refs/tags/*",
        "refs/heads/*i*:refs/i/*",
        ":",
    ];
    let excluded = ["^refs/heads/main", "^refs/heads/*", "^refs/tags/t*"];
    let wanted = prop_oneof![
        4 => one.prop_map(|(source, destination)| format!("{source}{destination}")),
        1 => prop::sample::select(patterns.to_vec()).prop_map(str::to_owned),
    ];
    prop_oneof![
        6 => (prop::bool::weighted(0.3), wanted).prop_map(|(force, wanted)| format!("{}{wanted}", if force { "+" } else { "" })),
        1 => prop::sample::select(excluded.to_vec()).prop_map(str::to_owned),
    ]
}

#[test]
fn any_refspecs_mean_what_they_mean_to_git() {
    let templates = made_in_each_storage();
    let sources = templates.each_ref().map(|template| template.path().join("source"));
    let config = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(refspecs in prop::collection::vec(refspec(), 1..4), atomic: bool, storage in 0..2_usize)| {
        let mut arguments: Vec<&str> = refspecs.iter().map(String::as_str).collect();
        if atomic {
            arguments.insert(0, "--atomic");
        }
        compare_dry_run(&sources[storage], &arguments).map_err(TestCaseError::fail)?;
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    let template = made(Format::Sha1);
    let folder = template.path();
    let before = ["source", "remote.git"].map(|name| refs(&folder.join(name)));
    let output = ours(
        &folder.join("source"),
        &["--dry-run", "origin", "main", ":gone", "+side:topic"],
    );
    let short = |name| git(&folder.join("source"), &["rev-parse", "--short", name]);
    let [two, three, fork] = ["main~1", "main", "side"].map(short);
    let expected = format!(
        "To ../remote.git
 - [deleted]         gone
   {two}..{three}  main -> main
 + {three}...{fork} side -> topic (forced update)
"
    );
    assert_eq!(stderr(&output), expected);
    assert_eq!(["source", "remote.git"].map(|name| refs(&folder.join(name))), before);
}

#[test]
fn exit_codes_are_those_of_the_project_unless_lines_for_scripts_are_asked_for() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let cases: &[(&[&str], i32, i32)] = &[
        (&["origin", "light"], 3, 1),
        (&["--no-such-option", "origin", "light"], 2, 129),
        (&["origin", "nowhere"], 2, 1),
        (&["origin", "main:a..b"], 2, 128),
        (&["origin", "--delete", "a:b"], 2, 128),
        (&["origin", "--force-with-lease=main:nowhere", "main"], 2, 129),
        (&["nobody", "main"], 4, 128),
        (&["../nowhere.git", "main"], 4, 128),
        (&["origin", "--push-option", "x", "main"], 4, 128),
        (&["--repo", "/nowhere", "origin", "main"], 5, 128),
    ];
    for (arguments, project, git) in cases {
        let plain = ours(&source, arguments);
        assert_eq!(plain.status.code(), Some(*project), "{arguments:?}: {}", stderr(&plain));
        assert!(!stderr(&plain).is_empty(), "{arguments:?}");
        let porcelain = ours(&source, &[&["--porcelain"][..], arguments].concat());
        assert_eq!(porcelain.status.code(), Some(*git), "{arguments:?} --porcelain");
    }
}

#[test]
fn json_is_one_object_about_every_ref() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let [two, three] = ["main~1", "main"].map(|name| git(&source, &["rev-parse", name]));
    let output = ours(
        &source,
        &["--json", "origin", "main", "light", "main:refs/heads/new", ":gone"],
    );
    assert_eq!(output.status.code(), Some(3));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(said["outcome"], "rejected");
    assert_eq!(said["remote"], "../remote.git");
    assert_eq!(said["http_requests"], 0);
    let ref_of = |name: &str| {
        let refs = said["refs"].as_array().expect("a list");
        refs.iter().find(|found| found["ref"] == name).expect(name).clone()
    };
    let expected =
        serde_json::json!({"ref": "refs/heads/main", "old": two, "new": three, "verdict": "accepted", "reason": null});
    assert_eq!(ref_of("refs/heads/main"), expected);
    assert_eq!(ref_of("refs/heads/new")["old"], serde_json::Value::Null);
    assert_eq!(ref_of("refs/heads/gone")["new"], "0".repeat(40));
    let refused = ref_of("refs/tags/light");
    assert_eq!(
        (&refused["verdict"], &refused["reason"]),
        (&"refused".into(), &"already exists".into())
    );
}

/// A pair of equal repositories on a server, and a source for each.
struct Served {
    mirror: Mirror,
    folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let mirror = Mirror::start();
        let folder = tempfile::tempdir().expect("a folder");
        let template = made(Format::Sha1);
        for side in ["git", "our"] {
            copy(template.path(), &folder.path().join(side));
            let name = format!("{side}.git");
            mirror.create(&name, Format::Sha1);
            copy(&template.path().join("remote.git"), &mirror.path(&name));
            mirror.git(&name, &["config", "http.receivepack", "true"]);
            let source = folder.path().join(side).join("source");
            git(&source, &["remote", "set-url", "origin", &mirror.url(&name)]);
        }
        Served { mirror, folder }
    }

    fn hook(&self, hook: &str, script: &str) {
        for name in ["git.git", "our.git"] {
            self.mirror.hook(name, hook, script);
        }
    }

    fn source(&self, side: &str) -> PathBuf {
        self.folder.path().join(side).join("source")
    }

    /// Pushes with both programs, and compares their messages about the URL and the refs. Returns our stderr.
    fn compare(&self, arguments: &[&str]) -> String {
        let arguments = [&["--porcelain", "origin"][..], arguments].concat();
        let git_push = theirs(&self.source("git"), &arguments);
        let our_push = ours(&self.source("our"), &arguments);
        let (lines, code) = seen(&our_push);
        assert_ne!(code, Some(128), "{}", stderr(&our_push));
        let about = format!(
            "{arguments:?}\n--- ours\n{}--- git\n{}",
            stderr(&our_push),
            stderr(&git_push)
        );
        assert_eq!(
            (lines.replace("/our.git", "/git.git"), code),
            seen(&git_push),
            "{about}"
        );
        let there = ["git.git", "our.git"].map(|name| refs(&self.mirror.path(name)));
        assert_eq!(there[1], there[0], "{about}");
        let here = ["git", "our"].map(|side| refs(&self.source(side)));
        assert_eq!(here[1], here[0], "{about}");
        stderr(&our_push)
    }
}

#[test]
fn pushes_over_http_are_those_of_git() {
    let served = Served::new();
    let one_after_the_other: &[&[&str]] = &[
        &["--dry-run", "main", "light", "main:odd"],
        &["main", "signed", "main:refs/heads/new", "refs/kv/main"],
        &["main", "signed"],
        &["--atomic", "main~2:topic", "main:refs/heads/other"],
        &["light", "main:odd", "side:topic", "main:refs/heads/third"],
        &["+side:topic", ":gone", ":refs/heads/missing"],
        &["--force-with-lease", "main~1:main"],
        &["--force-with-lease=main:main~1", "+side:main"],
        &["refs/heads/*:refs/heads/all/*", "^refs/heads/all/main"],
    ];
    for arguments in one_after_the_other {
        served.compare(arguments);
    }
}

#[test]
fn what_hooks_decline_and_say_is_told() {
    let served = Served::new();
    let declines = "echo \"looking at $1\" >&2\ntest \"$1\" != refs/heads/topic";
    served.hook("update", declines);
    let said = served.compare(&["main", "+side:topic", "main:refs/heads/new"]);
    for line in [
        "remote: looking at refs/heads/main",
        "remote: looking at refs/heads/topic",
    ] {
        assert!(
            said.lines().any(|shown| shown.trim_end() == line),
            "{line:?} is missing in {said}"
        );
    }
    served.compare(&["--atomic", "+side:topic", "main:refs/heads/atomic"]);
    served.hook("pre-receive", "exit 1");
    served.compare(&["+main~2:main", "+main:topic"]);
}

/// Returns the server's output while it receives a commit with new versions of this many files.
fn said_of_many_deltas(files: usize, options: &[&str]) -> Vec<String> {
    let served = Served::new();
    served.hook("post-receive", "echo 'thank you' >&2");
    let source = served.source("our");
    let content = |version: &str| "the same line\n".repeat(50) + version;
    for version in ["one", "other"] {
        for number in 0..files {
            fs::write(
                source.join(format!("{number}.txt")),
                content(&format!("{version} {number}")),
            )
            .expect("a file");
        }
        git(&source, &["add", "-A"]);
        git(&source, &["commit", "-q", "-m", version]);
    }
    let output = ours(&source, &[&["origin", "HEAD:refs/heads/many"], options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    said.lines()
        .filter(|line| line.starts_with("remote: "))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn progress_of_the_remote_is_a_line_each_and_none_when_quiet() {
    let said = said_of_many_deltas(200, &["--progress"]);
    let said: Vec<_> = said.into_iter().filter(|line| line.starts_with("remote: ")).collect();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with("remote: Resolving deltas: 100% (") && said[0].contains("), completed with "),
        "{said:?}"
    );
    assert_eq!(said[1], "remote: thank you");
    for options in [&["--quiet"][..], &["--no-progress"], &[]] {
        assert_eq!(said_of_many_deltas(200, options), ["remote: thank you"], "{options:?}");
    }
}

#[test]
fn push_options_arrive() {
    let served = Served::new();
    let name = "our.git";
    served
        .mirror
        .git(name, &["config", "receive.advertisePushOptions", "true"]);
    served.mirror.hook(
        name,
        "pre-receive",
        "echo \"$GIT_PUSH_OPTION_COUNT: $GIT_PUSH_OPTION_0, $GIT_PUSH_OPTION_1\" >&2",
    );
    let output = ours(
        &served.source("our"),
        &["-o", "ci.skip", "--push-option=a b", "origin", "main"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("remote: 2: ci.skip, a b"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_servers_ok_is_checked() {
    let served = Served::new();
    // The report is out when this runs, but git waits for it before it ends the connection.
    served.mirror.hook(
        "our.git",
        "post-receive",
        "while read old new name; do git update-ref $name $old; done",
    );
    let output = ours(&served.source("our"), &["--json", "origin", "main"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(said["outcome"], "uncertain");
    assert_eq!(said["refs"][0]["verdict"], "unknown");
    let reason = said["refs"][0]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("the remote reported ok, but it still has "),
        "{reason}"
    );
    let tracking = git(&served.source("our"), &["rev-parse", "origin/main"]);
    assert_eq!(
        tracking,
        git(&served.source("our"), &["rev-parse", "main~1"]),
        "what is not there is not remembered"
    );
}

/// A remote whose answers are lost, after it did what it was told, or before.
struct Forgetful {
    remote: Local,
    obeys: bool,
}

impl Connection for Forgetful {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.remote.advertisement()
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        if self.obeys {
            let _lost = self.remote.send(request, pack)?;
        }
        Err(Error::new(ErrorKind::Uncertain, "the answer was lost"))
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.remote.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        self.remote.traffic()
    }
}

#[test]
fn after_a_lost_answer_the_refs_tell() {
    for (obeys, read_back) in [
        (true, ReadBack::Always),
        (false, ReadBack::Always),
        (true, ReadBack::WithoutReport),
        (false, ReadBack::WithoutReport),
        (true, ReadBack::Never),
    ] {
        let verify = read_back != ReadBack::Never;
        let template = made(Format::Sha1);
        let local = LocalRepository::open(&template.path().join("source")).expect("a repository");
        let remote = Local::open(&template.path().join("remote.git")).expect("a remote");
        let order = Order {
            refspecs: Refspecs::parse(["main", ":gone"]).expect("refspecs"),
            read_back,
            ..Order::default()
        };
        let configured = local.repository().find_remote("origin").expect("a remote");
        let tracking = Tracking::new(&local, Some(&configured));
        let mut connection = Forgetful { remote, obeys };
        let refs = porcelain::push(&mut connection, &local, &tracking, &order, &()).expect("no error");
        let [two, three] = ["main~1", "main"].map(|name| git(&template.path().join("source"), &["rev-parse", name]));
        let found = |index: usize| refs[index].fate.clone();
        match (obeys, verify) {
            (true, true) => assert_eq!((found(0), found(1)), (Fate::Accepted, Fate::Accepted)),
            (false, true) => {
                let still = format!("the answer was lost, but it still has {two}");
                assert_eq!(found(1), Fate::Unknown(still));
            }
            _ => assert_eq!(found(1), Fate::Unknown("the answer was lost".into())),
        }
        let remembered = git(&template.path().join("source"), &["rev-parse", "origin/main"]);
        assert_eq!(remembered, if obeys && verify { three } else { two });
    }
}

#[test]
fn remote_tracking_refs_follow_the_fetch_refspecs() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let also = |refspec| git(&source, &["config", "--add", "remote.origin.fetch", refspec]);
    also("+refs/kv/*:refs/remotes/kv/*");
    compare(
        template.path(),
        &["origin", "main", "side", "refs/kv/main", ":gone", "+side:topic"],
    );
    // Git honours this since 2.50 only.
    also("^refs/heads/side");
    let output = ours(&source, &["origin", "side"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!refs(&source).contains("refs/remotes/origin/side"));
    let output = ours(&source, &["origin", "refs/kv/main"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let moved = git(&source, &["rev-parse", "refs/remotes/kv/main"]);
    assert_eq!(moved, git(&source, &["rev-parse", "main"]));
}

#[test]
fn the_example_pushes_commits_that_are_in_memory_only() {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), &["init", "-q", "--bare", "."]);
    let remote = folder.path().display().to_string();
    for note in ["one", "two"] {
        let (id, verdict) = example::push_note(&remote, note).expect("a push");
        assert_eq!(verdict, git_push::Verdict::Accepted);
        assert_eq!(git(folder.path(), &["rev-parse", example::BRANCH]), id.to_string());
        assert_eq!(git(folder.path(), &["show", "notes:note"]), note);
    }
    assert_eq!(git(folder.path(), &["rev-list", "--count", "notes"]), "2");
    git(folder.path(), &["fsck", "--strict"]);
}
