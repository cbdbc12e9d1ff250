//! Reading a journal. Nothing here writes.
use std::{
    fmt,
    io::{self, BufRead, BufReader},
    path::Path,
};

use super::{
    MAX_LINE,
    entry::{Located, Status},
    format::{DecodeError, decode},
    line::Lines,
};
use crate::storage;

/// How many problems a [`Backlog`] keeps; the rest is counted.
pub const MAX_PROBLEMS: usize = 100;
/// Bytes per read of a whole journal.
const READ_SIZE: usize = 128 << 10;

/// What stands in a journal, in order.
#[derive(Debug)]
pub enum Item {
    /// An entry.
    Entry(Box<Located>),
    /// What is not one.
    Problem(Problem),
}

/// Bytes of a journal that are no entry.
#[derive(Debug)]
pub struct Problem {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// How many bytes, a line feed not counted.
    pub length: u64,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with bytes of a journal.
#[derive(Debug)]
pub enum ProblemKind {
    /// The last line has no line feed: its writer died, or is about to write it.
    TornTail,
    /// More than [`MAX_LINE`] bytes.
    TooLong,
    /// It does not parse.
    Corrupt(DecodeError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { offset, length, kind } = self;
        match kind {
            ProblemKind::TornTail => write!(f, "torn tail of {length} bytes at offset {offset}"),
            ProblemKind::TooLong => write!(f, "line of {length} bytes at offset {offset}, longer than {MAX_LINE}"),
            ProblemKind::Corrupt(why) => write!(f, "corrupt entry of {length} bytes at offset {offset}: {why}"),
        }
    }
}

/// Iterates over what stands in a journal, in bounded memory. Blank lines are passed over.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, of which the first byte is at `offset` of the file and begins a line.
    pub fn new(input: R, offset: u64) -> Self {
        Reader {
            lines: Lines::new(input, offset, MAX_LINE),
        }
    }

    fn next_item(&mut self) -> io::Result<Option<Item>> {
        while let Some(line) = self.lines.next_line()? {
            let problem = |kind| {
                Ok(Some(Item::Problem(Problem {
                    offset: line.offset,
                    length: line.length,
                    kind,
                })))
            };
            return match line.bytes {
                _ if !line.terminated => problem(ProblemKind::TornTail),
                None => problem(ProblemKind::TooLong),
                Some(blanks) if blanks.iter().all(|byte| *byte == b' ') => continue,
                Some(bytes) => match decode(bytes, line.offset) {
                    Ok(located) => Ok(Some(Item::Entry(Box::new(located)))),
                    Err(error) => problem(ProblemKind::Corrupt(error)),
                },
            };
        }
        Ok(None)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_item().transpose()
    }
}

/// A journal at one moment.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The pending entries, in order.
    pub pending: Vec<Located>,
    /// How many entries there are of each status.
    pub counts: Counts,
    /// The last entry, whatever its status.
    pub last: Option<Located>,
    /// What is no entry: the first [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

/// How many entries there are of each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// To be mirrored.
    pub pending: u64,
    /// Seen on the mirror.
    pub done: u64,
    /// Can never be mirrored.
    pub failed: u64,
    /// Not to be mirrored, by configuration.
    pub skipped: u64,
}

impl Backlog {
    /// Reads the journal at `path`. An absent journal is an empty one.
    ///
    /// # Errors
    /// Something other than a regular file has the name, or it cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        match storage::open_read(path) {
            Ok(file) => Backlog::collect(Reader::new(BufReader::with_capacity(READ_SIZE, file), 0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Backlog::default()),
            Err(error) => Err(error),
        }
    }

    /// Collects what a reader gives.
    ///
    /// # Errors
    /// As the reader's.
    pub fn collect(items: impl Iterator<Item = io::Result<Item>>) -> io::Result<Self> {
        let mut backlog = Backlog::default();
        for item in items {
            match item? {
                Item::Entry(located) => backlog.add(*located),
                Item::Problem(problem) => {
                    backlog.problem_count += 1;
                    if backlog.problems.len() < MAX_PROBLEMS {
                        backlog.problems.push(problem);
                    }
                }
            }
        }
        Ok(backlog)
    }

    fn add(&mut self, located: Located) {
        match located.entry.status {
            Status::Pending => {
                self.counts.pending += 1;
                self.pending.push(located.clone());
            }
            Status::Done => self.counts.done += 1,
            Status::Failed => self.counts.failed += 1,
            Status::Skipped => self.counts.skipped += 1,
        }
        self.last = Some(located);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::{Draft, Entry, Source, encode};

    fn entry(number: u64) -> Entry {
        let line = format!("{} {} refs/kv/{number}", "0".repeat(40), "1".repeat(40));
        Draft {
            update: crate::ref_update::RefUpdate::parse(line.as_bytes()).unwrap(),
            pusher: None,
            repo: None,
            source: Source::PostReceive,
            meta: None,
        }
        .entry(ulid::Ulid::from_parts(number, 0), jiff::Timestamp::UNIX_EPOCH)
    }

    fn journal(numbers: std::ops::Range<u64>) -> Vec<u8> {
        numbers.fold(Vec::new(), |mut journal, number| {
            journal.extend_from_slice(&encode(&entry(number), journal.len() as u64));
            journal
        })
    }

    fn read(journal: &[u8]) -> Backlog {
        Backlog::collect(Reader::new(journal, 0)).unwrap()
    }

    #[test]
    fn a_bad_line_hides_no_good_one() {
        let mut bytes = journal(0..1);
        bytes.extend_from_slice(b"{\"half\":\n     \n\n");
        bytes.resize(bytes.len() + MAX_LINE + 1, b'x');
        bytes.push(b'\n');
        let at = bytes.len() as u64;
        bytes.extend_from_slice(&encode(
            &Entry {
                status: Status::Done,
                ..entry(1)
            },
            at,
        ));
        bytes.extend_from_slice(&encode(&entry(2), 0)[..30]);
        let backlog = read(&bytes);
        assert_eq!(backlog.pending.len(), 1);
        assert_eq!(
            backlog.counts,
            Counts {
                pending: 1,
                done: 1,
                ..Counts::default()
            }
        );
        assert_eq!(backlog.last.unwrap().offset, at);
        let problems: Vec<_> = backlog.problems.iter().map(ToString::to_string).collect();
        assert!(
            problems[0].starts_with("corrupt entry of 8 bytes at offset "),
            "{problems:?}"
        );
        assert!(problems[1].contains("longer than 1048576"), "{problems:?}");
        assert!(problems[2].starts_with("torn tail of 30 bytes"), "{problems:?}");
        assert_eq!((problems.len(), backlog.problem_count), (3, 3));
    }

    proptest! {
        #[test]
        fn any_prefix_of_a_journal_gives_a_prefix_of_its_entries(count in 0u64..20, cut in any::<prop::sample::Index>()) {
            let whole = journal(0..count);
            let prefix = &whole[..cut.index(whole.len() + 1)];
            let entries = |journal| -> Vec<_> { read(journal).pending.into_iter().map(|located| located.entry).collect() };
            let (all, some) = (entries(&whole), entries(prefix));
            prop_assert_eq!(&all[..some.len()], &some[..]);
            prop_assert_eq!(some.len(), prefix.iter().filter(|byte| **byte == b'\n').count());
        }
    }
}
