//! Sets of objects of a pack, with a bit for each place in the order of the pack.

use super::Input;

/// Set of places.
#[derive(Debug, Clone)]
pub struct Bits {
    words: Vec<u64>,
    objects: u32,
}

impl Bits {
    /// Creates an empty set for a pack with this number of objects.
    #[must_use]
    pub fn new(objects: u32) -> Self {
        Bits {
            words: vec![0; objects.div_ceil(u64::BITS) as usize],
            objects,
        }
    }

    /// Flips the bits that are set in the words of an ewah. Returns `None` if it has more words than the set.
    pub(super) fn flip(&mut self, words: &[u8]) -> Option<()> {
        let mut input = Input(words);
        let mut targets = &mut self.words[..];
        while !input.0.is_empty() {
            let announced = input.u64()?;
            let run = usize::try_from((announced >> 1) & u64::from(u32::MAX)).ok()?;
            let literals = usize::try_from(announced >> 33).ok()?;
            let (repeated, rest) = targets.split_at_mut_checked(run)?;
            let (changed, rest) = rest.split_at_mut_checked(literals)?;
            if announced & 1 == 1 {
                repeated.iter_mut().for_each(|word| *word = !*word);
            }
            for word in changed {
                *word ^= input.u64()?;
            }
            targets = rest;
        }
        self.clear_unused();
        Some(())
    }

    /// Adds the places of another set for the same pack.
    pub fn add(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Removes the places of another set for the same pack.
    pub fn remove(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Keeps only the places that are also in another set for the same pack.
    pub fn retain(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds a place. Returns true if it is new.
    pub fn insert(&mut self, place: u32) -> bool {
        let word = &mut self.words[(place / u64::BITS) as usize];
        let bit = 1 << (place % u64::BITS);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Returns true if the set has this place.
    #[must_use]
    pub fn contains(&self, place: u32) -> bool {
        let word = self.words.get((place / u64::BITS) as usize);
        word.is_some_and(|word| word >> (place % u64::BITS) & 1 == 1)
    }

    /// Returns the number of places in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Returns the places in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.words).flat_map(|(number, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(number * u64::BITS + bit)
            })
        })
    }

    /// Clears the bits after the last object.
    fn clear_unused(&mut self) {
        let used = self.objects % u64::BITS;
        if let Some(last) = self.words.last_mut().filter(|_| used > 0) {
            *last &= (1 << used) - 1;
        }
    }
}
