//! The journal compared with a model: after any sequence of appends, settlements, rotations, damages and recoveries,
//! both have the same entries, and a remembered scan hides none.
//!
//! A failing sequence of steps is shortened, and its seed is kept in `model.regressions`.
#![cfg(unix)]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

use durable::{clock::Clock, storage::Disk};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, FileFailurePersistence},
};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use stargate_mirror::journal::{Backlog, Counts, Entry, Located, Status, Writer, encode, file_in, path_in, visit};
use support::faulty::clock;

use crate::drafts::draft;
use ulid::Ulid;

const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Length of the long names in bytes: a few of them make it worthwhile to remember a scan.
const LONG: usize = 20_000;

/// A step of a journal's life. Entries are identified by the order in which they were appended.
#[derive(Debug, Clone)]
enum Step {
    /// A number of new entries, with long names or short ones.
    Append(usize, bool),
    Settle(Vec<usize>, Status),
    Retry(usize),
    Rotate,
    /// The start of a worker's cycle: repairs the tail and the other lines.
    Recover,
    /// The end of a worker's cycle: remembers what was read.
    Maintain,
    /// A new entry behind NUL bytes, as a crash leaves them where a file had grown.
    AppendBehindNuls,
    /// Bytes at the end, written by another program.
    Garbage(Garbage),
    /// A forged, settled entry with the greatest possible id.
    Forge,
    /// The last entry loses its line feed.
    LoseLineFeed,
    /// The last entry, which is not settled, loses its second half.
    LoseHalf,
    /// Half of the status of a pending entry is overwritten.
    Mix(usize),
}

#[derive(Debug, Clone, Copy)]
enum Garbage {
    Torn,
    NulsWithoutEnd,
    Nuls,
    NoJson,
    /// JSON that is not an entry; it stays.
    OtherJson,
    Blank,
}

impl Garbage {
    const ALL: [Garbage; 6] = [
        Garbage::Torn,
        Garbage::NulsWithoutEnd,
        Garbage::Nuls,
        Garbage::NoJson,
        Garbage::OtherJson,
        Garbage::Blank,
    ];

    fn bytes(self) -> &'static [u8] {
        match self {
            Garbage::Torn => b"{\"torn",
            Garbage::NulsWithoutEnd => b"\0\0\0\0",
            Garbage::Nuls => b"\0\0\n",
            Garbage::NoJson => b"no json\n",
            Garbage::OtherJson => b"{}\n",
            Garbage::Blank => b"\n  \n",
        }
    }
}

/// The end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// With a line feed, or it is empty.
    Complete,
    /// In an entry that is complete except for its line feed.
    Unfinished(usize),
    /// In bytes that are not an entry.
    Torn,
}

/// The expected contents of a journal.
#[derive(Debug, Clone)]
struct Model {
    /// The status of each entry; `None` if it was lost before it was settled.
    entries: Vec<Option<Status>>,
    tail: Tail,
    /// The entry in the journal's last line, if there is one.
    last: Option<usize>,
    /// Lines that are not JSON.
    corrupt: u64,
    /// Lines that are JSON, but not an entry.
    other: u64,
    /// Entries with an id that no hook can have assigned.
    forged: u64,
    /// The journal exists.
    exists: bool,
}

impl Model {
    /// The entries of this status, as a reader sees them.
    fn seen(&self, status: Status) -> Vec<usize> {
        let numbers = 0..self.entries.len();
        let seen = |number: &usize| self.entries[*number] == Some(status) && self.tail != Tail::Unfinished(*number);
        numbers.filter(seen).collect()
    }

    fn counts(&self) -> Counts {
        let count = |status| self.seen(status).len() as u64;
        Counts {
            pending: count(Status::Pending),
            done: count(Status::Done) + self.forged,
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
        }
    }

    fn problems(&self) -> u64 {
        self.corrupt + self.other + self.forged + u64::from(self.tail != Tail::Complete)
    }

    fn settle(&mut self, numbers: &[usize], status: Status) {
        for number in numbers {
            self.entries[*number] = Some(status);
        }
    }

