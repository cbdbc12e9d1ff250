//! Index of the blocks of a base, by the hash of a window that rolls over the target.
use super::common_prefix;

/// Size of a block in bytes. Shorter matches are not found.
pub(super) const BLOCK: usize = 16;
/// Maximum number of blocks with the same hash that are compared. Repetitive bases would take quadratic time otherwise.
const MAX_CANDIDATES: usize = 16;
/// Length of a match, in bytes, that ends the search for a longer one.
const GOOD_MATCH: usize = 4096;
/// Multiplier of the rolling hash: odd, with bits everywhere.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Index of the blocks of a base by their hashes.
#[derive(Debug)]
pub(super) struct Blocks {
    /// By hash: number of the first block, plus 1; 0 for none.
    first: Vec<u32>,
    /// By block: number of the next block with the same hash, plus 1; 0 for none.
    next: Vec<u32>,
    shift: u32,
}

impl Blocks {
    /// Indexes a base.
    pub(super) fn new(base: &[u8]) -> Self {
        let count = base.len() / BLOCK;
        let bits = usize::BITS - count.max(1).leading_zeros();
        let mut blocks = Blocks {
            first: vec![0; 1 << bits],
            next: vec![0; count],
            shift: u64::BITS - bits,
        };
        // From the end, so that the first of several equal blocks is found first.
        for number in (0..count).rev() {
            let slot = blocks.slot(hash(&base[number * BLOCK..][..BLOCK]));
            blocks.next[number] = blocks.first[slot];
            blocks.first[slot] = number as u32 + 1;
        }
        blocks
    }

    fn slot(&self, hash: u64) -> usize {
        (hash.wrapping_mul(MULTIPLIER) >> self.shift) as usize
    }

    /// Returns offset and length in the base of the longest match at the start of `target`, whose first block has `hash`.
    pub(super) fn longest(&self, base: &[u8], hash: u64, target: &[u8]) -> Option<(usize, usize)> {
        let mut best = None;
        let mut length = BLOCK - 1;
        let mut number = self.first[self.slot(hash)];
        for _ in 0..MAX_CANDIDATES {
            let Some(block) = number.checked_sub(1).map(|block| block as usize) else {
                break;
            };
            let offset = block * BLOCK;
            let matching = common_prefix(&base[offset..], target);
            if matching > length {
                length = matching;
                best = Some((offset, length));
            }
            if length >= GOOD_MATCH {
                break;
            }
            number = self.next[block];
        }
        best
    }
}

/// Returns the hash of a window.
pub(super) fn hash(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash: u64, byte| {
        hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(*byte))
    })
}

/// Returns the hash of the window after losing `gone` at its start and gaining `come` at its end.
pub(super) fn roll(hash: u64, gone: u8, come: u8) -> u64 {
    const LEADING: u64 = MULTIPLIER.wrapping_pow(BLOCK as u32 - 1);
    let rest = hash.wrapping_sub(u64::from(gone).wrapping_mul(LEADING));
    rest.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(come))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_hash_of_a_window_rolls(bytes in prop::collection::vec(any::<u8>(), BLOCK + 1..100)) {
            for at in 1..=bytes.len() - BLOCK {
                let rolled = roll(hash(&bytes[at - 1..][..BLOCK]), bytes[at - 1], bytes[at + BLOCK - 1]);
                prop_assert_eq!(rolled, hash(&bytes[at..][..BLOCK]));
            }
        }
    }
}
