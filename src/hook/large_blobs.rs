//! Blobs that the mirror may refuse, found while they are still in quarantine (git-receive-pack, *Quarantine environment*).
//!
//! Bounded work, so that no pusher waits for it: deflate makes nothing more than 1,032 times smaller, so only an object of
//! more than [`MIN_STORED`] bytes can be too large, and only of those the header is read. Where one is in a pack is told by
//! its neighbours in the index, of which at most [`MAX_OBJECTS`] entries are looked at.
//!
//! # Limitations
//!
//! A blob that came as a small delta is not noticed. Nor is one in a larger pack: the mirror will tell.
use std::{
    fs,
    path::{Path, PathBuf},
};

use gix::{
    ObjectId,
    objs::{FindHeader, Kind},
};

/// GitHub refuses a larger blob, in bytes.
pub(super) const MAX_BLOB: u64 = 100 << 20;
/// A blob that is larger than [`MAX_BLOB`] takes more, in bytes.
const MIN_STORED: u64 = MAX_BLOB / 1032;
/// Indices of more objects are not read: that would take more than some milliseconds.
const MAX_OBJECTS: u32 = 200_000;

/// The blobs in a quarantine that are larger than [`MAX_BLOB`], with their sizes in bytes. What cannot be read has none.
pub(super) fn large_blobs(quarantine: &Path, kind: gix::hash::Kind) -> Vec<(ObjectId, u64)> {
    let candidates: Vec<ObjectId> = names(quarantine)
        .iter()
        .flat_map(|folder| match folder.ends_with("pack") {
            true => in_packs(folder, kind),
            false => loose(folder),
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

/// Loose objects of a folder of two digits.
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