    fn spoil(&mut self, garbage: Garbage) {
        let ends = garbage.bytes().ends_with(b"\n");
        match (self.tail, garbage) {
            (_, _) if !ends => self.tail = Tail::Torn,
            // Anything written after half a line becomes part of that line.
            (Tail::Torn, _) | (_, Garbage::Nuls | Garbage::NoJson) => self.corrupt += 1,
            (_, Garbage::OtherJson) => self.other += 1,
            _ => {}
        }
        if ends {
            (self.tail, self.last) = (Tail::Complete, None);
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        let empty = Model {
            entries: Vec::new(),
            tail: Tail::Complete,
            last: None,
            corrupt: 0,
            other: 0,
            forged: 0,
            exists: false,
        };
        Just(empty).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        let always = prop_oneof![
            4 => (1usize..10, any::<bool>()).prop_map(|(count, long)| Step::Append(count, long)),
            1 => Just(Step::Rotate),
            2 => Just(Step::Recover),
            3 => Just(Step::Maintain),
            1 => Just(Step::AppendBehindNuls),
            1 => Just(Step::Forge),
            1 => Just(Step::LoseLineFeed),
            1 => Just(Step::LoseHalf),
            3 => select(&Garbage::ALL[..]).prop_map(Step::Garbage),
        ];
        let (pending, failed) = (model.seen(Status::Pending), model.seen(Status::Failed));
        let settled = select(&[Status::Done, Status::Done, Status::Failed, Status::Skipped][..]);
        let mut steps = vec![(3, always.boxed())];
        if !pending.is_empty() {
            let some = subsequence(pending.clone(), 1..=pending.len());
            steps.push((
                2,
                (some, settled)
                    .prop_map(|(numbers, status)| Step::Settle(numbers, status))
                    .boxed(),
            ));
            steps.push((1, select(pending).prop_map(Step::Mix).boxed()));
        }
        if !failed.is_empty() {
            steps.push((1, select(failed).prop_map(Step::Retry).boxed()));
        }
        proptest::strategy::Union::new_weighted(steps).boxed()
    }

    fn preconditions(model: &Model, step: &Step) -> bool {
        let is = |number: &usize, status| model.seen(status).contains(number);
        match step {
            Step::Settle(numbers, _) => numbers.iter().all(|number| is(number, Status::Pending)),
            Step::Mix(number) => is(number, Status::Pending),
            Step::Retry(number) => is(number, Status::Failed),
            Step::AppendBehindNuls | Step::Forge => model.exists && model.tail == Tail::Complete,
            Step::LoseLineFeed => model.tail == Tail::Complete && model.last.is_some(),
            // A settled entry is durable already.
            Step::LoseHalf => model.tail == Tail::Complete && model.last.is_some_and(|last| is(&last, Status::Pending)),
            Step::Garbage(_) => model.exists && !matches!(model.tail, Tail::Unfinished(_)),
            Step::Append(..) | Step::Rotate | Step::Recover | Step::Maintain => true,
        }
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        match step {
            Step::Append(count, _) => {
                model.entries.extend(vec![Some(Status::Pending); *count]);
                model.last = Some(model.entries.len() - 1);
                (model.tail, model.exists) = (Tail::Complete, true);
            }
            Step::AppendBehindNuls => {
                model.entries.push(Some(Status::Pending));
                model.last = None;
                model.corrupt += 1;
            }
            Step::Settle(numbers, status) => model.settle(numbers, *status),
            Step::Retry(number) => model.settle(&[*number], Status::Pending),
            Step::Rotate => (model.tail, model.last) = (Tail::Complete, None),
            Step::Recover => (model.tail, model.corrupt, model.forged) = (Tail::Complete, 0, 0),
            Step::Forge => {
                model.forged += 1;
                model.last = None;
            }
            Step::Maintain | Step::Mix(_) => {}
            Step::Garbage(garbage) => model.spoil(*garbage),
            Step::LoseLineFeed => model.tail = Tail::Unfinished(model.last.expect("an entry")),
            Step::LoseHalf => {
                model.entries[model.last.take().expect("an entry")] = None;
                model.tail = Tail::Torn;
            }
        }
        model
    }
}

/// A journal on a disk.
struct Journal {
    folder: tempfile::TempDir,
    /// The number of appended entries.
    appended: usize,
}

impl Journal {
    fn path(&self) -> PathBuf {
        path_in(self.folder.path())
    }

    fn writer(&self) -> Writer<Disk, impl Clock + use<>> {
        Writer::new(Disk, clock(), self.folder.path(), Duration::from_secs(1))
    }

    fn load(&self) -> Backlog {
        Backlog::load(&Disk, self.folder.path()).expect("a journal")
    }

    /// The entries with these numbers, in order, wherever they are and whatever their status is.
    fn entries(&self, numbers: &[usize]) -> Vec<Located> {
        let mut found = Vec::new();
        let wanted = |located: Located| {
            if numbers.contains(&number(&located)) {
                found.push(located);
            }
        };
        visit(&Disk, self.folder.path(), None, wanted).expect("a journal");
        assert_eq!(found.len(), numbers.len(), "each stands there once");
        found
    }

    fn append(&mut self, count: usize, long: bool) {
        let tail = if long { "x".repeat(LONG) } else { String::new() };
        let numbers = self.appended..self.appended + count;
        let drafts: Vec<_> = numbers.map(|number| draft(&format!("{number}/n{tail}"))).collect();
        let appended = self.writer().append(&drafts).expect("a journal");
        assert_eq!((appended.written.len(), appended.failed.len()), (count, 0));
        self.appended += count;
    }

