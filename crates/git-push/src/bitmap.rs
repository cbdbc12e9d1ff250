//! Reachability bitmaps that git writes beside packs (gitformat-bitmap): the objects that a commit reaches, without a walk.
//! PURE.
//!
//! ```text
//! bitmap = "BITM" version(2) flags(2) entry-count(4) pack-checksum
//!          types(4 x ewah) entry-count x ( commit(4) xor-offset(1) flags(1) ewah )
//!          [ pseudo-merges ] [ lookup table: entry-count x 16 ] [ name hashes: object-count x 4 ] checksum
//! ewah   = bit-count(4) word-count(4) word-count x word(8) position(4)
//! ```
//!
//! All numbers are big-endian. `commit` is a place in the pack's index, a bit is a place in the order of the pack. An entry
//! with an xor-offset n has only the bits that differ from those of the n-th entry before it. In an ewah a word announces
//! a run of equal words (bit 0: their bits, 32 bits: their count) and how many literal words follow (31 bits).
//!
//! All entries are read, so the lookup table is not needed; its size is checked. Pseudo-merges are ignored. A file with
//! a wrong checksum, of another pack, or with unknown flags is not used.
mod bits;

use std::collections::HashMap;

use gix::hash;

pub use bits::Bits;

/// The only known version.
const VERSION: u16 = 1;
/// Flag of a bitmap in which every reachable object has a bit. Git writes no others.
const FULL_DAG: u16 = 1;
/// Flag of a bitmap with a hash of the path of each object.
const NAME_HASHES: u16 = 4;
/// Flag of a bitmap with a table of its entries.
const LOOKUP_TABLE: u16 = 0x10;
/// Flag of a bitmap with entries for groups of commits.
const PSEUDO_MERGES: u16 = 0x20;
/// Bytes of an entry in the lookup table.
const TABLE_ENTRY: usize = 16;
/// Bytes of a name hash.
const NAME_HASH: usize = 4;
/// Maximum number of entries in a chain of xor-offsets.
const MAX_CHAIN: usize = 1000;

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A tree.
    Tree,
    /// A blob.
    Blob,
    /// An annotated tag.
    Tag,
}

const KINDS: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];

/// Bitmap of a pack.
pub struct Bitmap<'a> {
    objects: u32,
    /// Objects of each kind, in the order of [`KINDS`].
    kinds: Vec<Bits>,
    entries: Vec<Entry<'a>>,
    /// Numbers of the entries by place of the commit in the pack's index.
    numbers: HashMap<u32, usize>,
    name_hashes: &'a [u8],
}

impl<'a> Bitmap<'a> {
    /// Reads the bitmap of the pack with this checksum and number of objects.
    ///
    /// Returns `None` if the bitmap is damaged, of another pack, or of an unknown format.
    #[must_use]
    pub fn read(file: &'a [u8], pack_checksum: &hash::oid, objects: u32) -> Option<Self> {
        let mut input = Input(whole(file, pack_checksum.kind())?);
        let (signature, version, flags) = (input.take(4)?, input.u16()?, input.u16()?);
        let known = FULL_DAG | NAME_HASHES | LOOKUP_TABLE | PSEUDO_MERGES;
        if signature != b"BITM" || version != VERSION || flags & FULL_DAG == 0 || flags & !known != 0 {
            return None;
        }
        let count = input.u32()?;
        if input.take(pack_checksum.as_bytes().len())? != pack_checksum.as_bytes() {
            return None;
        }
        let kinds: Option<Vec<_>> = KINDS.iter().map(|_| Bits::from_ewah(input.ewah()?, objects)).collect();
        let kinds = kinds?;
        let entries: Option<Vec<_>> = (0..count).map(|_| Entry::read(&mut input, objects)).collect();
        let entries = entries?;
        Some(Bitmap {
            objects,
            numbers: entries.iter().map(|entry| entry.commit).zip(0..).collect(),
            name_hashes: name_hashes(input.0, flags, objects, entries.len())?,
            kinds: has_one_kind(&kinds, objects).then_some(kinds)?,
            entries,
        })
    }

    /// Returns true if the commit has an entry. `commit` is its place in the pack's index.
    #[must_use]
    pub fn has_entry(&self, commit: u32) -> bool {
        self.numbers.contains_key(&commit)
    }

    /// Returns all objects that a commit with an entry reaches. Returns `None` if the entry is damaged.
    #[must_use]
    pub fn reachable(&self, commit: u32) -> Option<Bits> {
        let mut number = *self.numbers.get(&commit)?;
        let mut bits = Bits::new(self.objects);
        for _ in 0..MAX_CHAIN {
            let entry = self.entries.get(number)?;
            bits.flip(entry.words)?;
            if entry.xor_offset == 0 {
                return Some(bits);
            }
            number = number.checked_sub(entry.xor_offset)?;
        }
        None
    }

