//! Backlog: the pending entries of all files of a journal.
use std::{
    collections::{HashMap, HashSet, hash_map},
    io,
    path::Path,
};

use bstr::{BStr, ByteSlice};
use durable::storage::{Disk, Folders, Names, ReadFiles};
use ulid::Ulid;

use super::{
    BLOCK,
    counts::Counts,
    entry::{Entry, Located, Status},
    ids::{self, Ids},
    reader::{FileInput, Item, Problem, ProblemKind, READ_SIZE, open_existing, read_exact_at},
    scan::{FileScan, Position, Scan, WORTH_REMEMBERING},
    segment::{file_in, segments},
};

/// Maximum number of problems that a [`Backlog`] lists. Further ones are only counted.
pub const MAX_PROBLEMS: usize = 100;

/// State of a journal at one moment.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The pending entries, in order. An entry with copies is listed once.
    pub pending: Vec<Located>,
    /// Number of entries by status.
    pub counts: Counts,
    /// The first [`MAX_PROBLEMS`] problems.
    pub problems: Vec<Problem>,
    /// Number of all problems.
    pub problem_count: u64,
    /// Cache for the next scan.
    pub(super) scan: Scan,
    /// Bytes that `scan` saves the next scan.
    spared: u64,
    by_id: HashMap<Ulid, usize>,
    ids: Ids,
}

