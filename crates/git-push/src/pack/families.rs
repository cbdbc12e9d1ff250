//! Families of similar objects. PURE: it sees a list, and reads no object.
//!
//! A list names a base for each object, usually the version before it at the same path. These links are trees, each a
//! *family*: the versions of a path, of the paths that it was renamed to, and of new files beside it.
//!
//! ```text
//! list:    a1 <- a2 <- a3 <- a4          a4 is the heir of a3, and so on
//!                 ^--- b1 <- b2
//! order:   a4 a3 b2 b1 a2 a1
//! ```
//!
//! The newest version comes first, because a delta that removes lines is smaller than one that adds them. A branch stands
//! between the versions that it lies between.
use std::cmp::Reverse;

use super::super::list::{Base, Listed};
use super::sequence::Stored;

/// No place.
const NONE: u32 = u32::MAX;

/// Trees of objects and their bases.
pub(super) struct Families {
    heirs: Heirs,
    /// By place: the object before it in the list that names the same base.
    siblings: Vec<u32>,
    /// Places, family by family, newest first. The root of a family is its last object.
    members: Vec<u32>,
    list: Vec<Family>,
}

/// A tree of objects and their bases.
struct Family {
    /// Index in [`Families::members`].
    end: u32,
    is_fresh: bool,
}

/// By place: the last object in the list that names this one as its base.
#[derive(Debug)]
pub(super) struct Heirs(Vec<u32>);

impl Families {
    /// Sorts the objects of a list.
    pub(super) fn new(list: &[Listed]) -> Self {
        let mut families = Families {
            heirs: Heirs(vec![NONE; list.len()]),
            siblings: vec![NONE; list.len()],
            members: Vec::with_capacity(list.len()),
            list: Vec::new(),
        };
        for (place, listed) in (0..).zip(list) {
            if let Some(Base::Listed(base)) = listed.base {
                let heir = &mut families.heirs.0[base as usize];
                families.siblings[place as usize] = std::mem::replace(heir, place);
            }
        }
        for (root, is_fresh) in roots(list) {
            families.add(root);
            let end = families.members.len() as u32;
            families.list.push(Family { end, is_fresh });
        }
        families
    }

    /// Adds all that descend from `root`, each after those that descend from it.
    fn add(&mut self, root: u32) {
        let mut ancestors = Vec::new();
        let mut next = root;
        loop {
            while next != NONE {
                ancestors.push(next);
                next = self.heirs.0[next as usize];
            }
            let Some(place) = ancestors.pop() else {
                return;
            };
            self.members.push(place);
            next = if place == root {
                NONE
            } else {
                self.siblings[place as usize]
            };
        }
    }

    /// Returns the places of each family's objects, newest first, and true if the family before is not like it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u32], bool)> {
        let starts = std::iter::once(0).chain(self.list.iter().map(|family| family.end));
        let families = starts.zip(&self.list);
        families.map(|(start, family)| (&self.members[start as usize..family.end as usize], family.is_fresh))
    }

    /// Keeps the heirs.
    pub(super) fn into_heirs(self) -> Heirs {
        self.heirs
    }
}

impl Heirs {
    /// Returns objects that are likely to be similar to the one at this place, best first.
    pub(super) fn hints(&self, list: &[Listed], place: usize) -> impl Iterator<Item = Base> + use<> {
        let heir = self.heir(place);
        let start = if heir.is_none() { self.behind(list, place) } else { None };
        [heir.map(Base::Listed), list[place].base, start].into_iter().flatten()
    }

    fn heir(&self, place: usize) -> Option<u32> {
        Some(self.0[place]).filter(|heir| *heir != NONE)
    }

    /// Returns what is behind the versions that end at `place`: the remote's version that the first one was made of, or
    /// the version that replaced it.
    fn behind(&self, list: &[Listed], place: usize) -> Option<Base> {
        let mut place = place;
        loop {
            match list[place].base? {
                Base::Listed(base) if self.0[base as usize] == place as u32 => place = base as usize,
                Base::Listed(base) => return self.heir(base as usize).map(Base::Listed),
                base => return Some(base),
            }
        }
    }
}

/// Returns true if an object of the family that is stored whole may become a delta. Among objects of one pack, its writer
/// has probably tried. Git assumes the same.
pub(super) fn has_hope(family: &[u32], list: &[Listed], stored: &[Option<Stored>], thin: bool) -> bool {
    let root = family.last().and_then(|root| list[*root as usize].base);
    let of_remote = matches!(root, Some(Base::Remote(_)));
    let mut packs = family
        .iter()
        .map(|place| stored[*place as usize].map(|stored| stored.pack));
    let first = packs.next().flatten();
    (of_remote && thin) || packs.any(|pack| pack != first)
}

/// Returns the objects without a base in the list, and whether they are unlike the one before. Those of the same object of
/// the remote follow each other.
fn roots(list: &[Listed]) -> Vec<(u32, bool)> {
    let remote = |place: u32| match list[place as usize].base {
        Some(Base::Remote(base)) => Some(base),
        _ => None,
    };
    let is_root = |place: &u32| !matches!(list[*place as usize].base, Some(Base::Listed(_)));
    let mut roots: Vec<_> = (0..list.len() as u32).filter(is_root).collect();
    let count = roots
        .iter()
        .filter_map(|root| remote(*root))
        .max()
        .map_or(0, |last| last as usize + 1);
    let mut first = vec![NONE; count];
    for root in roots.iter().rev() {
        if let Some(base) = remote(*root) {
            first[base as usize] = *root;
        }
    }
    roots.sort_by_key(|root| (remote(*root).map_or(*root, |base| first[base as usize]), Reverse(*root)));
    let before = std::iter::once(None).chain(roots.iter().map(|root| remote(*root)));
    let with_before = roots.iter().zip(before);
    with_before
        .map(|(root, before)| (*root, remote(*root).is_some_and(|base| before != Some(base))))
        .collect()
}
