//! `cargo bench --bench worker [-- --quick]`: the cost of a cycle over a journal of 1, 1,000 and 1,000,000 entries, of
//! which 1 or 1,000 are pending; and the cost of the journal's own operations among a million.
//!
//! Cycles are whole processes of `stargate-mirror run` to a bare repository beside it. `/usr/bin/time` measures time
//! and peak memory, the kernel counts the bytes read (`/proc/self/io`; the bytes of the programs themselves are not
//! included). *First* reads the whole journal; *next* follows it, with the same number of new entries; *idle* has none.
//! A counting storage measures the journal's own operations.
//!
//! `STARGATE_MIRROR` names another program. `--quick` leaves the million out.
#![cfg(target_os = "linux")]

#[path = "../tests/journal/drafts.rs"]
mod drafts;

use std::{
    env, fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bstr::BString;
use durable::{clock::SystemClock, storage::Disk};
use gix::ObjectId;
use jiff::Timestamp;
use stargate_mirror::{
    journal::{Backlog, Draft, Entry, FOLDER, Origin, ROTATE_AT, Source, Status, Writer, encode, file_in, path_in},
    ref_update::RefUpdate,
};
use support::faulty::Faulty;
use ulid::Ulid;

/// Numbers of entries, and of pending ones among them.
const SHAPES: [(usize, usize); 5] = [(1, 1), (1_000, 1), (1_000, 1_000), (1_000_000, 1), (1_000_000, 1_000)];
/// The number of settled entries, spread thinly over all entries.
const SPARSE: usize = 10_000;
/// The number of runs of a cycle that can be repeated.
const ROUNDS: usize = 5;
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MIB: f64 = (1 << 20) as f64;

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    let most = if quick { 1_000 } else { usize::MAX };
    let program = env::var_os("STARGATE_MIRROR").unwrap_or_else(|| env!("CARGO_BIN_EXE_stargate-mirror").into());
    let program = fs::canonicalize(program).expect("a program");
    println!("cycles; next and idle: the median of {ROUNDS}\n");
    println!("| entries | pending | cycle | ms | peak memory, MiB | read, KiB |\n|---|---|---|---|---|---|");
    for (entries, pending) in SHAPES.into_iter().filter(|(entries, _)| *entries <= most) {
        compare_cycles(&program, entries, pending);
    }
    println!("\n| the journal | entries | ms | read, KiB | fsyncs |\n|---|---|---|---|---|");
    for entries in [SPARSE, 1_000_000]
        .into_iter()
        .filter(|entries| *entries <= most.max(SPARSE))
    {
        measure_verbs(entries);
    }
}

fn compare_cycles(program: &Path, entries: usize, pending: usize) {
    let stargate = Stargate::new(pending);
    write_journal(&stargate.git_dir, entries, pending, &|number| stargate.creation(number));
    let row = |cycle: &str, cost: Cost| {
        let Cost { time, memory, read } = cost;
        let (ms, memory, read) = (time.as_secs_f64() * 1e3, memory as f64 / MIB, read / 1024);
        println!("| {entries} | {pending} | {cycle} | {ms:.1} | {memory:.1} | {read} |");
    };
    row("first", stargate.cycle(program));
    stargate.assert_mirrored();
    let next = |round| {
        stargate.update(round);
        let cost = stargate.cycle(program);
        stargate.assert_mirrored();
        cost
    };
    row("next", median((0..ROUNDS).map(next).collect()));
    row("idle", median((0..ROUNDS).map(|_| stargate.cycle(program)).collect()));
}

/// Cost of a cycle: time, peak memory in bytes, bytes read.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    memory: u64,
    read: u64,
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_unstable_by_key(|cost| cost.time);
    costs[costs.len() / 2]
}

/// A Stargate with this number of refs, and a mirror beside it.
struct Stargate {
    folder: tempfile::TempDir,
    git_dir: PathBuf,
    /// Each the parent of the next.
    commits: Vec<ObjectId>,
    refs: usize,
}

