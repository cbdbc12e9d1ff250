//! The interface that other programs use: connections between threads, errors, and a flag that stops a push.
#![cfg(feature = "local")]
use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bstr::BString;
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Pack, Party, Push, RemoteRef, Report, Request,
    Stage, Traffic, WireError, report_status::Parser,
};
use git_push_transport::{Remote, local::Local};
use gix::ObjectId;
use tempfile::TempDir;

const NAME: &str = "refs/heads/main";

fn is_send<T: Send>() {}

#[test]
fn connections_and_what_they_return_are_send() {
    is_send::<Remote>();
    is_send::<Local>();
    #[cfg(feature = "http")]
    is_send::<git_push_transport::http::Http>();
    #[cfg(any(feature = "daemon", feature = "ssh"))]
    is_send::<git_push_transport::stream::Stream>();
    is_send::<Result<Report, Error>>();
    is_send::<Pack>();
}

/// A remote without refs, a repository whose objects stay in memory, and a blob in it.
fn pair() -> (TempDir, Local, gix::Repository, ObjectId) {
    let folder = tempfile::tempdir().expect("a folder");
    let remote = folder.path().join("remote.git");
    gix::init_bare(&remote).expect("a remote");
    let repository = gix::init_bare(folder.path().join("local.git")).expect("a repository");
    let repository = repository.with_object_memory();
    let blob = repository.write_blob("hello").expect("a blob").detach();
    (folder, Local::open(&remote).expect("a remote"), repository, blob)
}

