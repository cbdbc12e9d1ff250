//! Reader of a journal. It never writes.
use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use durable::storage::ReadFiles;
use ulid::Ulid;

use super::{
    MAX_LINE,
    decode::{DecodeError, decode},
    entry::Located,
    line::{Line, Lines},
};

/// Bytes per sequential read of a whole file.
pub(super) const READ_SIZE: usize = 128 << 10;

/// Item of a journal.
#[derive(Debug)]
pub enum Item {
    /// An entry.
    Entry(Box<Located>),
    /// A problem.
    Problem(Problem),
}

/// Damaged bytes, or an entry with an invalid id.
#[derive(Debug)]
pub struct Problem {
    /// The segment, or `None` for the journal.
    pub segment: Option<Ulid>,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Number of bytes, without the line feed.
    pub length: u64,
    /// Kind of problem.
    pub kind: ProblemKind,
}

/// Kind of problem.
#[derive(Debug)]
pub enum ProblemKind {
    /// The last line has no line feed: its writer died, or is still writing.
    TornTail,
    /// The line has more than [`MAX_LINE`] bytes.
    TooLong,
    /// The bytes are all NUL, as a crash leaves them at the end of a grown file.
    Nul,
    /// The line does not parse.
    Corrupt(DecodeError),
    /// An earlier entry has the same id and other content. Both are valid.
    SameId(Ulid),
    /// The entry's id is not credible: far ahead of its timestamp and of the ids before it. Its update is valid.
    IncredibleId(Ulid),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { offset, length, .. } = self;
        match &self.kind {
            ProblemKind::TornTail => write!(f, "torn tail of {length} bytes at offset {offset}"),
            ProblemKind::TooLong => write!(f, "line of {length} bytes at offset {offset}, longer than {MAX_LINE}"),
            ProblemKind::Nul => write!(f, "{length} NUL bytes at offset {offset}"),
            ProblemKind::Corrupt(why) => write!(f, "corrupt entry of {length} bytes at offset {offset}: {why}"),
            ProblemKind::SameId(id) => {
                write!(
                    f,
                    "another entry with the entry_id {id} at offset {offset}: both are valid"
                )
            }
            ProblemKind::IncredibleId(id) => {
                write!(
                    f,
                    "entry at offset {offset} with the entry_id {id}, which is far ahead of its timestamp: forged or damaged"
                )
            }
        }?;
        match self.segment {
            Some(segment) => write!(f, " (segment {segment})"),
            None => Ok(()),
        }
    }
}

/// Iterator over the items of a journal, in bounded memory. Skips blank lines.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
    /// Remaining items of the last line.
    rest: VecDeque<Item>,
    /// Offset after the last line that ends with a line feed.
    end: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, which starts with a line at `offset` of the file.
    pub fn new(input: R, offset: u64) -> Self {
        Reader {
            lines: Lines::new(input, offset, MAX_LINE),
            rest: VecDeque::new(),
            end: offset,
        }
    }

    /// Returns the offset after the last line that was read and ends with a line feed.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns the offset and the items of the next line. A blank line has none.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Vec<Item>)>> {
        let Some(line) = self.lines.next_line()? else {
            return Ok(None);
        };
        let (offset, items, terminated) = (line.offset, items(line), line.terminated);
        if terminated {
            self.end = self.lines.offset();
        }
        Ok(Some((offset, items)))
    }

    fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            if let Some(item) = self.rest.pop_front() {
                return Ok(Some(item));
            }
            match self.next_line()? {
                Some((_, items)) => self.rest.extend(items),
                None => return Ok(None),
            }
        }
    }
}

impl<R: Read + Seek> Reader<BufReader<R>> {
    /// Returns the items of the line at `offset`. None if it has been blanked.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn line_at(&mut self, offset: u64) -> io::Result<Vec<Item>> {
        self.rest.clear();
        self.lines.seek(offset)?;
        let line = self.next_line()?;
        Ok(line.map_or(Vec::new(), |(_, items)| items))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_item().transpose()
    }
}

