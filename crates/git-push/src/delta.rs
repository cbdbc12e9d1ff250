//! Deltas (gitformat-pack, *Deltified representation*): instructions that make an object from another one.
//!
//! ```text
//! delta       = base-size result-size *instruction
//! size        = little-endian base 128, high bit set on all bytes but the last
//! instruction = copy / insert
//! copy        = 1sssoooo, then the offset bytes and size bytes that the low bits announce, lowest first;
//!               a size of 0 stands for 65,536
//! insert      = 0nnnnnnn (n from 1 to 127), then n bytes
//! ```
//!
//! The encoder indexes the base by blocks of `BLOCK` bytes. It slides a window of that size over the target, looks it up
//! by a rolling hash, and extends a match in both directions. A common start or end is copied without a look-up. A [`Source`]
//! keeps its index for the next target.
//!
//! Memory: 8 bytes for each block of the base. Time: linear; at most `MAX_CANDIDATES` blocks are compared at a position.

mod blocks;

use self::blocks::{BLOCK, Blocks, hash, roll};

/// Number of bytes between a common start and a common end at which they are looked up. A changed id in a tree has
/// fewer.
const WORTH_AN_INDEX: usize = 33;
/// Minimum length of a common start or end that is copied: a copy takes up to 8 bytes.
const MIN_COPY: usize = 8;
/// Maximum size of a copy in bytes, as in git.
const MAX_COPY: usize = 0x10000;
/// Maximum size of an insertion in bytes.
const MAX_INSERT: usize = 0x7f;
/// Maximum size of a base in bytes: offsets have 32 bits.
const MAX_BASE: usize = u32::MAX as usize;

/// Returns a delta that makes `target` from `base`, unless it has more than `limit` bytes.
#[must_use]
pub fn encode(base: &[u8], target: &[u8], limit: usize) -> Option<Vec<u8>> {
    encode_with(base, &mut None, target, limit)
}

/// An object that several deltas are made of.
#[derive(Debug)]
pub struct Source {
    data: Vec<u8>,
    blocks: Option<Blocks>,
}

impl Source {
    /// Wraps an object. It is indexed when a delta needs that.
    #[must_use]
    pub fn new(data: Vec<u8>) -> Self {
        Source { data, blocks: None }
    }

    /// Returns the object.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Does the same as [`encode()`].
    #[must_use]
    pub fn encode(&mut self, target: &[u8], limit: usize) -> Option<Vec<u8>> {
        encode_with(&self.data, &mut self.blocks, target, limit)
    }
}

/// Returns a delta. Makes the index of the base when it is needed and not there.
fn encode_with(base: &[u8], blocks: &mut Option<Blocks>, target: &[u8], limit: usize) -> Option<Vec<u8>> {
    if base.len() > MAX_BASE || target.is_empty() {
        return None;
    }
    let mut out = Instructions::new(base.len(), target.len(), limit);
    let prefix = worth_a_copy(common_prefix(base, target));
    let suffix = worth_a_copy(common_suffix(&base[prefix..], &target[prefix..]));
    out.copy(0, prefix);
    let middle = &target[prefix..target.len() - suffix];
    if middle.len() < WORTH_AN_INDEX {
        out.insert(middle);
    } else {
        let blocks = blocks.get_or_insert_with(|| Blocks::new(base));
        encode_middle(base, blocks, middle, &mut out)?;
    }
    out.copy(base.len() - suffix, suffix);
    out.finish()
}

/// Applies `delta` to `base`.
///
/// # Errors
/// The delta is damaged, or for another base.
pub fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, InvalidDelta> {
    let mut input = delta;
    if take_size(&mut input)? != base.len() {
        return Err(InvalidDelta("it is for a base of another size"));
    }
    let size = take_size(&mut input)?;
    // Enough for most results, whatever the delta says.
    let mut result = Vec::with_capacity(size.min(base.len() + delta.len()));
    while let Some(instruction) = take(&mut input) {
        match instruction {
            0 => return Err(InvalidDelta("instruction 0 is reserved")),
            count if count & 0x80 == 0 => {
                let count = usize::from(count);
                if count > input.len() {
                    return Err(InvalidDelta("it ends within an insertion"));
                }
                result.extend_from_slice(&input[..count]);
                input = &input[count..];
            }
            bits => {
                let offset = take_bytes(&mut input, bits, 4)?;
                let size = match take_bytes(&mut input, bits >> 4, 3)? {
                    0 => MAX_COPY,
                    size => size,
                };
                let copied = base.get(offset..).and_then(|rest| rest.get(..size));
                result.extend_from_slice(copied.ok_or(InvalidDelta("it copies from outside of the base"))?);
            }
        }
        if result.len() > size {
            break;
        }
    }
    if result.len() == size {
        Ok(result)
    } else {
        Err(InvalidDelta("the result has another size than it says"))
    }
}

