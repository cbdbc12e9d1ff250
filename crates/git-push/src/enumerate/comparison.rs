//! Comparison of a tree with trees at the same path. PURE: it sees bytes, and reads no object.
//!
//! Most entries are the same in a tree and its bases. Runs of them are compared as bytes, and skipped without a look at
//! names and ids. A run is skipped if all bases that have entries left agree, so it never hides an entry from a base.
use bstr::{BString, ByteSlice};
use gix::{
    ObjectId, hash,
    objs::{TreeRefIter, tree::EntryRef},
};

/// Bytes that are compared at once.
const BLOCK: usize = 128;

/// Differences between a tree and its bases.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Entries that no base has with the same id, in the order of the tree. Submodules are left out.
    pub(super) changed: Vec<Changed>,
    /// Entries of the first base at paths that the tree does not have. Submodules are left out.
    pub(super) deleted: Vec<Deletion>,
}

/// An entry that no base has with the same id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) name: BString,
    pub(super) id: ObjectId,
    pub(super) is_tree: bool,
    /// Trees or blobs at its path in the bases.
    pub(super) before: Vec<ObjectId>,
    /// The blob before it in the tree, if no base has its path.
    pub(super) sibling: Option<ObjectId>,
}

/// An entry that the tree does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deletion {
    pub(super) is_tree: bool,
    pub(super) name: BString,
    pub(super) id: ObjectId,
}

impl Comparison {
    /// Returns the number of entries.
    pub(super) fn entries(&self) -> usize {
        self.changed.len() + self.deleted.len()
    }
}

/// Compares a tree with its bases. All are in git's order. A damaged base ends where it is damaged.
///
/// # Errors
/// The tree is damaged.
pub(super) fn compare(tree: &[u8], bases: &[&[u8]], format: hash::Kind) -> Result<Comparison, gix::Error> {
    let bases = bases.iter().map(|bytes| Side {
        entries: Entries::new(bytes, format),
        same_until: 0,
    });
    let mut walk = Walk {
        tree: Entries::new(tree, format),
        bases: bases.collect(),
        file: None,
        found: Comparison::default(),
    };
    loop {
        walk.skip_same();
        if !walk.entry()? {
            return Ok(walk.finish());
        }
    }
}

/// Position in the entries of a tree.
struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
    format: hash::Kind,
}

/// A base, beside the tree.
struct Side<'a> {
    entries: Entries<'a>,
    /// The tree is known to go on like this base up to this position of the tree.
    same_until: usize,
}

struct Walk<'a> {
    tree: Entries<'a>,
    bases: Vec<Side<'a>>,
    /// Start of the last blob's entry.
    file: Option<usize>,
    found: Comparison,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8], format: hash::Kind) -> Self {
        Entries { bytes, at: 0, format }
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Returns the end of the next entry, if it is not behind `limit`.
    fn end(&self, limit: usize) -> Option<usize> {
        let name = self.bytes[self.at..limit].find_byte(0)?;
        let end = self.at + name + 1 + self.format.len_in_bytes();
        (end <= limit).then_some(end)
    }

    /// Returns the next entry and its end.
    fn peek(&self) -> Option<Result<(EntryRef<'a>, usize), gix::Error>> {
        let mut entries = TreeRefIter::from_bytes(self.rest(), self.format);
        let entry = entries.next()?;
        Some(entry.map(|entry| (entry, self.at + entries.offset_to_next_entry(self.rest()))))
    }
}

