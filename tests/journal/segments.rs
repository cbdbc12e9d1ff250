//! The journal over its files and over time: rotation, the remembered scan, repair, retention. [`super::model`]
//! compares it with a model.
#![cfg(unix)]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};
use jiff::Timestamp;
use stargate_mirror::journal::{
    Backlog, Counts, FOLDER, Located, ProblemKind, QUIET, ROTATE_AT, Repair, SCAN, Status, Writer, oldest_pending,
    path_in, segments,
};
use support::faulty::{Faulty, clock};

use crate::drafts::{draft, drafts};
use ulid::Ulid;

const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

struct Journal {
    folder: tempfile::TempDir,
}

impl Journal {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Journal { folder }
    }

    fn git_dir(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self) -> std::path::PathBuf {
        path_in(self.git_dir())
    }

    fn writer(&self) -> Writer<Disk, impl Clock> {
        Writer::new(Disk, clock(), self.git_dir(), Duration::from_secs(1))
    }

    /// A writer whose clock is this far ahead of the files' times.
    fn writer_later(&self, later: Duration) -> Writer<Disk, impl Clock> {
        let clock = clock();
        clock.now.set((Timestamp::now() + later).as_millisecond());
        Writer::new(Disk, clock, self.git_dir(), Duration::from_secs(1))
    }

    fn append(&self, names: &[&str]) {
        let appended = self.writer().append(&drafts(names)).unwrap();
        assert!(appended.failed.is_empty());
    }

    fn append_many(&self, numbers: std::ops::Range<usize>) {
        let drafts: Vec<_> = numbers.map(|number| draft(&number.to_string())).collect();
        assert!(self.writer().append(&drafts).unwrap().failed.is_empty());
    }

    fn load(&self) -> Backlog {
        Backlog::load(&Disk, self.git_dir()).unwrap()
    }

    fn settle(&self, entries: &[Located], status: Status) -> usize {
        let settlements: Vec<_> = entries.iter().map(|entry| (entry.clone(), status)).collect();
        self.writer().settle(&settlements).unwrap().settled
    }

    /// Names of the pending entries, in order.
    fn pending(&self) -> Vec<String> {
        names(&self.load())
    }

    /// Returns the number of bytes that a load reads.
    fn bytes_read(&self) -> u64 {
        let faulty = Faulty::new(&|_, _| None);
        Backlog::load(&&faulty, self.git_dir()).unwrap();
        faulty.bytes_read.get()
    }

    fn add_raw(&self, path: &Path, bytes: &[u8]) {
        OpenOptions::new()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    }
}

fn names(backlog: &Backlog) -> Vec<String> {
    let name = |located: &Located| located.entry.update.name.to_string().replacen("refs/kv/", "", 1);
    backlog.pending.iter().map(name).collect()
}

#[test]
fn a_segment_is_read_and_settled_like_the_journal() {
    let journal = Journal::new();
    journal.append(&["a", "b"]);
    let before = journal.load().pending;
    let segment = journal.writer().rotate().unwrap().unwrap();
    journal.append(&["c"]);
    let backlog = journal.load();
    assert_eq!(names(&backlog), ["a", "b", "c"]);
    let places: Vec<_> = backlog.pending.iter().map(|located| located.place.segment).collect();
    assert_eq!(places, [Some(segment), Some(segment), None]);

    assert_eq!(
        journal.settle(&before[..1], Status::Done),
        1,
        "read before it was put aside"
    );
    assert_eq!(journal.settle(&backlog.pending[1..], Status::Skipped), 2);
    assert!(journal.pending().is_empty());
}

#[test]
fn who_only_locks_writes_to_a_segment_and_is_read() {
    let journal = Journal::new();
    journal.append(&["a"]);
    let line = fs::read_to_string(journal.path()).unwrap();
    // Enough entries that the scan is remembered.
    journal.append_many(0..400);
    let mut foreign = OpenOptions::new().append(true).open(journal.path()).unwrap();
    journal.writer().rotate().unwrap().unwrap();
    journal.settle(&journal.load().pending, Status::Done);
    journal.writer().maintain(&journal.load(), RETENTION).unwrap();
    assert!(journal.pending().is_empty());
    assert_eq!(
        journal.bytes_read(),
        fs::metadata(journal.git_dir().join(FOLDER).join(SCAN)).unwrap().len()
    );
    foreign.write_all(line.replace("kv/a", "kv/late").as_bytes()).unwrap();
    assert_eq!(journal.pending(), ["late"]);
}

