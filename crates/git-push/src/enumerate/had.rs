//! Objects that the remote has.
use std::collections::HashSet;

use gix::ObjectId;

use super::super::{bit_order::BitOrder, bitmap::Bits};

/// Objects that the remote has with everything reachable from them. They need not be in the local repository.
pub(super) struct Had<'a> {
    pub(super) ids: HashSet<ObjectId>,
    /// Packed objects that the remote has: the order of the bits for the objects of packs, and the bits that are set.
    pub(super) packed: Option<(&'a BitOrder, Bits)>,
}

impl Had<'_> {
    /// Returns true if the remote has the object.
    pub(super) fn contains(&self, id: &ObjectId) -> bool {
        let is_packed =
            |(packed, places): &(&BitOrder, Bits)| packed.place(id).is_some_and(|place| places.contains(place));
        self.ids.contains(id) || self.packed.as_ref().is_some_and(is_packed)
    }
}
