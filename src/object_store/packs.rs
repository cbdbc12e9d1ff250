//! The packs of a repository: new packs are stored durably, and small packs are joined into larger ones, which limits their
//! number.
//!
//! A pack becomes visible by its index, which is renamed last. Files that a crash leaves behind are invisible and are
//! overwritten. When there are [`MOST`] packs, the smallest are joined: as many as needed for the next one to be at least
//! twice as large as all of them together (like `git repack --geometric=2`). An object is thus copied once for each
//! doubling. Entries are copied in compressed form and verified by the checksums of their index. Packs that git marks
//! (`.keep`, `.promisor`, `.mtimes`, `.bitmap`) are left alone. If there is a `multi-pack-index`, nothing is joined: some
//! other program maintains the packs.
//!
//! Deltas cannot form a cycle: an object in several packs is taken from the first of them. The base of a delta is in the
//! delta's pack, so it is taken from that pack or an earlier one, and so on for the base of the base.
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use durable::{
    replace::NewFile,
    storage::{Storage, remove_existing},
};
use gix::{ObjectId, hash::Kind};
use gix_pack::data::entry::Header;

use super::{
    Error,
    new_pack::{Finished, MAX_PACK, NewPack, PackError},
};

/// Number of packs at which they are joined.
pub const MOST: usize = 32;

/// Maximum number of bytes that are joined at a time.
const MAX_JOINED: u64 = 256 << 20;
/// File mode of a pack and of its index, as in git.
const MODE: u32 = 0o444;
/// Extensions of files that protect a pack from being joined.
const PROTECTED: [&str; 4] = ["keep", "promisor", "mtimes", "bitmap"];

/// Stores a pack with its index in the object database at `objects`.
pub fn store(storage: &impl Storage, objects: &Path, finished: &Finished) -> Result<(), Error> {
    let folder = objects.join("pack");
    let name = format!("pack-{}", finished.name);
    let stored = || {
        storage.create_dir(&folder)?;
        let write = |extension: &str, bytes| {
            let temporary = folder.join(format!("tmp_{name}.{extension}"));
            let path = folder.join(format!("{name}.{extension}"));
            NewFile::overwrite(storage, temporary, &path, bytes, MODE)
        };
        let (mut pack, index) = (write("pack", &finished.pack)?, write("idx", &finished.index)?);
        pack.rename()?;
        index.commit()
    };
    stored().map_err(|error: io::Error| Error::failed("write a pack to", &folder, error))
}

/// Joins small packs if there are many; returns true if it did.
pub fn join(storage: &impl Storage, objects: &Path, hash: Kind) -> Result<bool, Error> {
    let folder = objects.join("pack");
    let failed = |error: io::Error| Error::failed("join the packs in", &folder, error);
    let packs = joinable(storage, &folder).map_err(failed)?;
    let small = chosen(&packs);
    if small.is_empty() {
        return Ok(false);
    }
    let joined = joined(small, hash).map_err(failed)?;
    store(storage, objects, &joined)?;
    let name = format!("pack-{}", joined.name);
    for pack in small.iter().filter(|pack| pack.name != name) {
        // The index goes first: a pack without one is invisible.
        for extension in ["idx", "rev", "pack"] {
            let path = folder.join(format!("{}.{extension}", pack.name));
            remove_existing(storage, &path).map_err(failed)?;
        }
    }
    Ok(true)
}

/// A pack that may be joined.
struct SmallPack {
    /// File name without extension.
    name: String,
    path: PathBuf,
    bytes: u64,
}

/// Returns the packs that may be joined, smallest first; none if they are few or maintained by another program.
fn joinable(storage: &impl Storage, folder: &Path) -> io::Result<Vec<SmallPack>> {
    let mut marks: HashMap<String, (bool, bool)> = HashMap::new();
    for file in storage.list(folder)? {
        let Some(file) = file.to_str() else { continue };
        if file == "multi-pack-index" || file == "multi-pack-index.d" {
            return Ok(Vec::new());
        }
        if let Some((name, extension)) = file.rsplit_once('.').filter(|(name, _)| name.starts_with("pack-")) {
            let (is_whole, is_marked) = marks.entry(name.to_owned()).or_default();
            *is_whole |= extension == "idx";
            *is_marked |= PROTECTED.contains(&extension);
        }
    }
    marks.retain(|_, (is_whole, is_marked)| *is_whole && !*is_marked);
    if marks.len() < MOST {
        return Ok(Vec::new());
    }
    let mut packs = Vec::new();
    for name in marks.into_keys() {
        let path = folder.join(format!("{name}.idx"));
        if let Some(look) = storage.look(&path.with_extension("pack"))? {
            packs.push(SmallPack {
                name,
                path,
                bytes: look.length,
            });
        }
    }
    packs.sort_by(|left, right| (left.bytes, &left.name).cmp(&(right.bytes, &right.name)));
    Ok(packs)
}

