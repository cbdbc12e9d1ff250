//! Walks of histories that are long enough for several threads: the list is that of git, it is the same each time and
//! however the objects are stored, and an object that cannot be read is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::history::random::{self, closure, many_steps};
use crate::history::{self, commit, git};
use bstr::BString;
use git_push::enumerate::enumerate;
use git_push::list::{Base, List};
use git_push::{Advertisement, Command, ErrorKind};
use gix::objs::tree::EntryKind;
use gix::refs::transaction::PreviousValue;
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::Index;

/// Ways to pack a repository.
const WAYS: [&[&str]; 3] = [
    &["repack", "-adfq", "--depth=50", "--window=20"],
    // Some commits stay loose.
    &["repack", "-dq"],
    &["-c", "repack.usedeltabaseoffset=false", "repack", "-adfq"],
];

/// A remote with these tips, and commands that create these.
fn push(had: &BTreeSet<ObjectId>, wanted: &BTreeSet<ObjectId>) -> (Advertisement, Vec<Command>) {
    let names = (0..).map(|number| BString::from(format!("refs/kv/{number}")));
    let advertisement = Advertisement {
        refs: names.zip(had.iter().copied()).collect(),
        ..Advertisement::default()
    };
    let create = |(number, id): (usize, &ObjectId)| Command::create(format!("refs/new/{number}"), *id);
    (advertisement, wanted.iter().enumerate().map(create).collect())
}

fn choose(commits: &[ObjectId], choice: &[Index]) -> BTreeSet<ObjectId> {
    choice.iter().map(|index| commits[index.index(commits.len())]).collect()
}

fn point(repository: &Repository, name: &str, id: ObjectId) {
    repository.reference(name, id, PreviousValue::Any, "test").unwrap();
}

fn listed_by_git(path: &Path, wanted: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
    let ids: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["rev-list", "--objects", "--no-object-names"];
    arguments.extend(ids.iter().map(String::as_str));
    let listed = git(path, &arguments, None);
    let id = |line: &str| ObjectId::from_hex(line.as_bytes()).unwrap();
    listed.lines().map(id).collect()
}

/// Packs commits, and a secret that is reachable from no ref afterwards.
fn pack(path: &Path, commits: &[ObjectId], tip: ObjectId, how: &[&str]) {
    let repository = gix::open(path).unwrap();
    let tree = repository.find_commit(tip).unwrap().tree_id().unwrap();
    let mut editor = repository.edit_tree(tree).unwrap();
    let blob = repository.write_blob("a planted secret").unwrap();
    editor.upsert("secret", EntryKind::Blob, blob).unwrap();
    let secret = commit(&repository, editor.write().unwrap().detach(), &[tip], 2000);
    point(&repository, "refs/kv/secret", secret);
    for (number, id) in commits.iter().enumerate() {
        point(&repository, &format!("refs/kv/{number}"), *id);
    }
    git(path, how, None);
    git(path, &["update-ref", "-d", "refs/kv/secret"], None);
}

