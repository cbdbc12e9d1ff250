//! Cache of the last scan of the journal: `.stargate/journal-scan.ndjson`.
//!
//! It makes the cost of a cycle depend on the pending entries, not on the journal's length. For each file of the journal it
//! records the offset up to which the file was read, and the offsets of the lines before it that must be read again.
//! Everything else before that offset is settled, and a settled entry changes only by
//! [`Writer::retry`](super::Writer::retry).
//!
//! The first line is a [`Head`], each other line a [`FileScan`]. The file is replaced as a whole. If it is
//! missing, damaged or about other files, it is ignored, which costs one full scan. It never hides a pending entry:
//!
//! - Its content was read from the journal's files, and a file is identified by its [`Identity`] and its last entry.
//! - A settled entry needs no push, even if its status does not survive a power cut.
//! - A writer that makes an entry pending again changes the head's `generation` first, so that an older scan is not written
//!   afterwards.
use std::{io, path::Path};

use durable::{
    replace::replace,
    storage::{FILE_MODE, Folders, Identity, Names, ReadFiles},
};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{FOLDER, counts::Counts, reader::read_exact_at};

/// Name of the cache in [`FOLDER`].
pub const SCAN: &str = "journal-scan.ndjson";
/// Minimum number of bytes that a scan must save the next one. Otherwise it is not written.
pub(super) const WORTH_REMEMBERING: u64 = 64 << 10;
/// Largest cache that is used, in bytes.
const MAX_SCAN: u64 = 64 << 20;
/// Bytes that are read to get the head.
const HEAD: u64 = 512;

/// Scan of all files of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scan {
    pub(super) head: Head,
    pub(super) files: Vec<FileScan>,
}

/// First line of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// Changes when a settled entry is made pending again.
    pub(super) generation: Ulid,
    /// Position before which nothing is pending. The hook starts here to find the oldest pending entry.
    pub(super) oldest: Position,
}

/// Position of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: Option<Ulid>,
    pub(super) offset: u64,
}

/// Scan of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileScan {
    pub(super) segment: Option<Ulid>,
    pub(super) identity: Identity,
    /// Offset up to which it was read: the end of a line.
    pub(super) scanned: u64,
    /// Offset and id of the last entry with a credible id before `scanned`.
    pub(super) last: Option<(u64, Ulid)>,
    /// Number of settled entries before `scanned`.
    pub(super) counts: Counts,
    /// Offsets of the lines before `scanned` that must be read again, in order.
    pub(super) unsettled: Vec<u64>,
    /// Those of `unsettled` whose entry has an id that is not credible.
    #[serde(default)]
    pub(super) incredible: Vec<u64>,
}

impl Scan {
    /// Reads the cache. An unusable cache is an empty one, which costs a full scan.
    pub(super) fn load<S: ReadFiles>(storage: &S, git_dir: &Path) -> Self {
        let path = git_dir.join(FOLDER).join(SCAN);
        read_up_to(storage, &path, MAX_SCAN)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default()
    }

    /// Returns the scan after the journal was renamed to the segment `rotated`.
    pub(super) fn after(&self, rotated: Option<Ulid>) -> Self {
        let mut scan = self.clone();
        for segment in scan.files.iter_mut().map(|file| &mut file.segment) {
            *segment = segment.or(rotated);
        }
        scan.head.oldest.segment = scan.head.oldest.segment.or(rotated);
        scan
    }

    /// Writes the cache, unless the generation has changed. The caller holds the journal's lock.
    pub(super) fn save<S: Folders + Names + ReadFiles>(&self, storage: &S, git_dir: &Path) -> io::Result<()> {
        if Head::load(storage, git_dir).generation == self.head.generation {
            self.replace(storage, git_dir)
        } else {
            Ok(())
        }
    }

    /// Replaces the cache unconditionally. The caller holds the journal's lock.
    pub(super) fn replace<S: Folders + Names>(&self, storage: &S, git_dir: &Path) -> io::Result<()> {
        replace(storage, &git_dir.join(FOLDER).join(SCAN), &encode(self), FILE_MODE)
    }
}

impl Head {
    /// Reads only the head, with a bounded read.
    pub(super) fn load<S: ReadFiles>(storage: &S, git_dir: &Path) -> Self {
        let path = git_dir.join(FOLDER).join(SCAN);
        let line = read_up_to(storage, &path, HEAD).ok();
        line.and_then(|bytes| serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok())
            .unwrap_or_default()
    }
}

impl FileScan {
    /// Returns the scan of an unread file.
    pub(super) fn of(segment: Option<Ulid>, identity: Identity) -> Self {
        FileScan {
            segment,
            identity,
            scanned: 0,
            last: None,
            counts: Counts::default(),
            unsettled: Vec::new(),
            incredible: Vec::new(),
        }
    }

    /// Returns true if this is the scan of `segment` at this length, and everything in it is settled.
    pub(super) fn is_settled_at(&self, segment: Ulid, length: u64) -> bool {
        self.segment == Some(segment) && self.unsettled.is_empty() && self.scanned == length
    }
}

fn encode(scan: &Scan) -> Vec<u8> {
    fn line(text: &mut Vec<u8>, value: &impl Serialize) {
        text.extend(serde_json::to_vec(value).expect("numbers and ids always serialize"));
        text.push(b'\n');
    }
    let mut text = Vec::new();
    line(&mut text, &scan.head);
    scan.files.iter().for_each(|file| line(&mut text, file));
    text
}

fn decode(bytes: &[u8]) -> Option<Scan> {
    let mut lines = bytes.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let head = serde_json::from_slice(lines.next()?).ok()?;
    let files = lines
        .map(|line| serde_json::from_slice(line).ok())
        .collect::<Option<_>>()?;
    Some(Scan { head, files })
}

fn read_up_to<S: ReadFiles>(storage: &S, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = storage.open_read(path)?;
    let mut bytes = vec![0; storage.length(&file)?.min(most) as usize];
    read_exact_at(storage, &file, 0, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use durable::storage::Disk;

    use super::*;

    #[test]
    fn a_scan_that_is_read_equals_the_written_one_and_a_damaged_one_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        assert_eq!(Scan::load(&Disk, folder.path()), Scan::default());
        let mut file = FileScan::of(Some(Ulid(7)), Identity(1, 2));
        file.unsettled = vec![3, 900];
        file.last = Some((900, Ulid(6)));
        let scan = Scan {
            head: Head::default(),
            files: vec![file],
        };
        scan.save(&Disk, folder.path()).unwrap();
        assert_eq!(Scan::load(&Disk, folder.path()), scan);

        let path = folder.path().join(FOLDER).join(SCAN);
        let text = fs::read(&path).unwrap();
        for cut in 0..text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let read = Scan::load(&Disk, folder.path());
            assert!(read.files.is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn a_scan_from_before_a_retry_is_not_written_after_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let old = Scan {
            files: vec![FileScan::of(None, Identity(1, 2))],
            ..Scan::default()
        };
        let mut new = Scan::default();
        new.head.generation = Ulid(9);
        new.replace(&Disk, folder.path()).unwrap();
        old.save(&Disk, folder.path()).unwrap();
        assert_eq!(Scan::load(&Disk, folder.path()), new);
    }
}
