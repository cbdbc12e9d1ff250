//! Differences between two trees, path by path. Equal folders are not read.
use bstr::BString;
use gix::{ObjectId, objs::tree::EntryKind};

use super::{Error, objects::Objects, tree_buffer::Leaf, tree_buffer::TreeBuffer};

/// Maximum depth of folders.
const MAX_DEPTH: usize = 128;

/// A file that was added, removed or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path, with `/`.
    pub path: BString,
    /// Entry in the old tree.
    pub old: Option<Leaf>,
    /// Entry in the new tree.
    pub new: Option<Leaf>,
}

/// Returns all changes between two trees, by path. `None` is the empty tree.
pub fn between(objects: Objects<'_>, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    walk(objects, &BString::default(), old, new, &mut changes, 0)?;
    Ok(changes)
}

fn walk(
    objects: Objects<'_>,
    path: &BString,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    changes: &mut Vec<Change>,
    depth: usize,
) -> Result<(), Error> {
    if old == new {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Error::refused(format!(
            "folders are nested deeper than {MAX_DEPTH}: {path}"
        )));
    }
    let read = |id: Option<ObjectId>| match id {
        Some(id) => objects.tree(id),
        None => Ok(TreeBuffer::new(objects.hash())),
    };
    let (old, new) = (read(old)?, read(new)?);
    for (name, was, is) in pairs(&old, &new) {
        let mut path = path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let folder = |leaf: Option<Leaf>| leaf.filter(|leaf| leaf.kind == EntryKind::Tree).map(|leaf| leaf.id);
        let file = |leaf: Option<Leaf>| leaf.filter(|leaf| leaf.kind != EntryKind::Tree);
        if (file(was), file(is)) != (None, None) {
            changes.push(Change {
                path: path.clone(),
                old: file(was),
                new: file(is),
            });
        }
        walk(objects, &path, folder(was), folder(is), changes, depth + 1)?;
    }
    Ok(())
}

/// Returns the names whose entries differ.
fn pairs<'a>(old: &'a TreeBuffer, new: &'a TreeBuffer) -> Vec<(&'a [u8], Option<Leaf>, Option<Leaf>)> {
    let mut pairs: Vec<_> = old
        .iter()
        .map(|(name, was)| (name, Some(was), new.get(name)))
        .filter(|(_, was, is)| was != is)
        .collect();
    let added = new.iter().filter(|(name, _)| old.get(name).is_none());
    pairs.extend(added.map(|(name, is)| (name, None, Some(is))));
    pairs.sort_by_key(|(name, ..)| *name);
    pairs
}