    /// Returns the objects of this kind.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> &Bits {
        &self.kinds[kind as usize]
    }

    /// Returns the kind of the object at this place in the order of the pack.
    #[must_use]
    pub fn kind(&self, place: u32) -> Option<Kind> {
        let mut kinds = KINDS.into_iter().zip(&self.kinds);
        kinds.find(|(_, bits)| bits.contains(place)).map(|(kind, _)| kind)
    }

    /// Returns the hash of the path of the object at this place in the pack's index, if the bitmap has it. Objects at
    /// one path have the same hash. 0 is that of a root tree, or unknown.
    #[must_use]
    pub fn name_hash(&self, object: u32) -> Option<u32> {
        let start = usize::try_from(object).ok()?.checked_mul(NAME_HASH)?;
        let bytes = self.name_hashes.get(start..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }
}

impl Bits {
    fn from_ewah(words: &[u8], objects: u32) -> Option<Self> {
        let mut bits = Bits::new(objects);
        bits.flip(words)?;
        Some(bits)
    }
}

/// Returns the file without its checksum, if that is right.
fn whole(file: &[u8], object_format: hash::Kind) -> Option<&[u8]> {
    let (content, checksum) = file.split_at_checked(file.len().checked_sub(object_format.len_in_bytes())?)?;
    let mut hasher = hash::hasher(object_format);
    hasher.update(content);
    let actual = hasher.try_finalize().ok()?;
    (actual.as_bytes() == checksum).then_some(content)
}

/// Returns true if each object is of one kind.
fn has_one_kind(kinds: &[Bits], objects: u32) -> bool {
    let mut all = Bits::new(objects);
    kinds.iter().for_each(|kind| all.add(kind));
    let sum: u64 = kinds.iter().map(|kind| u64::from(kind.count())).sum();
    sum == u64::from(objects) && all.count() == objects
}

/// Returns the name hashes, which are at the end of the part after the entries.
fn name_hashes(rest: &[u8], flags: u16, objects: u32, entries: usize) -> Option<&[u8]> {
    let size = |flag, count: usize, bytes| {
        if flags & flag == 0 {
            Some(0)
        } else {
            count.checked_mul(bytes)
        }
    };
    let hashes = size(NAME_HASHES, usize::try_from(objects).ok()?, NAME_HASH)?;
    let (before, hashes) = rest.split_at_checked(rest.len().checked_sub(hashes)?)?;
    let between = before.len().checked_sub(size(LOOKUP_TABLE, entries, TABLE_ENTRY)?)?;
    (between == 0 || flags & PSEUDO_MERGES != 0).then_some(hashes)
}

/// Bits of a commit, as the difference from those of another one.
struct Entry<'a> {
    commit: u32,
    xor_offset: usize,
    words: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(input: &mut Input<'a>, objects: u32) -> Option<Self> {
        let commit = input.u32().filter(|commit| *commit < objects)?;
        let &[xor_offset, _flags] = input.take(2)? else {
            return None;
        };
        Some(Entry {
            commit,
            xor_offset: xor_offset.into(),
            words: input.ewah()?,
        })
    }
}

