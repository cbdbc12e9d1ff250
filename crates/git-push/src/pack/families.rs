//! Families of similar objects. PURE: it sees a list, and reads no object.
//!
//! A list names a base for each object, usually the version before it at the same path. These links are trees, each a
//! *family*: the versions of a path, of the paths that it was renamed to, and of new files beside it.
//!
//! ```text
//! list:    a1 <- a2 <- a3 <- a4
//!                 ^--- b1 <- b2
//! order:   a1 a2 b1 b2 a3 a4
//! ```
//!
//! The oldest version comes first, next to the version that the remote has. A branch comes directly after the version
//! that it begins from, before the next version.
use super::super::list::{Base, Listed};
use super::sequence::Stored;

/// No place.
const NONE: u32 = u32::MAX;

/// Trees of objects and their bases.
pub(super) struct Families {
    /// Places, family by family.
    members: Vec<u32>,
    list: Vec<Family>,
}

/// A tree of objects and their bases.
struct Family {
    /// Index in [`Families::members`].
    end: u32,
    is_fresh: bool,
}

impl Families {
    /// Sorts the objects of a list.
    pub(super) fn new(list: &[Listed]) -> Self {
        let descendants = Descendants::new(list);
        let mut families = Families {
            members: Vec::with_capacity(list.len()),
            list: Vec::new(),
        };
        for (root, is_fresh) in roots(list) {
            descendants.add(root, &mut families.members);
            let end = families.members.len() as u32;
            families.list.push(Family { end, is_fresh });
        }
        families
    }

    /// Returns the places of each family's objects, each after its base, and true if the previous family is unlike it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u32], bool)> {
        let starts = std::iter::once(0).chain(self.list.iter().map(|family| family.end));
        let families = starts.zip(&self.list);
        families.map(|(start, family)| (&self.members[start as usize..family.end as usize], family.is_fresh))
    }
}

/// Objects by their bases.
struct Descendants {
    /// By place: the last object in the list that names this one as its base.
    last: Vec<u32>,
    /// By place: the object before it in the list that names the same base.
    before: Vec<u32>,
}

impl Descendants {
    fn new(list: &[Listed]) -> Self {
        let (mut last, mut before) = (vec![NONE; list.len()], vec![NONE; list.len()]);
        for (place, listed) in (0..).zip(list) {
            if let Some(Base::Listed(base)) = listed.base {
                before[place as usize] = std::mem::replace(&mut last[base as usize], place);
            }
        }
        Descendants { last, before }
    }

    /// Adds `root` and all its descendants. The descendants of an object follow it in the order of the list: first new
    /// files beside it, last its next version.
    fn add(&self, root: u32, members: &mut Vec<u32>) {
        let mut waiting = vec![root];
        while let Some(place) = waiting.pop() {
            members.push(place);
            let mut next = self.last[place as usize];
            while next != NONE {
                waiting.push(next);
                next = self.before[next as usize];
            }
        }
    }
}

/// Returns true if an object of the family that is stored whole may become a delta. If all objects are in one pack,
/// this is unlikely, because the writer of the pack has probably tried. Git assumes the same.
pub(super) fn has_hope(family: &[u32], list: &[Listed], stored: &[Option<Stored>], thin: bool) -> bool {
    let root = family.first().and_then(|root| list[*root as usize].base);
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
    roots.sort_by_key(|root| (remote(*root).map_or(*root, |base| first[base as usize]), *root));
    let before = std::iter::once(None).chain(roots.iter().map(|root| remote(*root)));
    let with_before = roots.iter().zip(before);
    with_before
        .map(|(root, before)| (*root, remote(*root).is_some_and(|base| before != Some(base))))
        .collect()
}
