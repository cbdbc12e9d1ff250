//! Order in which the objects of a list are written, and which of them are copied. PURE: it sees the list and how its
//! objects are stored, and reads none.
//!
//! Objects are written family by family (`families`), each after the base that the list names. The window of candidates moves
//! along this order, so a base always comes before its deltas.
//!
//! A stored delta of an object of the remote, or of one in the list, is copied, after its base. Families of which every
//! object is copied come last, in the order of their packs.
//!
//! The order is cut into *batches*, which are encoded independently of each other. They depend on the list alone, and so
//! does the pack: the number of threads does not change it.
use std::collections::HashMap;
use std::ops::Range;

use super::super::list::{Base, Listed};
use super::families::{Families, has_hope};

/// Maximum length of a chain of deltas within the pack that ends with a delta made here, as in git.
pub(super) const MAX_DEPTH: u8 = 50;
/// Number of objects to encode after which a batch ends with the family.
const BATCH: usize = 128;
/// Number of objects to encode after which a batch ends within a family. The window starts again there.
const LONG_BATCH: usize = 1024;
/// Number of objects, copied ones included, after which a batch ends.
const WHOLE_BATCH: usize = 8192;

/// Storage of an object of the list. An object in no pack counts as not stored, and so does a delta of an object that is
/// neither sent nor known to be on the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// Number of the pack.
    pub(super) pack: u32,
    /// Base of the stored delta; `None` if the object is stored whole.
    pub(super) base: Option<Base>,
}

/// Form in which an object is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is stored: as a delta of this base, or whole.
    Copy(Option<Base>),
    /// As a delta made here if that is smaller, else whole.
    Encode,
}

/// Objects that are encoded one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Positions in the order.
    pub(super) range: Range<usize>,
    /// Number of objects among them to encode.
    pub(super) encoded: usize,
}

/// Order of writing.
#[derive(Debug)]
pub(super) struct Sequence {
    /// By place in the list.
    pub(super) forms: Vec<Form>,
    /// Places in the list. The base of a copied delta comes before it.
    pub(super) order: Vec<u32>,
    /// By position in the order: true if objects before this one are unlike those after it.
    pub(super) is_fresh: Vec<bool>,
    /// By position in the order: an object of the remote that the next objects are likely to be similar to.
    pub(super) remotes: HashMap<usize, Base>,
    /// All of the order.
    pub(super) batches: Vec<Batch>,
    /// By place: number of copied deltas in the longest chain that starts there.
    heights: Vec<u8>,
}

impl Sequence {
    /// Orders the objects of a list. `pack_order` has all places in the order of the packs.
    pub(super) fn new(list: &[Listed], stored: &[Option<Stored>], pack_order: &[u32], thin: bool) -> Self {
        let families = Families::new(list);
        let mut forms = vec![Form::Encode; list.len()];
        for (family, _) in families.iter() {
            let has_hope = has_hope(family, list, stored, thin);
            for place in family.iter().map(|place| *place as usize) {
                forms[place] = form(stored[place], has_hope, thin);
            }
        }
        let mut writing = Writing::new(forms);
        for (family, is_fresh) in families.iter() {
            let is_encoded = |place: &u32| writing.forms[*place as usize] == Form::Encode;
            if family.iter().any(is_encoded) {
                let remote = list[family[0] as usize]
                    .base
                    .filter(|base| thin && matches!(base, Base::Remote(_)));
                writing.family(family, is_fresh, remote);
            }
        }
        writing.family(pack_order, true, None);
        writing.end_batch();
        let Writing {
            forms,
            order,
            is_fresh,
            remotes,
            batches,
            ..
        } = writing;
        Sequence {
            heights: heights(&forms, &order),
            forms,
            order,
            is_fresh,
            remotes,
            batches,
        }
    }

    /// Returns the maximum number of deltas that the object at this place may consist of.
    pub(super) fn max_depth(&self, place: usize) -> u8 {
        MAX_DEPTH.saturating_sub(self.heights[place])
    }
}

/// Returns the form of an object. A packed object that is stored whole is encoded if its family `has_hope`.
fn form(stored: Option<Stored>, has_hope: bool, thin: bool) -> Form {
    match stored {
        Some(Stored {
            base: Some(Base::Remote(_)),
            ..
        }) if !thin => Form::Encode,
        Some(Stored { base: Some(base), .. }) => Form::Copy(Some(base)),
        Some(Stored { base: None, .. }) if !has_hope => Form::Copy(None),
        Some(Stored { base: None, .. }) | None => Form::Encode,
    }
}

/// Returns the number of copied deltas in the longest chain that starts at each place, saturating.
fn heights(forms: &[Form], order: &[u32]) -> Vec<u8> {
    let mut heights = vec![0u8; forms.len()];
    for place in order.iter().rev().map(|place| *place as usize) {
        if let Form::Copy(Some(Base::Listed(base))) = forms[place] {
            let base = base as usize;
            heights[base] = heights[base].max(heights[place].saturating_add(1));
        }
    }
    heights
}

