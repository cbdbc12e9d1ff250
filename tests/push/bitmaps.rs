//! Selection with bitmaps: for every history, bitmap and remote, the list equals the result of the walk and of git.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::history::random::{self, Step, closure, steps};
use crate::history::{self, commit, git};
use crate::pack_states::bytes_of_git;
use bstr::BString;
use git_push::enumerate::{enumerate, enumerate_bitmapped};
use git_push::list::{Base, List};
use git_push::{Advertisement, Command, pack::Format};
use gix::refs::transaction::PreviousValue;
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::Index;

/// A source whose first commits are packed with a bitmap.
struct Source {
    repository: Repository,
    commits: Vec<ObjectId>,
    bitmap: PathBuf,
}

/// Configurations with which git writes the bitmap.
const WAYS: [&[&str]; 3] = [
    &[],
    &["-c", "pack.writeBitmapLookupTable=true"],
    &["-c", "pack.writeBitmapHashCache=false"],
];

impl Source {
    /// Packs the first `packed` commits, with the later ones of them as extra tips. The others stay loose.
    fn new(path: &Path, format: &str, way: &[&str], steps: &[Step], packed: Index) -> Self {
        let repository = history::repository(path, format);
        let packed = packed.index(steps.len()) + 1;
        let first = random::write(&repository, &steps[..packed]);
        for (number, tip) in first.iter().enumerate() {
            point(&repository, &format!("refs/kv/{number}"), *tip);
        }
        git(path, &[way, &["repack", "-adfbq"]].concat(), None);
        // The same commits come first again.
        let commits = random::write(&repository, steps);
        assert_eq!(commits[..packed], first);
        let bitmap = bitmap_in(path);
        let repository = gix::open(path).unwrap();
        Source {
            repository,
            commits,
            bitmap,
        }
    }

    fn choose(&self, choice: &[Index]) -> BTreeSet<ObjectId> {
        let index = |index: &Index| self.commits[index.index(self.commits.len())];
        choice.iter().map(index).collect()
    }

    /// The objects that git lists without the bitmap. It may list more than the remote lacks, as the walk may.
    fn listed_by_git(&self, wanted: &BTreeSet<ObjectId>, had: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        let mut arguments = vec!["rev-list".to_owned(), "--objects".into(), "--no-object-names".into()];
        arguments.extend(wanted.iter().map(ToString::to_string));
        arguments.extend(had.iter().map(|id| format!("^{id}")));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let lines = git(self.repository.git_dir(), &arguments, None);
        lines
            .lines()
            .map(|line| ObjectId::from_hex(line.as_bytes()).unwrap())
            .collect()
    }
}

pub fn point(repository: &Repository, name: &str, id: ObjectId) {
    repository.reference(name, id, PreviousValue::Any, "test").unwrap();
}

fn bitmap_in(repository: &Path) -> PathBuf {
    let files = std::fs::read_dir(repository.join("objects/pack")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "bitmap"))
        .unwrap()
}

pub fn replace(file: &Path, content: &[u8]) {
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, content).unwrap();
}

/// A remote with these tips, and commands that create these.
pub fn push(had: &BTreeSet<ObjectId>, wanted: &BTreeSet<ObjectId>) -> (Advertisement, Vec<Command>) {
    let names = (0..).map(|number| BString::from(format!("refs/kv/{number}")));
    let advertisement = Advertisement {
        refs: names.zip(had.iter().copied()).collect(),
        ..Advertisement::default()
    };
    let create = |(number, id): (usize, &ObjectId)| Command::create(format!("refs/new/{number}"), *id);
    (advertisement, wanted.iter().enumerate().map(create).collect())
}

