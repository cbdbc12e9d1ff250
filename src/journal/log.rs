//! Log of lines of any kind. One process keeps its files open, appends lines durably, and reads them by place.
//!
//! The log is a file `<stem>.ndjson` in a folder, and its older *segments*, `<stem>.<ULID>.ndjson`. The owner of the log ends
//! a segment, and may remove the oldest ones. Nothing else is ever changed. The owner defines the content of the lines.
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
use std::{
    collections::VecDeque,
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
    /// Number of the file: they are numbered from the oldest one on, see [`Log::number_from()`].
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
    /// Names of all files but the newest, oldest first.
    segments: VecDeque<Ulid>,
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

/// Files of a log, shared with its readers.
#[derive(Debug)]
struct Files<F>(Arc<RwLock<OpenFiles<F>>>);

/// Open files, oldest first. Lines are appended to the last one.
#[derive(Debug)]
struct OpenFiles<F> {
    /// Number of the first one.
    first: u32,
    files: VecDeque<Arc<F>>,
}

impl<S: Folders + Names + WriteFiles + Clone, C: Clock> Log<S, C> {
    /// Opens or creates the log with this stem in `folder`, and repairs a torn tail. All of its lines are durable then.
    /// `is_complete` returns true if a torn tail only lacks its line feed.
    ///
    /// # Errors
    /// A file cannot be opened, repaired or synced.
    pub fn open(
        (storage, clock): (S, C),
        (folder, stem): (&Path, &'static str),
        is_complete: impl Fn(&[u8]) -> bool,
    ) -> Result<(Self, Option<Repair>), WriteError> {
        let segments = on("list", folder, segments_of(&storage, folder, stem))?;
        let current = file_of(folder, stem, None);
        let mut files = VecDeque::with_capacity(segments.len() + 1);
        for segment in &segments {
            let path = file_of(folder, stem, Some(*segment));
            files.push_back(Arc::new(on("open", &path, storage.open_read(&path))?));
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
        files.push_back(Arc::new(file));
        let log = Log {
            storage,
            clock,
            folder: folder.into(),
            stem,
            files: Files(Arc::new(RwLock::new(OpenFiles { first: 0, files }))),
            length,
            segments: segments.into(),
            failed: false,
        };
        Ok((log, repaired))
    }

    /// Numbers the files from this number on. Earlier places are invalid then.
    pub fn number_from(&self, first: u32) {
        self.files.0.write().unwrap_or_else(PoisonError::into_inner).first = first;
    }

    /// Folder of the log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of the segments, oldest first. The newest file is not among them.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Ulid> + DoubleEndedIterator {
        self.segments.iter().copied()
    }

    /// Number of the newest file, and its length in bytes.
    pub fn end(&self) -> (u32, u64) {
        (self.files.newest(), self.length)
    }

    /// Ends the newest file: it becomes a segment, and the next lines go to a new file. If nothing was changed, the error is in
    /// the result.
    ///
    /// # Errors
    /// The content of the disk is unknown, and the log refuses further lines.
    pub fn end_segment(&mut self) -> Result<io::Result<()>, WriteError> {
        let path = file_of(&self.folder, self.stem, None);
        let name = match self.rename_to_segment(&path) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        self.segments.push_back(name);
        let opened = self.storage.open_append(&path);
        let opened = opened.and_then(|file| self.storage.sync_dir(&self.folder).map(|()| file));
        self.failed = opened.is_err();
        self.files.push(on("create", &path, opened)?);
        self.length = 0;
        Ok(Ok(()))
    }

    /// Removes the oldest segment.
    ///
    /// # Errors
    /// The segment cannot be removed, or there is none.
    pub fn remove_oldest(&mut self) -> io::Result<()> {
        let oldest = self.segments.front().ok_or(io::ErrorKind::NotFound)?;
        self.storage.remove(&file_of(&self.folder, self.stem, Some(*oldest)))?;
        self.segments.pop_front();
        self.files.pop();
        self.storage.sync_dir(&self.folder)
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
        let file = on("append to", &path, self.files.numbered(self.files.newest()))?;
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
        let name = self.rename_to_segment(path)?;
        let file = self.storage.open_append(path)?;
        match self.storage.append(&file, bytes)? {
            written if written == bytes.len() => {}
            _ => return Err(io::ErrorKind::WriteZero.into()),
        }
        self.storage.sync(&file)?;
        self.storage.sync_dir(&self.folder)?;
        self.segments.push_back(name);
        self.files.push(file);
        Ok(())
    }

    fn rename_to_segment(&self, path: &Path) -> io::Result<Ulid> {
        let newest = self.segments.back().copied();
        let name = next_id(newest, self.clock.now(), || random_bits(&self.clock))
            .ok_or_else(|| io::Error::other("the newest segment has the greatest name possible: move it away"))?;
        self.storage
            .rename(path, &file_of(&self.folder, self.stem, Some(name)))?;
        Ok(name)
    }
}

impl<S: ReadFiles> LogReader<S> {
    /// Reads the bytes at a place.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.length as usize];
        let file = self.files.numbered(place.file)?;
        read_exact_at(&self.storage, &file, place.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// The errors of `fstat(2)`, or there is no such file.
    pub fn length(&self, file: u32) -> io::Result<u64> {
        let file = self.files.numbered(file)?;
        self.storage.length(&file)
    }

    /// Calls `visit` for each line of a file, from the one at `offset` on, until it fails. Lines longer than `max_line`
    /// bytes are visited without their bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn visit(
        &self,
        (file, offset): (u32, u64),
        max_line: usize,
        mut visit: impl FnMut(Line<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.files.numbered(file)?;
        let input = BufReader::with_capacity(CAPACITY, FileInput::new(&self.storage, &file, offset));
        let mut lines = Lines::new(input, offset, max_line);
        while let Some(line) = lines.next_line()? {
            visit(line)?;
        }
        Ok(())
    }
}

impl<F> Files<F> {
    fn newest(&self) -> u32 {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.first + open.files.len() as u32 - 1
    }

    fn numbered(&self, number: u32) -> io::Result<Arc<F>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let index = number.checked_sub(open.first);
        let file = index.and_then(|index| open.files.get(index as usize));
        file.cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its segment was removed"))
    }

    fn push(&self, file: F) {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.files.push_back(Arc::new(file));
    }

    fn pop(&self) {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.files.pop_front();
        open.first += 1;
    }
}