/// Progress of an object towards the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// It waits for the base of its stored delta.
    Open,
    Written,
}

/// An order that is being made.
struct Writing {
    forms: Vec<Form>,
    states: Vec<State>,
    order: Vec<u32>,
    is_fresh: Vec<bool>,
    remotes: HashMap<usize, Base>,
    batches: Vec<Batch>,
    /// Number of objects to encode in the batch that has not ended.
    encoded: usize,
}

impl Writing {
    fn new(forms: Vec<Form>) -> Self {
        Writing {
            states: vec![State::Waiting; forms.len()],
            order: Vec::with_capacity(forms.len()),
            is_fresh: Vec::with_capacity(forms.len()),
            remotes: HashMap::new(),
            batches: Vec::new(),
            encoded: 0,
            forms,
        }
    }

    fn family(&mut self, family: &[u32], is_fresh: bool, remote: Option<Base>) {
        let start = self.order.len();
        self.remotes.extend(remote.map(|remote| (start, remote)));
        for place in family {
            self.add(*place as usize, is_fresh && self.order.len() == start);
        }
        if self.encoded >= BATCH {
            self.end_batch();
        }
    }

    /// Adds an object after the base of its stored delta. Objects of different packs may be deltas of each other in turn.
    /// One of these is not copied.
    fn add(&mut self, place: usize, mut is_fresh: bool) {
        let mut chain = Vec::new();
        let mut next = Some(place).filter(|place| self.states[*place] == State::Waiting);
        while let Some(place) = next {
            self.states[place] = State::Open;
            chain.push(place);
            next = match self.forms[place] {
                Form::Copy(Some(Base::Listed(base))) => match self.states[base as usize] {
                    State::Waiting => Some(base as usize),
                    State::Open => {
                        self.forms[place] = Form::Encode;
                        None
                    }
                    State::Written => None,
                },
                _ => None,
            };
        }
        for place in chain.into_iter().rev() {
            self.states[place] = State::Written;
            self.encoded += usize::from(self.forms[place] == Form::Encode);
            self.order.push(place as u32);
            self.is_fresh.push(std::mem::take(&mut is_fresh));
            let start = self.batches.last().map_or(0, |batch| batch.range.end);
            if self.encoded >= LONG_BATCH || self.order.len() - start >= WHOLE_BATCH {
                self.end_batch();
            }
        }
    }

    fn end_batch(&mut self) {
        let start = self.batches.last().map_or(0, |batch| batch.range.end);
        let (range, encoded) = (start..self.order.len(), std::mem::take(&mut self.encoded));
        if !range.is_empty() {
            self.batches.push(Batch { range, encoded });
        }
    }
}

