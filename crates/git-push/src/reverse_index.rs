//! Order of the entries of a pack (gitformat-pack, *pack-\*.rev files have the format*). PURE.
//!
//! ```text
//! reverse index = "RIDX" version(4) hash(4) object-count x place in the index(4) pack-checksum checksum
//! ```
//!
//! All numbers are big-endian, and the places are in the order of the entries. By default, git writes this file beside each
//! pack since version 2.41. Without it, the offsets of the index are sorted, which takes longer.
//!
//! The checksum is not verified. Instead each place is looked up in the index: places whose offsets increase from one to the
//! next are in order, and none is missing. So a file that is damaged, or of another pack, never gives another order.
use gix::hash;
use gix_pack::index;

/// The only known version.
const VERSION: u32 = 1;
/// Bytes of a number.
const NUMBER: usize = 4;

/// Entries of a pack, in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryOrder {
    /// Starts of the entries.
    pub(super) offsets: Vec<u64>,
    /// Places of the objects in the index.
    pub(super) places: Vec<u32>,
}

impl EntryOrder {
    /// Reads the reverse index of the pack with this index.
    ///
    /// Returns `None` if it is damaged, of another pack, or of an unknown format.
    #[must_use]
    pub fn read(file: &[u8], index: &index::File) -> Option<Self> {
        let objects = index.num_objects();
        let numbers = file.strip_prefix(&header(index.object_hash())[..])?;
        let (numbers, checksums) = numbers.split_at_checked((objects as usize).checked_mul(NUMBER)?)?;
        let checksum = checksums.strip_prefix(index.pack_checksum().as_bytes())?;
        if checksum.len() != index.object_hash().len_in_bytes() {
            return None;
        }
        let mut order = EntryOrder {
            offsets: Vec::with_capacity(objects as usize),
            places: Vec::with_capacity(objects as usize),
        };
        for number in numbers.as_chunks::<NUMBER>().0 {
            let place = u32::from_be_bytes(*number);
            let offset = (place < objects).then(|| index.pack_offset_at_index(place))?;
            if order.offsets.last().is_some_and(|last| *last >= offset) {
                return None;
            }
            order.offsets.push(offset);
            order.places.push(place);
        }
        Some(order)
    }

    /// Sorts the entries of the pack with this index.
    #[must_use]
    pub fn sorted(index: &index::File) -> Self {
        let entries = (0..index.num_objects()).map(|place| (index.pack_offset_at_index(place), place));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable();
        let (offsets, places) = entries.into_iter().unzip();
        EntryOrder { offsets, places }
    }
}

/// Returns the first bytes of a file. The hash has the number that gitoxide has for it.
fn header(object_format: hash::Kind) -> Vec<u8> {
    let hash = object_format as u32;
    [&b"RIDX"[..], &VERSION.to_be_bytes(), &hash.to_be_bytes()].concat()
}