pub fn ids(list: &List) -> BTreeSet<ObjectId> {
    let ids: BTreeSet<_> = list.objects.iter().map(|listed| listed.id).collect();
    assert_eq!(ids.len(), list.objects.len(), "each object once");
    ids
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

/// Git completes the pack with objects of the remote.
pub fn assert_pack_arrives(source: &Repository, folder: &Path, list: &List, had: &BTreeSet<ObjectId>, thin: bool) {
    let format = Format { ofs_delta: true, thin };
    let pack = git_push::pack::write(source, list, format).unwrap();
    if list.objects.is_empty() {
        return;
    }
    let hash = source.object_hash().to_string();
    let mirror = folder.join("mirror.git");
    history::repository(&mirror, &hash);
    for (number, id) in had.iter().enumerate() {
        let refspec = format!("{id}:refs/had/{number}");
        git(
            source.git_dir(),
            &["push", "-q", mirror.to_str().unwrap(), &refspec],
            None,
        );
    }
    git(
        &mirror,
        &["index-pack", "--strict", "--fix-thin", "--stdin"],
        Some(pack.file),
    );
}

/// Damage to the file of a bitmap.
#[derive(Debug, Clone)]
enum Damage {
    Flipped(Index),
    Cut(Index),
    OfAnotherPack,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Flipped),
        any::<Index>().prop_map(Damage::Cut),
        Just(Damage::OfAnotherPack),
    ]
}

