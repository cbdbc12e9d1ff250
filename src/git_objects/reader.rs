//! Reader of commits, trees and blobs.
use std::cmp::Ordering;

use bstr::ByteSlice;
use gix::{
    ObjectId,
    objs::{
        CommitRefIter, Find, Kind, TagRefIter, TreeRefIter,
        tree::{EntryKind, EntryRef, name_order},
    },
};

use super::Error;

/// Longest chain of tags. A longer one counts as damaged.
const MAX_TAGS: usize = 64;

/// Parsed fields of a commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    /// Commit time in seconds since 1970. 0 if it cannot be parsed.
    pub(crate) time: i64,
}

/// Entry of a tree, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Kind: file, folder, link or submodule.
    pub kind: EntryKind,
    /// Id of the object.
    pub id: ObjectId,
}

impl Leaf {
    /// Returns the entry of a tree with this id.
    pub(crate) fn tree(id: ObjectId) -> Self {
        Leaf {
            kind: EntryKind::Tree,
            id,
        }
    }

    /// Returns true if it is a folder.
    pub(crate) fn is_tree(&self) -> bool {
        self.kind == EntryKind::Tree
    }
}

impl From<&EntryRef<'_>> for Leaf {
    fn from(entry: &EntryRef<'_>) -> Self {
        Leaf {
            kind: entry.mode.kind(),
            id: entry.oid.into(),
        }
    }
}

/// Reader of objects.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a dyn Find);

impl Reader<'_> {
    /// Follows tags from `id` to a commit. `None` if they lead to another kind of object.
    pub(crate) fn peel(&self, mut id: ObjectId) -> Result<Option<ObjectId>, Error> {
        let mut buffer = Vec::new();
        for _ in 0..MAX_TAGS {
            let (kind, data) = self.find("object", id, &mut buffer)?;
            match kind {
                Kind::Commit => return Ok(Some(id)),
                Kind::Tag => {
                    let target = TagRefIter::from_bytes(data, id.kind()).target_id();
                    id = target.map_err(|error| damaged("tag", id, &error))?;
                }
                Kind::Tree | Kind::Blob => return Ok(None),
            }
        }
        Err(damaged("tag", id, &"too many tags of tags"))
    }

    /// Reads the commit `id`.
    pub(crate) fn commit(&self, id: ObjectId) -> Result<Commit, Error> {
        let mut buffer = Vec::new();
        let (Kind::Commit, data) = self.find("commit", id, &mut buffer)? else {
            return Err(Error::NotACommit(id));
        };
        let commit = |data| CommitRefIter::from_bytes(data, id.kind());
        let tree = commit(data).tree_id();
        Ok(Commit {
            tree: tree.map_err(|error| damaged("commit", id, &error))?,
            parents: commit(data).parent_ids().collect(),
            time: commit(data).committer().map_or(0, |committer| committer.seconds()),
        })
    }

    /// Reads the tree `id`.
    pub(crate) fn tree(&self, id: ObjectId) -> Result<Tree, Error> {
        let data = if id.is_empty_tree() {
            Vec::new()
        } else {
            self.read(id, Kind::Tree)?
        };
        Ok(Tree { id, data })
    }

    /// Reads the blob `id`.
    pub(crate) fn blob(&self, id: ObjectId) -> Result<Vec<u8>, Error> {
        self.read(id, Kind::Blob)
    }

    /// Reads the bytes of an object of this kind.
    pub(crate) fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, Error> {
        let what = match kind {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        };
        let mut data = Vec::new();
        let (found, bytes) = self.find(what, id, &mut data)?;
        let length = bytes.len();
        if found != kind {
            return Err(damaged(what, id, &format!("it is a {found}")));
        }
        data.truncate(length);
        Ok(data)
    }

    fn find<'b>(&self, what: &'static str, id: ObjectId, buffer: &'b mut Vec<u8>) -> Result<(Kind, &'b [u8]), Error> {
        match self.0.try_find(&id, buffer) {
            Ok(Some(object)) => Ok((object.kind, object.data)),
            Ok(None) => Err(Error::Missing { what, id }),
            Err(error) => {
                let causes: Vec<_> = error.iter_errors().map(ToString::to_string).collect();
                Err(damaged(what, id, &causes.join(": ")))
            }
        }
    }
}