/// Bases come earlier in the list, or are on the remote.
fn assert_bases(list: &List, theirs: &BTreeSet<ObjectId>) {
    for (place, listed) in list.objects.iter().enumerate() {
        if let Some(Base::Listed(base)) = listed.base {
            assert!((base as usize) < place);
        }
    }
    assert!(list.remote.iter().all(|id| theirs.contains(id)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_long_history_is_listed_like_gits_however_it_is_stored(
        format in prop::sample::select(&["sha1", "sha1", "sha256"][..]),
        steps in many_steps(),
        had in prop::collection::vec(any::<Index>(), 0..2),
        wanted in prop::collection::vec(any::<Index>(), 300),
        how in prop::sample::select(&WAYS[..]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.git");
        let repository = history::repository(&path, format);
        let commits = random::write(&repository, &steps);
        let (had, wanted) = (choose(&commits, &had), choose(&commits, &wanted));
        let (advertisement, commands) = push(&had, &wanted);
        let list = enumerate(&repository, &advertisement, &commands).unwrap();

        let theirs = closure(&repository, had.iter().copied());
        let sent: BTreeSet<_> = list.objects.iter().map(|listed| listed.id).collect();
        prop_assert_eq!(sent.len(), list.objects.len(), "each object once");
        let needed = listed_by_git(&path, &wanted);
        prop_assert!(sent.is_subset(&needed), "nothing that is unreachable is sent");
        prop_assert!(needed.difference(&theirs).all(|id| sent.contains(id)), "nothing is missing");
        assert_bases(&list, &theirs);

        pack(&path, &commits[..commits.len() / 2], *wanted.first().unwrap(), how);
        let repository = gix::open(&path).unwrap();
        for _ in 0..3 {
            prop_assert_eq!(&enumerate(&repository, &advertisement, &commands).unwrap(), &list);
        }
    }
}

/// Number of commits, enough for several threads.
const LONG: u32 = 200;

/// A repository with a folder of 100 files of which each commit changes one, and the folder of the middle commit.
fn long_history(path: &Path) -> (Repository, ObjectId, ObjectId) {
    let repository = history::repository(path, "sha1");
    let mut commits: Vec<ObjectId> = Vec::new();
    let mut tree = ObjectId::empty_tree(repository.object_hash());
    let mut folders = Vec::new();
    for round in 0..LONG {
        let mut editor = repository.edit_tree(tree).unwrap();
        let blob = repository.write_blob(format!("{round}")).unwrap();
        let file = format!("data/{:03}", round * 37 % 100);
        editor.upsert(file, EntryKind::Blob, blob).unwrap();
        tree = editor.write().unwrap().detach();
        let root = repository.find_tree(tree).unwrap();
        folders.push(root.find_entry("data").unwrap().object_id());
        let parents: Vec<_> = commits.last().copied().into_iter().collect();
        commits.push(commit(&repository, tree, &parents, round));
    }
    let tip = commits[commits.len() - 1];
    point(&repository, "refs/heads/main", tip);
    (repository, tip, folders[LONG as usize / 2])
}

/// Number of packs, more than a walk keeps open.
const PACKS: u32 = 20;
/// Number of files in a folder whose tree is larger than what a walk reads at once, even as it is compressed.
const WIDE: u32 = 2000;

#[test]
fn a_walk_of_wide_folders_in_many_packs_finds_the_same_objects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let repository = history::repository(&path, "sha1");
    let mut editor = repository
        .edit_tree(ObjectId::empty_tree(repository.object_hash()))
        .unwrap();
    for file in 0..WIDE {
        let blob = repository.write_blob(format!("{file}")).unwrap();
        editor.upsert(format!("data/{file:04}"), EntryKind::Blob, blob).unwrap();
    }
    let mut parents = Vec::new();
    for round in 0..PACKS * 4 {
        let blob = repository.write_blob(format!("round {round}")).unwrap();
        let file = format!("data/{:04}", round * 997 % WIDE);
        editor.upsert(file, EntryKind::Blob, blob).unwrap();
        parents = vec![commit(&repository, editor.write().unwrap().detach(), &parents, round)];
        point(&repository, "refs/heads/main", parents[0]);
        if round % 4 == 3 {
            git(&path, &["repack", "-dq"], None);
        }
    }
    let packs = || std::fs::read_dir(path.join("objects/pack")).unwrap();
    let is_pack = |file: &std::fs::DirEntry| file.path().extension().is_some_and(|extension| extension == "pack");
    assert_eq!(
        packs().filter(|file| is_pack(file.as_ref().unwrap())).count(),
        PACKS as usize
    );
    let (advertisement, commands) = push(&BTreeSet::new(), &[parents[0]].into());
    let list = || enumerate(&gix::open(&path).unwrap(), &advertisement, &commands).unwrap();
    let from_many = list();
    let sent: BTreeSet<_> = from_many.objects.iter().map(|listed| listed.id).collect();
    assert_eq!(sent, listed_by_git(&path, &[parents[0]].into()));

    git(&path, &["repack", "-adfq", "--depth=50"], None);
    assert_eq!(packs().filter(|file| is_pack(file.as_ref().unwrap())).count(), 1);
    assert_eq!(list(), from_many);
}

fn loose(repository: &Path, id: ObjectId) -> PathBuf {
    let hex = id.to_string();
    repository.join("objects").join(&hex[..2]).join(&hex[2..])
}

/// Returns the error of a push of everything.
fn error_of(path: &Path, tip: ObjectId) -> git_push::Error {
    let (advertisement, commands) = push(&BTreeSet::new(), &[tip].into());
    enumerate(&gix::open(path).unwrap(), &advertisement, &commands).unwrap_err()
}

#[test]
fn a_tree_that_is_missing_or_damaged_is_named_with_several_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (_, tip, data) = long_history(&path);
    let file = loose(&path, data);
    let content = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = error_of(&path, tip);
    assert_eq!(error.kind(), ErrorKind::Broken);
    let expected = format!("object {data}, reached from /data/ in commit ");
    assert!(error.to_string().starts_with(&expected), "{error}");
    std::fs::write(&file, &content[..content.len() / 2]).unwrap();
    let error = error_of(&path, tip);
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.to_string().starts_with(&format!("object {data} in ")), "{error}");
}

#[test]
fn a_tree_that_is_damaged_in_a_pack_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (_, tip, data) = long_history(&path);
    git(&path, &["repack", "-adfq", "--depth=50"], None);
    let all = push(&BTreeSet::new(), &[tip].into());
    let intact = enumerate(&gix::open(&path).unwrap(), &all.0, &all.1).unwrap();
    assert_eq!(intact.objects.len(), 4 * LONG as usize);

    let files = std::fs::read_dir(path.join("objects/pack")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let index = files.find(|file| file.extension().is_some_and(|extension| extension == "idx"));
    let index = index.unwrap();
    let listing = git(&path, &["show-index"], Some(std::fs::File::open(&index).unwrap()));
    let line = listing.lines().find(|line| line.contains(&data.to_string())).unwrap();
    let offset: usize = line.split(' ').next().unwrap().parse().unwrap();
    let pack = index.with_extension("pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[offset + 4..offset + 12].fill(0xff);
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let error = error_of(&path, tip);
    assert_eq!(error.kind(), ErrorKind::Broken);
    let message = error.to_string();
    assert!(
        message.starts_with("object ") && message.contains("cannot be read"),
        "{message}"
    );
}