#[test]
fn while_the_journal_is_put_aside_again_and_again_no_writer_loses_a_line() {
    let journal = Journal::new();
    journal.append(&["first"]);
    let line = fs::read_to_string(journal.path()).unwrap();
    let path = journal.path();
    let git_dir = journal.git_dir();
    let rotations = AtomicUsize::new(0);
    // These writers are unaware of segments: they open, lock and append. They continue if the journal is rotated
    // meanwhile.
    let foreign = |thread: usize| {
        for number in 0..200 {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.lock().unwrap();
            let id = Ulid::from_parts(7, (thread * 1000 + number) as u128).to_string();
            let line = line.replace(&line[13..39], &id);
            file.write_all(line.as_bytes()).unwrap();
            drop(file);
            while number % 50 == 49 && rotations.load(Ordering::Relaxed) <= number / 50 {
                std::thread::yield_now();
            }
        }
    };
    let ours = || {
        let clock = SystemClock::default();
        let writer = Writer::new(Disk, clock, git_dir, Duration::from_secs(60));
        for number in 0..100 {
            assert_eq!(writer.append(&drafts(&[&number.to_string()])).unwrap().written.len(), 1);
        }
    };
    let writing = AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (foreign, writing) = (&foreign, &writing);
            scope.spawn(move || {
                match thread {
                    3 => ours(),
                    thread => foreign(thread),
                }
                writing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let clock = SystemClock::default();
        let writer = Writer::new(Disk, clock, git_dir, Duration::from_secs(60));
        while writing.load(Ordering::Relaxed) > 0 {
            let rotated = writer.rotate().unwrap().is_some();
            rotations.fetch_add(usize::from(rotated), Ordering::Relaxed);
        }
    });
    let backlog = journal.load();
    assert_eq!((backlog.pending.len(), backlog.problem_count), (1 + 3 * 200 + 100, 0));
}

#[test]
fn a_journal_is_put_aside_when_it_is_large() {
    let journal = Journal::new();
    journal.append(&["a"]);
    assert_eq!(journal.writer().rotate_if_due().unwrap(), None);
    journal.add_raw(&journal.path(), &vec![b'\n'; ROTATE_AT as usize]);
    assert!(journal.writer().rotate_if_due().unwrap().is_some());
    assert_eq!(
        fs::metadata(journal.path()).unwrap().len(),
        0,
        "there always is a journal"
    );
    assert_eq!(journal.pending(), ["a"]);
}

#[test]
fn reading_costs_what_is_pending_and_not_what_was() {
    let mut costs = Vec::new();
    for size in [10_000, 40_000] {
        let journal = Journal::new();
        journal.append_many(0..size);
        let all = journal.load().pending;
        let (stuck, gone): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(number, _)| number % 1000 == 1);
        let gone: Vec<_> = gone.into_iter().map(|(_, located)| located).collect();
        assert_eq!(journal.settle(&gone, Status::Done), gone.len());
        let whole = journal.bytes_read();
        assert!(whole >= size as u64 * 200, "{whole}");

        let backlog = journal.load();
        let maintained = journal.writer().maintain(&backlog, RETENTION).unwrap();
        assert_eq!(maintained.rotated.is_some(), size == 40_000);
        let counts = Counts {
            pending: stuck.len() as u64,
            done: gone.len() as u64,
            ..Counts::default()
        };
        assert_eq!(
            (journal.load().counts, journal.load().pending.len()),
            (counts, stuck.len())
        );
        let cost = journal.bytes_read();
        assert!(
            cost <= 4096 * (stuck.len() as u64 + 4) + 2048,
            "{cost} for {}",
            stuck.len()
        );
        costs.push(cost / stuck.len() as u64);

        // Later entries that are settled are read again until the scan is remembered.
        journal.append(&["new"]);
        assert!(journal.bytes_read() <= cost + 3 * 4096);
        let faulty = Faulty::new(&|_, _| None);
        let writer = Writer::new(&faulty, clock(), journal.git_dir(), Duration::from_secs(1));
        let stuck = journal.load().pending;
        let settlements: Vec<_> = stuck.iter().map(|located| (located.clone(), Status::Done)).collect();
        assert_eq!(writer.settle(&settlements).unwrap().settled, stuck.len());
        assert!(
            faulty.bytes_read.get() <= 2 * 4096 * (stuck.len() as u64 + 1),
            "{}",
            faulty.bytes_read.get()
        );
        assert!(journal.pending().is_empty());
        writer.maintain(&journal.load(), RETENTION).unwrap();
        // A scan of less than 64 KiB is not remembered: it would save too little.
        assert!(
            journal.bytes_read() <= (64 << 10) + 5 * 4096,
            "{}",
            journal.bytes_read()
        );

        let faulty = Faulty::new(&|_, _| None);
        Writer::new(&faulty, clock(), journal.git_dir(), Duration::from_secs(1))
            .append(&drafts(&["z"]))
            .unwrap();
        assert!(
            faulty.bytes_read.get() <= 2 * 4096,
            "starting up: {}",
            faulty.bytes_read.get()
        );
    }
    assert!(
        costs[0].abs_diff(costs[1]) <= costs[0] / 2,
        "the same for each pending entry: {costs:?}"
    );
}

