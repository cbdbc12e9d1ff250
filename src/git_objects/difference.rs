//! Files that differ between two trees. Equal subtrees are not read.
use std::cmp::Ordering;

use bstr::{BString, ByteVec};
use gix::objs::tree::{EntryRef, name_order};

use super::{
    Error,
    reader::{Leaf, Reader, Tree},
};

/// A path at which two trees differ. As a result of [`differences()`], a file in one of them, or in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Path, with `/`.
    pub path: BString,
    /// Entry in the old tree.
    pub old: Option<Leaf>,
    /// Entry in the new tree.
    pub new: Option<Leaf>,
}

/// Choice whether to report additions, which requires reading new subtrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Additions {
    /// Report them.
    Wanted,
    /// Do not read them.
    Unread,
}

/// Returns every file that differs between the two entries of `whole`, in no particular order.
///
/// # Errors
/// A tree is missing or damaged. Or more than `limit` pairs of entries differ: a tree may contain another one many times, so
/// a few objects can stand for a huge number of files.
pub(crate) fn differences(
    reader: Reader<'_>,
    whole: FileChange,
    additions: Additions,
    limit: usize,
) -> Result<Vec<FileChange>, Error> {
    let mut found = Vec::new();
    // No recursion, because the depth of the trees is not trusted.
    let mut pairs = vec![whole];
    let mut count = 0;
    while let Some(pair) = pairs.pop() {
        count += 1;
        if count > limit {
            return Err(Error::TooMany(limit, "files that differ"));
        }
        if pair.old == pair.new || (pair.old.is_none() && additions == Additions::Unread) {
            continue;
        }
        let (old_tree, new_tree) = (pair.old.filter(Leaf::is_tree), pair.new.filter(Leaf::is_tree));
        if old_tree.is_some() || new_tree.is_some() {
            join(reader, &pair.path, old_tree, new_tree, &mut pairs)?;
        }
        let is_file = |leaf: &Leaf| !leaf.is_tree();
        let (old, new) = (pair.old.filter(is_file), pair.new.filter(is_file));
        if old.is_some() || (new.is_some() && additions == Additions::Wanted) {
            found.push(FileChange { old, new, ..pair });
        }
    }
    Ok(found)
}

/// Pairs the entries of two trees by name. A file and a folder with the same name are not paired.
fn join(
    reader: Reader<'_>,
    path: &BString,
    old: Option<Leaf>,
    new: Option<Leaf>,
    pairs: &mut Vec<FileChange>,
) -> Result<(), Error> {
    let read = |leaf: Option<Leaf>| leaf.map(|leaf| reader.tree(leaf.id)).transpose();
    let (old, new) = (read(old)?, read(new)?);
    let old = old.as_ref().map_or(Ok(Vec::new()), Tree::entries)?;
    let new = new.as_ref().map_or(Ok(Vec::new()), Tree::entries)?;
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => by_name(one, other),
        };
        let one = if order == Ordering::Greater { None } else { old.next() };
        let other = if order == Ordering::Less { None } else { new.next() };
        let (old, new) = (one.map(Leaf::from), other.map(Leaf::from));
        if old != new
            && let Some(entry) = one.or(other)
        {
            let path = joined(path, entry);
            pairs.push(FileChange { path, old, new });
        }
    }
}

fn by_name(one: &EntryRef<'_>, other: &EntryRef<'_>) -> Ordering {
    name_order(one.filename, one.mode.is_tree(), other.filename, other.mode.is_tree())
}

fn joined(path: &BString, entry: &EntryRef<'_>) -> BString {
    let mut joined = path.clone();
    if !joined.is_empty() {
        joined.push_byte(b'/');
    }
    joined.push_str(entry.filename);
    joined
}
