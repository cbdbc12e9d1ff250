//! PURE: a tree object that is edited in place, without parsing it again for each edit. The format is git's: entries of
//! `<mode> SP <name> NUL <id>`, sorted by name, where the name of a folder sorts as if it ended with `/`.
use std::cmp::Ordering;

use bstr::ByteSlice;
use git_push::delta::Instructions;
use gix::{ObjectId, hash::Kind, objs::tree::EntryKind};

pub(crate) use crate::git_objects::Leaf;

/// A tree object with the offsets of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeBuffer {
    raw: Vec<u8>,
    starts: Vec<u32>,
    hash: Kind,
}

/// The bytes are not a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a tree")]
pub struct NotATree;

/// Maximum size of a tree, in bytes.
const MAX_TREE: usize = 1 << 30;

struct Entry<'a> {
    mode: &'a [u8],
    name: &'a [u8],
    id: &'a [u8],
}

impl TreeBuffer {
    /// Creates an empty tree.
    pub fn new(hash: Kind) -> Self {
        TreeBuffer {
            raw: Vec::new(),
            starts: Vec::new(),
            hash,
        }
    }

    /// Parses a tree object.
    pub fn parse(raw: Vec<u8>, hash: Kind) -> Result<Self, NotATree> {
        if raw.len() > MAX_TREE {
            return Err(NotATree);
        }
        let mut starts = Vec::with_capacity(raw.len() / 40);
        let mut at = 0;
        while at < raw.len() {
            let entry = Entry::at(&raw[at..], hash).ok_or(NotATree)?;
            starts.push(at as u32);
            at += entry.length();
        }
        Ok(TreeBuffer { raw, starts, hash })
    }

    /// Bytes of the tree object.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Returns true if the tree has no entries.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns the entry with this name.
    pub fn get(&self, name: &[u8]) -> Option<Leaf> {
        self.position(name).ok().map(|index| self.leaf(index))
    }

    /// Iterates over names and entries, in the order of the tree.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Leaf)> {
        (0..self.starts.len()).map(|index| (self.entry(index).name, self.leaf(index)))
    }

    /// Sets the entry with this name.
    pub fn set(&mut self, name: &[u8], leaf: Leaf) {
        self.remove(name);
        let index = match self.search(name, leaf.kind == EntryKind::Tree) {
            Ok(index) | Err(index) => index,
        };
        let at = self.start(index);
        let mode: &[u8] = leaf.kind.as_octal_str();
        let entry = [mode, b" ", name, b"\0", leaf.id.as_slice()].concat();
        self.shift(index, entry.len() as i64);
        self.raw.splice(at..at, entry);
        self.starts.insert(index, at as u32);
    }

    /// Removes the entry with this name, if it exists.
    pub fn remove(&mut self, name: &[u8]) {
        if let Ok(index) = self.position(name) {
            let (at, length) = (self.start(index), self.entry(index).length());
            self.raw.drain(at..at + length);
            self.starts.remove(index);
            self.shift(index, -(length as i64));
        }
    }

    /// Returns a delta that turns `base`, an earlier state, into this tree: equal ranges are copied, whole entries are inserted.
    /// Returns `None` if the delta would exceed `limit` bytes.
    pub fn delta(&self, base: &TreeBuffer, limit: usize) -> Option<Vec<u8>> {
        let mut out = Instructions::new(base.raw.len(), self.raw.len(), limit);
        let (mut ours, mut theirs) = (0, 0);
        let mut new = Vec::new();
        while ours < self.starts.len() {
            let (from, to) = (base.start(theirs), self.start(ours));
            let equal = equal_bytes(&base.raw[from..], &self.raw[to..]);
            // Only whole entries are copied: the range ends where an entry begins.
            let length = if to + equal == self.raw.len() {
                equal
            } else {
                self.starts[self.starts.partition_point(|start| *start as usize <= to + equal) - 1] as usize - to
            };
            if length > 0 {
                out.insert(&std::mem::take(&mut new));
                out.copy(from, length);
                theirs = base.index_of(from + length);
                ours = self.index_of(to + length);
                continue;
            }
            let order = if theirs < base.starts.len() {
                self.entry(ours).order(&base.entry(theirs))
            } else {
                Ordering::Less
            };
            if order.is_ge() {
                theirs += 1;
            }
            if order.is_le() {
                new.extend_from_slice(&self.raw[to..self.start(ours + 1)]);
                ours += 1;
            }
        }
        out.insert(&new);
        out.finish()
    }

    fn start(&self, index: usize) -> usize {
        self.starts.get(index).map_or(self.raw.len(), |start| *start as usize)
    }

    /// Index of the entry that begins at this offset; the number of entries at the end of the tree.
    fn index_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| (*start as usize) < at)
    }

    fn entry(&self, index: usize) -> Entry<'_> {
        let raw = &self.raw[self.start(index)..self.start(index + 1)];
        let space = raw.find_byte(b' ').unwrap_or_default();
        let id = raw.len() - self.hash.len_in_bytes();
        Entry {
            mode: &raw[..space],
            name: &raw[space + 1..id - 1],
            id: &raw[id..],
        }
    }

    fn leaf(&self, index: usize) -> Leaf {
        let entry = self.entry(index);
        Leaf {
            kind: entry.kind(),
            id: ObjectId::from_bytes_or_panic(entry.id),
        }
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.search(name, false).or_else(|_| self.search(name, true))
    }

    fn search(&self, name: &[u8], is_tree: bool) -> Result<usize, usize> {
        let wanted = (name, is_tree);
        let mut range = 0..self.starts.len();
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            let entry = self.entry(middle);
            match order((entry.name, entry.is_tree()), wanted) {
                Ordering::Less => range.start = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => range.end = middle,
            }
        }
        Err(range.start)
    }

    fn shift(&mut self, from: usize, by: i64) {
        for start in &mut self.starts[from..] {
            *start = (i64::from(*start) + by) as u32;
        }
    }
}

