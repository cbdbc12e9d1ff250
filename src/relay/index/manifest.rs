//! Manifest of an index: its tables and feeds, and the place in the log up to which they are complete.
//!
//! The file has two lines: the CRC-32 of the second line in hexadecimal, and JSON. It is replaced as a whole. An index is used
//! only if it belongs to the log: each of its [`Mark`]s must agree with a file of the log.
use std::{io, path::Path};

use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{About, Feed, Frozen, table};
use crate::journal::log::{LogReader, Place};

/// Name of the file in the folder of the index.
pub const MANIFEST: &str = "manifest";
/// Version of the format of the index.
const VERSION: u32 = 1;
/// Number of bytes at the beginning and at the end of a file that are compared.
const COMPARED: u64 = 4096;

/// Content of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The last number that was used.
    pub last: u64,
    /// Greatest number in the files that were removed.
    pub removed: u64,
    /// Files of the log, oldest first. Lines after the last mark are not in the index.
    pub files: Vec<Mark>,
    /// Tables, oldest first.
    pub tables: Vec<table::About>,
    feeds: Vec<FeedRow>,
}

/// Position in a file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the file in the index.
    pub file: u32,
    /// Name of the segment; `None` for the newest file.
    pub segment: Option<Ulid>,
    /// Number of bytes that are in the index.
    pub length: u64,
    /// Greatest number in these bytes.
    pub last: u64,
    /// Checksum of these bytes, see [`checksum()`].
    pub checksum: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FeedRow {
    id: Box<str>,
    name: Box<str>,
    policy: Box<str>,
    created: Timestamp,
    count: u64,
    last: u64,
}

impl Manifest {
    /// Creates the manifest of these tables.
    pub fn new(frozen: &Frozen, files: Vec<Mark>, tables: Vec<table::About>) -> Self {
        let feeds = frozen.feeds.iter().map(|feed| FeedRow {
            id: (*feed.about.id).into(),
            name: feed.about.name.clone(),
            policy: feed.about.policy.clone(),
            created: feed.created,
            count: feed.count,
            last: feed.last,
        });
        Manifest {
            version: VERSION,
            last: frozen.last,
            removed: frozen.removed,
            files,
            tables,
            feeds: feeds.collect(),
        }
    }

    /// Feeds of the index.
    pub fn feeds(&self) -> impl Iterator<Item = Feed> {
        self.feeds.iter().enumerate().map(|(number, feed)| Feed {
            about: std::sync::Arc::new(About {
                id: (&*feed.id).into(),
                name: feed.name.clone(),
                policy: feed.policy.clone(),
            }),
            created: feed.created,
            number: number as u32,
            count: feed.count,
            last: feed.last,
        })
    }

    /// Reads the manifest in the folder of an index. `None` if it is missing.
    ///
    /// # Errors
    /// The manifest cannot be read, is damaged, or has another version.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(folder.join(MANIFEST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let lines = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
        let json = lines.filter(|(sum, json)| *sum == sum_of(json)).map(|(_, json)| json);
        let json = json.ok_or_else(|| io::Error::other("its manifest is damaged"))?;
        let manifest: Manifest = serde_json::from_str(json).map_err(io::Error::other)?;
        if manifest.version == VERSION {
            Ok(Some(manifest))
        } else {
            Err(io::Error::other(format!("it has the version {}", manifest.version)))
        }
    }

    /// Replaces the manifest in the folder of the index.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        let text = format!("{}\n{json}\n", sum_of(&json));
        replace(&Disk, &folder.join(MANIFEST), text.as_bytes(), FILE_MODE)
    }

    /// Returns the greatest number in the files that were removed, and the marks of the files that are still there, if they agree with the log, whose segments have these names. The files
    /// of the log are numbered from the first mark on.
    ///
    /// # Errors
    /// The index is of another log, or of one that was changed.
    pub fn marks(&self, segments: &[Ulid], log: &LogReader<Disk>) -> io::Result<(u64, Vec<Mark>)> {
        // Only the oldest segments may be missing: they were removed.
        let is_gone = |mark: &&Mark| mark.segment.is_some_and(|name| !segments.contains(&name));
        let gone = self.files.iter().take_while(is_gone).count();
        let removed = self.files[..gone].last().map_or(self.removed, |mark| mark.last);
        let mut marks = self.files[gone..].to_vec();
        if marks.is_empty() || marks.len() > segments.len() + 1 {
            return Err(io::Error::other("it is of another log"));
        }
        for (file, mark) in marks.iter_mut().enumerate() {
            let name = segments.get(file).copied();
            let is_same = mark.segment.is_none_or(|segment| Some(segment) == name);
            let file = file as u32;
            if !is_same || log.length(file)? < mark.length || checksum(log, file, mark.length)? != mark.checksum {
                return Err(io::Error::other("it is of another log, or the log was changed"));
            }
            mark.segment = name;
        }
        Ok((removed, marks))
    }
}

/// Checksum of the first bytes and the last bytes of the first `length` bytes of a file.
///
/// # Errors
/// The disk fails.
pub fn checksum(log: &LogReader<Disk>, file: u32, length: u64) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let compared = length.min(COMPARED);
    for offset in [0, length - compared] {
        sum.update(&log.read(Place {
            file,
            length: compared as u32,
            offset,
        })?);
    }
    Ok(sum.finalize())
}

fn sum_of(json: &str) -> String {
    format!("{:08x}", crc32fast::hash(json.as_bytes()))
}
