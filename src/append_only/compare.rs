//! Comparison of the files of two trees.
use bstr::BString;
use gix::{ObjectId, objs::tree::EntryKind};

use super::{Letter, Paths, renames};
use crate::git_objects::{Additions, Error, FileChange, Leaf, Reader, differences, item_at};

/// Number of pairs of tree entries in one comparison.
const MAX_PAIRS: usize = 1_000_000;

/// A file that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The new tree has an additional file.
    Added { path: BString, item: Leaf },
    /// A file of the old tree is different or missing in the new one.
    Broken {
        path: BString,
        letter: Letter,
        item: Leaf,
        to: Option<BString>,
    },
}

/// Returns the changes to the guarded files of the tree `old` in the tree `new`, by path. Additions come last, if they
/// are requested.
///
/// # Errors
/// A tree is missing or damaged.
pub(super) fn compare(
    reader: Reader<'_>,
    paths: &Paths,
    old: ObjectId,
    new: ObjectId,
    additions: Additions,
) -> Result<Vec<Change>, Error> {
    if old == new {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    for path in paths.iter() {
        let whole = FileChange {
            path: path.into(),
            old: item_at(reader, old, path)?,
            new: item_at(reader, new, path)?,
        };
        changes.extend(walk(reader, whole, additions)?);
    }
    let (mut broken, mut added): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| matches!(change, Change::Broken { .. }));
    if broken.iter().any(|change| {
        matches!(
            change,
            Change::Broken {
                letter: Letter::Deleted,
                ..
            }
        )
    }) {
        renames::find(reader, &mut broken, old, new)?;
    }
    broken.sort_by(|one, other| one.path().cmp(other.path()));
    broken.append(&mut added);
    Ok(broken)
}

/// Returns every change of a file between the two entries of `whole`, in no particular order.
pub(super) fn walk(reader: Reader<'_>, whole: FileChange, additions: Additions) -> Result<Vec<Change>, Error> {
    let changes = differences(reader, whole, additions, MAX_PAIRS)?;
    Ok(changes.into_iter().filter_map(change).collect())
}

fn change(FileChange { path, old, new }: FileChange) -> Option<Change> {
    match (old, new) {
        (Some(item), new) => Some(Change::Broken {
            path,
            letter: new.map_or(Letter::Deleted, |new| letter(item.kind, new.kind)),
            item,
            to: None,
        }),
        (None, item) => item.map(|item| Change::Added { path, item }),
    }
}

impl Change {
    pub(super) fn path(&self) -> &BString {
        match self {
            Change::Added { path, .. } | Change::Broken { path, .. } => path,
        }
    }
}