impl<'a> Entry<'a> {
    fn at(raw: &'a [u8], hash: Kind) -> Option<Self> {
        let space = raw.find_byte(b' ').filter(|space| (5..=6).contains(space))?;
        let end = space + 1 + raw[space + 1..].find_byte(0)?;
        let id = raw.get(end + 1..end + 1 + hash.len_in_bytes())?;
        let (mode, name) = (&raw[..space], &raw[space + 1..end]);
        let is_mode = mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
        (is_mode && !name.is_empty() && !name.contains(&b'/')).then_some(Entry { mode, name, id })
    }

    fn length(&self) -> usize {
        self.mode.len() + 1 + self.name.len() + 1 + self.id.len()
    }

    fn is_tree(&self) -> bool {
        self.kind() == EntryKind::Tree
    }

    fn kind(&self) -> EntryKind {
        match self.mode {
            b"40000" | b"040000" => EntryKind::Tree,
            b"120000" => EntryKind::Link,
            b"160000" => EntryKind::Commit,
            [b'1', b'0', b'0', owner, ..] if (owner - b'0') & 1 == 1 => EntryKind::BlobExecutable,
            _ => EntryKind::Blob,
        }
    }

    fn order(&self, other: &Entry<'_>) -> Ordering {
        order((self.name, self.is_tree()), (other.name, other.is_tree()))
    }
}

fn order((left, left_is_tree): (&[u8], bool), (right, right_is_tree): (&[u8], bool)) -> Ordering {
    let common = left.len().min(right.len());
    let end = |name: &[u8], is_tree: bool| match name.get(common) {
        Some(byte) => *byte,
        None if is_tree => b'/',
        None => 0,
    };
    let ends = || end(left, left_is_tree).cmp(&end(right, right_is_tree));
    let lengths = || left.len().cmp(&right.len());
    left[..common].cmp(&right[..common]).then_with(ends).then_with(lengths)
}