impl Backlog {
    /// Reads one file as a journal. A missing file is an empty journal.
    ///
    /// # Errors
    /// The file is not a regular file, or cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut backlog = Backlog::default();
        if let Some(file) = open_existing(&Disk, path)? {
            backlog.read_file(&Disk, &file, None, None)?;
        }
        Ok(backlog)
    }

    /// Reads all files of the journal of the repository at `git_dir`. Skips the lines that the last scan has cached.
    ///
    /// # Errors
    /// The errors of [`read`](Backlog::read).
    pub fn load<S: Folders + Names + ReadFiles>(storage: &S, git_dir: &Path) -> io::Result<Self> {
        Backlog::read_all(storage, git_dir, Scan::load(storage, git_dir))
    }

    /// Reads the journal like [`load`](Backlog::load), but without the cache.
    ///
    /// # Errors
    /// The errors of [`read`](Backlog::read).
    pub fn load_whole<S: Folders + Names + ReadFiles>(storage: &S, git_dir: &Path) -> io::Result<Self> {
        let mut known = Scan::load(storage, git_dir);
        known.files.clear();
        Backlog::read_all(storage, git_dir, known)
    }

    /// Returns the refs of the pending entries.
    pub fn pending_refs(&self) -> HashSet<&BStr> {
        let entries = self.pending.iter();
        entries.map(|located| located.entry.update.name.as_bstr()).collect()
    }

    /// Collects the items of a reader.
    ///
    /// # Errors
    /// The reader fails.
    pub fn collect(items: impl Iterator<Item = io::Result<Item>>) -> io::Result<Self> {
        let mut backlog = Backlog::default();
        for item in items {
            match item? {
                Item::Entry(located) => backlog.add(*located),
                Item::Problem(problem) => backlog.add_problem(problem),
            }
        }
        Ok(backlog)
    }

    /// Returns true if writing the scan saves enough reading.
    pub(super) fn is_worth_remembering(&self) -> bool {
        self.spared >= WORTH_REMEMBERING
    }

    fn read_all<S: Folders + Names + ReadFiles>(storage: &S, git_dir: &Path, known: Scan) -> io::Result<Self> {
        let mut backlog = Backlog::default();
        backlog.scan.head.generation = known.head.generation;
        // Open the journal before listing the segments: if it is rotated in between, it is found among them.
        let mut journal = open_existing(storage, &file_in(git_dir, None))?;
        for segment in segments(storage, git_dir)? {
            let path = file_in(git_dir, Some(segment));
            let Some(look) = storage.look(&path)? else { continue };
            let known = known.files.iter().find(|file| file.identity == look.identity);
            match known {
                Some(known) if known.is_settled_at(segment, look.length) => backlog.skip_file(known),
                known => {
                    // A file that was removed in the meantime was settled.
                    let Some(file) = open_existing(storage, &path)? else {
                        continue;
                    };
                    backlog.read_file(storage, &file, Some(segment), known)?;
                }
            }
            if let Some(file) = journal.take_if(|file| storage.identity(file).is_ok_and(|id| id == look.identity)) {
                drop(file);
            }
        }
        if let Some(file) = journal {
            let identity = storage.identity(&file)?;
            let known = known.files.iter().find(|file| file.identity == identity);
            backlog.read_file(storage, &file, None, known)?;
        }
        backlog.scan.head.oldest = backlog.oldest();
        Ok(backlog)
    }

    /// Adds an unchanged file whose entries are all settled, without reading it.
    fn skip_file(&mut self, known: &FileScan) {
        self.counts.add(known.counts);
        self.raise_ids(known.segment, known);
        self.scan.files.push(known.clone());
    }

    fn read_file<S: ReadFiles>(
        &mut self,
        storage: &S,
        file: &S::File,
        segment: Option<Ulid>,
        known: Option<&FileScan>,
    ) -> io::Result<()> {
        let identity = storage.identity(file)?;
        let known = match known {
            Some(known) if is_of(storage, file, known)? => FileScan {
                segment,
                ..known.clone()
            },
            _ => FileScan::of(segment, identity),
        };
        self.counts.add(known.counts);
        self.raise_ids(segment, &known);
        let mut scan = FileScan {
            unsettled: Vec::new(),
            incredible: Vec::new(),
            ..known.clone()
        };
        let mut reader = FileInput::reader(storage, file, 0, BLOCK as usize);
        for offset in &known.unsettled {
            let items = reader.line_at(*offset)?;
            let was_incredible = known.incredible.contains(offset);
            let is_incredible = |entry: &Entry| was_incredible && !ids::is_of_its_time(entry);
            self.take(*offset, items, is_incredible, &mut scan);
        }
        self.spared += known.unsettled.len().saturating_sub(scan.unsettled.len()) as u64 * BLOCK;
        let mut reader = FileInput::reader(storage, file, known.scanned, READ_SIZE);
        let mut ids = self.ids;
        while let Some((offset, items)) = reader.next_line()? {
            self.take(offset, items, |entry| !ids.take(entry), &mut scan);
        }
        self.ids = ids;
        scan.scanned = reader.end();
        self.spared += scan.scanned - known.scanned;
        self.scan.files.push(scan);
        Ok(())
    }

    /// Records the ids that precede the unread part of a file. The name of a segment is greater than all ids in it.
    fn raise_ids(&mut self, segment: Option<Ulid>, known: &FileScan) {
        let last = known.last.map(|(_, id)| id);
        segment.into_iter().chain(last).for_each(|id| self.ids.raise(id));
    }

    /// Adds the items of the line at `offset`, and records in `scan` whether the line must be read again. If so, none
    /// of its items is counted in `scan`, not even a settled entry after NUL bytes.
    fn take(
        &mut self,
        offset: u64,
        items: Vec<Item>,
        mut is_incredible: impl FnMut(&Entry) -> bool,
        scan: &mut FileScan,
    ) {
        let incredible = items
            .iter()
            .filter_map(entry)
            .any(|located| is_incredible(&located.entry));
        if incredible {
            scan.incredible.push(offset);
        }
        if incredible || items.iter().any(is_unsettled) {
            scan.unsettled.push(offset);
        } else {
            items
                .iter()
                .filter_map(entry)
                .for_each(|located| scan.counts.count(located.entry.status));
        }
        for item in items {
            match item {
                Item::Entry(mut located) => {
                    let (offset, id) = (located.place.offset, located.entry.entry_id);
                    if incredible {
                        self.add_problem(Problem {
                            segment: scan.segment,
                            offset,
                            length: 0,
                            kind: ProblemKind::IncredibleId(id),
                        });
                    } else if scan.last.is_none_or(|(last, _)| last <= offset) {
                        scan.last = Some((offset, id));
                    }
                    located.place.segment = scan.segment;
                    self.add(*located);
                }
                Item::Problem(mut problem) => {
                    problem.segment = scan.segment;
                    self.add_problem(problem);
                }
            }
        }
    }

    fn add(&mut self, located: Located) {
        if located.entry.status != Status::Pending {
            self.counts.count(located.entry.status);
            return;
        }
        match self.by_id.entry(located.entry.entry_id) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(self.pending.len());
            }
            hash_map::Entry::Occupied(first) => {
                let first = &mut self.pending[*first.get()];
                if first.entry == located.entry {
                    first.copies.push(located.place);
                    return;
                }
                let (place, id) = (located.place.clone(), located.entry.entry_id);
                self.add_problem(Problem {
                    segment: place.segment,
                    offset: place.offset,
                    length: 0,
                    kind: ProblemKind::SameId(id),
                });
            }
        }
        self.counts.pending += 1;
        self.pending.push(located);
    }

    fn add_problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Returns the first line that must be read again, or else the end of the scanned part.
    fn oldest(&self) -> Position {
        let first = self.scan.files.iter().find_map(|file| {
            let offset = *file.unsettled.first()?;
            Some(Position {
                segment: file.segment,
                offset,
            })
        });
        let end = || {
            let last = self.scan.files.last().filter(|file| file.segment.is_none());
            Position {
                segment: None,
                offset: last.map_or(0, |file| file.scanned),
            }
        };
        first.unwrap_or_else(end)
    }
}