impl Stargate {
    fn new(refs: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let git_dir = folder.path().join("r.git");
        let repository = gix::init_bare(&git_dir).expect("a repository");
        gix::init_bare(folder.path().join("mirror.git")).expect("a mirror");
        fs::create_dir(git_dir.join(FOLDER)).expect("a folder");
        let tree = repository
            .write_object(gix::objs::Tree::empty())
            .expect("a tree")
            .detach();
        let mut parent = None;
        let commit = |number: usize| {
            let signature = gix::actor::Signature {
                name: "a".into(),
                email: "a@example.com".into(),
                time: gix::date::Time::new(number as i64, 0),
            };
            let commit = gix::objs::Commit {
                tree,
                parents: parent.into_iter().collect(),
                author: signature.clone(),
                committer: signature,
                encoding: None,
                message: "x".into(),
                extra_headers: Vec::new(),
            };
            let id = repository.write_object(&commit).expect("a commit").detach();
            parent = Some(id);
            id
        };
        let commits: Vec<_> = (0..=ROUNDS).map(commit).collect();
        let stargate = Stargate {
            folder,
            git_dir,
            commits,
            refs,
        };
        stargate.move_refs(stargate.commits[0]);
        stargate
    }

    fn creation(&self, number: usize) -> RefUpdate {
        RefUpdate {
            old: self.commits[0].kind().null(),
            new: self.commits[0],
            name: name(number % self.refs),
        }
    }

    fn move_refs(&self, to: ObjectId) {
        let mut names: Vec<_> = (0..self.refs).map(name).collect();
        names.sort();
        let mut packed = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
        for name in names {
            packed.extend_from_slice(format!("{to} {name}\n").as_bytes());
        }
        fs::write(self.git_dir.join("packed-refs"), packed).expect("room");
    }

    /// Moves every ref to the next commit, as a push would, and journals it.
    fn update(&self, round: usize) {
        let (old, new) = (self.commits[round], self.commits[round + 1]);
        self.move_refs(new);
        self.append(old, new);
    }

    fn append(&self, old: ObjectId, new: ObjectId) {
        let origin = Arc::new(Origin::of(Source::PostReceive));
        let draft = |number| Draft {
            update: RefUpdate {
                old,
                new,
                name: name(number),
            },
            txn_id: None,
            origin: origin.clone(),
        };
        let drafts: Vec<_> = (0..self.refs).map(draft).collect();
        let writer = Writer::new(Disk, SystemClock::default(), &self.git_dir, Duration::from_secs(1));
        assert!(writer.append(&drafts).expect("a journal").failed.is_empty());
    }

    fn cycle(&self, program: &Path) -> Cost {
        let before = bytes_read();
        let started = Instant::now();
        let output = Command::new("/usr/bin/time")
            .args(["-f", "%M"])
            .arg(program)
            .args(["run", "--repo"])
            .arg(&self.git_dir)
            .arg("--remote")
            .arg(self.folder.path().join("mirror.git"))
            .stdout(Stdio::null())
            .output()
            .expect("/usr/bin/time (package time) is needed");
        let time = started.elapsed();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let kibibytes: u64 = text
            .lines()
            .last()
            .and_then(|line| line.parse().ok())
            .expect("a number");
        Cost {
            time,
            memory: kibibytes << 10,
            read: bytes_read() - before,
        }
    }

    fn assert_mirrored(&self) {
        let backlog = Backlog::load(&Disk, &self.git_dir).expect("a journal");
        assert_eq!((backlog.pending.len(), backlog.problem_count), (0, 0));
    }
}

/// Returns the bytes read by this process and its finished children (proc_pid_io(5), `rchar`).
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("/proc");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|number| number.parse().ok()).expect("a number")
}

fn name(number: usize) -> BString {
    format!("refs/kv/n{number:07}").into()
}

