//! Bases of a thin pack, which are added to it from the repository.
use std::{cell::RefCell, collections::BTreeSet, path::Path};

use gix::{
    ObjectId,
    objs::{Data, Find},
};

/// Objects of a repository that complete a thin pack, with a record of those that were looked up.
pub(super) struct Bases {
    objects: gix::OdbHandle,
    found: RefCell<BTreeSet<ObjectId>>,
}

impl Bases {
    /// Returns the objects of a repository. None was looked up.
    pub fn of(repository: &gix::Repository) -> Self {
        Bases {
            objects: repository.objects.clone(),
            found: RefCell::default(),
        }
    }

    /// Returns the ids that were added to the pack with this index and were not in its stream. An object of the stream that
    /// is a base, too, is in the pack twice.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn added(self, index: &Path, hash: gix::hash::Kind) -> Result<BTreeSet<ObjectId>, gix::Error> {
        let mut added = self.found.into_inner();
        if added.is_empty() {
            return Ok(added);
        }
        let index = gix_pack::index::File::at(index, hash)?;
        let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for entry in index.iter().filter(|entry| added.contains(&entry.oid)) {
            if !seen.insert(entry.oid) {
                twice.insert(entry.oid);
            }
        }
        added.retain(|id| !twice.contains(id));
        Ok(added)
    }
}

impl Find for Bases {
    fn try_find<'a>(&self, id: &gix::oid, buffer: &'a mut Vec<u8>) -> Result<Option<Data<'a>>, gix::Error> {
        let found = self.objects.try_find(id, buffer)?;
        if found.is_some() {
            self.found.borrow_mut().insert(id.to_owned());
        }
        Ok(found)
    }
}