impl Walk<'_> {
    /// Skips entries that are the same in all bases.
    fn skip_same(&mut self) {
        let start = self.tree.at;
        let mut limit = None;
        for base in self.bases.iter_mut().filter(|base| !base.entries.rest().is_empty()) {
            if base.same_until <= start {
                base.same_until = start + same_bytes(self.tree.rest(), base.entries.rest());
            }
            limit = Some(limit.map_or(base.same_until, |limit: usize| limit.min(base.same_until)));
        }
        let Some(limit) = limit else {
            return;
        };
        while let Some(end) = self.tree.end(limit) {
            self.file = file_at(self.tree.rest(), self.tree.at).or(self.file);
            self.tree.at = end;
        }
        let skipped = self.tree.at - start;
        for base in self.bases.iter_mut().filter(|base| !base.entries.rest().is_empty()) {
            base.entries.at += skipped;
        }
    }

    /// Compares the next entry. Returns false if there is none.
    fn entry(&mut self) -> Result<bool, gix::Error> {
        let Some(entry) = self.tree.peek() else {
            return Ok(false);
        };
        let (entry, end) = entry?;
        let mut before = Vec::new();
        for (number, base) in self.bases.iter_mut().enumerate() {
            if base.same_until >= end {
                base.entries.at += end - self.tree.at;
                before.extend((!entry.mode.is_commit()).then(|| entry.oid.to_owned()));
            } else {
                let deleted = (number == 0).then_some(&mut self.found.deleted);
                before.extend(base.seek(&entry, deleted));
            }
        }
        let id = entry.oid.to_owned();
        if !entry.mode.is_commit() && !before.contains(&id) {
            let sibling = if before.is_empty() { self.file() } else { None };
            self.found.changed.push(Changed {
                name: entry.filename.into(),
                id,
                is_tree: entry.mode.is_tree(),
                before,
                sibling,
            });
        }
        self.file = file_at(self.tree.rest(), self.tree.at).or(self.file);
        self.tree.at = end;
        Ok(true)
    }

    /// Returns the blob of the last entry that has one.
    fn file(&self) -> Option<ObjectId> {
        let entry = Entries {
            at: self.file?,
            ..Entries::new(self.tree.bytes, self.tree.format)
        };
        let (entry, _) = entry.peek()?.ok()?;
        entry.mode.is_blob_or_symlink().then(|| entry.oid.to_owned())
    }

    /// Adds the rest of the first base to the deletions.
    fn finish(mut self) -> Comparison {
        if let Some(base) = self.bases.first_mut() {
            while let Some(entry) = base.next_if(|_| true) {
                self.found.deleted.extend(deletion(&entry));
            }
        }
        self.found
    }
}

impl<'a> Side<'a> {
    /// Advances to the position of `entry`. Returns the tree or blob with its name. Skipped entries are deletions.
    fn seek(&mut self, entry: &EntryRef<'_>, mut deleted: Option<&mut Vec<Deletion>>) -> Option<ObjectId> {
        self.same_until = 0;
        while let Some(gone) = self.next_if(|base| base < entry) {
            if let Some(deleted) = &mut deleted {
                deleted.extend(deletion(&gone));
            }
        }
        let found = self.next_if(|base| base.cmp(entry).is_eq())?;
        (!found.mode.is_commit()).then(|| found.oid.to_owned())
    }

