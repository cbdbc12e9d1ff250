//! What is packed already: entries of the repository's packs, alternates included, as they are stored.
//!
//! An entry is copied only if its bytes have the CRC-32 that the index has of them; version 1 indices have none, so
//! their packs are not used. Packs that cannot be opened are passed over: their objects are read like any other.
//!
//! Memory: packs and indices are mapped; 8 bytes for each object of a pack that something is copied from.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gix::{ObjectId, hash};
use gix_pack::{data, index};

use super::{bitmap, objects::Objects};

/// The packs of a repository.
pub(super) struct Packs {
    packs: Vec<Pack>,
}

/// Where an object is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    /// The number of the pack.
    pub(super) pack: u32,
    /// Where in the pack the entry begins.
    pub(super) offset: u64,
    /// The object's place in the index.
    entry: u32,
}

/// What an entry is a delta of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredBase {
    /// The entry that begins there in the same pack.
    Offset(u64),
    /// The object.
    Id(ObjectId),
}

/// An entry as it is stored.
pub(super) struct Entry<'a> {
    /// What it is; of a delta the base is that of its own pack.
    pub(super) header: data::entry::Header,
    /// How many bytes the object, or its delta, has.
    pub(super) size: u64,
    /// Those bytes, compressed.
    pub(super) compressed: &'a [u8],
}

struct Pack {
    index: index::File,
    data: data::File,
    /// Where entries begin, in order, and where the last one ends.
    offsets: OnceLock<Vec<u64>>,
}

impl Packs {
    /// No packs: nothing is copied.
    pub(super) fn none() -> Self {
        Packs { packs: Vec::new() }
    }

    /// Opens the packs.
    pub(super) fn open(objects: &Objects) -> Self {
        let repository = objects.repository();
        let store = repository.objects.store_ref();
        let alternates = store.alternate_db_paths().unwrap_or_default();
        let folders = std::iter::once(store.path().to_owned()).chain(alternates);
        let mut indices: Vec<_> = folders.flat_map(|folder| indices(&folder.join("pack"))).collect();
        indices.sort();
        let open = |path: &PathBuf| Pack::open(path, repository.object_hash());
        Packs {
            packs: indices.iter().filter_map(open).collect(),
        }
    }

    /// Where the object is packed; in the first of several packs.
    pub(super) fn locate(&self, id: ObjectId) -> Option<Location> {
        let mut packs = (0..).zip(&self.packs);
        packs.find_map(|(pack, Pack { index, .. })| {
            let entry = index.lookup(id)?;
            Some(Location {
                pack,
                offset: index.pack_offset_at_index(entry),
                entry,
            })
        })
    }

    fn pack(&self, number: u32) -> &Pack {
        &self.packs[number as usize]
    }

    /// What the object there is stored as a delta of; `Ok(None)` when it is stored whole.
    pub(super) fn base(&self, location: Location) -> Result<Option<StoredBase>, Unusable> {
        use data::entry::Header;
        let entry = self.pack(location.pack).data.entry(location.offset);
        let entry = entry.map_err(|_| Unusable)?;
        match entry.header {
            Header::OfsDelta { base_distance } => {
                let offset = entry.checked_base_pack_offset(base_distance).ok_or(Unusable)?;
                Ok(Some(StoredBase::Offset(offset)))
            }
            Header::RefDelta { base_id } => Ok(Some(StoredBase::Id(base_id))),
            Header::Commit | Header::Tree | Header::Blob | Header::Tag => Ok(None),
        }
    }

    /// The entry there, if it is intact.
    pub(super) fn entry(&self, location: Location) -> Result<Entry<'_>, Unusable> {
        let Pack { index, data, .. } = self.pack(location.pack);
        let range = self.pack(location.pack).range(location.offset).ok_or(Unusable)?;
        let size = usize::try_from(range.end - range.start).map_err(|_| Unusable)?;
        let bytes = data.entry_slice(range).ok_or(Unusable)?;
        if index.crc32_at_index(location.entry) != Some(data.entry_crc32(location.offset, size)) {
            return Err(Unusable);
        }
        let entry = data.entry(location.offset).map_err(|_| Unusable)?;
        Ok(Entry {
            header: entry.header,
            size: entry.decompressed_size,
            compressed: &bytes[entry.header_size()..],
        })
    }

    /// How many bytes the entry there has, compressed, without its header.
    pub(super) fn compressed_size(&self, location: Location) -> Option<usize> {
        let range = self.pack(location.pack).range(location.offset)?;
        let entry = self.pack(location.pack).data.entry(location.offset).ok()?;
        usize::try_from(range.end - entry.data_offset).ok()
    }

    /// The file, the size and the number of objects of a pack that these commits reach and that holds nothing else, if its
    /// bitmap says so.
    pub(super) fn reached(&self, commits: &[ObjectId]) -> Option<(File, u64, u32)> {
        let pack = self.locate(*commits.first()?)?.pack;
        let Pack { index, data, .. } = self.pack(pack);
        let bitmap = std::fs::read(data.path().with_extension("bitmap")).ok()?;
        let places: Option<Vec<_>> = commits.iter().map(|id| index.lookup(id)).collect();
        let objects = data.num_objects();
        let all = bitmap::reach_all(&bitmap, data.checksum().as_bytes(), objects, &places?)?;
        let (file, size) = all.then(|| self.whole(pack, objects as usize)).flatten()?;
        Some((file, size, objects))
    }

    /// The pack's file and its size, when it has this many objects and can be sent as it is.
    pub(super) fn whole(&self, pack: u32, objects: usize) -> Option<(File, u64)> {
        let Pack { index, data, .. } = self.pack(pack);
        let sendable = data.version() == data::Version::V2 && index.pack_checksum() == data.checksum();
        if !sendable || data.num_objects() as usize != objects || index.num_objects() as usize != objects {
            return None;
        }
        let file = File::open(data.path()).ok()?;
        let size = file.metadata().ok()?.len();
        (size == data.data_len() as u64).then_some((file, size))
    }
}

/// An entry cannot be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable;

impl Pack {
    fn open(index: &Path, object_format: hash::Kind) -> Option<Self> {
        let data = data::File::at(index.with_extension("pack"), object_format).ok()?;
        let index = index::File::at(index, object_format).ok()?;
        let usable = index.version() == index::Version::V2 && index.num_objects() == data.num_objects();
        usable.then_some(Pack {
            index,
            data,
            offsets: OnceLock::new(),
        })
    }

    /// Where the entry that begins at `offset` is.
    fn range(&self, offset: u64) -> Option<data::EntryRange> {
        let offsets = self.offsets.get_or_init(|| {
            let mut offsets = self.index.sorted_offsets();
            offsets.push(self.data.pack_end() as u64);
            offsets
        });
        let next = offsets.partition_point(|start| *start <= offset);
        offsets.get(next).map(|end| offset..*end)
    }
}

fn indices(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .collect()
}
