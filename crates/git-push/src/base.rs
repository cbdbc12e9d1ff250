//! Choice of the base of each delta. PURE: it sees the list and how its objects are stored, and reads none.
//!
//! 1. An entry that is stored as a delta of an object of the remote, or of one earlier in the pack, is copied.
//! 2. Any other object is tried as a delta of its base (`enumerate` names it). If that chain would be too deep, the last
//!    *head* is tried instead. A head is an object that is not a delta of its own base, for all objects that follow it.
//!    Heads are deltas of heads, one deeper each time. If that is too deep as well, the *origin* is tried: the start of the
//!    chain of bases, which is the remote's object at that path if there is one, else the first object in the list.
//! 3. Otherwise the object is sent whole.
//!
//! A base in the pack comes before its deltas, so there are no cycles. Chains that end with a delta made here have at most
//! [`MAX_DEPTH`] deltas within the pack. Copied deltas are as deep as they are stored.
use super::list::{Base, Listed};

/// Maximum length of a chain within the pack that ends with a delta made here.
pub(super) const MAX_DEPTH: u16 = 10;

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
pub(super) enum Choice {
    /// Whole.
    Whole,
    /// As a delta of this base if that is smaller, else whole.
    Try(Base),
    /// As the stored delta of this base.
    Copy(Base),
}

/// Chooses the form of each object of the list. `order` has all places in the order of writing.
pub(super) fn choose(list: &[Listed], stored: &[Option<Stored>], order: &[u32], thin: bool) -> Vec<Choice> {
    let origins = origins(list, thin);
    let mut choices = vec![Choice::Whole; list.len()];
    // By place; `None` for objects that are not written yet.
    let mut written: Vec<Option<Written>> = vec![None; list.len()];
    for place in order.iter().map(|place| *place as usize) {
        let depth_on = |base: Base| match base {
            Base::Listed(base) => written[base as usize].map(|base| base.depth.saturating_add(1)),
            Base::Remote(_) => thin.then_some(1),
        };
        let head_of = |base: Base| match base {
            Base::Listed(base) => written[base as usize].map(|base| base.head),
            Base::Remote(_) => Some(base),
        };
        let copied = stored[place].and_then(|stored| stored.base);
        let (choice, depth) = match copied.and_then(|base| Some((base, depth_on(base)?))) {
            Some((base, depth)) => (Choice::Copy(base), depth),
            None => {
                let head = list[place].base.and_then(head_of);
                let candidates = [list[place].base, head, origins[place]].into_iter().flatten();
                let tried = candidates.filter(|base| !is_hopeless(*base, place, stored));
                let mut usable = tried.filter_map(|base| Some((Choice::Try(base), depth_on(base)?)));
                usable
                    .find(|(_, depth)| *depth <= MAX_DEPTH)
                    .unwrap_or((Choice::Whole, 0))
            }
        };
        let follows = list[place].base.filter(|base| choice == Choice::Try(*base));
        let head = follows.and_then(head_of).unwrap_or(Base::Listed(place as u32));
        choices[place] = choice;
        written[place] = Some(Written { depth, head });
    }
    choices
}

/// An object that comes earlier in the pack.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// Upper bound of the number of deltas that it consists of, saturating.
    depth: u16,
    head: Base,
}

/// Returns true if both are in one pack: its writer has probably tried this delta already. Git assumes the same.
fn is_hopeless(base: Base, place: usize, stored: &[Option<Stored>]) -> bool {
    match (base, stored[place]) {
        (Base::Listed(base), Some(Stored { pack, base: None })) => {
            stored[base as usize].is_some_and(|stored| stored.pack == pack)
        }
        _ => false,
    }
}

/// Returns the start of each object's chain of bases, by place.
fn origins(list: &[Listed], thin: bool) -> Vec<Option<Base>> {
    let mut origins: Vec<Option<Base>> = Vec::with_capacity(list.len());
    for listed in list {
        origins.push(match listed.base {
            Some(Base::Listed(place)) => origins[place as usize].or(listed.base),
            base => base.filter(|_| thin),
        });
    }
    origins
}

#[cfg(test)]
mod tests {
    use gix::ObjectId;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn id(number: usize) -> ObjectId {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        ObjectId::Sha1(bytes)
    }

    type Case = (Vec<Listed>, Vec<Option<Stored>>, Vec<u32>, bool);