/// Sets the flag when a stage begins.
struct StopAt(fn(&Stage<'_>) -> bool, Arc<AtomicBool>);

impl Observer for StopAt {
    fn stage(&self, stage: Stage<'_>) {
        if self.0(&stage) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_push_can_be_stopped_in_each_stage() {
    let stages: [fn(&Stage<'_>) -> bool; 3] = [
        |stage| matches!(stage, Stage::Counting),
        |stage| matches!(stage, Stage::Compressing { .. }),
        |stage| matches!(stage, Stage::Sending { .. }),
    ];
    for stage in stages {
        let (_folder, mut connection, repository, blob) = pair();
        let tree = tree_with(&repository, blob);
        let advertisement = connection.advertisement().expect("an advertisement");
        let flag = Arc::default();
        let stop = StopAt(stage, Arc::clone(&flag));
        let push = Push::new(&repository, &advertisement).command(Command::create("refs/tags/tree", tree));
        let stopped = push.progress(&stop).interrupt(&flag).send(&mut connection);
        let error = stopped.expect_err("a push that is stopped");
        assert_eq!((error.kind(), error.fault()), (ErrorKind::Interrupted, Party::Us));
        assert!(!error.is_retryable());
        assert!(connection.read_refs(&["refs/".into()]).expect("refs").is_empty());
    }
}

fn tree_with(repository: &gix::Repository, blob: ObjectId) -> ObjectId {
    let entry = gix::objs::tree::Entry {
        mode: gix::objs::tree::EntryKind::Blob.into(),
        filename: "file".into(),
        oid: blob,
    };
    let tree = gix::objs::Tree { entries: vec![entry] };
    repository.write_object(&tree).expect("a tree").detach()
}

/// A connection of another program. The server accepts the request, and its answer is `answer`.
struct Answers<'a> {
    answer: &'a [u8],
    sent: Option<(Request, u64)>,
    stop: Option<Arc<AtomicBool>>,
}

impl Connection for Answers<'_> {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        Ok(Advertisement::default())
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let mut pack = pack.expect("a pack");
        if let Some(flag) = &self.stop {
            flag.store(true, Ordering::Relaxed);
        }
        let read = std::io::copy(&mut pack, &mut std::io::sink());
        if read.is_err() && pack.is_interrupted() {
            return Err(Error::interrupted());
        }
        self.sent = Some((request.clone(), read.expect("the whole pack")));
        let mut parser = Parser::new(request);
        parser.feed(self.answer)?;
        Ok(parser.finish()?)
    }

    fn read_refs(&mut self, _: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        Ok(Vec::new())
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

fn push_to(connection: &mut Answers<'_>, flag: &Arc<AtomicBool>) -> Result<Report, Error> {
    let (_folder, _, repository, blob) = pair();
    let mut advertisement = connection.advertisement()?;
    advertisement.capabilities.list = vec![("report-status".into(), None), ("agent".into(), None)];
    let push = Push::new(&repository, &advertisement).command(Command::create(NAME, blob));
    push.agent("program/1").interrupt(flag).send(connection)
}

#[test]
fn a_lost_answer_is_uncertain_and_keeps_its_cause() {
    let mut connection = Answers {
        answer: b"000eunpack ok\n",
        sent: None,
        stop: None,
    };
    let error = push_to(&mut connection, &Arc::default()).expect_err("half a report");
    assert_eq!((error.kind(), error.fault()), (ErrorKind::Uncertain, Party::Between));
    assert!(error.is_retryable());
    assert!(error.source().is_some_and(|cause| cause.is::<WireError>()), "{error:?}");
    let (request, bytes) = connection.sent.expect("a request");
    assert!(bytes > 32);
    assert_eq!(request.capabilities, ["report-status", "agent=program/1"]);
}

#[test]
fn a_pack_stops_in_the_middle() {
    let flag = Arc::default();
    let mut connection = Answers {
        answer: b"",
        sent: None,
        stop: Some(Arc::clone(&flag)),
    };
    let error = push_to(&mut connection, &flag).expect_err("a push that is stopped");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(connection.sent.is_none());
}

#[allow(dead_code)]
#[path = "../examples/lease.rs"]
mod lease;
#[allow(dead_code)]
#[path = "../examples/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "../examples/uncertain.rs"]
mod uncertain;

#[test]
fn a_commit_in_memory_is_pushed_on_top_of_the_branch() {
    let (_folder, mut connection, ..) = pair();
    for note in ["one", "two"] {
        let report = memory::push_note(&mut connection, NAME, note).expect("a push");
        assert!(report.all_accepted(), "{report:?}");
    }
}

#[test]
fn a_lease_holds_or_nothing_is_sent() {
    let (_folder, mut connection, repository, blob) = pair();
    let name = "refs/tags/one";
    let outcome = uncertain::push_and_look(&mut connection, &repository, name, blob);
    assert_eq!(outcome.expect("a push"), uncertain::Outcome::Done);
    let other = repository.write_blob("other").expect("a blob").detach();
    let ids = (blob, other);
    let verdict = lease::push_with_lease(&mut connection, &repository, name, ids).expect("a lease that holds");
    assert_eq!(verdict, git_push::Verdict::Accepted);
    let error = lease::push_with_lease(&mut connection, &repository, name, ids).expect_err("a stale lease");
    assert_eq!((error.kind(), error.fault()), (ErrorKind::NotSent, Party::Others));
}

/// Loses the answer to a push: before the server gets the request, or after.
struct Loses {
    server: Local,
    request_arrives: bool,
}

impl Connection for Loses {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.server.advertisement()
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        if self.request_arrives {
            assert!(self.server.send(request, pack)?.all_accepted());
        }
        Err(Error::new(ErrorKind::Uncertain, "the answer was lost"))
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.server.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        self.server.traffic()
    }
}

#[test]
fn a_look_decides_an_uncertain_push() {
    let expected = [(true, uncertain::Outcome::Done), (false, uncertain::Outcome::NotDone)];
    for (request_arrives, expected) in expected {
        let (_folder, server, repository, blob) = pair();
        let mut connection = Loses {
            server,
            request_arrives,
        };
        let outcome = uncertain::push_and_look(&mut connection, &repository, "refs/tags/one", blob);
        assert_eq!(outcome.expect("a look"), expected);
    }
}

#[allow(dead_code)]
#[path = "../examples/spawn_blocking.rs"]
mod spawn_blocking;

#[test]
fn a_push_runs_beside_asynchronous_code_and_can_be_stopped_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let remote = folder.path().join("remote.git");
    gix::init_bare(&remote).expect("a remote");
    let repository = gix::init_bare(folder.path().join("local.git")).expect("a repository");
    let blob = repository.write_blob("hello").expect("a blob").detach();
    let repository = repository.into_sync();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for (name, stop) in [("refs/tags/one", false), ("refs/tags/two", true)] {
        let location = git_push_transport::Location::Path(remote.clone());
        let connection = Remote::open(location, &git_push_transport::Settings::default()).expect("a remote");
        let stop_flag = Arc::new(AtomicBool::new(stop));
        let pushed = spawn_blocking::push(connection, repository.clone(), name.into(), blob, stop_flag);
        match runtime.block_on(pushed).expect("a thread") {
            Ok(report) => assert!(!stop && report.all_accepted(), "{report:?}"),
            Err(error) => assert!(stop && error.kind() == ErrorKind::Interrupted, "{error}"),
        }
    }
    let refs = Local::open(&remote).expect("a remote").read_refs(&["refs/".into()]);
    let names: Vec<_> = refs.expect("refs").into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["refs/tags/one"]);
}
