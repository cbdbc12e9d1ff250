//! New objects of a push with their stored sizes, while they are in quarantine (git-receive-pack, *Quarantine environment*).
//!
//! The stored size of an object in a pack is the distance to the next object in the index. Indices of more than
//! [`MAX_OBJECTS`] objects are skipped, so that the pusher does not wait. What cannot be read is skipped, because only warnings
//! depend on it.
use std::{
    fs,
    path::{Path, PathBuf},
};

use gix::ObjectId;

/// Largest index that is read, in objects: a larger one takes more than a few milliseconds.
const MAX_OBJECTS: u32 = 200_000;

/// An object in quarantine.
pub(super) struct Stored {
    pub(super) id: ObjectId,
    /// Bytes on the disk, compressed.
    pub(super) size: u64,
}

/// Returns the objects in a quarantine: loose ones, then those of packs in the order in which they are stored.
pub(super) fn stored(quarantine: &Path, kind: gix::hash::Kind) -> Vec<Stored> {
    let (packs, loose_folders): (Vec<_>, Vec<_>) = names(quarantine)
        .into_iter()
        .partition(|folder| folder.ends_with("pack"));
    let mut objects: Vec<Stored> = loose_folders.iter().flat_map(|folder| loose(folder)).collect();
    let packs = packs.iter().flat_map(|folder| names(folder));
    let packs = packs.filter(|path| path.extension().is_some_and(|end| end == "pack"));
    objects.extend(packs.flat_map(|pack| in_pack(&pack, kind)));
    objects
}

/// Returns the loose objects in a folder of two digits.
fn loose(folder: &Path) -> Vec<Stored> {
    let object = |path: PathBuf| {
        let hex = [folder.file_name()?.to_str()?, path.file_name()?.to_str()?].concat();
        let id = ObjectId::from_hex(hex.as_bytes()).ok()?;
        let size = fs::metadata(path).ok()?.len();
        Some(Stored { id, size })
    };
    names(folder).into_iter().filter_map(object).collect()
}

fn in_pack(pack: &Path, kind: gix::hash::Kind) -> Vec<Stored> {
    let end = fs::metadata(pack).map_or(0, |metadata| metadata.len());
    let Ok(index) = gix_pack::index::File::at(pack.with_extension("idx"), kind) else {
        return Vec::new();
    };
    if index.num_objects() > MAX_OBJECTS {
        return Vec::new();
    }
    let mut entries: Vec<_> = index.iter().map(|entry| (entry.pack_offset, entry.oid)).collect();
    entries.sort_unstable();
    let ends = entries.iter().skip(1).map(|(offset, _)| *offset).chain([end]);
    let sized = entries.iter().zip(ends).map(|((offset, id), end)| Stored {
        id: *id,
        size: end.saturating_sub(*offset),
    });
    sized.collect()
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
