//! Entries that a commit deletes, as candidates for renames.
use std::collections::HashSet;

use gix::ObjectId;

use super::comparison::Deletion;

/// Maximum number of deleted entries of a commit whose names are compared.
const MAX_NAMES: usize = 100_000;
/// Number of neighbours on either side that a name is compared with.
const NEIGHBOURS: usize = 4;

/// Entries of the first parent that a commit does not have at their paths.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    names: Vec<Deletion>,
    ids: HashSet<ObjectId>,
}

impl Deleted {
    /// Adds an entry.
    pub(super) fn add(&mut self, deletion: &Deletion) {
        self.ids.insert(deletion.id);
        if self.names.len() < MAX_NAMES {
            self.names.push(deletion.clone());
        }
    }

    /// Sorts the names. Call it between additions and [`Deleted::similar()`].
    pub(super) fn sort(&mut self) {
        self.names.sort_unstable();
    }

    /// Returns true if this object was deleted at some path.
    pub(super) fn contains(&self, id: ObjectId) -> bool {
        self.ids.contains(&id)
    }

    /// Returns the tree or blob with the most similar name, if any is similar.
    pub(super) fn similar(&self, name: &[u8], is_tree: bool) -> Option<ObjectId> {
        let at = self
            .names
            .partition_point(|other| (other.is_tree, other.name.as_slice()) < (is_tree, name));
        let range = at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS).min(self.names.len());
        let near = self.names[range].iter().filter(|other| other.is_tree == is_tree);
        let scored = near.filter_map(|other| Some((similarity(name, &other.name)?, other.id)));
        scored.max_by_key(|(score, _)| *score).map(|(_, id)| id)
    }
}

/// Returns the similarity of two names: twice the number of bytes that they share at start and end, minus the length of
/// the longer one. `None` if that is negative.
fn similarity(one: &[u8], other: &[u8]) -> Option<usize> {
    let same = |(left, right): &(&u8, &u8)| left == right;
    let start = one.iter().zip(other).take_while(same).count();
    let ends = one[start..].iter().rev().zip(other[start..].iter().rev());
    let shared = start + ends.take_while(same).count();
    (2 * shared).checked_sub(one.len().max(other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(entries: &[(&str, bool, u8)]) -> Deleted {
        let mut deleted = Deleted::default();
        for (name, is_tree, id) in entries {
            deleted.add(&Deletion {
                is_tree: *is_tree,
                name: (*name).into(),
                id: ObjectId::Sha1([*id; 20]),
            });
        }
        deleted.sort();
        deleted
    }

    #[test]
    fn names_are_similar_by_their_ends() {
        assert_eq!(similarity(b"main.rs", b"main.rs"), Some(7));
        assert_eq!(similarity(b"main.rs", b"main2.rs"), Some(6));
        assert_eq!(similarity(b"aaaa", b"aa"), Some(0));
        assert_eq!(similarity(b"one", b"two"), None);
        assert_eq!(similarity(b"", b"x"), None);
    }

    #[test]
    fn the_most_similar_name_of_the_same_kind_is_found() {
        let deleted = deleted(&[
            ("notes-1.txt", false, 1),
            ("notes-10.txt", false, 2),
            ("notes", true, 3),
            ("other", false, 5),
        ]);
        let found = |name: &str, is_tree| deleted.similar(name.as_bytes(), is_tree).map(|id| id.as_bytes()[0]);
        assert_eq!(found("notes-1.txt", false), Some(1));
        assert_eq!(found("notes-11.txt", false).map(|id| id < 3), Some(true));
        assert_eq!(found("notes-2", true), Some(3));
        assert_eq!(found("others", false), Some(5));
        assert_eq!(found("src", false), None);
        assert_eq!(found("other", true), None);
        assert!(deleted.contains(ObjectId::Sha1([5; 20])) && !deleted.contains(ObjectId::Sha1([4; 20])));
    }
}