    fn next_if(&mut self, accepts: impl Fn(&EntryRef<'_>) -> bool) -> Option<EntryRef<'a>> {
        match self.entries.peek()? {
            Ok((entry, end)) => accepts(&entry).then(|| {
                self.entries.at = end;
                entry
            }),
            Err(_) => {
                self.entries.at = self.entries.bytes.len();
                None
            }
        }
    }
}

/// Returns the position `at` if the entry at the start of these bytes is a blob's, by its mode.
fn file_at(bytes: &[u8], at: usize) -> Option<usize> {
    let is_file = bytes.starts_with(b"10") || bytes.starts_with(b"12");
    is_file.then_some(at)
}

fn deletion(entry: &EntryRef<'_>) -> Option<Deletion> {
    (!entry.mode.is_commit()).then(|| Deletion {
        is_tree: entry.mode.is_tree(),
        name: entry.filename.into(),
        id: entry.oid.to_owned(),
    })
}

/// Returns the number of bytes that both start with.
fn same_bytes(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let blocks = BLOCK * blocks.take_while(|(one, other)| one == other).count();
    let bytes = one[blocks..].iter().zip(&other[blocks..]);
    blocks + bytes.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gix::objs::{
        Tree, WriteTo,
        tree::{Entry, EntryKind},
    };
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const KINDS: [EntryKind; 5] = [
        EntryKind::Blob,
        EntryKind::BlobExecutable,
        EntryKind::Link,
        EntryKind::Commit,
        EntryKind::Tree,
    ];

    /// Entries by their names.
    type Folder = BTreeMap<String, (EntryKind, u8)>;

    fn entries(folder: &Folder) -> Vec<Entry> {
        let entry = |(name, (kind, id)): (&String, &(EntryKind, u8))| Entry {
            mode: (*kind).into(),
            filename: name.as_str().into(),
            oid: ObjectId::Sha1([*id; 20]),
        };
        let mut entries: Vec<_> = folder.iter().map(entry).collect();
        entries.sort();
        entries
    }

    fn bytes(folder: &Folder) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entries = entries(folder);
        Tree { entries }.write_to(&mut bytes).unwrap();
        bytes
    }

    /// Compares entry by entry.
    fn expected(tree: &Folder, bases: &[Folder]) -> Comparison {
        let same_path = |one: &Entry, other: &Entry| one.cmp(other).is_eq();
        let mut expected = Comparison::default();
        let mut file = None;
        for entry in entries(tree) {
            let at_path = |base: &Folder| entries(base).into_iter().find(|base| same_path(base, &entry));
            let before = bases.iter().filter_map(at_path).filter(|base| !base.mode.is_commit());
            let before: Vec<_> = before.map(|base| base.oid).collect();
            if !entry.mode.is_commit() && !before.contains(&entry.oid) {
                expected.changed.push(Changed {
                    name: entry.filename.clone(),
                    id: entry.oid,
                    is_tree: entry.mode.is_tree(),
                    sibling: file.filter(|_| before.is_empty()),
                    before,
                });
            }
            if entry.mode.is_blob_or_symlink() {
                file = Some(entry.oid);
            }
        }
        let gone = |base: &Entry| !base.mode.is_commit() && !entries(tree).iter().any(|entry| same_path(base, entry));
        let gone = bases.first().map(entries).unwrap_or_default().into_iter().filter(gone);
        expected.deleted = gone
            .map(|entry| Deletion {
                is_tree: entry.mode.is_tree(),
                name: entry.filename,
                id: entry.oid,
            })
            .collect();
        expected
    }

    fn folder() -> impl Strategy<Value = Folder> {
        let entry = (prop::sample::select(&KINDS[..]), 0..4u8);
        prop::collection::btree_map("[a-c.]{1,12}", entry, 0..60)
    }

    /// Changes of an entry: to another one, or nothing.
    fn edits() -> impl Strategy<Value = Vec<(Index, Option<(EntryKind, u8)>)>> {
        let entry = prop::option::of((prop::sample::select(&KINDS[..]), 0..4u8));
        prop::collection::vec((any::<Index>(), entry), 0..6)
    }

    fn edited(folder: &Folder, edits: &[(Index, Option<(EntryKind, u8)>)]) -> Folder {
        let mut edited = folder.clone();
        for (index, entry) in edits.iter().filter(|_| !folder.is_empty()) {
            let name = folder.keys().nth(index.index(folder.len())).unwrap();
            match entry {
                Some(entry) => edited.insert(name.clone(), *entry),
                None => edited.remove(name),
            };
        }
        edited
    }

    proptest! {
        #[test]
        fn runs_of_equal_entries_hide_no_difference(
            folder in folder(),
            edits in prop::collection::vec(edits(), 1..5),
            stranger in prop::option::of(self::folder()),
        ) {
            let mut bases: Vec<_> = edits.iter().map(|edits| edited(&folder, edits)).collect();
            let tree = bases.remove(0);
            bases.extend(stranger);
            let base_bytes: Vec<_> = bases.iter().map(bytes).collect();
            let base_bytes: Vec<_> = base_bytes.iter().map(Vec::as_slice).collect();
            let found = compare(&bytes(&tree), &base_bytes, hash::Kind::Sha1).unwrap();
            prop_assert_eq!(found, expected(&tree, &bases));
        }

        #[test]
        fn a_tree_that_is_cut_is_an_error_and_a_base_that_is_cut_ends_there(folder in folder(), cut in any::<Index>()) {
            let tree = bytes(&folder);
            prop_assume!(!tree.is_empty());
            let length = cut.index(tree.len());
            let is_whole = TreeRefIter::from_bytes(&tree[..length], hash::Kind::Sha1).all(|entry| entry.is_ok());
            prop_assert_eq!(compare(&tree[..length], &[], hash::Kind::Sha1).is_ok(), is_whole);
            let found = compare(&tree, &[&tree[..length]], hash::Kind::Sha1).unwrap();
            let kept = TreeRefIter::from_bytes(&tree[..length], hash::Kind::Sha1).flatten().count();
            let submodules = entries(&folder)[kept..].iter().filter(|entry| entry.mode.is_commit()).count();
            prop_assert_eq!(found.changed.len(), folder.len() - kept - submodules);
        }
    }
}