impl Damage {
    fn do_to(&self, source: &Source, folder: &Path) {
        let mut bytes = std::fs::read(&source.bitmap).unwrap();
        match self {
            Damage::Flipped(index) => *index.get_mut(&mut bytes) ^= 1,
            Damage::Cut(index) => bytes.truncate(index.index(bytes.len())),
            Damage::OfAnotherPack => {
                let path = folder.join("other.git");
                let hash = source.repository.object_hash().to_string();
                let repository = history::repository(&path, &hash);
                let empty = repository.write_object(gix::objs::Tree::empty()).unwrap().detach();
                point(&repository, "refs/kv/0", commit(&repository, empty, &[], 9999));
                git(&path, &["repack", "-adfbq"], None);
                bytes = std::fs::read(bitmap_in(&path)).unwrap();
            }
        }
        replace(&source.bitmap, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bitmap_selects_what_the_remote_lacks_and_a_bad_one_nothing(
        format in prop::sample::select(&["sha1", "sha1", "sha256"][..]),
        way in prop::sample::select(&WAYS[..]),
        steps in steps(),
        packed in any::<Index>(),
        had in prop::collection::vec(any::<Index>(), 0..4),
        wanted in prop::collection::vec(any::<Index>(), 1..4),
        thin in any::<bool>(),
        damage in damage(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new(&folder.path().join("source.git"), format, way, &steps, packed);
        let (had, wanted) = (source.choose(&had), source.choose(&wanted));
        let (mut advertisement, commands) = push(&had, &wanted);
        // A tip that is missing here does no harm.
        let unknown = "ab".repeat(source.repository.object_hash().len_in_bytes());
        advertisement.haves.push(ObjectId::from_hex(unknown.as_bytes()).unwrap());
        let list = enumerate_bitmapped(&source.repository, &advertisement, &commands).unwrap().unwrap();

        let theirs = closure(&source.repository, had.iter().copied());
        let needed = closure(&source.repository, wanted.iter().copied());
        let lacked: BTreeSet<_> = needed.difference(&theirs).copied().collect();
        let walked = ids(&enumerate(&source.repository, &advertisement, &commands).unwrap());
        let only_lacked = |ids: BTreeSet<ObjectId>| ids.difference(&theirs).copied().collect::<BTreeSet<_>>();
        prop_assert_eq!(only_lacked(ids(&list)), only_lacked(walked.clone()));
        prop_assert_eq!(only_lacked(ids(&list)), only_lacked(source.listed_by_git(&wanted, &had)));
        prop_assert_eq!(&ids(&list), &lacked, "nothing is sent again");
        assert_bases(&list, &theirs);
        assert_pack_arrives(&source.repository, folder.path(), &list, &had, thin);

        damage.do_to(&source, folder.path());
        prop_assert_eq!(enumerate_bitmapped(&source.repository, &advertisement, &commands).unwrap(), None);
        prop_assert_eq!(ids(&enumerate(&source.repository, &advertisement, &commands).unwrap()), walked);
    }
}

/// A repository with this number of commits to one file, and one file that never changes.
pub fn long_history(path: &Path, length: u32) -> (Repository, Vec<ObjectId>) {
    let repository = history::repository(path, "sha1");
    let mut commits: Vec<ObjectId> = Vec::new();
    let same = repository.write_blob("same").unwrap();
    for round in 0..length {
        let mut editor = repository
            .edit_tree(ObjectId::empty_tree(repository.object_hash()))
            .unwrap();
        let lines: String = (0..60)
            .map(|line| format!("line {line}, {:x}\n", (line + round / 60) * 77_777))
            .collect();
        let blob = repository.write_blob(format!("{lines}round {round}\n")).unwrap();
        let kind = gix::objs::tree::EntryKind::Blob;
        editor.upsert("data/file", kind, blob).unwrap();
        editor.upsert("data/same", kind, same).unwrap();
        let tree = editor.write().unwrap().detach();
        let parents: Vec<_> = commits.last().copied().into_iter().collect();
        commits.push(commit(&repository, tree, &parents, round));
    }
    point(&repository, "refs/heads/main", commits[commits.len() - 1]);
    (repository, commits)
}

fn tag(repository: &Repository, target: ObjectId, target_kind: gix::objs::Kind) -> ObjectId {
    let tag = gix::objs::Tag {
        target,
        target_kind,
        name: "t".into(),
        tagger: None,
        message: "t".into(),
        signature: None,
    };
    repository.write_object(&tag).unwrap().detach()
}

#[test]
fn tags_trees_and_blobs_in_the_pack_and_outside_are_selected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 5);
    let tree = |commit: ObjectId| repository.find_commit(commit).unwrap().tree_id().unwrap().detach();
    let blob = |content: &str| repository.write_blob(content).unwrap().detach();
    let inside = tag(
        &repository,
        tag(&repository, commits[2], gix::objs::Kind::Commit),
        gix::objs::Kind::Tag,
    );
    point(&repository, "refs/tags/inside", inside);
    git(&path, &["repack", "-adbq"], None);
    let outside = tag(&repository, commits[3], gix::objs::Kind::Commit);
    let on_tree = tag(&repository, tree(commits[1]), gix::objs::Kind::Tree);
    let repository = gix::open(&path).unwrap();
    for wanted in [
        vec![inside],
        vec![outside],
        vec![on_tree, tree(commits[4])],
        vec![blob("same"), blob("alone")],
        vec![inside, outside, on_tree, blob("alone"), commits[4]],
    ] {
        for had in [vec![], vec![commits[0]], vec![inside], vec![outside, commits[1]]] {
            let (advertisement, commands) = push(&had.iter().copied().collect(), &wanted.iter().copied().collect());
            let list = enumerate_bitmapped(&repository, &advertisement, &commands)
                .unwrap()
                .unwrap();
            let theirs = closure(&repository, had);
            let lacked = closure(&repository, wanted.clone())
                .difference(&theirs)
                .copied()
                .collect();
            assert_eq!(ids(&list), lacked);
        }
    }
}

/// Commits of a history that is long enough for a bitmap.
const LONG: u32 = 1100;

/// Returns the first number that counting reports, and the number of objects of the pack.
fn counted(repository: &Repository, had: &[ObjectId], wanted: ObjectId) -> (usize, u32) {
    let (advertisement, commands) = push(&had.iter().copied().collect(), &[wanted].into());
    let first = First::default();
    let pack = git_push::Push::new(repository, &advertisement)
        .commands(commands)
        .progress(&first)
        .pack()
        .unwrap();
    (first.0.get().unwrap(), pack.objects)
}

/// The first number of objects.
#[derive(Default)]
struct First(std::cell::Cell<Option<usize>>);

impl git_push::Observer for First {
    fn objects(&self, so_far: usize) {
        self.0.set(self.0.get().or(Some(so_far)));
    }
}

#[test]
fn counting_moves_from_the_first_commit_on_and_a_long_push_uses_the_bitmap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, LONG);
    let (root, tip) = (commits[0], commits[commits.len() - 1]);
    let lacked = |had: ObjectId| {
        let theirs = closure(&repository, [had]);
        closure(&repository, [tip]).difference(&theirs).count()
    };
    assert_eq!(counted(&repository, &[root], tip), (1, lacked(root) as u32));

    // The last commit restores a file that the remote has; only the bitmap finds that.
    git(&path, &["repack", "-adbq"], None);
    let (old, restored) = (
        commits[5],
        repository.find_commit(commits[1]).unwrap().tree_id().unwrap(),
    );
    let restored = commit(&repository, restored.detach(), &[tip], LONG);
    let repository = gix::open(&path).unwrap();
    let (_, objects) = counted(&repository, &[old], restored);
    assert_eq!(objects as usize, lacked(old) + 1);
    let all = closure(&repository, [tip]).len();
    assert_eq!(counted(&repository, &[], tip), (all, all as u32), "all at once");
    let (_, objects) = counted(&repository, &[commits[LONG as usize - 200]], restored);
    assert!(
        objects as usize > lacked(commits[LONG as usize - 200]) + 1,
        "a short push is walked"
    );
}

