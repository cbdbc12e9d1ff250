//! A log: lines of any kind, appended durably by one process that holds its files open, and read back by place.
//!
//! It stands in a folder as `<stem>.ndjson` and, where an fsync has failed, as segments `<stem>.<ULID>.ndjson`, which are older.
//! Nothing is ever changed or removed. What a line holds is its owner's affair.
//!
//! - Lines are written together, and one fsync makes them durable. A write that falls short is cut back to the last complete
//!   line; that line and those after it have failed.
//! - After an fsync that failed the file is put aside, and the same lines go to a new one, which is fsynced. So the same line
//!   may stand in two files: its owner numbers lines, and takes each number once.
//! - When that fails too, or something incomplete cannot be cut back, nobody knows what is on the disk: the log takes
//!   nothing more. Opened again, it holds what is there.
//! - Opening repairs a torn tail, as a journal's, and syncs what was found, before anybody is shown it.
//!
//! # Limitations
//! - The folder is locked by its owner, before the log is opened.
//! - Files do not rotate by size: places stay, and all of it is read when the log is opened.
use std::{
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    entry::next_id,
    line::{Line, Lines},
    reader::FileInput,
    repair::Repair,
    segment::{file_of, segments_of},
    tail::{read_exact_at, repair_tail, write_lines},
    writer::{Cause, WriteError, on, random_bits},
};

/// How many bytes are read at once when a log is opened.
const CAPACITY: usize = 256 << 10;

/// Bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the file, in the order of their age.
    pub file: u32,
    /// How many bytes.
    pub length: u32,
    /// Where they begin in the file.
    pub offset: u64,
}

/// Appends to a log.
#[derive(Debug)]
pub struct Log<S: Storage, C> {
    storage: S,
    clock: C,
    folder: PathBuf,
    stem: &'static str,
    files: Files<S::File>,
    /// Of the file that is appended to, in bytes.
    length: u64,
    newest_segment: Option<Ulid>,
    /// Nobody knows what is on the disk.
    failed: bool,
}

/// Reads from a log, on any thread.
#[derive(Debug)]
pub struct LogReader<S: Storage> {
    storage: S,
    files: Files<S::File>,
}

/// What became of an append.
#[derive(Debug)]
pub struct Written {
    /// How many of the lines are durable: the first ones.
    pub complete: usize,
    /// The number of the file that they are in.
    pub file: u32,
    /// Where the first one begins.
    pub offset: u64,
    /// Why the others are not.
    pub cause: Option<Cause>,
}

/// The files of a log, oldest first; the last one is appended to. Shared with its readers.
#[derive(Debug)]
struct Files<F>(Arc<RwLock<Vec<Arc<F>>>>);

