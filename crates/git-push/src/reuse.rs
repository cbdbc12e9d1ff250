//! Entries of the local packs, as they are stored, to be copied.
//!
//! An entry is copied only if its bytes have the CRC-32 in the index. Indices of version 1 have none, so their packs are
//! not used.
//!
//! Memory: packs and indices are mapped; 8 bytes for each object of a pack from which an entry is copied.
use std::sync::OnceLock;

use gix::ObjectId;
use gix_pack::data;

use super::{bitmap, object_files::PackFile};

/// The packs of a repository.
pub(super) struct Packs(Vec<Pack>);

/// A pack with its index.
pub(super) struct Pack {
    pub(super) file: PackFile,
    /// Starts of the entries, in order, and the end of the last one.
    offsets: OnceLock<Vec<u64>>,
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
        let pack = |file| Pack {
            file,
            offsets: OnceLock::new(),
        };
        Packs(files.into_iter().map(pack).collect())
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

    /// Returns the pack with this number.
    pub(super) fn pack(&self, number: u32) -> &Pack {
        &self.0[number as usize]
    }

    /// Returns the base of the delta at this location; `Ok(None)` if the object is stored whole.
    pub(super) fn base(&self, location: Location) -> Result<Option<StoredBase>, Unusable> {
        use data::entry::Header;
        let entry = self.pack(location.pack).file.data.entry(location.offset);
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

    /// Returns the entry at this location, if it is intact.
    pub(super) fn entry(&self, location: Location) -> Result<Entry<'_>, Unusable> {
        let pack = self.pack(location.pack);
        let PackFile { index, data } = &pack.file;
        let range = pack.range(location.offset).ok_or(Unusable)?;
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

    /// Returns the compressed size of the entry at this location, without its header.
    pub(super) fn compressed_size(&self, location: Location) -> Option<usize> {
        let pack = self.pack(location.pack);
        let range = pack.range(location.offset)?;
        let entry = pack.file.data.entry(location.offset).ok()?;
        usize::try_from(range.end - entry.data_offset).ok()
    }
}

impl Pack {
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

    /// Returns true if these commits reach every object of the pack according to its bitmap.
    pub(super) fn is_reached(&self, commits: &[ObjectId], bitmap: &[u8]) -> bool {
        let PackFile { index, data } = &self.file;
        let places: Option<Vec<_>> = commits.iter().map(|id| index.lookup(id)).collect();
        let reached =
            places.and_then(|places| bitmap::reach_all(bitmap, data.checksum().as_bytes(), self.objects(), &places));
        reached == Some(true)
    }

    /// Returns the range of the entry that starts at `offset`.
    fn range(&self, offset: u64) -> Option<data::EntryRange> {
        let offsets = self.offsets.get_or_init(|| {
            let mut offsets = self.file.index.sorted_offsets();
            offsets.push(self.file.data.pack_end() as u64);
            offsets
        });
        let next = offsets.partition_point(|start| *start <= offset);
        offsets.get(next).map(|end| offset..*end)
    }
}