#[test]
fn an_unreachable_object_in_the_pack_of_a_bitmap_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 5);
    let secret = repository.write_blob("a planted secret").unwrap().detach();
    point(&repository, "refs/kv/secret", secret);
    git(&path, &["repack", "-adq"], None);
    git(&path, &["update-ref", "-d", "refs/kv/secret"], None);
    git(&path, &["repack", "-adkbq"], None);
    let repository = gix::open(&path).unwrap();
    let index = std::fs::File::open(bitmap_in(&path).with_extension("idx")).unwrap();
    assert!(git(&path, &["show-index"], Some(index)).contains(&secret.to_string()));
    let (mut advertisement, commands) = push(&BTreeSet::new(), &[commits[4]].into());
    let list = enumerate_bitmapped(&repository, &advertisement, &commands)
        .unwrap()
        .unwrap();
    assert_eq!(ids(&list), closure(&repository, [commits[4]]));
    advertisement.capabilities.list.push(("ofs-delta".into(), None));
    let pack = git_push::Push::new(&repository, &advertisement)
        .commands(commands)
        .pack()
        .unwrap();
    let mirror = folder.path().join("mirror.git");
    history::repository(&mirror, "sha1");
    git(&mirror, &["index-pack", "--strict", "--stdin"], Some(pack.file));
    assert!(!gix::open(&mirror).unwrap().has_object(secret));
}

#[test]
fn grafts_and_shallow_borders_leave_the_bitmap_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (_, commits) = long_history(&path, 5);
    git(&path, &["repack", "-adbq"], None);
    let (advertisement, commands) = push(&[commits[1]].into(), &[commits[4]].into());
    let is_used = |advertisement: &Advertisement| {
        let repository = gix::open(&path).unwrap();
        enumerate_bitmapped(&repository, advertisement, &commands)
            .unwrap()
            .is_some()
    };
    assert!(is_used(&advertisement));
    let shallow_remote = Advertisement {
        shallow: vec![commits[1]],
        ..advertisement.clone()
    };
    assert!(!is_used(&shallow_remote));
    for (file, content) in [
        ("info/grafts", format!("{} {}\n", commits[4], commits[0])),
        ("shallow", format!("{}\n", commits[3])),
    ] {
        std::fs::write(path.join(file), content).unwrap();
        assert!(!is_used(&advertisement), "{file}");
        std::fs::remove_file(path.join(file)).unwrap();
    }
    assert!(is_used(&advertisement));
}

/// Returns the list of a bitmap, and the bytes of its pack with and without the bases that it names.
fn selected(path: &Path, had: ObjectId, wanted: ObjectId) -> (List, [u64; 2]) {
    let repository = gix::open(path).unwrap();
    let (advertisement, commands) = push(&[had].into(), &[wanted].into());
    let list = enumerate_bitmapped(&repository, &advertisement, &commands)
        .unwrap()
        .unwrap();
    let bases = |listed: &git_push::list::Listed| git_push::list::Listed { base: None, ..*listed };
    let baseless = List {
        objects: list.objects.iter().map(bases).collect(),
        remote: Vec::new(),
    };
    let format = Format {
        ofs_delta: true,
        thin: true,
    };
    let bytes = [&list, &baseless].map(|list| git_push::pack::write(&repository, list, format).unwrap().bytes);
    (list, bytes)
}

