//! Window of the objects that came last, as candidates for the base of the next one. As in git, the smallest delta of all
//! of them is taken, and a delta of a deeper base has to be smaller.
//!
//! Memory: [`BYTES`] of objects with their indices, and one object more.
use std::collections::VecDeque;

use gix::objs::Kind;

use super::super::{delta::Source, list::Base};

/// Number of objects in the window, as in git.
const OBJECTS: usize = 10;
/// Maximum of the bytes in a window: of objects, and of indices of half their size.
const BYTES: usize = 6 << 20;
/// Ratio of a base's size to the object's above which no delta is made.
const MAX_RATIO: usize = 32;
/// Bytes that a delta has to save beside half of the object. A hint may save less.
const MIN_SAVED: usize = 20;

/// Objects that came last.
#[derive(Default)]
pub(super) struct Window {
    /// The last one is at the end.
    candidates: VecDeque<Candidate>,
    bytes: usize,
}

/// An object that may become a base.
struct Candidate {
    base: Base,
    /// Number of deltas that it consists of within the pack.
    depth: u8,
    content: Content,
}

enum Content {
    Unread,
    /// It cannot be read, or is too large.
    Unusable,
    Read(Kind, Source),
}

/// A delta.
pub(super) struct Found {
    pub(super) base: Base,
    pub(super) delta: Vec<u8>,
    /// Number of deltas within the pack that the object then consists of.
    pub(super) depth: u8,
}

impl Window {
    /// Removes all candidates.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
        self.bytes = 0;
    }

    /// Adds an object that is read when it is needed, or moves it to the end.
    pub(super) fn push(&mut self, base: Base, depth: u8) {
        let known = self.candidates.iter().position(|candidate| candidate.base == base);
        let candidate = known.and_then(|index| self.candidates.remove(index));
        self.candidates.push_back(candidate.unwrap_or(Candidate {
            base,
            depth,
            content: Content::Unread,
        }));
    }

    /// Adds an object.
    pub(super) fn push_read(&mut self, base: Base, depth: u8, kind: Kind, data: Vec<u8>) {
        self.bytes += with_index(data.len());
        let content = Content::Read(kind, Source::new(data));
        self.candidates.push_back(Candidate { base, depth, content });
    }

    /// Removes objects at the start until the window has its size.
    pub(super) fn shrink(&mut self) {
        while self.candidates.len() > OBJECTS || (self.bytes > BYTES && self.candidates.len() > 1) {
            if let Some(Candidate {
                content: Content::Read(_, source),
                ..
            }) = self.candidates.pop_front()
            {
                self.bytes -= with_index(source.data().len());
            }
        }
    }

    /// Returns the smallest delta that gives a chain of at most `max_depth` deltas, of the bases that are usable. If it
    /// `has_hint`, that is the last candidate, and its delta may save little. `read` reads a base.
    pub(super) fn smallest(
        &mut self,
        target: (Kind, &[u8]),
        has_hint: bool,
        max_depth: u8,
        is_usable: impl Fn(Base) -> bool,
        mut read: impl FnMut(Base) -> Option<(Kind, Vec<u8>)>,
    ) -> Option<Found> {
        let mut best: Option<Found> = None;
        let mut best_index = 0;
        for (number, index) in (0..self.candidates.len()).rev().enumerate() {
            let candidate = &mut self.candidates[index];
            let limit = limit(
                target.1.len(),
                has_hint && number == 0,
                candidate.depth,
                max_depth,
                best.as_ref(),
            );
            if limit == 0 || !is_usable(candidate.base) {
                continue;
            }
            if let Content::Unread = candidate.content {
                if self.bytes > BYTES {
                    continue;
                }
                candidate.content = match read(candidate.base) {
                    Some((kind, data)) => {
                        self.bytes += with_index(data.len());
                        Content::Read(kind, Source::new(data))
                    }
                    None => Content::Unusable,
                };
            }
            if let Some(delta) = candidate.delta(target, limit) {
                (best, best_index) = (Some(delta), index);
            }
        }
        // A good base is likely to be one again.
        if best.is_some()
            && let Some(candidate) = self.candidates.remove(best_index)
        {
            self.candidates.push_back(candidate);
        }
        best
    }
}