/// Returns true if the line must be read again. A line that is too long never changes, and a torn tail is after the
/// scanned part.
fn is_unsettled(item: &Item) -> bool {
    match item {
        Item::Entry(located) => located.entry.status == Status::Pending,
        Item::Problem(problem) => !matches!(problem.kind, ProblemKind::TornTail | ProblemKind::TooLong),
    }
}

fn entry(item: &Item) -> Option<&Located> {
    match item {
        Item::Entry(located) => Some(located),
        Item::Problem(_) => None,
    }
}

/// Returns true if `known` describes this file. The inode may belong to a new file, or the file may have been truncated
/// and rewritten.
fn is_of<S: ReadFiles>(storage: &S, file: &S::File, known: &FileScan) -> io::Result<bool> {
    let Some((offset, id)) = known.last else {
        return Ok(false);
    };
    if storage.length(file)? < known.scanned {
        return Ok(false);
    }
    // If the last line was lost, another one may extend over its end.
    let mut end = [0];
    read_exact_at(storage, file, known.scanned.saturating_sub(1), &mut end)?;
    if end != *b"\n" {
        return Ok(false);
    }
    let item = FileInput::reader(storage, file, offset, BLOCK as usize)
        .next()
        .transpose()?;
    Ok(matches!(item, Some(Item::Entry(located)) if located.entry.entry_id == id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::{
        Entry, MAX_LINE, Reader, encode,
        tests::{entry, journal},
    };

    fn read(journal: &[u8]) -> Backlog {
        Backlog::collect(Reader::new(journal, 0)).unwrap()
    }

    #[test]
    fn a_corrupt_line_does_not_hide_valid_ones() {
        let mut bytes = journal(0..1);
        bytes.extend_from_slice(b"{\"half\":\n     \n\n");
        bytes.resize(bytes.len() + MAX_LINE + 1, b'x');
        bytes.push(b'\n');
        let done = Entry {
            status: Status::Done,
            ..entry(1)
        };
        bytes.extend_from_slice(&encode(&done, bytes.len() as u64));
        bytes.extend_from_slice(&encode(&entry(2), 0)[..30]);
        let backlog = read(&bytes);
        assert_eq!(backlog.pending.len(), 1);
        let counts = Counts {
            pending: 1,
            done: 1,
            ..Counts::default()
        };
        assert_eq!(backlog.counts, counts);
        let problems: Vec<_> = backlog.problems.iter().map(ToString::to_string).collect();
        assert!(
            problems[0].starts_with("corrupt entry of 8 bytes at offset "),
            "{problems:?}"
        );
        assert!(problems[1].contains("longer than 1048576"), "{problems:?}");
        assert!(problems[2].starts_with("torn tail of 30 bytes"), "{problems:?}");
        assert_eq!((problems.len(), backlog.problem_count), (3, 3));
    }

    #[test]
    fn identical_lines_are_one_entry_and_other_content_under_the_same_id_is_a_second_one() {
        let mut other = entry(0);
        other.update.name = "refs/kv/other".into();
        let bytes = [journal(0..1), journal(0..1), encode(&other, 0)].concat();
        let backlog = read(&bytes);
        assert_eq!((backlog.pending.len(), backlog.counts.pending), (2, 2));
        assert_eq!(backlog.pending[0].copies[0].offset, journal(0..1).len() as u64);
        assert!(
            backlog.problems[0]
                .to_string()
                .starts_with("another entry with the entry_id 0")
        );
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
