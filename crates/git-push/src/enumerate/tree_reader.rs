//! Reader of trees. It inflates trees in packs itself, with a cache that all threads share: a chain of deltas is
//! followed only to the first tree that the cache has, and every tree on the way is kept. Packs chain older versions of
//! a tree to newer ones, and a walk goes from older ones to newer ones, so it needs the trees of the chain next.
//!
//! All other trees are read by [`Objects`], and so is a tree whose entry cannot be used: [`Objects`] reports why.
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use gix::{ObjectId, objs::Kind, zlib::Inflate};
use gix_pack::data::{Entry, File, entry::Header};

use super::super::{Error, delta, objects::Objects, reuse::Packs};
use super::comparison::{self, Comparison};

/// Bytes of trees in the cache of all threads.
const CACHE: usize = 64 << 20;
/// Size in bytes at which a tree or delta is read by [`Objects`] instead.
const MAX_SIZE: u64 = 16 << 20;
/// Maximum number of deltas in a chain. Git writes at most 4095.
const MAX_CHAIN: usize = 4096;

/// Start of an entry: the number of its pack, and its offset.
type Place = (u32, u64);

/// Trees of packs. It has at most [`CACHE`] bytes, and one tree more.
#[derive(Default)]
pub(super) struct TreeCache(Mutex<Generations>);

/// Trees that were used lately, and those that were used before. When the former are half of the cache, they become the
/// latter, which are dropped.
#[derive(Default)]
struct Generations {
    young: HashMap<Place, Arc<Vec<u8>>>,
    old: HashMap<Place, Arc<Vec<u8>>>,
    /// Bytes of the young ones.
    bytes: usize,
}

impl TreeCache {
    fn get(&self, place: Place) -> Option<Arc<Vec<u8>>> {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees.young.get(&place) {
            return Some(tree.clone());
        }
        let tree = trees.old.remove(&place)?;
        trees.add(place, tree.clone());
        Some(tree)
    }

    fn add(&self, place: Place, tree: Arc<Vec<u8>>) {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trees.add(place, tree);
    }
}

impl Generations {
    fn add(&mut self, place: Place, tree: Arc<Vec<u8>>) {
        if self.bytes > CACHE / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += tree.capacity();
        self.young.insert(place, tree);
    }
}

/// Reader of trees for one thread.
pub(super) struct TreeReader<'a> {
    objects: &'a Objects,
    packs: &'a Packs,
    cache: &'a TreeCache,
    inflate: Inflate,
    /// The delta that was inflated last.
    delta: Vec<u8>,
}

impl<'a> TreeReader<'a> {
    pub(super) fn new(objects: &'a Objects, packs: &'a Packs, cache: &'a TreeCache) -> Self {
        TreeReader {
            objects,
            packs,
            cache,
            inflate: Inflate::default(),
            delta: Vec::new(),
        }
    }

    /// Compares a tree with trees that are complete. Without a base that cannot be read, more is sent. `reached_from` is
    /// that of [`Objects::find()`].
    ///
    /// # Errors
    /// The tree cannot be read.
    pub(super) fn compare(
        &mut self,
        tree: ObjectId,
        bases: &[ObjectId],
        reached_from: &dyn Display,
    ) -> Result<Comparison, Error> {
        let bytes = match self.packed(tree) {
            Some(bytes) => bytes,
            None => self.tree(self.objects.find(tree, reached_from)?)?,
        };
        let bases: Vec<_> = bases.iter().filter_map(|base| self.base(*base)).collect();
        let bases: Vec<_> = bases.iter().map(|base| base.as_slice()).collect();
        comparison::compare(&bytes, &bases, tree.kind()).map_err(|error| self.objects.damaged(tree, &error))
    }

    fn base(&mut self, id: ObjectId) -> Option<Arc<Vec<u8>>> {
        self.packed(id)
            .or_else(|| self.tree(self.objects.try_find(id).ok()??).ok())
    }

    /// Returns the bytes of a tree.
    fn tree(&self, object: gix::Object<'_>) -> Result<Arc<Vec<u8>>, Error> {
        match object.kind {
            Kind::Tree => Ok(Arc::new(object.detach().data)),
            kind => Err(self
                .objects
                .unusable(object.id, &format!("expected a tree, found a {kind}"))),
        }
    }

    /// Returns a tree of a pack, if it is one and intact.
    fn packed(&mut self, id: ObjectId) -> Option<Arc<Vec<u8>>> {
        let packs = self.packs;
        let location = packs.locate(id)?;
        let file = &packs.pack(location.pack).file;
        let mut deltas = Vec::new();
        let mut offset = location.offset;
        let mut tree = loop {
            let place = (location.pack, offset);
            if let Some(tree) = self.cache.get(place) {
                break tree;
            }
            let entry = file.data.entry(offset).ok()?;
            offset = match entry.header {
                Header::Tree => break self.whole(place, &file.data, &entry)?,
                Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance)?,
                Header::RefDelta { base_id } => {
                    let base = file.index.lookup(base_id)?;
                    file.index.pack_offset_at_index(base)
                }
                Header::Commit | Header::Blob | Header::Tag => return None,
            };
            deltas.push((place, entry));
            if deltas.len() > MAX_CHAIN {
                return None;
            }
        };
        while let Some((place, entry)) = deltas.pop() {
            let mut delta = std::mem::take(&mut self.delta);
            let inflated = self.inflate(&file.data, &entry, &mut delta);
            let result = inflated.and_then(|()| delta::apply(&tree, &delta).ok());
            self.delta = delta;
            tree = Arc::new(result?);
            self.cache.add(place, tree.clone());
        }
        Some(tree)
    }

    fn whole(&mut self, place: Place, data: &File, entry: &Entry) -> Option<Arc<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.inflate(data, entry, &mut bytes)?;
        let tree = Arc::new(bytes);
        self.cache.add(place, tree.clone());
        Some(tree)
    }

    /// Inflates an entry into `out`.
    fn inflate(&mut self, data: &File, entry: &Entry, out: &mut Vec<u8>) -> Option<()> {
        if entry.decompressed_size > MAX_SIZE {
            return None;
        }
        out.clear();
        out.resize(entry.decompressed_size as usize, 0);
        data.decompress_entry(entry, &mut self.inflate, out).ok()?;
        Some(())
    }
}