/// A delta that cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delta is invalid: {0}")]
pub struct InvalidDelta(&'static str);

/// Returns `length`, or 0 if an insertion is about as short.
fn worth_a_copy(length: usize) -> usize {
    if length < MIN_COPY { 0 } else { length }
}

fn encode_middle(base: &[u8], blocks: &Blocks, middle: &[u8], out: &mut Instructions) -> Option<()> {
    let mut done = 0;
    let mut at = 0;
    let mut hash = hash(&middle[..BLOCK]);
    loop {
        let found = blocks.longest(base, hash, &middle[at..]);
        let next = match found {
            Some((offset, length)) => {
                let back = common_suffix(&base[..offset], &middle[done..at]);
                out.insert(&middle[done..at - back]);
                out.copy(offset - back, length + back);
                done = at + length;
                done
            }
            None => at + 1,
        };
        if out.is_over_with(next - done) {
            return None;
        }
        if next + BLOCK > middle.len() {
            out.insert(&middle[done..]);
            return Some(());
        }
        hash = if next == at + 1 {
            roll(hash, middle[at], middle[at + BLOCK])
        } else {
            self::hash(&middle[next..next + BLOCK])
        };
        at = next;
    }
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 32;
    let whole = left
        .chunks_exact(STEP)
        .zip(right.chunks_exact(STEP))
        .take_while(|(l, r)| l == r)
        .count()
        * STEP;
    whole + common_prefix_of(left[whole..].iter(), right[whole..].iter())
}

fn common_suffix(left: &[u8], right: &[u8]) -> usize {
    const STEP: usize = 32;
    let whole = left
        .rchunks_exact(STEP)
        .zip(right.rchunks_exact(STEP))
        .take_while(|(l, r)| l == r)
        .count()
        * STEP;
    let (left, right) = (&left[..left.len() - whole], &right[..right.len() - whole]);
    whole + common_prefix_of(left.iter().rev(), right.iter().rev())
}

fn common_prefix_of<'a>(left: impl Iterator<Item = &'a u8>, right: impl Iterator<Item = &'a u8>) -> usize {
    left.zip(right).take_while(|(l, r)| l == r).count()
}

/// A delta that is being written by a caller that knows the changes.
#[derive(Debug)]
pub struct Instructions {
    out: Vec<u8>,
    limit: usize,
}

impl Instructions {
    /// Starts a delta of at most `limit` bytes, which makes `target_size` bytes from a base of `base_size` bytes.
    #[must_use]
    pub fn new(base_size: usize, target_size: usize, limit: usize) -> Self {
        let mut delta = Instructions { out: Vec::new(), limit };
        delta.size(base_size);
        delta.size(target_size);
        delta
    }

    /// Adds an insertion of these bytes.
    pub fn insert(&mut self, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        for bytes in bytes.chunks(MAX_INSERT) {
            self.out.push(bytes.len() as u8);
            self.out.extend_from_slice(bytes);
        }
    }

    /// Adds a copy of `size` bytes of the base from `offset` on, which is below 2^32.
    pub fn copy(&mut self, mut offset: usize, mut size: usize) {
        while size > 0 {
            let part = size.min(MAX_COPY);
            let at = self.out.len();
            self.out.push(0x80);
            self.announced(at, offset, 4, 0);
            self.announced(at, part % MAX_COPY, 2, 4);
            offset += part;
            size -= part;
        }
    }

    /// Returns the delta, unless it exceeds its limit.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.is_over()).then_some(self.out)
    }

    fn size(&mut self, mut size: usize) {
        while size >= 0x80 {
            self.out.push(size as u8 | 0x80);
            size >>= 7;
        }
        self.out.push(size as u8);
    }

    /// Writes the bytes of `value` that are not zero, and sets their bits in the instruction at `at`.
    fn announced(&mut self, at: usize, value: usize, count: usize, first_bit: usize) {
        for (index, byte) in value
            .to_le_bytes()
            .into_iter()
            .take(count)
            .enumerate()
            .filter(|(_, byte)| *byte != 0)
        {
            self.out.push(byte);
            self.out[at] |= 1 << (first_bit + index);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over_with(0)
    }

    /// Returns true if the delta exceeds its limit with the insertion of this number of bytes.
    fn is_over_with(&self, bytes: usize) -> bool {
        self.out.len() + bytes > self.limit
    }
}