impl<S: Storage + Clone, C: Clock> Log<S, C> {
    /// Opens the log of this stem in `folder`, or begins it, repairs a torn tail that `is_complete` does not call a whole line, and
    /// shows `visit` every line, with the number of its file. Of a line of more than `max_line` bytes the bytes are not shown.
    ///
    /// # Errors
    /// Something could not be opened, read, repaired or synced.
    pub fn open(
        (storage, clock): (S, C),
        (folder, stem): (&Path, &'static str),
        max_line: usize,
        is_complete: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(u32, Line<'_>),
    ) -> Result<(Self, Option<Repair>), WriteError> {
        let segments = on("list", folder, segments_of(&storage, folder, stem))?;
        let current = file_of(folder, stem, None);
        let mut files = Vec::with_capacity(segments.len() + 1);
        for segment in &segments {
            let path = file_of(folder, stem, Some(*segment));
            files.push((on("open", &path, storage.open_read(&path))?, path));
        }
        let file = on("open", &current, storage.open_append(&current))?;
        let name = next_id(None, clock.now(), || random_bits(&clock)).unwrap_or_default();
        let repaired = repair_tail(&storage, &file, folder, name, |tail, _| is_complete(tail));
        let repaired = on("repair", &current, repaired)?;
        let length = on("read", &current, storage.length(&file))?;
        match length {
            // Nobody has written to it: its name must be durable before a line is.
            0 => on("sync", folder, storage.sync_dir(folder))?,
            _ => on("sync", &current, storage.sync(&file))?,
        }
        files.push((file, current));
        for (number, (file, path)) in files.iter().enumerate() {
            on(
                "read",
                path,
                show(&storage, file, max_line, |line| visit(number as u32, line)),
            )?;
        }
        let files = files.into_iter().map(|(file, _)| Arc::new(file)).collect();
        let log = Log {
            storage,
            clock,
            folder: folder.into(),
            stem,
            files: Files(Arc::new(RwLock::new(files))),
            length,
            newest_segment: segments.last().copied(),
            failed: false,
        };
        Ok((log, repaired))
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader<S> {
        LogReader {
            storage: self.storage.clone(),
            files: Files(self.files.0.clone()),
        }
    }

    /// Appends lines, durably: one write, one fsync. `ends` says where each ends in `bytes`, its line feed included.
    ///
    /// # Errors
    /// Nobody knows what is on the disk; the log takes nothing more.
    pub fn append(&mut self, bytes: &[u8], ends: &[usize]) -> Result<Written, WriteError> {
        let path = file_of(&self.folder, self.stem, None);
        if self.failed {
            let why = "an earlier write left it in doubt: open the log anew";
            return on("append to", &path, Err(io::Error::other(why)));
        }
        let file = self.files.numbered(self.files.newest());
        let (complete, cause) = write_lines(&self.storage, &file, self.length, bytes, ends);
        if let Some(Cause::NotCutBack(error)) = cause {
            self.failed = true;
            let why = format!("an incomplete line cannot be cut back: {error}");
            return on("append to", &path, Err(io::Error::new(error.kind(), why)));
        }
        let end = complete.checked_sub(1).map_or(0, |last| ends[last]);
        let mut offset = self.length;
        self.length += end as u64;
        if complete > 0 && self.storage.sync(&file).is_err() {
            // No second try on this file: the kernel would report success for pages that it has given up.
            let moved = self.write_elsewhere(&path, &bytes[..end]);
            self.failed = moved.is_err();
            on("sync", &path, moved)?;
            (offset, self.length) = (0, end as u64);
        }
        Ok(Written {
            complete,
            file: self.files.newest(),
            offset,
            cause,
        })
    }

    /// Puts the file aside, and begins a new one with these lines.
    fn write_elsewhere(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let name = next_id(self.newest_segment, self.clock.now(), || random_bits(&self.clock))
            .ok_or_else(|| io::Error::other("the newest segment has the greatest name possible: move it away"))?;
        self.storage
            .rename(path, &file_of(&self.folder, self.stem, Some(name)))?;
        let file = self.storage.open_append(path)?;
        match self.storage.append(&file, bytes)? {
            written if written == bytes.len() => {}
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
        self.storage.sync(&file)?;
        self.storage.sync_dir(&self.folder)?;
        self.newest_segment = Some(name);
        self.files.push(file);
        Ok(())
    }
}

impl<S: Storage> LogReader<S> {
    /// The bytes at a place.
    ///
    /// # Errors
    /// They cannot be read.
    ///
    /// # Panics
    /// When the place is of another log.
    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.length as usize];
        read_exact_at(
            &self.storage,
            &self.files.numbered(place.file),
            place.offset,
            &mut bytes,
        )?;
        Ok(bytes)
    }
}

impl<F> Files<F> {
    fn newest(&self) -> u32 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u32 - 1
    }

    fn numbered(&self, number: u32) -> Arc<F> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)[number as usize].clone()
    }

    fn push(&self, file: F) {
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::new(file));
    }
}

fn show<S: Storage>(storage: &S, file: &S::File, max: usize, mut visit: impl FnMut(Line<'_>)) -> io::Result<()> {
    let input = BufReader::with_capacity(CAPACITY, FileInput::new(storage, file, 0));
    let mut lines = Lines::new(input, 0, max);
    while let Some(line) = lines.next_line()? {
        visit(line);
    }
    Ok(())
}
