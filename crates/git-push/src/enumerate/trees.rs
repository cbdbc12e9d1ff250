//! List of the objects that walks of trees find.
use std::fmt::Display;
use std::sync::Arc;

use gix::ObjectId;

use super::super::{
    Error, ErrorKind,
    list::{Base, List, Listed},
    monitor::Monitor,
    objects::Objects,
};
use super::{ahead::Ahead, comparison::Comparison, had::Had, id_index::IdIndex, tree_reader::TreeReader, walk::Walker};

/// Lists objects, each once.
pub(super) struct Trees<'a> {
    objects: &'a Objects,
    monitor: Monitor<'a>,
    pub(super) had: &'a Had<'a>,
    list: List,
    /// Places in `list.objects` and in `list.remote`.
    listed: IdIndex,
    remote: IdIndex,
}

impl<'a> Trees<'a> {
    /// Creates an empty list for a remote that has these objects.
    pub(super) fn new(objects: &'a Objects, had: &'a Had<'a>, monitor: Monitor<'a>) -> Self {
        Trees {
            monitor,
            objects,
            had,
            list: List::default(),
            listed: IdIndex::default(),
            remote: IdIndex::default(),
        }
    }

    /// Returns the number of objects in the list.
    pub(super) fn listed_so_far(&self) -> usize {
        self.list.objects.len()
    }

    /// Adds an object, unless it is known. `base` is in a complete tree.
    pub(super) fn list(&mut self, id: ObjectId, base: Option<ObjectId>) {
        if !self.is_known(&id) {
            self.add(id, base);
        }
    }

    /// Adds an object that is not known. `base` is in a complete tree.
    pub(super) fn add(&mut self, id: ObjectId, base: Option<ObjectId>) {
        let base = base.map(|base| match self.place(&base) {
            Some(place) => Base::Listed(place),
            // It is complete and not in the list: the remote has it.
            None => Base::Remote(self.remote_base(base)),
        });
        let objects = &mut self.list.objects;
        let place = objects.len() as u32;
        objects.push(Listed { id, base });
        self.listed.add(&id, place, |place| objects[place as usize].id);
    }

    /// Returns true if the object is listed, or the remote has it with everything reachable from it.
    fn is_known(&self, id: &ObjectId) -> bool {
        self.had.contains(id) || self.place(id).is_some()
    }

    fn place(&self, id: &ObjectId) -> Option<u32> {
        self.listed.find(id, |place| self.list.objects[place as usize].id)
    }

    fn remote_base(&mut self, id: ObjectId) -> u32 {
        let known = &mut self.list.remote;
        if let Some(place) = self.remote.find(&id, |place| known[place as usize]) {
            return place;
        }
        let place = known.len() as u32;
        known.push(id);
        self.remote.add(&id, place, |place| known[place as usize]);
        place
    }

    /// Returns the list. If the remote has an object that is sent because it was added again, the remote's copy is not
    /// used as a base outside of the pack: `git index-pack` fails on a delta of such an object if that is a delta
    /// itself.
    ///
    /// # Errors
    /// There are more objects than a pack can hold.
    pub(super) fn into_list(mut self) -> Result<List, Error> {
        let too_many = |_| {
            let what = "more objects to push than a pack can hold (2^32)";
            Error::new(ErrorKind::Misconfigured, what)
        };
        let count = u32::try_from(self.list.objects.len()).map_err(too_many)?;
        for place in 0..count {
            if let Some(Base::Remote(base)) = self.list.objects[place as usize].base
                && let Some(sent) = self.place(&self.list.remote[base as usize])
            {
                self.list.objects[place as usize].base = (sent < place).then_some(Base::Listed(sent));
            }
        }
        Ok(self.list)
    }
}

/// A walker that lists the objects that it finds.
pub(super) struct Lister<'a, 'b> {
    pub(super) trees: &'b mut Trees<'a>,
    pub(super) reader: TreeReader<'b>,
    pub(super) ahead: Ahead<'b>,
}

impl Walker for Lister<'_, '_> {
    fn check(&self) -> Result<(), Error> {
        self.trees.monitor.check()
    }

    fn is_known(&self, id: &ObjectId) -> bool {
        self.trees.is_known(id)
    }

    fn add(&mut self, id: ObjectId, base: Option<ObjectId>) {
        self.trees.add(id, base);
    }

    fn require(&self, blob: ObjectId, reached_from: &dyn Display) -> Result<(), Error> {
        self.trees.objects.require(blob, reached_from)
    }

    fn compare(
        &mut self,
        tree: ObjectId,
        bases: &[ObjectId],
        reached_from: &dyn Display,
    ) -> Result<Arc<Comparison>, Error> {
        match self.ahead.take(tree, bases) {
            Some(comparison) => Ok(comparison),
            None => self.reader.compare(tree, bases, reached_from).map(Arc::new),
        }
    }
}