/// Selects the smallest packs, until the next one is at least twice as large as all of them together.
fn chosen(packs: &[SmallPack]) -> &[SmallPack] {
    let mut sum = 0;
    let mut count = 0;
    let mut end = 0;
    for pack in packs {
        // At least half of the maximum is joined, so that the number of packs decreases.
        if count >= MOST / 2 && pack.bytes >= 2 * sum || sum + pack.bytes > MAX_JOINED {
            break;
        }
        sum += pack.bytes;
        count += 1;
        end = count;
    }
    if end < 2 { &[] } else { &packs[..end] }
}

fn joined(packs: &[SmallPack], hash: Kind) -> io::Result<Finished> {
    let mut new = NewPack::new(hash);
    for pack in packs {
        copy(&pack.path, hash, &mut new)?;
    }
    new.finish().map_err(io::Error::other)
}

/// Copies the objects that `new` lacks from the pack with this index.
fn copy(path: &Path, hash: Kind, new: &mut NewPack) -> io::Result<()> {
    let index = gix_pack::index::File::at(path, hash).map_err(|error| damaged(path, &error.to_string()))?;
    let pack = gix_pack::data::File::at(path.with_extension("pack"), hash)
        .map_err(|error| damaged(path, &error.to_string()))?;
    let mut entries: Vec<_> = index.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.pack_offset);
    let by_offset: HashMap<u64, ObjectId> = entries.iter().map(|entry| (entry.pack_offset, entry.oid)).collect();
    for (place, entry) in entries.iter().enumerate() {
        if new.has(&entry.oid) {
            continue;
        }
        let start = entry.pack_offset;
        let end = entries
            .get(place + 1)
            .map_or(pack.pack_end() as u64, |next| next.pack_offset);
        let bytes = pack
            .entry_slice(start..end)
            .ok_or_else(|| damaged(path, "its index points beyond its end"))?;
        if entry.crc32.is_some_and(|expected| expected != crc32fast::hash(bytes)) {
            return Err(damaged(path, &format!("the checksum of {} does not match", entry.oid)));
        }
        let header = pack.entry(start).map_err(|error| damaged(path, &error.to_string()))?;
        let kind = match header.header {
            Header::OfsDelta { base_distance } => {
                let base = start.checked_sub(base_distance).and_then(|base| by_offset.get(&base));
                let base_id = *base.ok_or_else(|| damaged(path, "a delta has no base"))?;
                Header::RefDelta { base_id }
            }
            other => other,
        };
        let added = new.entry(
            entry.oid,
            kind,
            header.decompressed_size,
            &bytes[header.header_size()..],
        );
        added.map_err(|error: PackError| io::Error::other(error))?;
    }
    Ok(())
}

fn damaged(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{} is damaged: {why}", path.display()))
}

const _: () = assert!(MAX_JOINED < MAX_PACK as u64);

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs};

    use durable::storage::{Disk, Folders};
    use gix::objs;

    use super::*;

    #[test]
    fn files_that_a_crash_has_left_are_overwritten_and_none_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pack = NewPack::new(Kind::Sha1);
        pack.add(objs::Kind::Blob, b"content").expect("an object");
        let finished = pack.finish().expect("a pack");
        let packs = folder.path().join("pack");
        fs::create_dir(&packs).expect("a folder");
        let left = packs.join(format!("tmp_pack-{}.idx", finished.name));
        fs::write(left, "the beginning").expect("a file");
        store(&Disk, folder.path(), &finished).expect("stored");
        let mut names = Disk.list(&packs).expect("a listing");
        names.sort();
        let expected = ["idx", "pack"].map(|extension| OsString::from(format!("pack-{}.{extension}", finished.name)));
        assert_eq!(names, expected);
        let index = packs.join(&expected[0]);
        assert_eq!(fs::read(index).expect("an index"), finished.index);
    }
}
