//! Entries of the local packs, as they are stored, to be copied.
//!
//! An entry is copied only if its bytes have the CRC-32 in the index. Indices of version 1 have none, so their packs are
//! not used.
//!
//! Memory: packs and indices are mapped; 12 bytes for each object of a pack from which an entry is copied, and 4 more while
//! its reverse index is read.
use std::sync::OnceLock;

use gix::{ObjectId, oid};
use gix_pack::data;

use super::{object_files::PackFile, reverse_index::EntryOrder};

/// The packs of a repository.
pub(super) struct Packs(Vec<Pack>);

/// A pack with its index.
pub(super) struct Pack {
    pub(super) file: PackFile,
    order: OnceLock<EntryOrder>,
}

/// Location of an object in the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    /// Number of the pack.
    pub(super) pack: u32,
    /// Start of the entry in the pack.
    pub(super) offset: u64,
    /// Place of the object in the index.
    entry: u32,
}

/// Base of a delta, as the pack names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredBase {
    /// The entry that starts there in the same pack.
    Offset(u64),
    /// The object.
    Id(ObjectId),
}

/// An entry as it is stored.
pub(super) struct Entry<'a> {
    /// Its header. The base of a delta is that of its own pack.
    pub(super) header: data::entry::Header,
    /// Size of the object or delta in bytes.
    pub(super) size: u64,
    /// Its compressed bytes.
    pub(super) compressed: &'a [u8],
}

/// An entry cannot be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable;

impl Packs {
    /// Returns these packs. With none, nothing is copied.
    pub(super) fn new(files: Vec<PackFile>) -> Self {
        Packs(files.into_iter().map(Pack::new).collect())
    }

    /// Returns the location of the object in the first pack that has it.
    pub(super) fn locate(&self, id: ObjectId) -> Option<Location> {
        let mut packs = (0..).zip(&self.0);
        packs.find_map(|(pack, Pack { file, .. })| {
            let entry = file.index.lookup(id)?;
            Some(Location {
                pack,
                offset: file.index.pack_offset_at_index(entry),
                entry,
            })
        })
    }

    /// Returns the size of all packs in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|pack| pack.file.data.data_len() as u64).sum()
    }

    /// Returns the pack with this number.
    pub(super) fn pack(&self, number: u32) -> &Pack {
        &self.0[number as usize]
    }

    /// Returns the base of the delta at this location; `Ok(None)` if the object is stored whole.
    pub(super) fn base(&self, location: Location) -> Result<Option<StoredBase>, Unusable> {
        self.pack(location.pack).base_at(location.offset)
    }

    /// Returns the entry at this location, if it is intact.
    pub(super) fn entry(&self, location: Location) -> Result<Entry<'_>, Unusable> {
        let pack = self.pack(location.pack);
        let PackFile { index, data } = &pack.file;
        let range = pack.range(location.offset).ok_or(Unusable)?;
        let bytes = data.entry_slice(range).ok_or(Unusable)?;
        if index.crc32_at_index(location.entry) != Some(data.entry_crc32(location.offset, bytes.len())) {
            return Err(Unusable);
        }
        let entry = data.entry(location.offset).map_err(|_| Unusable)?;
        Ok(Entry {
            header: entry.header,
            size: entry.decompressed_size,
            compressed: bytes.get(entry.header_size()..).ok_or(Unusable)?,
        })
    }

    /// Returns the compressed size of the entry at this location, without its header.
    pub(super) fn compressed_size(&self, location: Location) -> Option<usize> {
        let pack = self.pack(location.pack);
        let range = pack.range(location.offset)?;
        let entry = pack.file.data.entry(location.offset).ok()?;
        // The index may be damaged.
        usize::try_from(range.end.checked_sub(entry.data_offset)?).ok()
    }
}

impl Pack {
    pub(super) fn new(file: PackFile) -> Self {
        Pack {
            file,
            order: OnceLock::new(),
        }
    }

    /// Returns the number of objects.
    pub(super) fn objects(&self) -> u32 {
        self.file.data.num_objects()
    }

    /// Returns true if the pack has this number of objects and can be sent as it is.
    pub(super) fn is_whole(&self, objects: usize) -> bool {
        let PackFile { index, data } = &self.file;
        let is_sendable = data.version() == data::Version::V2 && index.pack_checksum() == data.checksum();
        is_sendable && self.objects() as usize == objects && index.num_objects() as usize == objects
    }

    /// Returns the place of an object in the order of the entries, if the pack has it.
    pub(super) fn place(&self, id: &oid) -> Option<u32> {
        let entry = self.file.index.lookup(id)?;
        self.place_at(self.file.index.pack_offset_at_index(entry))
    }

    /// Returns the place in the index of the object at this place in the order of the entries.
    pub(super) fn index_place(&self, place: u32) -> u32 {
        self.order().places[place as usize]
    }

    /// Returns the id of the object at this place in the order of the entries.
    pub(super) fn id(&self, place: u32) -> ObjectId {
        self.file.index.oid_at_index(self.index_place(place)).to_owned()
    }

    /// Returns the base of the delta that starts at `offset`; `Ok(None)` if the object is stored whole.
    pub(super) fn base_at(&self, offset: u64) -> Result<Option<StoredBase>, Unusable> {
        stored_base(&self.file.data.entry(offset).map_err(|_| Unusable)?)
    }

    /// Returns the id of the object whose entry starts at `offset`.
    pub(super) fn id_at(&self, offset: u64) -> Option<ObjectId> {
        self.place_at(offset).map(|place| self.id(place))
    }

    /// Returns the place of the base of the delta at this place; `Ok(None)` if the object is stored whole.
    pub(super) fn base_place(&self, place: u32) -> Result<Option<u32>, Unusable> {
        let base = match self.base_at(self.order().offsets[place as usize])? {
            Some(StoredBase::Offset(offset)) => self.place_at(offset),
            Some(StoredBase::Id(id)) => self.place(&id),
            None => return Ok(None),
        };
        base.map(Some).ok_or(Unusable)
    }

    /// Returns the range of the entry that starts at `offset`.
    fn range(&self, offset: u64) -> Option<data::EntryRange> {
        let offsets = &self.order().offsets;
        let next = offsets.partition_point(|start| *start <= offset);
        let end = offsets.get(next).copied().unwrap_or(self.file.data.pack_end() as u64);
        (offset < end).then_some(offset..end)
    }

    fn place_at(&self, offset: u64) -> Option<u32> {
        let found = self.order().offsets.binary_search(&offset).ok()?;
        u32::try_from(found).ok()
    }

    fn order(&self) -> &EntryOrder {
        self.order.get_or_init(|| self.file.order())
    }
}

fn stored_base(entry: &data::Entry) -> Result<Option<StoredBase>, Unusable> {
    use data::entry::Header;
    match entry.header {
        Header::OfsDelta { base_distance } => {
            let offset = entry.checked_base_pack_offset(base_distance).ok_or(Unusable)?;
            Ok(Some(StoredBase::Offset(offset)))
        }
        Header::RefDelta { base_id } => Ok(Some(StoredBase::Id(base_id))),
        Header::Commit | Header::Tree | Header::Blob | Header::Tag => Ok(None),
    }
}
