//! Search for blobs that the mirror may reject, while they are in quarantine (git-receive-pack, *Quarantine environment*).
//!
//! The work is bounded, so that the pusher does not wait for it. Deflate compresses by a factor of at most 1,032, so only
//! an object that takes more than [`MIN_STORED`] bytes can be too large, and only such headers are read. The stored size
//! of an object in a pack is the distance to the next object in the index. Indices of more than [`MAX_OBJECTS`] objects
//! are skipped.
//!
//! # Limitations
//!
//! A blob stored as a small delta is missed, and so is one in a larger pack. The mirror reports those.
use std::{
    fs,
    path::{Path, PathBuf},
};

use gix::{
    ObjectId,
    objs::{FindHeader, Kind},
};

/// Largest blob that GitHub accepts, in bytes.
pub(super) const MAX_BLOB: u64 = 100 << 20;
/// Lower bound of the stored size of a blob larger than [`MAX_BLOB`], in bytes.
const MIN_STORED: u64 = MAX_BLOB / 1032;
/// Largest index that is read, in objects: a larger one takes more than a few milliseconds.
const MAX_OBJECTS: u32 = 200_000;

/// Returns the blobs in a quarantine that are larger than [`MAX_BLOB`], with their sizes in bytes. Skips objects that
/// it cannot read, because the result is only a warning.
pub(super) fn large_blobs(quarantine: &Path, kind: gix::hash::Kind) -> Vec<(ObjectId, u64)> {
    let candidates: Vec<ObjectId> = names(quarantine)
        .iter()
        .flat_map(|folder| {
            if folder.ends_with("pack") {
                in_packs(folder, kind)
            } else {
                loose(folder)
            }
        })
        .collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let Ok(objects) = gix::odb::at(quarantine.to_owned(), kind) else {
        return Vec::new();
    };
    let large = |id: ObjectId| {
        let header = objects.try_header(&id).ok()??;
        (header.kind == Kind::Blob && header.size > MAX_BLOB).then_some((id, header.size))
    };
    candidates.into_iter().filter_map(large).collect()
}

/// Returns the large loose objects in a folder of two digits.
fn loose(folder: &Path) -> Vec<ObjectId> {
    let id = |path: PathBuf| {
        let hex = [folder.file_name()?.to_str()?, path.file_name()?.to_str()?].concat();
        ObjectId::from_hex(hex.as_bytes()).ok()
    };
    let large = names(folder).into_iter().filter(|path| is_large(path));
    large.filter_map(id).collect()
}

fn in_packs(folder: &Path, kind: gix::hash::Kind) -> Vec<ObjectId> {
    let packs = names(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "pack"));
    packs
        .filter(|pack| is_large(pack))
        .flat_map(|pack| in_pack(&pack, kind))
        .collect()
}

fn in_pack(pack: &Path, kind: gix::hash::Kind) -> Vec<ObjectId> {
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
    let sized = entries
        .iter()
        .zip(ends)
        .map(|((offset, id), end)| (*id, end.saturating_sub(*offset)));
    sized
        .filter(|(_, stored)| *stored > MIN_STORED)
        .map(|(id, _)| id)
        .collect()
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn is_large(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > MIN_STORED)
}
