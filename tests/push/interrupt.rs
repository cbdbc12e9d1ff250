//! A push stops soon after its flag is set, in each stage. Progress and bytes after that moment are counted.
use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bstr::BString;
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Pack, Push, RemoteRef, Report, Request, Stage,
    Traffic,
};
use gix::{ObjectId, Repository};

use crate::history::{self, commit};

const COMMITS: usize = 100;
/// For each commit: itself, its tree, its file.
const OBJECTS: usize = 3 * COMMITS;
/// Number of objects after which the flag is set.
const STOP: usize = 40;
/// Bytes after which the flag is set.
const PIECE: usize = 4096;

/// Writes a history with a file that compresses badly in each commit.
fn write(repository: &Repository) -> ObjectId {
    let mut tip: Option<ObjectId> = None;
    for number in 0..COMMITS as u32 {
        let content: Vec<u8> = (number * 100..(number + 1) * 100)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let entry = gix::objs::tree::Entry {
            mode: gix::objs::tree::EntryKind::Blob.into(),
            filename: "file".into(),
            oid: repository.write_blob(content).unwrap().detach(),
        };
        let tree = gix::objs::Tree { entries: vec![entry] };
        let tree = repository.write_object(&tree).unwrap().detach();
        tip = Some(commit(repository, tree, tip.as_slice(), number));
    }
    tip.unwrap()
}

/// Sets the flag after [`STOP`] objects of a stage.
struct Stopper {
    is_due: fn(&Stage<'_>) -> bool,
    flag: Arc<AtomicBool>,
    in_stage: Cell<bool>,
    /// Objects when the flag was set, and at the last report.
    stopped_at: Cell<Option<usize>>,
    last: Cell<usize>,
    later_stages: Cell<usize>,
}

impl Observer for Stopper {
    fn stage(&self, stage: Stage<'_>) {
        self.in_stage.set((self.is_due)(&stage));
        let later = usize::from(self.stopped_at.get().is_some());
        self.later_stages.set(self.later_stages.get() + later);
    }

    fn objects(&self, so_far: usize) {
        if !self.in_stage.get() {
            return;
        }
        self.last.set(so_far);
        if so_far >= STOP && self.stopped_at.get().is_none() {
            self.stopped_at.set(Some(so_far));
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// A remote that reads the pack in pieces, and sets the flag after the first one.
#[derive(Default)]
struct SlowRemote {
    stop: Option<Arc<AtomicBool>>,
    pack: u64,
    before: usize,
    after: usize,
}

impl Connection for SlowRemote {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        Ok(Advertisement::default())
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let mut pack = pack.expect("a pack");
        self.pack = pack.length().expect("a length");
        let mut piece = [0; PIECE];
        loop {
            match pack.read(&mut piece) {
                Ok(0) => break,
                Ok(read) if self.before == 0 => self.before = read,
                Ok(read) => self.after += read,
                Err(_) if pack.is_interrupted() => return Err(Error::interrupted()),
                Err(error) => panic!("{error}"),
            }
            if let Some(flag) = &self.stop {
                flag.store(true, Ordering::Relaxed);
            }
        }
        let verdict = |command: &Command| (command.clone(), git_push::Verdict::Accepted);
        Ok(Report::new(request.commands.iter().map(verdict).collect()))
    }

    fn read_refs(&mut self, _: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        Ok(Vec::new())
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Pushes a new history until the flag is set in a stage.
fn stopped_in(is_due: fn(&Stage<'_>) -> bool) -> (Stopper, SlowRemote) {
    let folder = tempfile::tempdir().unwrap();
    let repository = history::repository(&folder.path().join("r.git"), "sha1");
    let create = Command::create("refs/heads/main", write(&repository));
    let stopper = Stopper {
        is_due,
        flag: Arc::default(),
        in_stage: Cell::default(),
        stopped_at: Cell::default(),
        last: Cell::default(),
        later_stages: Cell::default(),
    };
    let (advertisement, mut remote) = (Advertisement::default(), SlowRemote::default());
    let push = Push::new(&repository, &advertisement).command(create);
    let pushed = push.progress(&stopper).interrupt(&stopper.flag).send(&mut remote);
    assert_eq!(pushed.expect_err("stopped").kind(), ErrorKind::Interrupted);
    (stopper, remote)
}

#[test]
fn counting_and_compressing_stop_at_the_next_object() {
    let stages: [fn(&Stage<'_>) -> bool; 2] = [
        |stage| matches!(stage, Stage::Counting),
        |stage| matches!(stage, Stage::Compressing { objects: OBJECTS }),
    ];
    for is_due in stages {
        let (stopper, remote) = stopped_in(is_due);
        // Counting reports once per commit.
        assert!((STOP..STOP + 3).contains(&stopper.stopped_at.get().expect("the stage was reached")));
        assert_eq!(
            Some(stopper.last.get()),
            stopper.stopped_at.get(),
            "no object after that"
        );
        assert_eq!(
            (stopper.later_stages.get(), remote.before),
            (0, 0),
            "no stage after that"
        );
    }
}

#[test]
fn sending_stops_at_the_next_piece() {
    let folder = tempfile::tempdir().unwrap();
    let repository = history::repository(&folder.path().join("r.git"), "sha1");
    let create = Command::create("refs/heads/main", write(&repository));
    let (flag, advertisement) = (Arc::default(), Advertisement::default());
    let push = || {
        Push::new(&repository, &advertisement)
            .command(create.clone())
            .interrupt(&flag)
    };
    let mut patient = SlowRemote::default();
    assert!(push().send(&mut patient).expect("sent").all_accepted());
    assert_eq!((patient.before + patient.after) as u64, patient.pack);
    assert!(patient.after > 5 * PIECE, "{}", patient.after);

    let mut stopped = SlowRemote {
        stop: Some(Arc::clone(&flag)),
        ..SlowRemote::default()
    };
    let error = push().send(&mut stopped).expect_err("stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!((stopped.before, stopped.after), (PIECE, 0));
}