#[cfg(test)]
mod tests {
    use gix::ObjectId;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn listed(place: usize, base: Option<Base>) -> Listed {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&place.to_le_bytes());
        Listed {
            id: ObjectId::Sha1(bytes),
            base,
        }
    }

    /// A list, how it is stored, and an order of packs.
    type Case = (Vec<Listed>, Vec<Option<Stored>>, Vec<u32>, bool);

    /// Generates lists whose bases come earlier, stored in any way, deltas in turn among them.
    fn cases() -> impl Strategy<Value = Case> {
        let object = (0..8u8, 0..4u8, any::<Index>());
        let objects = prop::collection::vec(object, 1..60);
        (objects, any::<u64>(), any::<bool>()).prop_map(|(objects, seed, thin)| {
            let count = objects.len();
            let remote = |index: &Index| Base::Remote(index.index(5) as u32);
            let base = |(place, (base, _, index)): (usize, &(u8, u8, Index))| match base {
                0 => None,
                1 => Some(remote(index)),
                2..5 if place > 0 => Some(Base::Listed(index.index(place) as u32)),
                _ => place.checked_sub(1).map(|before| Base::Listed(before as u32)),
            };
            let stored = |(_, how, index): &(u8, u8, Index)| {
                let base = match how {
                    0 => return None,
                    1 => None,
                    2 => Some(remote(index)),
                    _ => Some(Base::Listed(index.index(count) as u32)),
                };
                Some(Stored {
                    pack: index.index(2) as u32,
                    base,
                })
            };
            let list = objects.iter().enumerate();
            let list: Vec<_> = list
                .map(|(place, object)| listed(place, base((place, object))))
                .collect();
            let mut order: Vec<_> = (0..count as u32).collect();
            order.sort_by_key(|place| (u64::from(*place) + 1).wrapping_mul(seed | 1));
            (list, objects.iter().map(stored).collect(), order, thin)
        })
    }

    /// Returns true if the base of the stored delta leads back to the object.
    fn is_in_a_circle(stored: &[Option<Stored>], start: usize) -> bool {
        let base = |place: usize| match stored[place]?.base? {
            Base::Listed(base) => Some(base as usize),
            Base::Remote(_) => None,
        };
        let bases = std::iter::successors(base(start), |place| base(*place));
        bases.take(stored.len()).any(|place| place == start)
    }

    proptest! {
        #[test]
        fn each_object_is_written_once_and_a_stored_delta_after_its_base((list, stored, packs, thin) in cases()) {
            let sequence = Sequence::new(&list, &stored, &packs, thin);
            let mut written = vec![false; list.len()];
            for place in sequence.order.iter().map(|place| *place as usize) {
                prop_assert!(!std::mem::replace(&mut written[place], true));
                match sequence.forms[place] {
                    Form::Copy(Some(Base::Listed(base))) => prop_assert!(written[base as usize]),
                    Form::Copy(Some(Base::Remote(_))) => prop_assert!(thin),
                    Form::Copy(None) | Form::Encode => {}
                }
            }
            prop_assert!(written.into_iter().all(|written| written));
            let ranges: Vec<_> = sequence.batches.iter().flat_map(|batch| batch.range.clone()).collect();
            prop_assert_eq!(ranges, (0..list.len()).collect::<Vec<_>>());
            for Batch { range, encoded } in &sequence.batches {
                let forms = sequence.order[range.clone()].iter().map(|place| sequence.forms[*place as usize]);
                prop_assert_eq!(forms.filter(|form| *form == Form::Encode).count(), *encoded);
            }
        }

        #[test]
        fn only_what_is_stored_so_is_copied_and_it_is_copied_when_it_can_be((list, stored, packs, thin) in cases()) {
            let sequence = Sequence::new(&list, &stored, &packs, thin);
            for (place, form) in sequence.forms.iter().enumerate() {
                if let Form::Copy(base) = form {
                    prop_assert_eq!(stored[place].map(|stored| stored.base), Some(*base));
                }
                let can_be_copied = match stored[place].and_then(|stored| stored.base) {
                    Some(Base::Remote(_)) => thin,
                    Some(Base::Listed(_)) => !is_in_a_circle(&stored, place),
                    None => false,
                };
                prop_assert!(!can_be_copied || *form != Form::Encode, "{place}");
            }
        }
    }

    fn sequence(bases: &[Option<Base>], stored: Option<Stored>) -> Sequence {
        let list: Vec<_> = bases
            .iter()
            .enumerate()
            .map(|(place, base)| listed(place, *base))
            .collect();
        let order: Vec<_> = (0..list.len() as u32).collect();
        Sequence::new(&list, &vec![stored; list.len()], &order, true)
    }

    #[test]
    fn versions_follow_each_other_with_branches_where_they_begin() {
        let on = |base| Some(Base::Listed(base));
        // a1, other, a2, b1, b2, a3, and another branch of the remote's version.
        let bases = [
            Some(Base::Remote(1)),
            Some(Base::Remote(0)),
            on(0),
            on(2),
            on(3),
            on(2),
            Some(Base::Remote(1)),
        ];
        let ours = sequence(&bases, None);
        assert_eq!(ours.order, [0, 2, 3, 4, 5, 6, 1]);
        assert_eq!(ours.is_fresh, [true, false, false, false, false, false, true]);
        let remotes = [(0, Base::Remote(1)), (5, Base::Remote(1)), (6, Base::Remote(0))];
        assert_eq!(ours.remotes, remotes.into());
    }

    #[test]
    fn a_stored_delta_of_a_newer_version_comes_after_it() {
        let stored = |base| Some(Stored { pack: 0, base });
        let list: Vec<_> = (0..3u32)
            .map(|place| listed(place as usize, place.checked_sub(1).map(Base::Listed)))
            .collect();
        let stored = [
            stored(Some(Base::Listed(1))),
            stored(Some(Base::Listed(2))),
            stored(None),
        ];
        let ours = Sequence::new(&list, &stored, &[0, 1, 2], true);
        assert_eq!(ours.order, [2, 1, 0]);
        assert_eq!(ours.max_depth(2), MAX_DEPTH - 2, "two deltas hang on it");
    }

    #[test]
    fn long_families_are_cut_and_short_ones_put_together() {
        let count = 2 * LONG_BATCH + 1;
        let chain: Vec<_> = (0..count)
            .map(|place| Some(Base::Listed(place.checked_sub(1)? as u32)))
            .collect();
        let encoded = |bases: &[Option<Base>]| {
            let batches = sequence(bases, None).batches;
            batches.iter().map(|batch| batch.encoded).collect::<Vec<_>>()
        };
        assert_eq!(encoded(&chain), [LONG_BATCH, LONG_BATCH, 1]);
        assert_eq!(encoded(&vec![None; 2 * BATCH + 1]), [BATCH, BATCH, 1]);
        let stored = Stored { pack: 0, base: None };
        let copied = sequence(&vec![None; 2 * WHOLE_BATCH], Some(stored));
        assert!(copied.forms.iter().all(|form| *form == Form::Copy(None)));
        assert_eq!(copied.batches.len(), 2);
    }
}
