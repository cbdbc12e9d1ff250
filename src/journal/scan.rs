//! What the last scan of the journal found: `.stargate/journal-scan.ndjson`.
//!
//! So that a cycle costs what is pending, not what was, each file of the journal is remembered with the offset up to
//! which it was read, and the offsets of the lines before it that must be looked at again. Everything else before that
//! offset is settled, and a settled entry never changes, except by [`Writer::retry`](super::Writer::retry).
//!
//! The first line is a [`Head`]; each other line a [`FileScan`]. The file is a memory, not a truth: it is written beside
//! and renamed, and one that is absent, damaged or of other files is not used, which costs one whole scan. It never hides a
//! pending entry: what it says was read from the files, a file is recognised by its [`Identity`] and its last entry,
//! a settled entry is one that needs no push any more (whether or not its status survives a power cut), and who makes an
//! entry pending again changes the head's `generation` first, so that what was read before cannot be written after.
use std::{io, path::Path};

use durable::storage::{FILE_MODE, Identity, Storage};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{FOLDER, backlog::Counts, tail::read_exact_at};

/// Its name in [`FOLDER`].
pub const SCAN: &str = "journal-scan.ndjson";
/// A longer one is not used, in bytes.
const MAX_SCAN: u64 = 64 << 20;
/// The head is looked for in so many bytes.
const HEAD: u64 = 512;

/// What is known of the files of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scan {
    pub(super) head: Head,
    pub(super) files: Vec<FileScan>,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// Changed by whoever makes a settled entry pending again.
    pub(super) generation: Ulid,
    /// Before it, nothing is pending. The hook looks here for the oldest pending entry.
    pub(super) oldest: Position,
}

/// A line's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: Option<Ulid>,
    pub(super) offset: u64,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileScan {
    pub(super) segment: Option<Ulid>,
    pub(super) identity: Identity,
    /// Up to here it was read: the end of a line.
    pub(super) scanned: u64,
    /// Offset and id of the last entry with a credible id before that.
    pub(super) last: Option<(u64, Ulid)>,
    /// Of the settled entries before that.
    pub(super) counts: Counts,
    /// Offsets of the lines before that which must be looked at again, in order.
    pub(super) unsettled: Vec<u64>,
    /// Those of them that hold an entry whose id is not credible.
    #[serde(default)]
    pub(super) incredible: Vec<u64>,
}

impl Scan {
    /// Reads what is remembered. What cannot be used is nothing.
    pub(super) fn load<S: Storage>(storage: &S, git_dir: &Path) -> Self {
        let path = git_dir.join(FOLDER).join(SCAN);
        read_up_to(storage, &path, MAX_SCAN)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default()
    }

    /// This, after the journal became the segment `rotated`.
    pub(super) fn after(&self, rotated: Option<Ulid>) -> Self {
        let mut scan = self.clone();
        for segment in scan.files.iter_mut().map(|file| &mut file.segment) {
            *segment = segment.or(rotated);
        }
        scan.head.oldest.segment = scan.head.oldest.segment.or(rotated);
        scan
    }

    /// Writes it, or nothing when the generation is not that of `self` any more. The caller has the journal's lock.
    pub(super) fn save<S: Storage>(&self, storage: &S, git_dir: &Path) -> io::Result<()> {
        match Head::load(storage, git_dir).generation == self.head.generation {
            true => self.replace(storage, git_dir),
            false => Ok(()),
        }
    }

    /// Writes it, whatever is there. The caller has the journal's lock.
    pub(super) fn replace<S: Storage>(&self, storage: &S, git_dir: &Path) -> io::Result<()> {
        let path = git_dir.join(FOLDER).join(SCAN);
        let beside = path.with_extension("new");
        match storage.remove(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        storage.write_new(&beside, &encode(self), FILE_MODE)?;
        storage.rename(&beside, &path)
    }
}

impl Head {
    /// Reads the head only: a bounded number of bytes.
    pub(super) fn load<S: Storage>(storage: &S, git_dir: &Path) -> Self {
        let path = git_dir.join(FOLDER).join(SCAN);
        let line = read_up_to(storage, &path, HEAD).ok();
        line.and_then(|bytes| serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok())
            .unwrap_or_default()
    }
}

impl FileScan {
    /// Of a file of which nothing is known.
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

    /// Whether this is what is known of that segment, and everything in it is settled, when it has this length.
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

fn read_up_to<S: Storage>(storage: &S, path: &Path, most: u64) -> io::Result<Vec<u8>> {
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
    fn it_comes_back_as_it_went_and_damage_is_nothing() {
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
    fn what_was_read_before_a_retry_is_not_written_after_it() {
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