/// Rest of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Reads the words of an ewah.
    fn ewah(&mut self) -> Option<&'a [u8]> {
        self.u32()?;
        let words = usize::try_from(self.u32()?).ok()?.checked_mul(8)?;
        let words = self.take(words)?;
        self.u32()?;
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBJECTS: u32 = 5;

    fn pack() -> gix::ObjectId {
        gix::ObjectId::Sha1([7; 20])
    }

    fn ewah(words: &[u64]) -> Vec<u8> {
        let mut bytes = [64u32.to_be_bytes(), (words.len() as u32).to_be_bytes()].concat();
        words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
        bytes.extend([0; 4]);
        bytes
    }

    fn literal(word: u64) -> Vec<u8> {
        ewah(&[1 << 33, word])
    }

    fn sealed(mut content: Vec<u8>) -> Vec<u8> {
        let mut hasher = hash::hasher(hash::Kind::Sha1);
        hasher.update(&content);
        content.extend(hasher.try_finalize().expect("a hash").as_bytes());
        content
    }

    /// Returns a bitmap with these flags, kinds, entries (commit, xor-offset, ewah), and this after the entries.
    fn bitmap_with(flags: u16, kinds: [u64; 4], entries: &[(u32, u8, Vec<u8>)], rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"BITM\0\x01".to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend(pack().as_bytes());
        kinds.iter().for_each(|kind| bytes.extend(literal(*kind)));
        for (commit, xor_offset, ewah) in entries {
            bytes.extend(commit.to_be_bytes());
            bytes.extend([*xor_offset, 0]);
            bytes.extend(ewah);
        }
        bytes.extend(rest);
        sealed(bytes)
    }

    const KINDS_OF_FIVE: [u64; 4] = [0b11, 0b100, 0b1000, 0b1_0000];

    fn bitmap(entries: &[(u32, u8, Vec<u8>)]) -> Vec<u8> {
        bitmap_with(FULL_DAG, KINDS_OF_FIVE, entries, b"")
    }

    fn read(file: &[u8]) -> Option<Bitmap<'_>> {
        Bitmap::read(file, &pack(), OBJECTS)
    }

    #[test]
    fn an_entry_has_the_bits_that_differ_from_those_of_another_one() {
        let file = bitmap(&[
            (3, 0, literal(0b1_1100)),
            (4, 1, literal(0b0_0111)),
            // A run of set bits, more than there are objects.
            (0, 0, ewah(&[1 | 1 << 1])),
        ]);
        let bitmap = read(&file).expect("a bitmap");
        let reachable = |commit| Some(bitmap.reachable(commit)?.iter().collect::<Vec<_>>());
        assert_eq!(reachable(3), Some(vec![2, 3, 4]));
        assert_eq!(reachable(4), Some(vec![0, 1, 3, 4]));
        assert_eq!(reachable(0), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(reachable(1), None, "it has no entry");
        assert!(bitmap.has_entry(3) && !bitmap.has_entry(1));
        let kinds: Vec<_> = (0..6).map(|place| bitmap.kind(place)).collect();
        let expected = [Kind::Commit, Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag].map(Some);
        assert_eq!(kinds, [&expected[..], &[None]].concat());
        assert_eq!(bitmap.name_hash(0), None);
    }

    #[test]
    fn name_hashes_come_last_after_the_lookup_table() {
        let entries = [(3, 0, literal(1))];
        let hashes: Vec<u8> = (1..=5u32).flat_map(u32::to_be_bytes).collect();
        let table = [0; TABLE_ENTRY];
        let hash = |flags, rest: &[u8]| {
            let file = bitmap_with(FULL_DAG | flags, KINDS_OF_FIVE, &entries, rest);
            let bitmap = read(&file)?;
            Some((bitmap.name_hash(0), bitmap.name_hash(4), bitmap.name_hash(5)))
        };
        let expected = Some((Some(1), Some(5), None));
        assert_eq!(hash(NAME_HASHES, &hashes), expected);
        assert_eq!(
            hash(NAME_HASHES | LOOKUP_TABLE, &[&table[..], &hashes].concat()),
            expected
        );
        let with_merges = [b"pseudo-merges", &table[..], &hashes].concat();
        assert_eq!(hash(NAME_HASHES | LOOKUP_TABLE | PSEUDO_MERGES, &with_merges), expected);
        assert_eq!(
            hash(NAME_HASHES | LOOKUP_TABLE, &with_merges),
            None,
            "something unknown is between"
        );
        assert_eq!(hash(NAME_HASHES, &hashes[1..]), None);
        assert_eq!(hash(0, &hashes), None);
        assert_eq!(hash(0x40, b""), None);
        assert_eq!(hash(0, b""), Some((None, None, None)));
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_pack_is_not_used() {
        let file = bitmap(&[(3, 0, literal(1))]);
        assert!(read(&file).is_some());
        assert!(Bitmap::read(&file, &gix::ObjectId::Sha1([8; 20]), OBJECTS).is_none());
        assert!(
            Bitmap::read(&file, &pack(), OBJECTS + 1).is_none(),
            "an object has no kind"
        );
        assert!(read(b"").is_none());
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert!(read(&damaged).is_none(), "{place}");
            assert!(read(&file[..place]).is_none(), "{place}");
        }
        let two_kinds = bitmap_with(FULL_DAG, [0b11, 0b101, 0b1000, 0b1_0000], &[], b"");
        assert!(read(&two_kinds).is_none());
    }

    #[test]
    fn entries_that_lead_nowhere_say_nothing() {
        let reachable = |entry| {
            let file = bitmap(&[entry]);
            read(&file)?.reachable(3).map(|bits| bits.count())
        };
        assert_eq!(reachable((3, 0, literal(1))), Some(1));
        assert_eq!(reachable((3, 1, literal(1))), None, "before the first");
        assert_eq!(reachable((3, 0, ewah(&[u64::MAX]))), None, "more words than objects");
        assert_eq!(reachable((OBJECTS, 0, literal(1))), None, "no object");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(entries in prop::collection::vec((0..4u32, any::<u8>(), any::<u64>()), 0..4), cut in 0..200usize) {
            let entries: Vec<_> = entries.into_iter().map(|(commit, xor, word)| (commit, xor, ewah(&[word, word]))).collect();
            let mut file = bitmap(&entries);
            file.truncate(file.len().saturating_sub(cut + 20));
            let file = sealed(file);
            if let Some(bitmap) = read(&file) {
                (0..5).for_each(|commit| drop(bitmap.reachable(commit)));
            }
        }
    }
}
