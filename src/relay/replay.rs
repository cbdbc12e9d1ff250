//! Replaying the log when a store is opened: new lines are added to the index, and problems are collected.
use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use durable::{clock::SystemClock, storage::Disk};
use serde::Deserialize;

use super::{
    index::{
        Identity, Index, Record, TAIL,
        files::{FOLDER, IndexFiles},
        key::{self, Kind},
        manifest::Mark,
        origin,
    },
    log_line::{self, Content, MAX_LINE},
    removed,
};
use crate::{
    event::Event,
    journal::{
        Line, Repair, WriteError,
        log::{Log, LogReader, Place},
    },
};

/// Maximum number of problems that are reported one by one.
const MAX_REPORTED: usize = 20;
/// Time between two reports of progress.
const REPORT: Duration = Duration::from_secs(1);

/// Result of opening a store.
#[derive(Debug, Default)]
pub struct Found {
    /// Repair that was made.
    pub repaired: Option<Repair>,
    /// Reason why the index was rebuilt; `None` if the folder had no index.
    pub index: Option<String>,
    /// Descriptions of the first new lines that are invalid or duplicate.
    pub problems: Vec<String>,
    /// Number of further problems.
    pub more: usize,
    /// Number of feeds.
    pub feeds: usize,
    /// Number of events, with those that were removed.
    pub events: u64,
}

/// An index that has all of the log.
#[derive(Debug)]
pub struct Replayed {
    /// The index.
    pub index: Index,
    /// Its files.
    pub files: IndexFiles,
    /// Ends of the files of the log.
    pub marks: Vec<Mark>,
    /// Findings.
    pub found: Found,
}

/// Replay of a log, line by line.
struct Replay<'a> {
    log: &'a LogReader<Disk>,
    replayed: Replayed,
    progress: Progress,
}

/// Reports of progress.
struct Progress {
    bytes: u64,
    reported: Instant,
}

/// Reads the lines of the log that the index in `folder` lacks. If the index is damaged or of another log, it is
/// rebuilt.
///
/// # Errors
/// The log cannot be read, or the index cannot be written.
pub fn replay(folder: &Path, log: &Log<Disk, SystemClock>) -> Result<Replayed, WriteError> {
    let failed = |source| WriteError::Storage {
        what: "read the log and write the index in",
        path: folder.into(),
        source,
    };
    let opened = IndexFiles::open(folder, log.reader(), &log.segments().collect::<Vec<_>>());
    let taken_in = match opened {
        Ok(Some((files, index, marks))) => {
            log.number_from(marks[0].file);
            Replay::new(&log.reader(), files, index, marks).run(log)
        }
        Ok(None) => return anew(folder, log, None).map_err(failed),
        Err(error) => Err(error),
    };
    match taken_in {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(failed(error)),
        Err(error) => anew(folder, log, Some(error.to_string())).map_err(failed),
        Ok(replayed) => Ok(replayed),
    }
}

/// Rebuilds the index.
fn anew(folder: &Path, log: &Log<Disk, SystemClock>, reason: Option<String>) -> io::Result<Replayed> {
    if let Some(reason) = &reason {
        tracing::warn!("ignoring the folder {FOLDER} and rebuilding the index: {reason}");
    }
    log.number_from(0);
    let files = IndexFiles::create(folder, log.reader())?;
    let reader = log.reader();
    let mut replay = Replay::new(&reader, files, Index::default(), Vec::new());
    removed::read(folder, &log.segments().collect::<Vec<_>>(), |line| {
        line.add_to(&mut replay.replayed.index);
        replay.replayed.write_full_tail()
    })?;
    let mut replayed = replay.run(log)?;
    replayed.found.index = reason;
    Ok(replayed)
}

impl<'a> Replay<'a> {
    fn new(log: &'a LogReader<Disk>, files: IndexFiles, index: Index, marks: Vec<Mark>) -> Self {
        Replay {
            log,
            replayed: Replayed {
                index,
                files,
                marks,
                found: Found::default(),
            },
            progress: Progress {
                bytes: 0,
                reported: Instant::now(),
            },
        }
    }

    fn run(mut self, log: &Log<Disk, SystemClock>) -> io::Result<Replayed> {
        let names: Vec<_> = log.segments().map(Some).chain([None]).collect();
        let (newest, _) = log.end();
        let first = newest + 1 - names.len() as u32;
        let begun = self.replayed.marks.last().map_or(first, |mark| mark.file);
        for file in begun..=newest {
            if self.replayed.marks.last().is_none_or(|mark| mark.file < file) {
                self.replayed.marks.push(Mark {
                    file,
                    segment: names[(file - first) as usize],
                    length: 0,
                    last: 0,
                    checksum: 0,
                });
            }
            let from = self.replayed.marks[self.replayed.marks.len() - 1].length;
            let reader = self.log;
            reader.visit((file, from), MAX_LINE, |line| self.take(file, &line))?;
        }
        let Replayed { index, found, .. } = &mut self.replayed;
        found.feeds = index.feeds().len();
        found.events = index.feeds().map(|feed| feed.count()).sum();
        Ok(self.replayed)
    }

