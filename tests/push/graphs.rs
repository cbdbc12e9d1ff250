//! Walks with the files that git writes beside the objects: commit-graphs, multi-pack-indices and bitmaps. With any of them,
//! intact or damaged, the answers are those of the objects alone, and of git.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bitmaps::{assert_pack_arrives, ids, point, push, replace};
use crate::history::random::{self, Step, closure, steps};
use crate::history::{self, commit, git};
use git_push::enumerate::{enumerate, enumerate_bitmapped};
use git_push::{ErrorKind, fast_forward};
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Storage of the objects of the first commits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Packs {
    Loose,
    One,
    OneWithBitmap,
    Many,
    ManyWithIndex,
    ManyWithIndexAndBitmap,
}

const PACKS: [Packs; 6] = [
    Packs::Loose,
    Packs::One,
    Packs::OneWithBitmap,
    Packs::Many,
    Packs::ManyWithIndex,
    Packs::ManyWithIndexAndBitmap,
];

/// The commit-graph.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Graph {
    None,
    /// Of the first commits.
    One,
    /// Of the first commits, in three files.
    Chain,
}

/// A source whose first commits are stored in one of these ways. The others are loose, and newer than all other files.
struct Source {
    path: PathBuf,
    /// The folder with the files.
    objects: PathBuf,
    commits: Vec<ObjectId>,
}

impl Source {
    fn new(folder: &Path, format: &str, steps: &[Step], first: usize, packs: Packs, graph: Graph, lent: bool) -> Self {
        let path = folder.join("source.git");
        let repository = history::repository(&path, format);
        let parts = [first.div_ceil(3), (2 * first).div_ceil(3), first];
        for part in parts {
            let tips = random::write(&repository, &steps[..part]);
            for (number, tip) in tips.iter().enumerate() {
                point(&repository, &format!("refs/kv/{number}"), *tip);
            }
            if matches!(
                packs,
                Packs::Many | Packs::ManyWithIndex | Packs::ManyWithIndexAndBitmap
            ) {
                git(&path, &["repack", "-dq"], None);
            }
            if graph == Graph::Chain {
                git(
                    &path,
                    &["commit-graph", "write", "--reachable", "--split=no-merge"],
                    None,
                );
            }
        }
        match packs {
            Packs::Loose | Packs::Many => {}
            Packs::One => drop(git(&path, &["repack", "-adfq", "--no-write-bitmap-index"], None)),
            Packs::OneWithBitmap => drop(git(&path, &["repack", "-adfbq"], None)),
            Packs::ManyWithIndex => drop(git(&path, &["multi-pack-index", "write"], None)),
            Packs::ManyWithIndexAndBitmap => drop(git(&path, &["multi-pack-index", "write", "--bitmap"], None)),
        }
        if graph == Graph::One {
            git(&path, &["commit-graph", "write", "--reachable"], None);
        }
        let objects = path.join("objects");
        let mut source = Source {
            path,
            objects,
            commits: Vec::new(),
        };
        if lent {
            source.lend(&folder.join("borrower.git"), format);
        }
        source.commits = random::write(&source.open(), steps);
        source
    }

    /// Continues in a repository that borrows the objects.
    fn lend(&mut self, path: &Path, format: &str) {
        let info = history::repository(path, format)
            .git_dir()
            .join("objects/info/alternates");
        let objects = self.objects.canonicalize().unwrap();
        fs::write(info, format!("{}\n", objects.display())).unwrap();
        self.path = path.to_owned();
    }

    fn open(&self) -> Repository {
        gix::open(&self.path).unwrap()
    }

    /// Opens it without the commit-graph.
    fn open_without_graph(&self) -> Repository {
        let options = gix::open::Options::default().config_overrides(["core.commitGraph=false"]);
        gix::open_opts(&self.path, options).unwrap()
    }