/// Writes a journal with this number of entries, in segments as rotation makes them. The pending ones are spread
/// evenly.
fn write_journal(git_dir: &Path, entries: usize, pending: usize, update: &dyn Fn(usize) -> RefUpdate) {
    let step = entries / pending;
    let first = Timestamp::now().as_millisecond() as u64 - entries as u64 - 1;
    let id = |number: usize| Ulid::from_parts(first + number as u64, 1);
    let mut file = BufWriter::new(fs::File::create(path_in(git_dir)).expect("a journal"));
    let (mut length, mut next_pending) = (0, 0);
    for number in 0..entries {
        let is_pending = number % step == 0 && next_pending < pending;
        let entry = Entry {
            entry_id: id(number),
            timestamp: Timestamp::UNIX_EPOCH,
            update: update(if is_pending { next_pending } else { number }),
            pusher: Some("user@example.com".into()),
            repo: Some("o/r".into()),
            source: Source::PostReceive,
            status: if is_pending { Status::Pending } else { Status::Done },
            meta: None,
        };
        next_pending += usize::from(is_pending);
        let line = encode(&entry, length);
        file.write_all(&line).expect("room");
        length += line.len() as u64;
        if length >= ROTATE_AT && number + 1 < entries {
            file.flush().expect("room");
            let segment = Ulid::from_parts(first + number as u64, 2);
            fs::rename(path_in(git_dir), file_in(git_dir, Some(segment))).expect("a segment");
            file = BufWriter::new(fs::File::create(path_in(git_dir)).expect("a journal"));
            length = 0;
        }
    }
    file.flush().expect("room");
}

/// Measures the journal's operations among this number of entries, of which 10,000 are pending.
fn measure_verbs(entries: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let git_dir = folder.path();
    fs::create_dir(git_dir.join(FOLDER)).expect("a folder");
    let new = ObjectId::Sha1([0xa1; 20]);
    let update = |number| RefUpdate {
        old: new.kind().null(),
        new,
        name: name(number),
    };
    write_journal(git_dir, entries, SPARSE, &update);
    let faulty = Faulty::new(&|_, _| None);
    let writer = Writer::new(&faulty, SystemClock::default(), git_dir, Duration::from_secs(1));
    let row = |what: &str, act: &mut dyn FnMut()| {
        faulty.bytes_read.set(0);
        faulty.calls.borrow_mut().clear();
        let started = Instant::now();
        act();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let calls = faulty.calls.borrow();
        let syncs = calls
            .iter()
            .filter(|verb| verb.starts_with("sync") || **verb == "write_new")
            .count();
        println!(
            "| {what} | {entries} | {ms:.1} | {} | {syncs} |",
            faulty.bytes_read.get() / 1024
        );
    };
    let mut backlog = Backlog::default();
    let mut load = || backlog = Backlog::load(&&faulty, git_dir).expect("a journal");
    row("the first reading", &mut load);
    assert_eq!(backlog.pending.len(), SPARSE);
    row("remembering it", &mut || {
        drop(writer.maintain(&backlog, RETENTION).expect("a journal"))
    });
    let mut load = || backlog = Backlog::load(&&faulty, git_dir).expect("a journal");
    row("the next reading, 10,000 pending", &mut load);
    let settlements: Vec<_> = backlog
        .pending
        .iter()
        .map(|entry| (entry.clone(), Status::Done))
        .collect();
    row("settling 10,000 sparse ones", &mut || {
        let settled = writer.settle(&settlements).expect("a journal");
        assert_eq!(settled.settled, SPARSE, "{:?}", settled.failed.first());
    });
    let mut load = || backlog = Backlog::load(&&faulty, git_dir).expect("a journal");
    row("reading after that", &mut load);
    row("remembering that", &mut || {
        drop(writer.maintain(&backlog, RETENTION).expect("a journal"))
    });
    let mut load = || backlog = Backlog::load(&&faulty, git_dir).expect("a journal");
    row("reading, nothing pending", &mut load);
    assert!(backlog.pending.is_empty());
    row("appending one", &mut || {
        let appended = writer.append(&drafts::drafts(&["one"])).expect("a journal");
        assert_eq!(appended.written.len(), 1);
    });
}