impl Candidate {
    fn delta(&mut self, (kind, target): (Kind, &[u8]), limit: usize) -> Option<Found> {
        let Content::Read(base_kind, source) = &mut self.content else {
            return None;
        };
        let size = source.data().len();
        // A delta has at least the bytes that the base is shorter.
        let is_hopeless = size / MAX_RATIO > target.len() || target.len().saturating_sub(size) >= limit;
        if *base_kind != kind || is_hopeless {
            return None;
        }
        let delta = source.encode(target, limit)?;
        Some(Found {
            base: self.base,
            delta,
            depth: self.depth + 1,
        })
    }
}

/// Returns the maximum size of a delta of a base at this depth, in bytes. The deeper it is, the smaller the delta has to
/// be, as in git.
fn limit(size: usize, is_hint: bool, depth: u8, max_depth: u8, best: Option<&Found>) -> usize {
    let Some(room) = max_depth.checked_sub(depth).map(usize::from) else {
        return 0;
    };
    let (limit, best_depth) = match best {
        Some(best) => (best.delta.len() - usize::from(best.depth <= depth + 1), best.depth),
        None if is_hint => (size, 1),
        None => ((size / 2).saturating_sub(MIN_SAVED), 1),
    };
    limit * room
        / (usize::from(max_depth) + 1)
            .saturating_sub(usize::from(best_depth))
            .max(1)
}

fn with_index(bytes: usize) -> usize {
    bytes + bytes / 2
}

#[cfg(test)]
mod tests {
    use super::super::sequence::MAX_DEPTH;
    use super::*;

    /// Returns lines that compress badly, the same for a seed.
    fn text(seed: u32) -> Vec<u8> {
        let numbers = (0..400u32).map(|number| (number + seed).wrapping_mul(2_654_435_761));
        numbers
            .flat_map(|number| format!("{number:x}\n").into_bytes())
            .collect()
    }

    fn unread(_: Base) -> Option<(Kind, Vec<u8>)> {
        None
    }

    #[test]
    fn the_smallest_delta_is_found_unless_its_chain_is_too_deep() {
        let target = text(0);
        let changed = |bytes: usize| {
            let mut data = target.clone();
            data[1000..1000 + bytes].fill(b'x');
            data
        };
        let mut window = Window::default();
        for (place, (bytes, depth)) in [(200, 0), (10, 3), (2, MAX_DEPTH), (100, 1)].into_iter().enumerate() {
            window.push_read(Base::Listed(place as u32), depth, Kind::Blob, changed(bytes));
        }
        let base = |window: &mut Window, max_depth| {
            let found = window.smallest((Kind::Blob, &target), false, max_depth, |_| true, unread);
            found.map(|found| (found.base, found.depth))
        };
        assert_eq!(base(&mut window, MAX_DEPTH), Some((Base::Listed(1), 4)));
        assert_eq!(base(&mut window, 3), Some((Base::Listed(3), 2)));
        assert_eq!(base(&mut window, 1), Some((Base::Listed(0), 1)));
        assert_eq!(base(&mut window, 0), None);
        let other_kind = window.smallest((Kind::Tree, &target), false, MAX_DEPTH, |_| true, unread);
        assert!(other_kind.is_none());
    }

    #[test]
    fn objects_are_read_when_they_are_needed_and_stay_within_the_bytes() {
        let mut window = Window::default();
        for place in 0..20 {
            window.push(Base::Listed(place), 0);
            window.shrink();
        }
        let mut read = Vec::new();
        let large = vec![7; BYTES / 3];
        let found = window.smallest(
            (Kind::Blob, &large),
            false,
            MAX_DEPTH,
            |base| base != Base::Listed(18),
            |base| {
                read.push(base);
                Some((Kind::Blob, large.clone()))
            },
        );
        assert!(found.is_some());
        let places = [19, 17, 16].map(Base::Listed);
        assert_eq!(read, places, "the last ones, until the bytes are used up");
        window.shrink();
        assert!(window.bytes <= BYTES, "{}", window.bytes);
        window.clear();
        assert!(
            window
                .smallest((Kind::Blob, &large), false, MAX_DEPTH, |_| true, unread)
                .is_none()
        );
    }
}