    /// Replays a line of the file with this number.
    fn take(&mut self, file: u32, line: &Line<'_>) -> io::Result<()> {
        let taken = match line.bytes {
            Some(bytes) if bytes.iter().all(|byte| *byte == b' ') => Ok(()),
            Some(bytes) => match log_line::parse(bytes) {
                Ok(parsed) => self.add((file, line.offset, bytes.len()), parsed)?,
                Err(problem) => Err(problem),
            },
            None => Err(format!("it is longer than {MAX_LINE} bytes")),
        };
        if let Err(problem) = taken {
            // Listeners may have seen this number: it is not used again.
            if let Some(seq) = line.bytes.and_then(log_line::seq_of) {
                self.replayed.index.skip_to(seq);
            }
            self.report(file, line, &problem);
        }
        let last = self.replayed.index.last();
        if let Some(mark) = self.replayed.marks.last_mut() {
            (mark.length, mark.last) = (line.offset + line.length + u64::from(line.terminated), last);
        }
        self.progress.add(line.length);
        self.replayed.write_full_tail()
    }

    fn report(&mut self, file: u32, line: &Line<'_>, problem: &str) {
        let found = &mut self.replayed.found;
        if found.problems.len() == MAX_REPORTED {
            found.more += 1;
            return;
        }
        let (length, offset) = (line.length, line.offset);
        found.problems.push(format!(
            "{length} bytes at offset {offset} of file {file} were not written by a relay: {problem}"
        ));
    }

    fn add(
        &mut self,
        (file, offset, length): (u32, u64, usize),
        parsed: log_line::Parsed,
    ) -> io::Result<Result<(), String>> {
        let index = &mut self.replayed.index;
        let (event, start) = match parsed.content {
            Content::Feed(about) => {
                index.add_feed(parsed.seq, about, parsed.received);
                return Ok(Ok(()));
            }
            Content::Event(event, start) => (event, start),
        };
        let record = Record {
            seq: parsed.seq,
            place: Place {
                file,
                length: (length - 1 - start) as u32,
                offset: offset + start as u64,
            },
        };
        let identity = identity(&event);
        let known = in_feed(index, self.log, event.feed_id(), &identity)?;
        if known.is_none() && index.add_event(event.feed_id(), &identity, record) {
            return Ok(Ok(()));
        }
        // After a failed fsync, two files contain the same line.
        Ok(if known == Some(parsed.seq) {
            Ok(())
        } else {
            Err("its feed is missing, or another line has its event_id or its number".into())
        })
    }
}

impl Replayed {
    /// Writes the events in memory to a table, if they are many.
    fn write_full_tail(&mut self) -> io::Result<()> {
        if self.index.tail() < TAIL {
            return Ok(());
        }
        let Some(frozen) = self.index.freeze() else {
            return Ok(());
        };
        self.files.fold(&frozen, self.marks.clone())?;
        let first_file = self.marks.first().map_or(0, |mark| mark.file);
        while self.files.merge(first_file)? {}
        self.index.use_tables(self.files.tables(), true);
        Ok(())
    }
}

impl Progress {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            tracing::info!(megabytes = self.bytes / 1_000_000, "reading the log into the index");
        }
    }
}

/// Returns the number of the event of a feed with exactly this id.
fn in_feed(index: &Index, log: &LogReader<Disk>, feed: &str, identity: &Identity) -> io::Result<Option<u64>> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        event_id: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        feed_id: std::borrow::Cow<'a, str>,
    }
    let scan = index.with_hash(Kind::Id, key::hash_of_id(&identity.event_id));
    for (record, is_stored) in scan.records()? {
        if !is_stored {
            return Ok(Some(record.seq));
        }
        let json = log.read(record.place)?;
        let stored: Stored<'_> = serde_json::from_slice(&json)?;
        if stored.event_id == *identity.event_id && stored.feed_id == feed {
            return Ok(Some(record.seq));
        }
    }
    Ok(None)
}

/// Returns the keys of an event.
pub fn identity(event: &Event) -> Identity {
    Identity {
        event_id: event.event_id().into(),
        ts: event.ts(),
        origin: event.origin().map(origin),
    }
}