    fn settle(&self, numbers: &[usize], status: Status) {
        let settlements: Vec<_> = self.entries(numbers).into_iter().map(|entry| (entry, status)).collect();
        let settled = self.writer().settle(&settlements).expect("a journal");
        assert_eq!(settled.settled, numbers.len(), "{:?}", settled.failed);
    }

    fn recover(&self) {
        let writer = self.writer();
        writer.repair().expect("a journal");
        writer.mend(&self.load().problems).expect("a journal");
    }

    fn cut(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(self.path()).expect("a journal");
        let length = file.metadata().expect("its length").len();
        file.set_len(length - bytes).expect("a shorter one");
    }

    fn spoil(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).open(self.path()).expect("a journal");
        file.write_all(bytes).expect("room");
    }

    fn forge(&self) {
        let forged = Entry {
            status: Status::Done,
            ..draft("1000000/n").entry(Ulid::max(), clock().now())
        };
        let length = fs::metadata(self.path()).expect("a journal").len();
        self.spoil(&encode(&forged, length));
    }

    fn mix(&self, number: usize) {
        let place = &self.entries(&[number])[0].place;
        let path = file_in(self.folder.path(), place.segment);
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a file of the journal");
        file.write_at(b"\"doneing\"", place.status.start).expect("room");
    }

    fn length_of_last_line(&self) -> u64 {
        let whole = fs::read(self.path()).expect("a journal");
        let line = whole.strip_suffix(b"\n").expect("a complete line");
        let start = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
        (whole.len() - start) as u64
    }
}

/// An entry's name is `refs/kv/<number>/n…`.
fn number(located: &Located) -> usize {
    let name = located.entry.update.name.to_string();
    let number = name.split('/').nth(2).and_then(|number| number.parse().ok());
    number.expect("a number")
}

impl StateMachineTest for Journal {
    type SystemUnderTest = Journal;
    type Reference = Model;

    fn init_test(_: &Model) -> Journal {
        Journal {
            folder: tempfile::tempdir().expect("a temporary folder"),
            appended: 0,
        }
    }

    fn apply(mut journal: Journal, _: &Model, step: Step) -> Journal {
        let writer = journal.writer();
        match step {
            Step::Append(count, long) => journal.append(count, long),
            Step::AppendBehindNuls => {
                let length = fs::metadata(journal.path()).expect("a journal").len();
                journal.append(1, false);
                let file = OpenOptions::new().read(true).write(true).open(journal.path());
                let file = file.expect("a journal");
                let mut line = vec![0; file.metadata().expect("its length").len() as usize - length as usize];
                file.read_exact_at(&mut line, length).expect("the entry");
                file.write_at(&[&[0; 5][..], &line].concat(), length).expect("room");
            }
            Step::Settle(numbers, status) => journal.settle(&numbers, status),
            Step::Retry(number) => {
                let retried = writer.retry(&journal.entries(&[number])).expect("a journal");
                assert_eq!(retried.settled, 1);
            }
            Step::Rotate => drop(writer.rotate().expect("a journal")),
            Step::Recover => journal.recover(),
            Step::Maintain => drop(writer.maintain(&journal.load(), RETENTION).expect("a journal")),
            Step::Garbage(garbage) => journal.spoil(garbage.bytes()),
            Step::Forge => journal.forge(),
            Step::LoseLineFeed => journal.cut(1),
            Step::LoseHalf => journal.cut(journal.length_of_last_line() / 2),
            Step::Mix(number) => journal.mix(number),
        }
        journal
    }

    fn check_invariants(journal: &Journal, model: &Model) {
        let whole = Backlog::load_whole(&Disk, journal.folder.path()).expect("a journal");
        for backlog in [journal.load(), whole] {
            let pending: Vec<_> = backlog.pending.iter().map(number).collect();
            assert_eq!(pending, model.seen(Status::Pending));
            assert_eq!(backlog.counts, model.counts());
            assert_eq!(backlog.problem_count, model.problems(), "{:?}", backlog.problems);
            let ids = backlog.pending.windows(2);
            assert!(
                ids.clone().all(|two| two[0].entry.entry_id < two[1].entry.entry_id),
                "ids grow"
            );
        }
    }

    fn teardown(journal: Journal, _: Model) {
        // After a recovery, readers that do not handle damage can read every line.
        journal.recover();
        let text = fs::read(journal.path()).unwrap_or_default();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty());
        for line in lines {
            serde_json::from_slice::<serde_json::Value>(line).expect("JSON");
        }
    }
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: 64,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    })]

    #[test]
    fn whatever_happens_the_journal_holds_what_the_model_holds(sequential 1..30 => Journal);
}
