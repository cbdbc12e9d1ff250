//! Packs of random histories: against a naive model, and against git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::history::random::{self, Step, closure, steps};
use crate::history::{self, commit, git};
use bstr::BString;
use git_push::{Advertisement, Command, Connection, Error, ErrorKind, pack::Format};
use git_push_transport::local::Local;
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::Index;

const FORMATS: [&str; 2] = ["sha1", "sha256"];

fn advertised(ids: impl IntoIterator<Item = ObjectId>) -> Advertisement {
    let names = (0..).map(|number| BString::from(format!("refs/kv/{number}")));
    Advertisement {
        refs: names.zip(ids).collect(),
        ..Advertisement::default()
    }
}

fn creates(ids: impl IntoIterator<Item = ObjectId>) -> Vec<Command> {
    let names = (0..).map(|number| BString::from(format!("refs/new/{number}")));
    let create = |(name, new): (BString, ObjectId)| Command {
        name,
        old: new.kind().null(),
        new,
    };
    names.zip(ids).map(create).collect()
}

fn choose(commits: &[ObjectId], choice: &[Index]) -> BTreeSet<ObjectId> {
    choice.iter().map(|index| commits[index.index(commits.len())]).collect()
}

/// The ids of the listed objects.
fn enumerate(
    repository: &Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<Vec<ObjectId>, Error> {
    let list = git_push::enumerate::enumerate(repository, advertisement, commands)?;
    Ok(list.objects.iter().map(|listed| listed.id).collect())
}

/// Names with their expected ids.
type Refs = BTreeMap<String, ObjectId>;

/// Returns the commands that change `mirror` into `wanted`.
fn commands(mirror: &Advertisement, wanted: &Refs) -> Vec<Command> {
    let names: BTreeSet<_> = wanted.keys().map(|name| BString::from(name.as_str())).collect();
    let names: BTreeSet<_> = names.into_iter().chain(mirror.refs.keys().cloned()).collect();
    let null = wanted.values().next().unwrap().kind().null();
    let command = |name: BString| Command {
        old: mirror.id(name.as_ref()).unwrap_or(null),
        new: wanted.get(&name.to_string()).copied().unwrap_or(null),
        name,
    };
    names.into_iter().map(command).collect()
}

/// Checks that the mirror is complete, and has exactly the source's objects for these refs.
fn assert_mirrors(source: &Path, mirror: &Path, wanted: &Refs) {
    git(mirror, &["fsck", "--strict", "--full", "--no-dangling"], None);
    let sorted = |output: String| output.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let tips: Vec<_> = wanted.values().map(ToString::to_string).collect();
    let list = ["rev-list", "--objects", "--no-object-names"];
    let ours = [&list[..], &tips.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    let theirs = [&list[..], &["--all"]].concat();
    assert_eq!(sorted(git(source, &ours, None)), sorted(git(mirror, &theirs, None)));
}

/// Pushes through [`Local`].
fn push_locally(source: &Repository, mirror: &Path, wanted: &Refs) {
    let mut connection = Local::open(mirror).unwrap();
    let advertisement = connection.advertisement().unwrap();
    let commands = commands(&advertisement, wanted);
    let report = git_push::Push::new(source, &advertisement)
        .commands(commands)
        .atomic(true)
        .send(&mut connection)
        .unwrap();
    assert!(report.all_accepted(), "{report:?}");
}

/// Feeds the pack to git, and moves the refs.
fn push_with_git(source: &Repository, mirror: &Path, wanted: &Refs) {
    let advertisement = Local::open(mirror).unwrap().advertisement().unwrap();
    let commands = commands(&advertisement, wanted);
    let list = git_push::enumerate::enumerate(source, &advertisement, &commands).unwrap();
    let format = Format {
        ofs_delta: true,
        thin: true,
    };
    let pack = git_push::pack::write(source, &list, format).unwrap();
    assert_eq!(pack.objects as usize, list.objects.len());
    assert_eq!(pack.bytes, pack.file.metadata().unwrap().len());
    git(
        mirror,
        &["index-pack", "--strict", "--fix-thin", "--stdin"],
        Some(pack.file),
    );
    for command in commands {
        let (name, old, new) = (
            command.name.to_string(),
            command.old.to_string(),
            command.new.to_string(),
        );
        match command.is_delete() {
            true => git(mirror, &["update-ref", "-d", &name, &old], None),
            false => git(mirror, &["update-ref", &name, &new, &old], None),
        };
    }
}

/// Two pushes of one history, to a mirror that gets a commit of its own in between.
fn two_pushes(format: &str, steps: &[Step], first: &[Index], second: &[Index]) {
    let folder = tempfile::tempdir().unwrap();
    let source_path = folder.path().join("source.git");
    let source = history::repository(&source_path, format);
    let commits = random::write(&source, steps);
    for (name, push) in [
        ("local", push_locally as fn(&Repository, &Path, &Refs)),
        ("git", push_with_git),
    ] {
        let mirror = folder.path().join(name);
        let theirs = history::repository(&mirror, format);
        let named = |choice: &[Index]| -> Refs {
            let tips = choose(&commits, choice).into_iter().enumerate();
            tips.map(|(number, id)| (format!("refs/kv/{number}"), id)).collect()
        };
        push(&source, &mirror, &named(first));
        assert_mirrors(&source_path, &mirror, &named(first));

        let tip = *named(first).values().next().unwrap();
        let tree = theirs.find_commit(tip).unwrap().tree_id().unwrap().detach();
        let foreign = commit(&theirs, tree, &[tip], 5000).to_string();
        git(&mirror, &["update-ref", "refs/foreign", &foreign], None);
        push(&source, &mirror, &named(second));
        assert_mirrors(&source_path, &mirror, &named(second));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn git_finds_mirrors_whole_and_equal(
        format in prop::sample::select(&FORMATS[..]),
        steps in steps(),
        first in prop::collection::vec(any::<Index>(), 1..3),
        second in prop::collection::vec(any::<Index>(), 1..4),
    ) {
        two_pushes(format, &steps, &first, &second);
    }
}

/// A repository of this test process, whose objects are in memory.
fn in_memory(folder: &Path, format: &str) -> Repository {
    history::repository(folder, format).with_object_memory()
}

fn check_enumeration(repository: &Repository, steps: &[Step], had: &[Index], wanted: &[Index]) {
    let commits = random::write(repository, steps);
    let (had, wanted) = (choose(&commits, had), choose(&commits, wanted));
    // A missing tip gives no information, and does no harm.
    let unknown = ObjectId::from_hex("ab".repeat(repository.object_hash().len_in_bytes()).as_bytes()).unwrap();
    let advertisement = advertised(had.iter().copied().chain([unknown]));
    let list = enumerate(repository, &advertisement, &creates(wanted.iter().copied())).unwrap();

    let sent: BTreeSet<_> = list.iter().copied().collect();
    assert_eq!(sent.len(), list.len(), "each object once");
    let needed = closure(repository, wanted.iter().copied());
    assert!(sent.is_subset(&needed), "nothing that is unreachable is sent");
    let theirs = closure(repository, had.iter().copied());
    let missing: Vec<_> = needed.difference(&theirs).filter(|id| !sent.contains(*id)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");

    for (old, new) in had.iter().flat_map(|old| wanted.iter().map(move |new| (*old, *new))) {
        let reachable = closure(repository, [new]).contains(&old);
        assert_eq!(
            git_push::fast_forward(repository, old, new).unwrap(),
            reachable,
            "{old} to {new}"
        );
    }
}

#[test]
fn what_the_remote_lacks_is_listed_and_ancestry_is_right_whatever_the_dates() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let repository = in_memory(&folder.path().join(format), format);
        let choice = || prop::collection::vec(any::<Index>(), 1..4);
        let config = ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let check = |(steps, had, wanted): (Vec<Step>, Vec<Index>, Vec<Index>)| {
            check_enumeration(&repository, &steps, &had, &wanted);
            Ok(())
        };
        runner
            .run(&(steps(), choice(), choice()), check)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

struct Scratch {
    _folder: tempfile::TempDir,
    repository: Repository,
}

fn scratch() -> Scratch {
    let folder = tempfile::tempdir().unwrap();
    let repository = in_memory(&folder.path().join("r.git"), "sha1");
    Scratch {
        _folder: folder,
        repository,
    }
}

/// A tree of folders, each with these files.
fn tree(repository: &Repository, folders: &[(&str, &[(&str, &str)])]) -> ObjectId {
    let mut editor = repository
        .edit_tree(ObjectId::empty_tree(repository.object_hash()))
        .unwrap();
    for (folder, files) in folders {
        for (file, content) in *files {
            let blob = repository.write_blob(content).unwrap();
            editor
                .upsert(format!("{folder}/{file}"), gix::objs::tree::EntryKind::Blob, blob)
                .unwrap();
        }
    }
    editor.write().unwrap().detach()
}

#[test]
fn folders_that_swap_names_keep_their_common_files() {
    let Scratch { repository, .. } = scratch();
    let (x, y): (&[_], &[_]) = (&[("common", "same"), ("x", "x")], &[("common", "same"), ("y", "y")]);
    let root = commit(&repository, tree(&repository, &[("a", x), ("b", y)]), &[], 1);
    let swapped = commit(&repository, tree(&repository, &[("a", y), ("b", x)]), &[root], 2);
    let list = enumerate(&repository, &Advertisement::default(), &creates([swapped])).unwrap();
    assert_eq!(
        list.into_iter().collect::<BTreeSet<_>>(),
        closure(&repository, [swapped])
    );
}

#[test]
fn one_changed_file_sends_its_path_and_nothing_else() {
    let Scratch { repository, .. } = scratch();
    let before = commit(
        &repository,
        tree(&repository, &[("a", &[("f", "1"), ("g", "2")]), ("b", &[("h", "3")])]),
        &[],
        1,
    );
    let after = tree(&repository, &[("a", &[("f", "new"), ("g", "2")]), ("b", &[("h", "3")])]);
    let after = commit(&repository, after, &[before], 2);
    let list = enumerate(&repository, &advertised([before]), &creates([after])).unwrap();
    assert_eq!(list.len(), 4, "commit, root, folder, file");
    assert!(
        enumerate(&repository, &advertised([after]), &creates([after, before]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_remotes_old_tip_with_a_young_history_is_not_sent_again() {
    let Scratch { repository, .. } = scratch();
    let empty = tree(&repository, &[]);
    let mut shared = commit(&repository, empty, &[], 500);
    for date in 501..520 {
        shared = commit(&repository, empty, &[shared], date);
    }
    let (theirs, ours) = (
        commit(&repository, empty, &[shared], 1),
        commit(&repository, empty, &[shared], 900),
    );
    assert_eq!(
        enumerate(&repository, &advertised([theirs]), &creates([ours])).unwrap(),
        [ours]
    );
}

#[test]
fn tags_trees_and_blobs_are_sent_with_what_they_stand_for() {
    let Scratch { repository, .. } = scratch();
    let files = tree(&repository, &[("a", &[("f", "1")])]);
    let tip = commit(&repository, files, &[], 1);
    let tag = |target, kind| {
        repository
            .write_object(&gix::objs::Tag {
                target,
                target_kind: kind,
                name: "t".into(),
                tagger: None,
                message: "t".into(),
                signature: None,
            })
            .unwrap()
            .detach()
    };
    let inner = tag(tip, gix::objs::Kind::Commit);
    let outer = tag(inner, gix::objs::Kind::Tag);
    let on_tree = tag(files, gix::objs::Kind::Tree);
    let blob = repository.write_blob("alone").unwrap().detach();
    for wanted in [
        vec![outer],
        vec![on_tree],
        vec![files],
        vec![blob],
        vec![outer, on_tree, blob],
    ] {
        let list = enumerate(&repository, &Advertisement::default(), &creates(wanted.clone())).unwrap();
        assert_eq!(list.into_iter().collect::<BTreeSet<_>>(), closure(&repository, wanted));
    }
    assert_eq!(
        enumerate(&repository, &advertised([inner]), &creates([outer])).unwrap(),
        [outer]
    );
    assert!(
        enumerate(&repository, &advertised([outer]), &creates([inner, tip]))
            .unwrap()
            .is_empty()
    );
    assert!(git_push::fast_forward(&repository, tip, outer).unwrap());
    assert!(!git_push::fast_forward(&repository, files, tip).unwrap());
    assert!(!git_push::fast_forward(&repository, blob, files).unwrap());
}

#[test]
fn a_shallow_remote_gets_what_is_behind_its_border() {
    let Scratch { repository, .. } = scratch();
    let empty = tree(&repository, &[]);
    let root = commit(&repository, tree(&repository, &[("a", &[("f", "1")])]), &[], 1);
    let border = commit(&repository, empty, &[root], 2);
    let side = commit(&repository, empty, &[root], 3);
    let advertisement = Advertisement {
        shallow: vec![border],
        ..advertised([border])
    };
    let list: BTreeSet<_> = enumerate(&repository, &advertisement, &creates([side]))
        .unwrap()
        .into_iter()
        .collect();
    assert!(
        closure(&repository, [side])
            .difference(&closure(&repository, [empty]))
            .all(|id| list.contains(id))
    );
}

#[test]
fn a_shallow_source_pushes_to_who_has_the_rest_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let full = history::repository(&folder.path().join("full.git"), "sha1");
    let empty = tree(&full, &[]);
    let root = commit(&full, empty, &[], 1);
    let parent = commit(&full, tree(&full, &[("a", &[("f", "1")])]), &[root], 2);
    let tip = commit(&full, tree(&full, &[("a", &[("f", "2")])]), &[parent], 3);
    git(
        full.git_dir(),
        &["update-ref", "refs/heads/main", &tip.to_string()],
        None,
    );
    let url = format!("file://{}", full.git_dir().display());
    git(
        folder.path(),
        &[
            "clone",
            "-q",
            "--bare",
            "--depth",
            "1",
            "--branch",
            "main",
            &url,
            "shallow.git",
        ],
        None,
    );
    let shallow = gix::open(folder.path().join("shallow.git")).unwrap();

    let list = enumerate(&shallow, &advertised([parent]), &creates([tip])).unwrap();
    let list: BTreeSet<_> = list.into_iter().collect();
    assert!(
        closure(&full, [tip])
            .difference(&closure(&full, [parent]))
            .all(|id| list.contains(id))
    );
    let error = enumerate(&shallow, &advertised([]), &creates([tip])).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("object {parent}, reached from commit {tip}")),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::NotCloned);
    assert!(error.hint().unwrap().contains("--unshallow"));
}

#[test]
fn what_is_missing_here_is_named_with_where_it_was_reached_from() {
    let Scratch { repository, .. } = scratch();
    let gone = ObjectId::from_hex("ab".repeat(20).as_bytes()).unwrap();
    let empty = tree(&repository, &[]);
    let orphan = commit(&repository, empty, &[gone], 1);
    let treeless = commit(&repository, gone, &[], 1);
    let entry = gix::objs::tree::Entry {
        mode: gix::objs::tree::EntryKind::Blob.into(),
        filename: "file".into(),
        oid: gone,
    };
    let hollow = repository
        .write_object(&gix::objs::Tree { entries: vec![entry] })
        .unwrap()
        .detach();
    let hollow = commit(&repository, hollow, &[], 1);
    let cases = [
        (gone, "the ref refs/new/0".to_owned()),
        (orphan, format!("commit {orphan}")),
        (treeless, format!("/ in commit {treeless}")),
        (hollow, format!("/file in commit {hollow}")),
    ];
    for (tip, place) in cases {
        let error = enumerate(&repository, &Advertisement::default(), &creates([tip])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Broken);
        assert!(
            error
                .to_string()
                .starts_with(&format!("object {gone}, reached from {place}, is not in ")),
            "{error}"
        );
    }
    // The remote has it, so it is not needed here.
    assert_eq!(
        enumerate(&repository, &advertised([gone]), &creates([orphan])).unwrap(),
        [orphan, empty]
    );
    assert!(!git_push::fast_forward(&repository, gone, orphan).unwrap());
}

#[test]
fn a_commit_with_a_damaged_parent_is_not_a_root() {
    let Scratch { repository, .. } = scratch();
    let empty = tree(&repository, &[]);
    let root = commit(&repository, empty, &[], 1);
    let who = "A <a@example.com> 1700000000 +0000";
    let damaged = |parents: &str| {
        let content = format!("tree {empty}\n{parents}author {who}\ncommitter {who}\n\ndamaged\n");
        let content = content.as_bytes();
        gix::objs::Write::write_buf(&repository.objects, gix::objs::Kind::Commit, content).unwrap()
    };
    let not_an_id = format!("parent {}\n", "z".repeat(40));
    for parents in [not_an_id.clone(), format!("parent {root}\n{not_an_id}")] {
        let damaged = damaged(&parents);
        let tip = commit(&repository, empty, &[damaged], 2);
        let errors = [
            enumerate(&repository, &Advertisement::default(), &creates([tip])).unwrap_err(),
            git_push::fast_forward(&repository, commit(&repository, empty, &[], 3), tip).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Broken);
            assert!(
                error.to_string().starts_with(&format!("object {damaged} in ")),
                "{error}"
            );
        }
    }
    let intact = damaged(&format!("parent {root}\n"));
    assert!(git_push::fast_forward(&repository, root, intact).unwrap());
}

#[test]
fn replacement_refs_are_not_pushed_in_place_of_what_they_replace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.git");
    let repository = history::repository(&path, "sha1");
    let tip = commit(&repository, tree(&repository, &[("a", &[("f", "1")])]), &[], 1);
    let other = commit(&repository, tree(&repository, &[("a", &[("f", "2")])]), &[], 2);
    git(
        &path,
        &["update-ref", &format!("refs/replace/{tip}"), &other.to_string()],
        None,
    );
    let repository = gix::open(&path).unwrap();
    let list = enumerate(&repository, &Advertisement::default(), &creates([tip])).unwrap();
    git(&path, &["update-ref", "-d", &format!("refs/replace/{tip}")], None);
    assert_eq!(
        list.into_iter().collect::<BTreeSet<_>>(),
        closure(&gix::open(&path).unwrap(), [tip])
    );
}