/// Returns the letter of a file that exists in both trees but differs.
fn letter(old: EntryKind, new: EntryKind) -> Letter {
    let regular = |kind| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable);
    if old == new || (regular(old) && regular(new)) {
        Letter::Modified
    } else {
        Letter::TypeChanged
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap};

    use bstr::ByteSlice;
    use gix::{
        hash::Kind as Hash,
        objs::{Data, Find, Kind, WriteTo, tree},
    };
    use proptest::prelude::*;

    use super::*;

    /// Objects in memory, with a counter of reads.
    #[derive(Default)]
    struct Memory {
        trees: BTreeMap<ObjectId, Vec<u8>>,
        reads: Cell<usize>,
    }

    type Files = BTreeMap<String, (EntryKind, u8)>;

    impl Find for Memory {
        fn try_find<'a>(&self, id: &gix::oid, buffer: &'a mut Vec<u8>) -> gix::Result<Option<Data<'a>>> {
            self.reads.set(self.reads.get() + 1);
            let Some(data) = self.trees.get(id) else {
                return Ok(None);
            };
            data.clone_into(buffer);
            Ok(Some(Data::new(buffer, Kind::Tree, Hash::Sha1)))
        }
    }

    impl Memory {
        fn write(&mut self, files: &Files) -> ObjectId {
            let mut folders: BTreeMap<&str, Files> = BTreeMap::new();
            let mut entries = Vec::new();
            for (path, (kind, content)) in files {
                match path.split_once('/') {
                    Some((folder, rest)) => {
                        folders
                            .entry(folder)
                            .or_default()
                            .insert(rest.into(), (*kind, *content));
                    }
                    None => entries.push(tree::Entry {
                        mode: (*kind).into(),
                        filename: path.as_str().into(),
                        oid: ObjectId::from_bytes_or_panic(&[*content; 20]),
                    }),
                }
            }
            for (folder, files) in folders {
                entries.push(tree::Entry {
                    mode: EntryKind::Tree.into(),
                    filename: folder.into(),
                    oid: self.write(&files),
                });
            }
            entries.sort();
            let mut data = Vec::new();
            gix::objs::Tree { entries }.write_to(&mut data).expect("memory");
            let id = gix::objs::compute_hash(Hash::Sha1, Kind::Tree, &data).expect("a hash");
            self.trees.insert(id, data);
            id
        }
    }

    /// Generates files of which no path is also a folder.
    fn files() -> impl Strategy<Value = Files> {
        let kind = prop_oneof![
            5 => Just(EntryKind::Blob),
            1 => Just(EntryKind::BlobExecutable),
            1 => Just(EntryKind::Link),
            1 => Just(EntryKind::Commit),
        ];
        let path = prop_oneof![4 => "events(/[ab.]){1,3}", 1 => "[ae](/[ab]){0,2}", 1 => "events[-.a]?"];
        let path = path.prop_filter("no name of dots", |path| {
            !path.split('/').any(|part| part == "." || part == "..")
        });
        proptest::collection::btree_map(path, (kind, 0u8..6), 0..14).prop_map(|files| {
            let is_folder = |path: &String| files.keys().any(|other| other.starts_with(&format!("{path}/")));
            files
                .iter()
                .filter(|(path, _)| !is_folder(path))
                .map(|(path, file)| (path.clone(), *file))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_rule_says_what_a_walk_over_all_paths_says(old in files(), new in files()) {
            let mut memory = Memory::default();
            let (old_id, new_id) = (memory.write(&old), memory.write(&new));
            let paths = Paths::new(["events/"]).expect("a path");
            let found = compare(Reader(&memory), &paths, old_id, new_id, Additions::Wanted).expect("trees");

            let guarded = |path: &str| path == "events" || path.starts_with("events/");
            let regular = |kind| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable);
            let mut expected: Vec<(String, Letter)> = Vec::new();
            for (path, file) in old.iter().filter(|(path, _)| guarded(path)) {
                match new.get(path) {
                    Some(now) if now == file => {}
                    Some((kind, _)) if *kind == file.0 || (regular(*kind) && regular(file.0)) => {
                        expected.push((path.clone(), Letter::Modified));
                    }
                    Some(_) => expected.push((path.clone(), Letter::TypeChanged)),
                    None => expected.push((path.clone(), Letter::Deleted)),
                }
            }
            let mut broken = Vec::new();
            let mut added = Vec::new();
            let mut targets = std::collections::BTreeSet::new();
            for change in found {
                let path = change.path().to_string();
                match change {
                    Change::Added { item, .. } => added.push((path, item.kind)),
                    Change::Broken { letter: Letter::Renamed, to: Some(to), item, .. } => {
                        let to = to.to_str().expect("a path").to_owned();
                        prop_assert!(!old.contains_key(&to) && new[&to].1 == item.id.as_bytes()[0]);
                        prop_assert!(targets.insert(to), "two files became one");
                        broken.push((path, Letter::Deleted));
                    }
                    Change::Broken { letter, .. } => broken.push((path, letter)),
                }
            }
            prop_assert_eq!(broken, expected);
            added.sort();
            let expected: Vec<_> = new
                .iter()
                .filter(|(path, _)| guarded(path) && !old.contains_key(*path))
                .map(|(path, (kind, _))| (path.clone(), *kind))
                .collect();
            prop_assert_eq!(added, expected);
        }
    }

    #[test]
    fn equal_subtrees_are_not_read() {
        let mut memory = Memory::default();
        let path = |number: u32| format!("events/feed-{}/day-{}/{number}", number % 10, number / 10 % 100);
        let mut files: Files = (0..100_000)
            .map(|number| (path(number), (EntryKind::Blob, 1)))
            .collect();
        let old = memory.write(&files);
        files.insert(path(4711), (EntryKind::Blob, 2));
        files.insert("events/feed-new/day/file".into(), (EntryKind::Blob, 3));
        files.insert("elsewhere/file".into(), (EntryKind::Blob, 4));
        let new = memory.write(&files);
        let paths = Paths::new(["events/"]).expect("a path");
        let found = compare(Reader(&memory), &paths, old, new, Additions::Unread).expect("trees");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path(), path(4711).as_str());
        // On each side, only the root, `events`, the feed and the day are read.
        assert_eq!(memory.reads.get(), 8);
    }

    #[test]
    fn a_tree_that_names_another_again_and_again_has_an_end() {
        let mut memory = Memory::default();
        let mut id = memory.write(&Files::from([("file".into(), (EntryKind::Blob, 1))]));
        for _ in 0..12 {
            let entries = (b'a'..b'k').map(|name| tree::Entry {
                mode: EntryKind::Tree.into(),
                filename: vec![name].into(),
                oid: id,
            });
            let mut data = Vec::new();
            let tree = gix::objs::Tree {
                entries: entries.collect(),
            };
            tree.write_to(&mut data).expect("memory");
            id = gix::objs::compute_hash(Hash::Sha1, Kind::Tree, &data).expect("a hash");
            memory.trees.insert(id, data);
        }
        let paths = Paths::new(["."]).expect("a path");
        let none = ObjectId::empty_tree(Hash::Sha1);
        let found = compare(Reader(&memory), &paths, id, none, Additions::Unread);
        assert!(matches!(found, Err(Error::TooMany(MAX_PAIRS, _))));
    }
}