    fn choose(&self, choice: &[Index]) -> BTreeSet<ObjectId> {
        choice.iter().map(|index| *index.get(&self.commits)).collect()
    }

    /// Returns the files that git has written to save time, except for multi-pack-indices, which all reads use.
    fn files(&self) -> Vec<PathBuf> {
        let list = |folder: &str| {
            let entries = fs::read_dir(self.objects.join(folder)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let graphs = list("info").into_iter().chain(list("info/commit-graphs"));
        let bitmaps = list("pack")
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "bitmap"));
        let is_graph = |path: &PathBuf| path.is_file() && path.to_string_lossy().contains("graph");
        let mut files: Vec<_> = graphs.filter(is_graph).chain(bitmaps).collect();
        files.sort();
        files
    }

    /// Returns the objects that the remote lacks, by git.
    fn listed_by_git(&self, wanted: &BTreeSet<ObjectId>, had: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        let mut arguments = vec!["rev-list".to_owned(), "--objects".into(), "--no-object-names".into()];
        arguments.extend(wanted.iter().map(ToString::to_string));
        arguments.extend(had.iter().map(|id| format!("^{id}")));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let lines = git(&self.path, &arguments, None);
        let id = |line: &str| ObjectId::from_hex(line.as_bytes()).unwrap();
        lines.lines().map(id).collect()
    }

    /// Walks and fast-forward checks answer as without any of the files, and as git. Returns the list of a bitmap.
    fn check(&self, had: &BTreeSet<ObjectId>, wanted: &BTreeSet<ObjectId>) -> Option<git_push::list::List> {
        let (repository, plain) = (self.open(), self.open_without_graph());
        let (advertisement, commands) = push(had, wanted);
        let walked = enumerate(&repository, &advertisement, &commands).unwrap();
        assert_eq!(walked, enumerate(&plain, &advertisement, &commands).unwrap());
        let theirs = closure(&plain, had.iter().copied());
        let only_lacked = |ids: &BTreeSet<ObjectId>| ids.difference(&theirs).copied().collect::<BTreeSet<_>>();
        let lacked = only_lacked(&closure(&plain, wanted.iter().copied()));
        assert_eq!(only_lacked(&ids(&walked)), lacked);
        let bitmapped = enumerate_bitmapped(&repository, &advertisement, &commands).unwrap();
        if let Some(list) = &bitmapped {
            assert_eq!(ids(list), lacked, "nothing is sent again");
        }
        for (old, new) in had.iter().flat_map(|old| wanted.iter().map(move |new| (*old, *new))) {
            let expected = closure(&plain, [new]).contains(&old);
            assert_eq!(fast_forward(&repository, old, new).unwrap(), expected, "{old} to {new}");
            assert_eq!(fast_forward(&plain, old, new).unwrap(), expected, "{old} to {new}");
        }
        bitmapped
    }
}

/// Damage to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flipped(Index),
    Cut(Index),
    /// It is that of another repository.
    Foreign,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => any::<Index>().prop_map(Damage::Flipped),
        2 => any::<Index>().prop_map(Damage::Cut),
        1 => Just(Damage::Foreign),
    ]
}

