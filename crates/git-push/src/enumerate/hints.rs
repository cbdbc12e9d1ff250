//! Bases for objects that a bitmap selects, where no walk names any. PURE: it sees mapped packs, and reads no object.
//!
//! An object that is stored as a delta of another new one needs no base: the delta is copied. If the base is on the remote,
//! it is named, and the delta is copied as well. If there is one pack, objects that are stored whole are copied, too, as git
//! does: deltas of older versions would save few bytes of a long push, and take much of its time.
//!
//! Any other tree or blob gets the nearest one at the same path that the remote has. Git writes new versions first and older
//! ones next to them, so this is the one that follows in the pack.
use std::collections::HashMap;

use super::super::{
    bit_order::BitOrder,
    bitmap::{Bitmap, Bits, Kind},
};

/// Kind of an object and hash of its path.
type Name = (Kind, u32);

/// Finds bases for the `new` objects of packs among themselves and among those that the remote `had`. Returns the place
/// of the base by the place of the object, in the order of the entries.
pub(super) fn hints(pack: &BitOrder, bitmap: &Bitmap<'_>, new: &Bits, had: &Bits) -> HashMap<u32, u32> {
    let has_nothing = had.count() == 0;
    let copies_whole = has_nothing || matches!(pack, BitOrder::Pack(_));
    let mut hints = HashMap::new();
    let mut baseless = Vec::new();
    // By name, the last object that is stored as a delta of an object that is neither sent nor had.
    let mut last = HashMap::new();
    for place in new.iter() {
        let base = pack.base_place(place);
        match base {
            Ok(Some(base)) if had.contains(base) => {
                hints.insert(place, base);
                continue;
            }
            Ok(Some(base)) if new.contains(base) => continue,
            // The pack's writer has tried all deltas of new objects.
            Ok(None) if copies_whole => continue,
            _ => {}
        }
        let Some(name) = name(pack, bitmap, place) else {
            continue;
        };
        baseless.push((place, name));
        if base != Ok(None)
            && let Some(before) = last.insert(name, place)
        {
            hints.insert(place, before);
        }
    }
    if !has_nothing {
        add_nearest(pack, bitmap, had, baseless, &mut hints);
    }
    hints
}

/// Adds, for each of these objects in order, the next one with the same name that the remote `had`.
fn add_nearest(
    pack: &BitOrder,
    bitmap: &Bitmap<'_>,
    had: &Bits,
    mut objects: Vec<(u32, Name)>,
    hints: &mut HashMap<u32, u32>,
) {
    let mut nearest: HashMap<Name, Option<u32>> = objects.iter().map(|(_, name)| (*name, None)).collect();
    for place in (0..pack.objects()).rev() {
        if objects.is_empty() {
            return;
        }
        if let Some((_, name)) = objects.pop_if(|(object, _)| *object == place) {
            let base = nearest.get(&name).copied().flatten();
            hints.extend(base.map(|base| (place, base)));
        } else if had.contains(place)
            && let Some(nearest) = name(pack, bitmap, place).and_then(|name| nearest.get_mut(&name))
        {
            *nearest = Some(place);
        }
    }
}

/// Returns the name of a tree or blob, if it is known.
fn name(pack: &BitOrder, bitmap: &Bitmap<'_>, place: u32) -> Option<Name> {
    let hash = bitmap.name_hash(pack.index_place(place))?;
    match bitmap.kind(place)? {
        Kind::Tree => Some((Kind::Tree, hash)),
        Kind::Blob if hash != 0 => Some((Kind::Blob, hash)),
        Kind::Blob | Kind::Commit | Kind::Tag => None,
    }
}