#[test]
fn a_scan_of_another_file_is_not_used() {
    let journal = Journal::new();
    journal.append_many(0..1000);
    journal.settle(&journal.load().pending, Status::Done);
    journal.writer().maintain(&journal.load(), RETENTION).unwrap();
    assert!(journal.git_dir().join(FOLDER).join(SCAN).exists());
    assert!(journal.bytes_read() <= 3 * 4096);

    // The same file, truncated and rewritten: as long as before, and all pending.
    let length = fs::metadata(journal.path()).unwrap().len();
    let line = fs::read_to_string(journal.path()).unwrap();
    fs::write(journal.path(), "").unwrap();
    journal.append_many(2000..3100);
    assert!(fs::metadata(journal.path()).unwrap().len() > length);
    assert_eq!(journal.pending().len(), 1100);

    // A copy in the place of the file.
    let copy = journal.path().with_extension("copy");
    fs::write(&copy, line.replace("\"done\"   ", "\"pending\"")).unwrap();
    fs::rename(&copy, journal.path()).unwrap();
    assert_eq!(journal.pending().len(), 1000);
}

#[test]
fn an_entry_that_is_retried_is_pending_whatever_a_scan_remembers() {
    let journal = Journal::new();
    journal.append_many(0..1000);
    let all = journal.load().pending;
    journal.settle(&all, Status::Failed);
    let old = journal.load();
    journal.writer().maintain(&old, RETENTION).unwrap();
    assert_eq!((journal.pending().len(), journal.load().counts.failed), (0, 1000));

    let mut failed = all[7].clone();
    failed.entry.status = Status::Failed;
    assert_eq!(journal.writer().retry(&[failed]).unwrap().settled, 1);
    // A concurrent cycle does not hide it.
    journal.writer().maintain(&old, RETENTION).unwrap();
    assert_eq!(journal.pending(), ["7"]);
    journal.writer().maintain(&journal.load(), RETENTION).unwrap();
    assert_eq!(journal.pending(), ["7"]);
}

#[test]
fn a_settled_segment_is_removed_after_it_was_quiet_and_the_retention_is_over() {
    let journal = Journal::new();
    journal.append(&["a"]);
    let settled = journal.writer().rotate().unwrap().unwrap();
    journal.settle(&journal.load().pending, Status::Done);
    journal.append(&["b"]);
    let pending = journal.writer().rotate().unwrap().unwrap();
    let removed = |later: Duration| {
        let writer = journal.writer_later(later);
        writer.maintain(&journal.load(), RETENTION).unwrap().removed
    };
    assert_eq!(removed(QUIET + RETENTION - Duration::from_secs(60)), []);
    assert_eq!(removed(QUIET + RETENTION + Duration::from_secs(60)), [settled]);
    assert_eq!(segments(&Disk, journal.git_dir()).unwrap(), [pending]);
    assert_eq!(removed(QUIET + RETENTION * 2), [], "what is pending is never removed");
    assert_eq!(journal.pending(), ["b"]);
}