impl Damage {
    fn do_to(&self, file: &Path, foreign: &Path) {
        let mut bytes = fs::read(file).unwrap();
        match self {
            Damage::Flipped(index) => *index.get_mut(&mut bytes) ^= 1,
            Damage::Cut(index) => bytes.truncate(index.index(bytes.len())),
            Damage::Foreign => {
                let is_graph = file.to_string_lossy().contains("graph");
                let other = Source::new(
                    foreign,
                    "sha1",
                    &[Step {
                        parents: Vec::new(),
                        edits: Vec::new(),
                        date: 999,
                    }],
                    1,
                    if is_graph { Packs::Loose } else { Packs::OneWithBitmap },
                    if is_graph { Graph::One } else { Graph::None },
                    false,
                );
                bytes = fs::read(&other.files()[0]).unwrap();
            }
        }
        replace(file, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_the_objects_with_any_files_of_git_beside_them(
        format in select(&["sha1", "sha1", "sha256"][..]),
        steps in steps(),
        first in any::<Index>(),
        packs in select(&PACKS[..]),
        graph in select(&[Graph::None, Graph::One, Graph::Chain][..]),
        lent in any::<bool>(),
        had in prop::collection::vec(any::<Index>(), 0..4),
        wanted in prop::collection::vec(any::<Index>(), 1..4),
        damaged in any::<Index>(),
        damage in damage(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new(folder.path(), format, &steps, first.index(steps.len()) + 1, packs, graph, lent);
        let (had, wanted) = (source.choose(&had), source.choose(&wanted));
        let list = source.check(&had, &wanted);
        let has_bitmap = matches!(packs, Packs::OneWithBitmap | Packs::ManyWithIndexAndBitmap);
        prop_assert_eq!(list.is_some(), has_bitmap);
        let theirs = closure(&source.open(), had.iter().copied());
        let listed = source.listed_by_git(&wanted, &had);
        let lacked = closure(&source.open(), wanted.iter().copied());
        prop_assert!(lacked.difference(&theirs).all(|id| listed.contains(id)));
        if let Some(list) = list {
            assert_pack_arrives(&source.open(), folder.path(), &list, &had, true);
        }

        let files = source.files();
        prop_assert_eq!(files.is_empty(), !has_bitmap && graph == Graph::None);
        if !files.is_empty() {
            let file = damaged.get(&files);
            damage.do_to(file, &folder.path().join("foreign"));
            let list = source.check(&had, &wanted);
            let is_bitmap = file.extension().is_some_and(|end| end == "bitmap");
            prop_assert_eq!(list.is_some(), has_bitmap && !is_bitmap);
        }
    }
}

/// Writes a repository with this number of commits in a row, all in the commit-graph. The objects of those at these places
/// are garbage.
fn with_unreadable(path: &Path, length: u32, places: &[usize]) -> Vec<ObjectId> {
    let repository = history::repository(path, "sha1");
    let tree = repository.write_object(gix::objs::Tree::empty()).unwrap().detach();
    let mut commits: Vec<ObjectId> = Vec::new();
    for round in 0..length {
        commits.push(commit(
            &repository,
            tree,
            &commits[commits.len().saturating_sub(1)..],
            round,
        ));
    }
    point(&repository, "refs/heads/main", commits[commits.len() - 1]);
    git(path, &["commit-graph", "write", "--reachable"], None);
    for place in places {
        let hex = commits[*place].to_string();
        replace(&path.join("objects").join(&hex[..2]).join(&hex[2..]), b"garbage");
    }
    commits
}

#[test]
fn commits_in_the_graph_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let commits = with_unreadable(&path, 40, &[20]);
    let is_ancestor = |old: usize, new: usize| {
        let repository = gix::open(&path).unwrap();
        fast_forward(&repository, commits[old], commits[new]).map_err(|error| error.kind())
    };
    assert_eq!(
        is_ancestor(10, 39),
        Ok(true),
        "the commits between are read from the graph"
    );
    assert_eq!(is_ancestor(39, 10), Ok(false), "generation numbers end the walk");
    let with = |file: &str, content: &str| {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        let answer = is_ancestor(10, 39);
        fs::remove_file(file).unwrap();
        answer
    };
    // Where git leaves the graph aside, the objects are read.
    let config = fs::read_to_string(path.join("config")).unwrap();
    for (file, content) in [
        ("info/grafts", format!("{} {}\n", commits[39], commits[10])),
        ("shallow", format!("{}\n", commits[2])),
        (&*format!("refs/replace/{}", commits[5]), format!("{}\n", commits[4])),
    ] {
        assert_eq!(with(file, &content), Err(ErrorKind::Broken), "{file}");
    }
    assert_eq!(is_ancestor(10, 39), Ok(true));
    fs::write(path.join("config"), format!("{config}[core]\n\tcommitGraph = false\n")).unwrap();
    assert_eq!(is_ancestor(10, 39), Err(ErrorKind::Broken));
    fs::write(path.join("config"), config).unwrap();
    let graph = path.join("objects/info/commit-graph");
    let mut bytes = fs::read(&graph).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    replace(&graph, &bytes);
    assert_eq!(
        is_ancestor(10, 39),
        Err(ErrorKind::Broken),
        "a damaged graph is not used"
    );
}

#[test]
fn a_commit_of_the_graph_that_is_gone_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let commits = with_unreadable(&path, 5, &[]);
    let hex = commits[2].to_string();
    fs::remove_file(path.join("objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    let (advertisement, commands) = push(&[commits[0]].into(), &[commits[4]].into());
    let error = enumerate(&gix::open(&path).unwrap(), &advertisement, &commands).unwrap_err();
    let expected = format!("object {hex}, reached from commit {}, is not in ", commits[3]);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_graph_is_not_opened_for_a_short_walk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    // The graph is as large as many commits are worth.
    let commits = with_unreadable(&path, 200, &[50, 197]);
    let repository = gix::open(&path).unwrap();
    let size = fs::metadata(path.join("objects/info/commit-graph")).unwrap().len();
    assert!(size > 5 * 2048, "{size}");
    let read = fast_forward(&repository, commits[194], commits[199]);
    assert_eq!(
        read.map_err(|error| error.kind()),
        Err(ErrorKind::Broken),
        "an object is read"
    );
    let repository = gix::open(&path).unwrap();
    let far = fast_forward(&repository, commits[10], commits[196]);
    assert!(far.unwrap(), "the graph is opened on the way");
}

/// Returns the path of a pack.
fn pack_of(repository: &Path) -> PathBuf {
    let files = fs::read_dir(repository.join("objects/pack")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "pack"))
        .unwrap()
}

#[test]
fn an_index_of_many_packs_that_is_damaged_or_has_lost_a_pack_selects_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    // A pack that does not have the tip.
    let mut oldest = None;
    let mut parents = Vec::new();
    let repository = history::repository(&path, "sha1");
    for round in 0..3u32 {
        let blob = repository.write_blob(format!("round {round}")).unwrap();
        let mut editor = repository
            .edit_tree(ObjectId::empty_tree(repository.object_hash()))
            .unwrap();
        editor.upsert("file", gix::objs::tree::EntryKind::Blob, blob).unwrap();
        let tip = commit(&repository, editor.write().unwrap().detach(), &parents, round);
        point(&repository, "refs/heads/main", tip);
        git(&path, &["repack", "-dq"], None);
        oldest.get_or_insert_with(|| pack_of(&path));
        parents = vec![tip];
    }
    git(&path, &["multi-pack-index", "write", "--bitmap"], None);
    let selected = || {
        let (advertisement, commands) = push(&BTreeSet::new(), &[parents[0]].into());
        let list = enumerate_bitmapped(&gix::open(&path).unwrap(), &advertisement, &commands).unwrap();
        list.map(|list| list.objects.len())
    };
    assert_eq!(selected(), Some(9));
    // No other reader of the index compares its checksum, or needs the order of the bits.
    let index = path.join("objects/pack/multi-pack-index");
    let whole = fs::read(&index).unwrap();
    let order = whole.windows(4).position(|id| id == b"RIDX").unwrap();
    let mut renamed = whole.clone();
    renamed[order] ^= 1;
    replace(&index, &renamed);
    assert_eq!(selected(), None);
    replace(&index, &whole);
    assert_eq!(selected(), Some(9));
    let pack = oldest.unwrap();
    fs::rename(&pack, pack.with_extension("gone")).unwrap();
    assert_eq!(selected(), None);
}