/// Returns the items of a line: usually one, none if it is blank, two if NUL bytes precede an entry.
fn items(line: Line<'_>) -> Vec<Item> {
    let problem = |length, kind| {
        Item::Problem(Problem {
            segment: None,
            offset: line.offset,
            length,
            kind,
        })
    };
    let Some(bytes) = line.bytes.filter(|_| line.terminated) else {
        let kind = if line.terminated {
            ProblemKind::TooLong
        } else {
            ProblemKind::TornTail
        };
        return vec![problem(line.length, kind)];
    };
    if bytes.iter().all(|byte| *byte == b' ') {
        return Vec::new();
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count() as u64;
    let entry = &bytes[zeros as usize..];
    let found = match decode(entry, line.offset + zeros) {
        Ok(located) => Some(Item::Entry(Box::new(located))),
        Err(_) if entry.iter().all(|byte| *byte == b' ') => None,
        Err(error) => return vec![problem(line.length, ProblemKind::Corrupt(error))],
    };
    let nul = (zeros > 0).then(|| problem(zeros, ProblemKind::Nul));
    nul.into_iter().chain(found).collect()
}

/// Input that reads a file of a storage from an offset on.
pub(super) struct FileInput<'a, S: ReadFiles> {
    storage: &'a S,
    file: &'a S::File,
    offset: u64,
}

impl<'a, S: ReadFiles> FileInput<'a, S> {
    /// Reads from `offset` on.
    pub(super) fn new(storage: &'a S, file: &'a S::File, offset: u64) -> Self {
        FileInput { storage, file, offset }
    }

    /// Returns a reader of the lines from `offset` on, which reads `capacity` bytes at a time.
    pub(super) fn reader(storage: &'a S, file: &'a S::File, offset: u64, capacity: usize) -> Reader<BufReader<Self>> {
        let input = FileInput::new(storage, file, offset);
        Reader::new(BufReader::with_capacity(capacity, input), offset)
    }
}

impl<S: ReadFiles> Read for FileInput<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.storage.read_at(self.file, self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl<S: ReadFiles> Seek for FileInput<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.storage.length(self.file)?.checked_add_signed(by),
        };
        self.offset = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

/// Fills `buffer` with the bytes at `offset`.
///
/// # Errors
/// A read fails, or the file is too short.
pub(super) fn read_exact_at<S: ReadFiles>(
    storage: &S,
    file: &S::File,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> io::Result<()> {
    while !buffer.is_empty() {
        match storage.read_at(file, offset, buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                offset += read as u64;
                buffer = &mut buffer[read..];
            }
        }
    }
    Ok(())
}

/// Opens a file for reading. `None` if it is missing.
pub(super) fn open_existing<S: ReadFiles>(storage: &S, path: &Path) -> io::Result<Option<S::File>> {
    match storage.open_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{entry, journal};

    fn told(bytes: &[u8]) -> Vec<String> {
        let told = |item| match item {
            Item::Entry(located) => format!("entry at {}", located.place.offset),
            Item::Problem(problem) => problem.to_string(),
        };
        Reader::new(bytes, 0).map(|item| told(item.unwrap())).collect()
    }

    #[test]
    fn nul_bytes_are_reported_and_do_not_hide_the_entry_after_them() {
        let line = journal(0..1);
        let bytes = [&b"\0\0\0"[..], &line, b"\0\0\n", &line].concat();
        let second = bytes.len() - line.len();
        assert_eq!(
            told(&bytes),
            [
                "3 NUL bytes at offset 0".to_owned(),
                "entry at 3".to_owned(),
                format!("2 NUL bytes at offset {}", line.len() + 3),
                format!("entry at {second}"),
            ]
        );
        assert!(told(b"{\0}\n")[0].starts_with("corrupt entry of 3 bytes"));
        assert_eq!(told(b"\0")[0], "torn tail of 1 bytes at offset 0");
    }

    #[test]
    fn a_mix_of_two_statuses_is_pending_and_an_unknown_status_is_a_problem() {
        let line = String::from_utf8(journal(0..1)).unwrap();
        let mixed = line.replace("\"pending\"", "\"doneing\"");
        assert_eq!(told(mixed.as_bytes()), ["entry at 0"]);
        let Some(Ok(Item::Entry(located))) = Reader::new(mixed.as_bytes(), 0).next() else {
            panic!("an entry")
        };
        assert_eq!(located.entry, entry(0));
        let unknown = line.replace("\"pending\"", "\"waiting\"");
        assert!(told(unknown.as_bytes())[0].contains("status is \"waiting\""));
    }

    #[test]
    fn the_end_is_after_the_last_complete_line() {
        let mut bytes = journal(0..2);
        let end = bytes.len() as u64;
        bytes.extend_from_slice(b"{\"torn");
        let mut reader = Reader::new(&bytes[..], 0);
        assert_eq!(reader.by_ref().count(), 3);
        assert_eq!(reader.end(), end);
    }
}