    /// Generates lists whose bases come earlier, stored in any way, written in any order.
    fn cases() -> impl Strategy<Value = Case> {
        let object = (0..8u8, 0..4u8, any::<Index>());
        let objects = prop::collection::vec(object, 1..60);
        (objects, any::<bool>(), any::<u64>(), any::<bool>()).prop_map(|(objects, shuffled, seed, thin)| {
            let count = objects.len();
            let remote = |index: &Index| Base::Remote(index.index(5) as u32);
            let listed = |(place, (base, _, index)): (usize, &(u8, u8, Index))| Listed {
                id: id(place),
                base: match base {
                    0 => None,
                    1 => Some(remote(index)),
                    2 if place > 0 => Some(Base::Listed(index.index(place) as u32)),
                    _ => place.checked_sub(1).map(|before| Base::Listed(before as u32)),
                },
            };
            let list: Vec<_> = objects.iter().enumerate().map(listed).collect();
            let how = |(_, how, index): &(u8, u8, Index)| {
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
            let stored = objects.iter().map(how).collect();
            let mut order: Vec<_> = (0..count as u32).collect();
            if shuffled {
                order.sort_by_key(|place| (u64::from(*place) + 1).wrapping_mul(seed | 1));
            }
            (list, stored, order, thin)
        })
    }

    fn base_of(choice: Choice) -> Option<Base> {
        match choice {
            Choice::Whole => None,
            Choice::Try(base) | Choice::Copy(base) => Some(base),
        }
    }

    proptest! {
        #[test]
        fn a_base_is_written_before_its_deltas_or_had_by_the_remote((list, stored, order, thin) in cases()) {
            let choices = choose(&list, &stored, &order, thin);
            let mut written = vec![false; list.len()];
            for place in order {
                match base_of(choices[place as usize]) {
                    Some(Base::Listed(base)) => prop_assert!(written[base as usize]),
                    Some(Base::Remote(_)) => prop_assert!(thin),
                    None => {}
                }
                written[place as usize] = true;
            }
        }

        #[test]
        fn only_what_is_stored_so_is_copied_and_it_is_copied_when_it_can_be((list, stored, order, thin) in cases()) {
            let choices = choose(&list, &stored, &order, thin);
            let mut written = vec![false; list.len()];
            for place in order {
                if let Choice::Copy(base) = choices[place as usize] {
                    prop_assert_eq!(stored[place as usize].and_then(|stored| stored.base), Some(base));
                }
                if let Some(base) = stored[place as usize].and_then(|stored| stored.base) {
                    let usable = match base { Base::Listed(base) => written[base as usize], Base::Remote(_) => thin };
                    prop_assert_eq!(usable, matches!(choices[place as usize], Choice::Copy(_)));
                }
                written[place as usize] = true;
            }
        }

        #[test]
        fn deltas_made_here_are_never_deeper_than_the_limit((list, stored, order, thin) in cases()) {
            let choices = choose(&list, &stored, &order, thin);
            for place in order {
                let mut depth = 0;
                let mut next = Some(place);
                while let Some(base) = next.and_then(|place| base_of(choices[place as usize])) {
                    depth += 1;
                    next = match base { Base::Listed(base) => Some(base), Base::Remote(_) => None };
                }
                prop_assert!(!matches!(choices[place as usize], Choice::Try(_)) || depth <= MAX_DEPTH);
            }
        }
    }

    /// Returns the bases of versions of one object: the number of an earlier version, or -1 for the remote's.
    fn bases_of_versions(count: usize, thin: bool) -> Vec<Option<i32>> {
        let base = |place: usize| match place.checked_sub(1) {
            Some(before) => Base::Listed(before as u32),
            None => Base::Remote(0),
        };
        let listed = |place| Listed {
            id: id(place),
            base: Some(base(place)),
        };
        let list: Vec<_> = (0..count).map(listed).collect();
        let order: Vec<_> = (0..count as u32).collect();
        let choices = choose(&list, &vec![None; count], &order, thin);
        let number = |base| match base {
            Base::Listed(place) => place as i32,
            Base::Remote(_) => -1,
        };
        choices.into_iter().map(|choice| base_of(choice).map(number)).collect()
    }

    #[test]
    fn a_long_history_of_one_path_goes_on_from_heads_and_then_from_the_remotes_object() {
        let bases = bases_of_versions(70, true);
        let jumps: Vec<_> = (0..70)
            .filter(|place| bases[*place] != Some(*place as i32 - 1))
            .collect();
        assert_eq!(jumps, [10, 20, 29, 37, 44, 50, 55, 59, 62, 64, 65]);
        let heads: Vec<_> = jumps.iter().map(|place| bases[*place]).collect();
        assert_eq!(heads, [-1, 10, 20, 29, 37, 44, 50, 55, 59, 62, -1].map(Some));
    }

    #[test]
    fn where_the_remotes_object_cannot_be_used_the_first_one_is_whole() {
        let bases = bases_of_versions(12, false);
        assert_eq!((bases[0], bases[1], bases[11]), (None, Some(0), Some(0)));
    }
}
