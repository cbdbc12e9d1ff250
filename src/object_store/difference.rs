//! Differences between two trees of a repository, path by path.
use gix::ObjectId;

use super::{Error, objects::Objects};
use crate::git_objects::{Additions, Leaf, differences};

pub(crate) use crate::git_objects::FileChange as Change;

/// Maximum number of entries that may differ.
const MAX_DIFFERENCES: usize = 1 << 26;

/// Returns all files that were added, removed or changed between two trees, by path. `None` is the empty tree.
///
/// # Errors
/// A tree cannot be read, or more than 67 million entries differ.
pub fn between(objects: Objects<'_>, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<Vec<Change>, Error> {
    let tree = |id: Option<ObjectId>| Leaf::tree(id.unwrap_or(ObjectId::empty_tree(objects.hash())));
    let whole = Change {
        path: "".into(),
        old: Some(tree(old)),
        new: Some(tree(new)),
    };
    let changes = differences(objects.reader(), whole, Additions::Wanted, MAX_DIFFERENCES);
    let mut changes = changes.map_err(|error| objects.unreadable(error))?;
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use gix::{
        hash,
        objs::{Kind, Write, tree::EntryKind},
    };

    use super::*;
    use crate::object_store::tree_buffer::TreeBuffer;

    fn id(number: u8) -> ObjectId {
        ObjectId::Sha1([number; 20])
    }

    fn leaf(kind: EntryKind, id: ObjectId) -> Leaf {
        Leaf { kind, id }
    }

    fn tree(repository: &gix::Repository, entries: &[(&str, Leaf)]) -> ObjectId {
        let mut tree = TreeBuffer::new(hash::Kind::Sha1);
        for (name, leaf) in entries {
            tree.set(name.as_bytes(), *leaf);
        }
        repository.objects.write_buf(Kind::Tree, tree.raw()).expect("a tree")
    }

    #[test]
    fn files_come_by_path_with_both_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init_bare(folder.path()).expect("a repository");
        let file = |number| leaf(EntryKind::Blob, id(number));
        let below = leaf(EntryKind::Tree, tree(&repository, &[("file", file(7))]));
        let same = leaf(EntryKind::Tree, id(9));
        let program = leaf(EntryKind::BlobExecutable, id(2));
        let old = [("a", file(1)), ("b", file(2)), ("c", file(3)), ("same", same)];
        let new = [("a", below), ("a.b", file(4)), ("b", program), ("same", same)];
        let (old, new) = (tree(&repository, &old), tree(&repository, &new));
        let change = |path: &str, old, new| Change {
            path: path.into(),
            old,
            new,
        };
        let found = between(Objects(&repository), Some(old), Some(new)).expect("trees");
        assert_eq!(
            found,
            [
                change("a", Some(file(1)), None),
                change("a.b", None, Some(file(4))),
                change("a/file", None, Some(file(7))),
                change("b", Some(file(2)), Some(program)),
                change("c", Some(file(3)), None),
            ]
        );
        let added = between(Objects(&repository), None, Some(below.id)).expect("trees");
        assert_eq!(added, [change("file", None, Some(file(7)))]);
        let error = between(Objects(&repository), Some(old), None).expect_err("a tree that is missing");
        assert!(error.to_string().contains(&format!("{} in", id(9))), "{error}");
        assert!(error.to_string().ends_with("it is missing"), "{error}");
    }

    #[test]
    fn a_tree_that_two_readers_may_read_in_two_ways_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init_bare(folder.path()).expect("a repository");
        let entry = [&b"100644 twice\0"[..], id(1).as_slice()].concat();
        let forged = repository.objects.write_buf(Kind::Tree, &[&entry[..], &entry].concat());
        let forged = forged.expect("an object");
        let error = between(Objects(&repository), None, Some(forged)).expect_err("an entry that is there twice");
        assert!(error.to_string().contains("two have the same name"), "{error}");
    }
}
