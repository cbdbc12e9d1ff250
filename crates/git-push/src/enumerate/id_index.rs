//! Index of the ids in a list, of 5 bytes for each.
use gix::{ObjectId, hashtable::hash_table::HashTable};

/// Finds the place of an id in a list that has each id once. The caller holds the list.
#[derive(Debug, Default)]
pub(super) struct IdIndex {
    table: HashTable<u32>,
}

impl IdIndex {
    /// Returns the place of `id`. `id_at` returns the id at a place.
    pub(super) fn find(&self, id: &ObjectId, id_at: impl Fn(u32) -> ObjectId) -> Option<u32> {
        self.table.find(hash(id), |place| id_at(*place) == *id).copied()
    }

    /// Adds a new id at this place.
    pub(super) fn add(&mut self, id: &ObjectId, place: u32, id_at: impl Fn(u32) -> ObjectId) {
        self.table.insert_unique(hash(id), place, |place| hash(&id_at(*place)));
    }
}

/// Returns the first bytes of an id, which is a hash already.
fn hash(id: &ObjectId) -> u64 {
    id.as_bytes()
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