#[test]
fn whole_objects_of_the_pack_of_a_bitmap_are_copied_as_git_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (_, commits) = long_history(&path, 60);
    git(&path, &["repack", "-adfbq"], None);
    let (list, [with, without]) = selected(&path, commits[30], commits[59]);
    assert!(list.remote.is_empty(), "the newest version is stored whole");
    assert_eq!(with, without);
    let of_git = bytes_of_git(&path, Some(commits[30]), commits[59]);
    assert!(with as usize <= of_git, "{with} bytes, {of_git} of git");

    // The same objects are in a pack that comes first, without deltas and without a bitmap.
    let other = [
        "pack-objects",
        "--all",
        "--window=0",
        "--no-reuse-delta",
        "-q",
        "objects/pack/other",
    ];
    git(&path, &other, None);
    assert_eq!(selected(&path, commits[30], commits[59]).1, [with, without]);
}

#[test]
fn stored_deltas_of_what_the_remote_has_are_copied_and_others_made_of_the_nearest_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 60);
    // Two versions on branches, the shorter one is stored as a delta of the other one.
    let text = repository
        .rev_parse_single(&*format!("{}:data/file", commits[30]))
        .unwrap()
        .object()
        .unwrap()
        .detach()
        .data;
    let branch = |more: &str, date: u32| {
        let lines: String = (0..6).map(|line| format!("{:x}\n", line * 7_654_321)).collect();
        let blob = repository
            .write_blob([&text, lines.as_bytes(), more.as_bytes()].concat())
            .unwrap();
        let tree = repository.find_commit(commits[30]).unwrap().tree().unwrap();
        let mut editor = tree.edit().unwrap();
        let kind = gix::objs::tree::EntryKind::Blob;
        editor.upsert("data/file", kind, blob).unwrap();
        let id = commit(&repository, editor.write().unwrap().detach(), &[commits[30]], date);
        point(&repository, &format!("refs/heads/{date}"), id);
        id
    };
    let (short, long) = (branch("", 100), branch("more\n", 101));
    git(&path, &["repack", "-adfbq"], None);
    for had in [long, commits[30]] {
        let (list, [with, without]) = selected(&path, had, short);
        assert!(!list.remote.is_empty());
        assert!(with + 300 < without, "{with} bytes with bases, {without} without");
    }
}

#[test]
fn a_bitmap_of_a_shallow_history_is_left_aside_when_the_rest_was_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, clone, mirror] = ["whole.git", "clone.git", "mirror.git"].map(|name| folder.path().join(name));
    let (_, commits) = long_history(&whole, 8);
    let tip = commits[7];
    let url = format!("file://{}", whole.display());
    let target = clone.to_str().unwrap();
    git(
        folder.path(),
        &["clone", "-q", "--bare", "--depth=3", "--no-single-branch", &url, target],
        None,
    );
    // Git writes no bitmap in a shallow repository by itself.
    let shallow = std::fs::read(clone.join("shallow")).unwrap();
    git(&clone, &["repack", "-adbq"], None);
    assert!(bitmap_in(&clone).exists());
    assert_eq!(std::fs::read(clone.join("shallow")).unwrap(), shallow);
    git(&clone, &["fetch", "-q", "--unshallow", &url, "main:main"], None);
    assert!(bitmap_in(&clone).exists() && !clone.join("shallow").exists());

    let repository = gix::open(&clone).unwrap();
    for had in [vec![], vec![commits[1]], vec![commits[5]]] {
        let (advertisement, commands) = push(&had.iter().copied().collect(), &[tip].into());
        let lacked = closure(&repository, [tip])
            .difference(&closure(&repository, had.clone()))
            .copied()
            .collect::<BTreeSet<_>>();
        if had != [commits[5]] {
            assert_eq!(
                enumerate_bitmapped(&repository, &advertisement, &commands).unwrap(),
                None
            );
        }
        let pack = git_push::Push::new(&repository, &advertisement)
            .commands(commands)
            .pack()
            .unwrap();
        assert!(pack.objects as usize >= lacked.len(), "{had:?}");
    }
    history::repository(&mirror, "sha1");
    let mut remote = git_push_transport::local::Local::open(&mirror).unwrap();
    let advertisement = git_push::Connection::advertisement(&mut remote).unwrap();
    let report = git_push::Push::new(&repository, &advertisement)
        .command(Command::create("refs/heads/main", tip))
        .send(&mut remote);
    assert!(report.unwrap().all_accepted());
    git(&mirror, &["fsck", "--strict", "--no-dangling"], None);
    assert_eq!(git(&mirror, &["rev-list", "--count", "main"], None).trim(), "8");
}
