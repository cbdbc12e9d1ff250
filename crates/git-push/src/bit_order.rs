//! Objects of a bitmap in the order of its bits: those of a pack, or of all packs of a multi-pack-index (gitformat-pack,
//! *multi-pack-index reverse indexes*).
//!
//! ```text
//! multi-pack-index = "MIDX" version(1) hash(1) chunk-count(1) base-count(1) pack-count(4)
//!                    ( chunk-count + 1 ) x ( id(4) start(8) ) chunks checksum
//! chunk "RIDX"     = object-count x place in the index(4), in the order of the bits
//! ```
//!
//! Memory: packs and indices are mapped; 12 bytes for each object of a pack, and 8 for each of a multi-pack-index.
use std::fs::File;

use gix::{ObjectId, oid};
use gix_pack::multi_index;

use super::object_files::{Bitmapped, MultiPackFile};
use super::reuse::{Pack, StoredBase, Unusable};

/// Bytes of the header, of an entry in the table of chunks, and of a number.
const HEADER: usize = 12;
const ENTRY: usize = 12;
const NUMBER: usize = 4;
/// Place of the number of chunks in the header.
const CHUNK_COUNT: usize = 6;

/// Objects that have a bit each.
pub(super) enum BitOrder {
    /// Those of a pack, in the order of its entries.
    Pack(Pack),
    /// Those of several packs, in the order of their index.
    Packs(MultiPack),
}

/// The packs of a multi-pack-index.
pub(super) struct MultiPack {
    index: multi_index::File,
    /// In the order of their numbers.
    packs: Vec<Pack>,
    /// Places in the index, in the order of the bits.
    entries: Vec<u32>,
    /// Places in the order of the bits, in the order of the index.
    places: Vec<u32>,
}

impl BitOrder {
    /// Returns the order of a bitmap. Returns `None` if it is not known.
    pub(super) fn of(files: Bitmapped) -> Option<Self> {
        Some(match files {
            Bitmapped::Pack(file) => BitOrder::Pack(Pack::new(file)),
            Bitmapped::Packs(files) => BitOrder::Packs(MultiPack::of(files)?),
        })
    }

    /// Returns the checksum that the bitmap names. Returns `None` if pack and index are not of each other.
    pub(super) fn checksum(&self) -> Option<ObjectId> {
        match self {
            BitOrder::Pack(pack) => {
                let checksum = pack.file.data.checksum();
                (pack.file.index.pack_checksum() == checksum).then_some(checksum)
            }
            BitOrder::Packs(packs) => Some(packs.index.checksum()),
        }
    }

    /// Returns the number of objects.
    pub(super) fn objects(&self) -> u32 {
        match self {
            BitOrder::Pack(pack) => pack.objects(),
            BitOrder::Packs(packs) => packs.index.num_objects(),
        }
    }

    /// Returns the place of an object in the order of the bits, if it has one.
    pub(super) fn place(&self, id: &oid) -> Option<u32> {
        match self {
            BitOrder::Pack(pack) => pack.place(id),
            BitOrder::Packs(packs) => packs.places.get(packs.index.lookup(id)? as usize).copied(),
        }
    }

    /// Returns the place in the index of the object at this place in the order of the bits.
    pub(super) fn index_place(&self, place: u32) -> u32 {
        match self {
            BitOrder::Pack(pack) => pack.index_place(place),
            BitOrder::Packs(packs) => packs.entries[place as usize],
        }
    }

    /// Returns the id of the object at this place in the order of the bits.
    pub(super) fn id(&self, place: u32) -> ObjectId {
        match self {
            BitOrder::Pack(pack) => pack.id(place),
            BitOrder::Packs(packs) => packs.index.oid_at_index(self.index_place(place)).to_owned(),
        }
    }

    /// Returns the place of the base of the delta at this place; `Ok(None)` if the object is stored whole.
    pub(super) fn base_place(&self, place: u32) -> Result<Option<u32>, Unusable> {
        let packs = match self {
            BitOrder::Pack(pack) => return pack.base_place(place),
            BitOrder::Packs(packs) => packs,
        };
        let entry = packs.index.pack_id_and_pack_offset_at_index(self.index_place(place));
        let (pack, offset) = entry.map_err(|_| Unusable)?;
        let pack = packs.packs.get(pack as usize).ok_or(Unusable)?;
        let base = match pack.base_at(offset)? {
            None => return Ok(None),
            Some(StoredBase::Offset(offset)) => pack.id_at(offset).ok_or(Unusable)?,
            Some(StoredBase::Id(id)) => id,
        };
        self.place(&base).map(Some).ok_or(Unusable)
    }

    /// Opens the pack as a file that can be sent, if it has this number of objects. Returns its size in bytes, too.
    pub(super) fn open_whole(&self, objects: u32) -> Option<(File, u64)> {
        match self {
            BitOrder::Pack(pack) if pack.is_whole(objects as usize) => pack.file.open_data(),
            BitOrder::Pack(_) | BitOrder::Packs(_) => None,
        }
    }
}

impl MultiPack {
    /// Returns the packs, if the index has each object once in the order of the bits.
    fn of(files: MultiPackFile) -> Option<Self> {
        let (numbers, rest) = files.bytes.get(order_range(&files.bytes)?)?.as_chunks::<NUMBER>();
        let entries: Vec<_> = numbers.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
        let objects = files.index.num_objects() as usize;
        let mut places = vec![u32::MAX; objects];
        for (place, entry) in (0..).zip(&entries) {
            let slot = places.get_mut(*entry as usize).filter(|slot| **slot == u32::MAX)?;
            *slot = place;
        }
        (rest.is_empty() && entries.len() == objects).then(|| MultiPack {
            packs: files.packs.into_iter().map(Pack::new).collect(),
            index: files.index,
            entries,
            places,
        })
    }
}

/// Returns where the order of the bits is in a multi-pack-index, from the start of its file. It is a chunk of the file itself
/// since git 2.36.
fn order_range(file: &[u8]) -> Option<std::ops::Range<usize>> {
    let count = usize::from(*file.get(CHUNK_COUNT)?);
    let table = file.get(HEADER..HEADER + (count + 1) * ENTRY)?;
    let (entries, _) = table.as_chunks::<ENTRY>();
    let start = |entry: &[u8; ENTRY]| usize::try_from(u64::from_be_bytes(*entry.last_chunk()?)).ok();
    let place = entries.iter().position(|entry| entry.starts_with(b"RIDX"))?;
    Some(start(&entries[place])?..start(entries.get(place + 1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the start of a file with these chunks: ids and starts.
    fn file(chunks: &[(&[u8; 4], u64)]) -> Vec<u8> {
        let mut bytes = b"MIDX\x01\x01".to_vec();
        bytes.push(chunks.len() as u8);
        bytes.extend([0; 5]);
        for (id, start) in chunks.iter().chain(&[(&[0; 4], 1000)]) {
            bytes.extend(*id);
            bytes.extend(start.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_order_is_between_its_start_and_that_of_the_next_chunk() {
        let index = file(&[(b"OIDL", 100), (b"RIDX", 200), (b"BTMP", 240)]);
        assert_eq!(order_range(&index), Some(200..240));
        assert_eq!(order_range(&file(&[(b"OIDL", 100), (b"RIDX", 200)])), Some(200..1000));
        assert_eq!(order_range(&file(&[(b"OIDL", 100)])), None);
        for length in 0..index.len() {
            assert_eq!(order_range(&index[..length]), None);
        }
    }
}
