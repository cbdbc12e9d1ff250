//! Log of lines of any kind. One process keeps its files open, appends lines durably, and reads them by place.
//!
//! The log is a file `<stem>.ndjson` in a folder. After failed fsyncs there are also older segments,
//! `<stem>.<ULID>.ndjson`. Nothing is ever changed or removed. The owner of the log defines the content of its lines.
//!
//! - Lines are written together, and one fsync makes them durable. After a short write, the file is truncated to the last
//!   complete line. The incomplete line and those after it have failed.
//! - After a failed fsync, the file is renamed to a segment, and the same lines go to a new file, which is fsynced. So a
//!   line may be in two files. The owner numbers its lines, and ignores repeated numbers.
//! - If that fails too, or if an incomplete line cannot be truncated, the content of the disk is unknown, and the log
//!   refuses further lines. It must be opened again.
//! - Opening repairs a torn tail as in a journal. It syncs the existing lines before it returns them.
//!
//! # Limitations
//! - The owner must lock the folder before it opens the log.
//! - Files are not rotated by size, because places must stay valid. Opening reads all of them.
use std::{
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use durable::{
    clock::Clock,
    storage::{Folders, Names, ReadFiles, WriteFiles},
};
use ulid::Ulid;

use super::{
    entry::{next_id, random_bits},
    error::{Cause, WriteError, on},
    line::{Line, Lines},
    reader::{FileInput, read_exact_at},
    repair::Repair,
    segment::{file_of, segments_of},
    tail::{repair_tail, write_lines},
};

/// Bytes per read when a log is opened.
const CAPACITY: usize = 256 << 10;

/// Place of bytes in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file. The oldest one has number 0.
    pub file: u32,
    /// Number of bytes.
    pub length: u32,
    /// Offset in the file.
    pub offset: u64,
}

/// A log that is open for appending.
#[derive(Debug)]
pub struct Log<S: ReadFiles, C> {
    storage: S,
    clock: C,
    folder: PathBuf,
    stem: &'static str,
    files: Files<S::File>,
    /// Length of the newest file in bytes.
    length: u64,
    newest_segment: Option<Ulid>,
    /// True if the content of the disk is unknown.
    failed: bool,
}

/// Reader of a log, for any thread.
#[derive(Debug)]
pub struct LogReader<S: ReadFiles> {
    storage: S,
    files: Files<S::File>,
}

/// Result of an append.
#[derive(Debug)]
pub struct Written {
    /// Number of lines, from the first one, that are durable.
    pub complete: usize,
    /// Number of the file that contains them.
    pub file: u32,
    /// Offset of the first one.
    pub offset: u64,
    /// Cause of the failure of the others.
    pub cause: Option<Cause>,
}

/// Files of a log, oldest first, shared with its readers. Lines are appended to the last one.
#[derive(Debug)]
struct Files<F>(Arc<RwLock<Vec<Arc<F>>>>);

impl<S: Folders + Names + WriteFiles + Clone, C: Clock> Log<S, C> {
    /// Opens or creates the log with this stem in `folder`, repairs a torn tail, and calls `visit` for each line with the
    /// number of its file. `is_complete` returns true if a torn tail only lacks its line feed. Lines longer than `max_line`
    /// bytes are visited without their bytes.
    ///
    /// # Errors
    /// A file cannot be opened, read, repaired or synced.
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
            // A new file: its name must be durable before its lines are.
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

    /// Returns a reader of this log.
    pub fn reader(&self) -> LogReader<S> {
        LogReader {
            storage: self.storage.clone(),
            files: Files(self.files.0.clone()),
        }
    }

    /// Appends lines durably, with one write and one fsync. `ends` has the end of each line in `bytes`, after its line feed.
    ///
    /// # Errors
    /// The content of the disk is unknown, and the log refuses further lines.
    pub fn append(&mut self, bytes: &[u8], ends: &[usize]) -> Result<Written, WriteError> {
        let path = file_of(&self.folder, self.stem, None);
        if self.failed {
            let why = "after an earlier failure, its content on the disk is unknown: open the log again";
            return on("append to", &path, Err(io::Error::other(why)));
        }
        let file = self.files.numbered(self.files.newest());
        let (complete, cause) = write_lines(&self.storage, &file, self.length, bytes, ends);
        if let Some(Cause::NotCutBack(error)) = cause {
            self.failed = true;
            let why = format!("cannot truncate an incomplete line: {error}");
            return on("append to", &path, Err(io::Error::new(error.kind(), why)));
        }
        let end = complete.checked_sub(1).map_or(0, |last| ends[last]);
        let mut offset = self.length;
        self.length += end as u64;
        if complete > 0 && self.storage.sync(&file).is_err() {
            // Do not retry on this file: the kernel would report success for pages that it has dropped.
            let moved = self.move_to_new_file(&path, &bytes[..end]);
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

    /// Renames the file to a segment, and starts a new one with these lines.
    fn move_to_new_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
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

impl<S: ReadFiles> LogReader<S> {
    /// Reads the bytes at a place.
    ///
    /// # Errors
    /// They cannot be read.
    ///
    /// # Panics
    /// The place belongs to another log.
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

fn show<S: ReadFiles>(storage: &S, file: &S::File, max: usize, mut visit: impl FnMut(Line<'_>)) -> io::Result<()> {
    let input = BufReader::with_capacity(CAPACITY, FileInput::new(storage, file, 0));
    let mut lines = Lines::new(input, 0, max);
    while let Some(line) = lines.next_line()? {
        visit(line);
    }
    Ok(())
}