#[test]
fn what_is_no_json_is_kept_and_blanked_and_the_rest_is_left() {
    let journal = Journal::new();
    journal.append(&["a"]);
    let line = fs::read_to_string(journal.path()).unwrap();
    let broken = "{\"entry_id\":\"01\n";
    let wrong = "{\"entry_id\":7}\n";
    let unknown = line.replace("\"pending\"", "\"waiting\"");
    let hidden = [&[0; 5000][..], line.replace("kv/a", "kv/z").as_bytes()].concat();
    for bytes in [
        broken.as_bytes(),
        wrong.as_bytes(),
        unknown.as_bytes(),
        &hidden,
        b"{\"torn",
    ] {
        journal.add_raw(&journal.path(), bytes);
    }
    let segment = journal
        .git_dir()
        .join(FOLDER)
        .join(format!("mirror-journal.{}.ndjson", Ulid(1)));
    fs::write(&segment, "{\"torn in a segment").unwrap();

    let found = journal.load();
    assert_eq!(names(&found), ["a", "z"], "a bad line hides no good one");
    let repairs = journal.writer().mend(&found.problems).unwrap();
    let lengths: Vec<_> = repairs
        .iter()
        .map(|repair| match repair {
            Repair::Quarantined { length, .. } => (*length, "cut off"),
            Repair::Blanked { length, .. } => (*length, "blanked"),
            Repair::Completed => (0, "completed"),
            Repair::Renewed { .. } => (0, "renewed"),
        })
        .collect();
    let expected = [(19, "cut off"), (15, "blanked"), (5000, "blanked"), (6, "cut off")];
    assert_eq!(lengths, expected);
    assert_eq!(
        fs::read_dir(journal.git_dir().join(FOLDER).join("quarantine"))
            .unwrap()
            .count(),
        4
    );

    let left = journal.load();
    assert_eq!(names(&left), ["a", "z"]);
    let told: Vec<_> = left.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("invalid type: integer `7`") || told[0].contains("missing field"),
        "{told:?}"
    );
    assert!(told[1].contains("status is \"waiting\""), "{told:?}");
    assert!(told[2].contains("another entry with the entry_id"), "{told:?}");
    assert_eq!(
        journal.writer().mend(&left.problems).unwrap(),
        [],
        "what other readers can read is left"
    );
    let text = fs::read_to_string(journal.path()).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    assert!(
        lines
            .clone()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
}

#[test]
fn what_is_remembered_of_a_line_is_of_that_line_and_counts_once() {
    let journal = Journal::new();
    journal.append(&["a"]);
    let line = fs::read(journal.path()).unwrap();
    journal.add_raw(&journal.path(), b"\0\0\n");
    // Enough entries that the scan is remembered.
    journal.append_many(0..400);
    // An entry behind NUL bytes, and another one.
    let id = |last: char| {
        String::from_utf8(line.clone())
            .unwrap()
            .replace(&line_id(&line), &format!("{}{last:Z<16}", &line_id(&line)[..10]))
    };
    journal.add_raw(
        &journal.path(),
        &[&[0; 5][..], id('1').as_bytes(), id('2').as_bytes()].concat(),
    );
    journal.settle(&journal.load().pending, Status::Done);
    journal.writer().maintain(&journal.load(), RETENTION).unwrap();
    let done = || (journal.load().counts.done, journal.load().problem_count);
    assert_eq!(done(), (403, 2));
    // The lines become blank, and so do the bytes before an entry. The lines after them are not read at the wrong
    // offset.
    assert_eq!(journal.writer().mend(&journal.load().problems).unwrap().len(), 2);
    assert_eq!(done(), (403, 0));
    assert_eq!(
        Backlog::load_whole(&Disk, journal.git_dir()).unwrap().counts,
        journal.load().counts
    );
}

fn line_id(line: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap();
    value["entry_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_lock_is_not_needed_to_read_so_what_is_mended_is_looked_at_again() {
    let journal = Journal::new();
    journal.append(&["a", "b"]);
    let whole = fs::read(journal.path()).unwrap();
    // As a reader may see it while a status is overwritten.
    let file = OpenOptions::new().write(true).open(journal.path()).unwrap();
    file.write_at(b"{\"torn", 0).unwrap();
    let seen = journal.load();
    assert!(matches!(seen.problems[0].kind, ProblemKind::Corrupt(_)));
    file.write_at(&whole, 0).unwrap();
    assert_eq!(journal.writer().mend(&seen.problems).unwrap(), []);
    assert_eq!(fs::read(journal.path()).unwrap(), whole);
}

#[test]
fn the_oldest_pending_entry_is_found_in_few_bytes() {
    let journal = Journal::new();
    let faulty = Faulty::new(&|_, _| None);
    let oldest = || oldest_pending(&&faulty, journal.git_dir()).map(|then| then.as_millisecond());
    assert_eq!(oldest(), None);
    let clock = clock();
    let writer = Writer::new(Disk, &clock, journal.git_dir(), Duration::from_secs(1));
    for second in 0..2000 {
        clock.now.set(second * 1000);
        writer.append(&drafts(&["a"])).unwrap();
    }
    assert_eq!(oldest(), Some(0));
    let pending = journal.load().pending;
    journal.settle(&pending[..1500], Status::Done);
    assert_eq!(oldest(), None, "too far away, and nothing is remembered");
    writer.maintain(&journal.load(), RETENTION).unwrap();
    assert_eq!(oldest(), Some(1_500_000));
    writer.rotate().unwrap().unwrap();
    writer.maintain(&journal.load(), RETENTION).unwrap();
    assert!(faulty.bytes_read.get() <= 5 * 150_000, "{}", faulty.bytes_read.get());
}