fn equal_bytes(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 256;
    let pairs = left.chunks(STEP).zip(right.chunks(STEP));
    let whole = pairs.take_while(|(l, r)| l == r && l.len() == STEP).count() * STEP;
    let rest = left[whole..].iter().zip(&right[whole..]);
    whole + rest.take_while(|(l, r)| l == r).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use git_push::delta;
    use gix::objs::{Tree, WriteTo, tree};
    use proptest::prelude::*;

    use super::*;

    fn leaf(number: u8) -> Leaf {
        Leaf {
            kind: [EntryKind::Blob, EntryKind::Tree, EntryKind::BlobExecutable][usize::from(number) % 3],
            id: ObjectId::Sha1([number; 20]),
        }
    }

    /// The same edits, made with gix.
    fn expected(model: &BTreeMap<Vec<u8>, Leaf>) -> Vec<u8> {
        let mut entries: Vec<_> = model
            .iter()
            .map(|(name, leaf)| tree::Entry {
                mode: leaf.kind.into(),
                filename: name.clone().into(),
                oid: leaf.id,
            })
            .collect();
        entries.sort();
        let mut raw = Vec::new();
        Tree { entries }.write_to(&mut raw).expect("memory");
        raw
    }

    proptest! {
        #[test]
        fn edits_give_the_tree_that_gix_writes(
            edits in prop::collection::vec(("[a-c./-]{1,3}", prop::option::weighted(0.8, any::<u8>())), 0..60),
            later in prop::collection::vec(("[a-d.-]{1,3}", prop::option::weighted(0.8, any::<u8>())), 0..20),
        ) {
            let mut folder = TreeBuffer::new(Kind::Sha1);
            let mut model = BTreeMap::new();
            let mut apply = |folder: &mut TreeBuffer, edits: Vec<(String, Option<u8>)>| {
                for (name, number) in edits {
                    let name = name.replace('/', "x").into_bytes();
                    match number.map(leaf) {
                        Some(leaf) => {
                            folder.set(&name, leaf);
                            model.insert(name, leaf);
                        }
                        None => {
                            folder.remove(&name);
                            model.remove(&name);
                        }
                    }
                }
                expected(&model)
            };
            let first = apply(&mut folder, edits);
            prop_assert_eq!(folder.raw(), &first[..]);
            prop_assert_eq!(&TreeBuffer::parse(first, Kind::Sha1).expect("a tree"), &folder);
            let base = folder.clone();
            let second = apply(&mut folder, later);
            prop_assert_eq!(folder.raw(), &second[..]);
            let delta = folder.delta(&base, usize::MAX).expect("no limit");
            prop_assert_eq!(delta::apply(base.raw(), &delta).expect("a delta"), second);
            for (name, leaf) in &model {
                prop_assert_eq!(folder.get(name), Some(*leaf));
            }
            prop_assert_eq!(folder.iter().count(), model.len());
            prop_assert_eq!(folder.get(b"zz"), None);
        }

        #[test]
        fn arbitrary_bytes_are_a_tree_or_not_but_never_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(folder) = TreeBuffer::parse(raw, Kind::Sha1) {
                let _ = folder.iter().count();
            }
        }
    }

    #[test]
    fn a_delta_of_a_large_folder_is_as_large_as_the_edit() {
        let mut folder = TreeBuffer::new(Kind::Sha1);
        for number in 0..10_000u32 {
            folder.set(
                format!("{:08x}.json", number.wrapping_mul(2_654_435_761)).as_bytes(),
                leaf(0),
            );
        }
        let base = folder.clone();
        for number in 10_000..10_010u32 {
            folder.set(
                format!("{:08x}.json", number.wrapping_mul(2_654_435_761)).as_bytes(),
                leaf(3),
            );
        }
        let delta = folder.delta(&base, usize::MAX).expect("no limit");
        assert!(delta.len() < 700, "{}", delta.len());
        assert_eq!(delta::apply(base.raw(), &delta).expect("a delta"), folder.raw());
        assert_eq!(folder.delta(&base, 100), None);
    }
}
