//! Reachability bitmaps that git writes beside packs (gitformat-bitmap). They show without a walk if commits reach every
//! object of a pack. PURE.
//!
//! ```text
//! bitmap = "BITM" version(2) flags(2) entry-count(4) pack-checksum
//!          types(4 x ewah) entry-count x ( commit(4) xor-offset(1) flags(1) ewah )      more may follow
//! ewah   = bit-count(4) word-count(4) word-count x word(8) position(4)
//! ```
//!
//! All numbers are big-endian. `commit` is a place in the pack's index, a bit is a place in the order of the pack. An entry
//! with an xor-offset n has only the bits that differ from those of the n-th entry before it. In an ewah a word announces
//! a run of equal words (bit 0: their bits, 32 bits: their count) and how many literal words follow (31 bits).

/// The only known version.
const VERSION: u16 = 1;
/// Flag of a bitmap in which every reachable object has a bit. Git writes no others.
const FULL_DAG: u16 = 1;
/// Maximum number of entries that an entry is built from.
const MAX_CHAIN: usize = 1000;

/// Returns true if `commits` together reach all objects of a pack. They are places in the index of the pack, which has
/// this number of objects.
///
/// Returns `None` if the bitmap is damaged, of another pack, or lacks one of these commits.
pub(super) fn reach_all(file: &[u8], pack_checksum: &[u8], objects: u32, commits: &[u32]) -> Option<bool> {
    let mut input = Input(file);
    let (signature, version, flags) = (input.take(4)?, input.u16()?, input.u16()?);
    if signature != b"BITM" || version != VERSION || flags & FULL_DAG == 0 {
        return None;
    }
    let count = input.u32()?;
    if input.take(pack_checksum.len())? != pack_checksum {
        return None;
    }
    for _type in 0..4 {
        input.ewah()?;
    }
    let entries: Option<Vec<_>> = (0..count).map(|_| Entry::read(&mut input)).collect();
    let entries = entries?;
    let mut reached = Bits::new(objects);
    for commit in commits {
        let number = entries.iter().position(|entry| entry.commit == *commit)?;
        reached.add(&resolve(&entries, number, objects)?);
    }
    Some(reached.count() == objects)
}

/// Bits of a commit, as the difference from those of another one.
struct Entry<'a> {
    commit: u32,
    xor_offset: usize,
    words: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(input: &mut Input<'a>) -> Option<Self> {
        let commit = input.u32()?;
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

/// Returns the bits of the entry with this number.
fn resolve(entries: &[Entry<'_>], mut number: usize, objects: u32) -> Option<Bits> {
    let mut bits = Bits::new(objects);
    for _ in 0..MAX_CHAIN {
        let entry = entries.get(number)?;
        bits.flip(entry.words)?;
        if entry.xor_offset == 0 {
            return Some(bits);
        }
        number = number.checked_sub(entry.xor_offset)?;
    }
    None
}

/// A bit for each object.
struct Bits {
    words: Vec<u64>,
    objects: u32,
}

impl Bits {
    fn new(objects: u32) -> Self {
        Bits {
            words: vec![0; objects.div_ceil(u64::BITS) as usize],
            objects,
        }
    }

    /// Flips the bits that are set in the words of an ewah.
    fn flip(&mut self, words: &[u8]) -> Option<()> {
        let mut input = Input(words);
        let mut targets = self.words.iter_mut();
        while !input.0.is_empty() {
            let run = input.u64()?;
            let mask = if run & 1 == 1 { u64::MAX } else { 0 };
            for _ in 0..(run >> 1) & u64::from(u32::MAX) {
                *targets.next()? ^= mask;
            }
            for _ in 0..run >> 33 {
                *targets.next()? ^= input.u64()?;
            }
        }
        Some(())
    }

    fn add(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Returns the number of bits that are set and stand for objects.
    fn count(&self) -> u32 {
        let used = |number: usize| match self.objects % u64::BITS {
            rest if rest > 0 && number + 1 == self.words.len() => (1 << rest) - 1,
            _ => u64::MAX,
        };
        let counts = self.words.iter().enumerate();
        counts.map(|(number, word)| (word & used(number)).count_ones()).sum()
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

    const CHECKSUM: &[u8] = &[7; 20];

    fn ewah(words: &[u64]) -> Vec<u8> {
        let mut bytes = [64u32.to_be_bytes(), (words.len() as u32).to_be_bytes()].concat();
        words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
        bytes.extend([0; 4]);
        bytes
    }

    fn literal(word: u64) -> Vec<u8> {
        ewah(&[1 << 33, word])
    }

    /// Returns a bitmap with these entries: commit, xor-offset, ewah.
    fn bitmap(entries: &[(u32, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = b"BITM\0\x01\0\x01".to_vec();
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend(CHECKSUM);
        (0..4).for_each(|_| bytes.extend(ewah(&[])));
        for (commit, xor_offset, ewah) in entries {
            bytes.extend(commit.to_be_bytes());
            bytes.extend([*xor_offset, 0]);
            bytes.extend(ewah);
        }
        bytes
    }

    #[test]
    fn commits_that_reach_all_together_are_told_from_those_that_do_not() {
        let file = bitmap(&[
            (3, 0, literal(0b1_1100)),
            (5, 1, literal(0b0_0111)),
            // A run of set bits, more than there are objects.
            (8, 0, ewah(&[1 | 1 << 1])),
        ]);
        let reach = |commits: &[u32]| reach_all(&file, CHECKSUM, 5, commits);
        assert_eq!(reach(&[3]), Some(false));
        assert_eq!(reach(&[5]), Some(false), "11011");
        assert_eq!(reach(&[3, 5]), Some(true));
        assert_eq!(reach(&[8]), Some(true));
        assert_eq!(reach(&[3, 4]), None, "4 has no bitmap");
    }

    #[test]
    fn a_bitmap_that_is_of_another_pack_or_leads_nowhere_says_nothing() {
        let file = bitmap(&[(3, 0, literal(1))]);
        assert_eq!(reach_all(&file, &[8; 20], 1, &[3]), None);
        assert_eq!(reach_all(&file, CHECKSUM, 1, &[3]), Some(true));
        assert_eq!(reach_all(&file[..file.len() - 1], CHECKSUM, 1, &[3]), None);
        assert_eq!(reach_all(b"", CHECKSUM, 1, &[3]), None);
        let before_the_first = bitmap(&[(3, 1, literal(1))]);
        assert_eq!(reach_all(&before_the_first, CHECKSUM, 1, &[3]), None);
        let too_long = bitmap(&[(3, 0, ewah(&[u64::MAX]))]);
        assert_eq!(reach_all(&too_long, CHECKSUM, 100, &[3]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(entries in prop::collection::vec((0..4u32, any::<u8>(), any::<u64>()), 0..4), cut in 0..200usize, objects in 0..200u32) {
            let entries: Vec<_> = entries.into_iter().map(|(commit, xor, word)| (commit, xor, ewah(&[word, word]))).collect();
            let mut file = bitmap(&entries);
            file.truncate(file.len().saturating_sub(cut));
            let _ = reach_all(&file, CHECKSUM, objects, &[0, 1]);
        }
    }
}
