//! Where ids are in a list, at 5 bytes for each.
use gix::{ObjectId, hashtable::hash_table::HashTable};

/// Finds the place of an id in a list that has each once. The list itself is its caller's.
#[derive(Debug, Default)]
pub(super) struct Places {
    table: HashTable<u32>,
}

impl Places {
    /// The place of `id`; `id_at` tells the id at a place.
    pub(super) fn find(&self, id: &ObjectId, id_at: impl Fn(u32) -> ObjectId) -> Option<u32> {
        self.table.find(hash(id), |place| id_at(*place) == *id).copied()
    }

    /// Adds an id that is not there yet, at this place.
    pub(super) fn add(&mut self, id: &ObjectId, place: u32, id_at: impl Fn(u32) -> ObjectId) {
        self.table.insert_unique(hash(id), place, |place| hash(&id_at(*place)));
    }
}

/// An id is a hash already.
fn hash(id: &ObjectId) -> u64 {
    id.as_bytes()
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
