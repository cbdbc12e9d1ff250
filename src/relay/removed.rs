//! Record of a removed segment: the facts about its events that must be kept.
//!
//! `removed/<ULID>.ndjson` in the data folder has the lines of the segment's feeds, and a line for each event. It is
//! written before the segment is removed, and is valid once the segment is missing. It is read only when the index is
//! rebuilt.
//!
//! ```json
//! {"seq":2,"id":4711,"origin":42}
//! ```
//!
//! `id` and `origin` are the hashes of the [index](super::index::key).
use std::{io, path::Path};

use durable::storage::{Disk, Folders, Names, WriteFiles, remove_existing};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    index::{Index, key, manifest::Mark},
    log_line::{self, Content, MAX_LINE},
    replay::identity,
};
use crate::journal::log::LogReader;

/// Name of the folder.
pub const FOLDER: &str = "removed";
const SUFFIX: &str = ".ndjson";
/// Number of bytes that are written at once.
const BUFFER: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
struct Removed {
    seq: u64,
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<u64>,
}

/// Writes the record of a segment durably.
///
/// # Errors
/// The disk fails.
pub fn record(data: &Path, log: &LogReader<Disk>, segment: Mark) -> io::Result<()> {
    let name = segment.segment.ok_or(io::ErrorKind::InvalidInput)?;
    let folder = data.join(FOLDER);
    if Disk.create_dir(&folder)? {
        Disk.sync_dir(data)?;
    }
    let path = folder.join(format!("{name}{SUFFIX}"));
    let new = folder.join(format!("{name}.new"));
    remove_existing(&Disk, &new)?;
    let file = Disk.open_append(&new)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    let write = |buffer: &mut Vec<u8>| {
        if Disk.append(&file, buffer)? < buffer.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        buffer.clear();
        Ok(())
    };
    log.visit((segment.file, 0), MAX_LINE, |line| {
        // Behind the mark are lines whose fsync failed; they are in the next file, too.
        if line.offset >= segment.length {
            return Ok(());
        }
        // What is not a line of a relay was reported when it was read.
        if let Some(Ok(parsed)) = line.bytes.map(log_line::parse) {
            match parsed.content {
                Content::Feed(_) => buffer.extend_from_slice(line.start),
                Content::Event(event, _) => {
                    let identity = identity(&event);
                    let removed = Removed {
                        seq: parsed.seq,
                        id: key::hash_of_id(&identity.event_id),
                        origin: identity.origin.map(|origin| key::hash(origin.as_bytes())),
                    };
                    serde_json::to_writer(&mut buffer, &removed)?;
                }
            }
            buffer.push(b'\n');
        }
        if buffer.len() < BUFFER {
            Ok(())
        } else {
            write(&mut buffer)
        }
    })?;
    write(&mut buffer)?;
    Disk.sync(&file)?;
    drop(file);
    Disk.rename(&new, &path)?;
    Disk.sync_dir(&folder)
}

/// Reads the records of all segments that are not among these, oldest first.
///
/// # Errors
/// A record cannot be read, or is damaged.
pub fn read(data: &Path, segments: &[Ulid], mut take: impl FnMut(Line) -> io::Result<()>) -> io::Result<()> {
    let folder = data.join(FOLDER);
    let names = Disk.list(&folder)?;
    let names = names.iter().filter_map(|name| name.to_str()?.strip_suffix(SUFFIX));
    let mut names: Vec<_> = names.filter_map(|name| Ulid::from_string(name).ok()).collect();
    names.retain(|name| !segments.contains(name));
    names.sort_unstable();
    for name in names {
        let path = folder.join(format!("{name}{SUFFIX}"));
        let file = io::BufReader::with_capacity(BUFFER, std::fs::File::open(&path)?);
        for line in io::BufRead::split(file, b'\n') {
            let line = Line::parse(&line?);
            take(line.map_err(|why| io::Error::other(format!("{} is damaged: {why}", path.display())))?)?;
        }
    }
    Ok(())
}

/// Line of a record.
#[derive(Debug)]
pub enum Line {
    /// Creation of a feed.
    Feed(log_line::Parsed),
    /// An event: its number, and the hashes of its id and origin.
    Event(u64, u64, Option<u64>),
}

impl Line {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if let Ok(removed) = serde_json::from_slice::<Removed>(bytes) {
            return Ok(Line::Event(removed.seq, removed.id, removed.origin));
        }
        log_line::parse(bytes).map(Line::Feed)
    }

    /// Adds it to an index.
    pub fn add_to(self, index: &mut Index) {
        match self {
            Line::Event(seq, id, origin) => {
                index.add_removed(seq, id, origin);
                index.remove_before(0, seq);
            }
            Line::Feed(parsed) => {
                if let Content::Feed(about) = parsed.content {
                    index.add_feed(parsed.seq, about, parsed.received);
                }
            }
        }
    }
}