/// Raw bytes of a tree.
pub(crate) struct Tree {
    id: ObjectId,
    data: Vec<u8>,
}

impl Tree {
    /// Returns its entries, strictly in git's order, with unique names without a slash.
    ///
    /// In a forged tree that violates this, different readers may find different files at the same path (git-fsck,
    /// *treeNotSorted*, *duplicateEntries*, *fullPathname*).
    ///
    /// # Errors
    /// The order or the names of the entries are invalid.
    pub(crate) fn entries(&self) -> Result<Vec<EntryRef<'_>>, Error> {
        let bad = |why: &str| damaged("tree", self.id, &why);
        let entries = TreeRefIter::from_bytes(&self.data, self.id.kind()).entries();
        let entries = entries.map_err(|error| damaged("tree", self.id, &error))?;
        let key = |entry: &EntryRef<'_>| entry.mode.is_tree();
        for pair in entries.windows(2) {
            let [one, other] = [&pair[0], &pair[1]];
            if name_order(one.filename, key(one), other.filename, key(other)) != Ordering::Less {
                return Err(bad("its entries are not in order, or two have the same name"));
            }
        }
        for entry in &entries {
            if entry.filename.is_empty() || entry.filename.contains(&b'/') {
                return Err(bad("an entry has a name that no file can have"));
            }
            if key(entry) && position(&entries, entry.filename, false).is_some() {
                return Err(bad("a file and a folder have the same name"));
            }
        }
        Ok(entries)
    }

    /// Returns the file or folder with this name.
    ///
    /// # Errors
    /// The errors of [`entries()`](Tree::entries()).
    pub(crate) fn item(&self, name: &[u8]) -> Result<Option<Leaf>, Error> {
        let entries = self.entries()?;
        let found = position(&entries, name, true).or_else(|| position(&entries, name, false));
        Ok(found.map(|index| Leaf::from(&entries[index])))
    }
}

/// Returns the index of this file or folder.
fn position(entries: &[EntryRef<'_>], name: &[u8], is_tree: bool) -> Option<usize> {
    let order = |entry: &EntryRef<'_>| name_order(entry.filename, entry.mode.is_tree(), name.as_bstr(), is_tree);
    entries.binary_search_by(order).ok()
}

fn damaged(what: &'static str, id: ObjectId, why: &dyn std::fmt::Display) -> Error {
    Error::Damaged {
        what,
        id,
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &[u8])]) -> Tree {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend([mode.as_bytes(), b" ", name, b"\0", &[7; 20]].concat());
        }
        Tree {
            id: ObjectId::empty_tree(gix::hash::Kind::Sha1),
            data,
        }
    }

    #[test]
    fn an_entry_is_found_as_a_file_and_as_a_folder() {
        let tree = tree(&[
            ("100644", b"a.json"),
            ("40000", b"a"),
            ("100755", b"b"),
            ("120000", b"c"),
        ]);
        assert_eq!(tree.item(b"a").unwrap().map(|item| item.kind), Some(EntryKind::Tree));
        assert_eq!(
            tree.item(b"b").unwrap().map(|item| item.kind),
            Some(EntryKind::BlobExecutable)
        );
        assert_eq!(tree.item(b"a.").unwrap(), None);
    }

    #[test]
    fn trees_that_two_readers_may_read_in_two_ways_are_refused() {
        let refused: [&[(&str, &[u8])]; 6] = [
            &[("100644", b"b"), ("100644", b"a")],
            &[("100644", b"a"), ("100644", b"a")],
            &[("100644", b"a"), ("100644", b"a.b"), ("40000", b"a")],
            &[("100644", b"a/b")],
            &[("100644", b"")],
            &[("40000", b"a"), ("100644", b"a.b")],
        ];
        for entries in refused {
            assert!(
                matches!(tree(entries).entries(), Err(Error::Damaged { .. })),
                "{entries:?}"
            );
        }
    }
}