fn take(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn take_size(input: &mut &[u8]) -> Result<usize, InvalidDelta> {
    let mut size = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take(input).ok_or(InvalidDelta("it ends within a size"))?;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(size);
        }
    }
    Err(InvalidDelta("a size is too large"))
}

fn take_bytes(input: &mut &[u8], bits: u8, count: usize) -> Result<usize, InvalidDelta> {
    let mut value = 0;
    for index in (0..count).filter(|index| bits & (1 << index) != 0) {
        let byte = take(input).ok_or(InvalidDelta("it ends within a copy"))?;
        value |= usize::from(byte) << (8 * index);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates bytes, and the same after some edits, like versions of a file.
    fn versions() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let edit = (
            any::<prop::sample::Index>(),
            0..200usize,
            prop::collection::vec(any::<u8>(), 0..200),
        );
        let base = (prop::collection::vec(0..4u8, 0..3000), 1..40usize).prop_map(|(seed, times)| seed.repeat(times));
        (base, prop::collection::vec(edit, 0..6)).prop_map(|(base, edits)| {
            let mut target = base.clone();
            for (at, removed, added) in edits {
                let at = at.index(target.len() + 1);
                let end = (at + removed).min(target.len());
                target.splice(at..end, added);
            }
            (base, target)
        })
    }

    proptest! {
        #[test]
        fn a_delta_makes_the_target((base, target) in versions()) {
            if let Some(delta) = encode(&base, &target, usize::MAX) {
                prop_assert_eq!(apply(&base, &delta), Ok(target));
            } else {
                prop_assert!(target.is_empty());
            }
        }

        #[test]
        fn unrelated_bytes_are_never_larger_than_the_limit(
            base in prop::collection::vec(any::<u8>(), 0..2000),
            target in prop::collection::vec(any::<u8>(), 1..2000),
        ) {
            if let Some(delta) = encode(&base, &target, target.len()) {
                prop_assert!(delta.len() <= target.len());
                prop_assert_eq!(apply(&base, &delta), Ok(target));
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_applied_but_never_panic(
            base in prop::collection::vec(any::<u8>(), 0..300),
            delta in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = apply(&base, &delta);
        }
    }

    #[test]
    fn equal_objects_are_a_few_bytes() {
        let object: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        let delta = encode(&object, &object, object.len()).unwrap();
        assert!(delta.len() < 40, "{}", delta.len());
        assert_eq!(apply(&object, &delta).unwrap(), object);
    }

    #[test]
    fn an_insertion_costs_itself_and_a_little() {
        let base: Vec<u8> = (0..50_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let mut target = base.clone();
        target.splice(100_000..100_000, *b"something new in here");
        target.splice(7..9, *b"and there");
        let delta = encode(&base, &target, target.len()).unwrap();
        assert!(delta.len() < 100, "{}", delta.len());
        assert_eq!(apply(&base, &delta).unwrap(), target);
    }

    #[test]
    fn sixty_four_mebibytes_with_an_edit() {
        let base: Vec<u8> = (0..16 << 20u32)
            .flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let mut target = base.clone();
        target[40_000_000] ^= 1;
        target.splice(20_000_000..20_000_100, *b"x");
        let delta = encode(&base, &target, target.len()).unwrap();
        assert!(delta.len() < 16 * 1024, "{}", delta.len());
        assert!(apply(&base, &delta).unwrap() == target);
    }

    #[test]
    fn what_is_no_delta_is_refused() {
        for (delta, why) in [
            (&[][..], "it ends within a size"),
            (&[3, 1, 0x90], "it ends within a copy"),
            (&[2, 1], "it is for a base of another size"),
            (&[3, 1, 0], "instruction 0 is reserved"),
            (&[3, 2, 2, b'x'], "it ends within an insertion"),
            (&[3, 4, 0x90, 4], "it copies from outside of the base"),
            (&[3, 4, 0x90, 3], "the result has another size than it says"),
            (&[0xff; 12], "a size is too large"),
        ] {
            assert_eq!(apply(b"abc", delta), Err(InvalidDelta(why)), "{delta:?}");
        }
    }
}
