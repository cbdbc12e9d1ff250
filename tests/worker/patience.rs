//! Groups that a worker leaves alone for a while. The cycles run by a manual clock, on a mirror that is a folder.
#![cfg(unix)]

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use durable::clock::Clock;
use jiff::Timestamp;
use stargate_mirror::worker::{self, CycleOutcome, CycleReport, Memory, Options, RunError};
use support::stargate::{Stargate, creation, git};

/// A clock that stands still.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration) {}
    fn random(&self) -> f64 {
        0.5
    }
}

/// A Stargate with a mirror beside it, and a client with a commit.
fn stargate() -> (Stargate, PathBuf, PathBuf) {
    let stargate = Stargate::with_hook();
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    let mirror = stargate.folder().join("mirror.git");
    stargate.configure("stargate.remote", &mirror.display().to_string());
    let client = stargate.client("first");
    (stargate, mirror, client)
}

fn patient_cycle(stargate: &Stargate, now: Timestamp) -> CycleReport {
    let options = Options {
        patient: true,
        ..Default::default()
    };
    let start = Instant::now();
    loop {
        match worker::run(&stargate.git_dir, &options, &|_| None, &At(now)) {
            // A child of another test holds the lock of the last cycle until it executes its program.
            Err(RunError::Locked(_)) if start.elapsed() < Duration::from_secs(10) => thread::yield_now(),
            report => return report.expect("a cycle"),
        }
    }
}

fn push(client: &std::path::Path, name: &str) {
    git(client, ["push", "-q", "origin", &format!("HEAD:refs/kv/{name}")]);
}

#[test]
fn an_intent_of_a_push_that_may_go_on_is_looked_at_when_it_is_stale() {
    let (stargate, ..) = stargate();
    assert!(stargate.run_pre_receive(creation("refs/kv/main")).status.success());
    let [name] = &stargate.intents()[..] else {
        panic!("one intent")
    };
    let text = fs::read_to_string(stargate.git_dir.join(".stargate/intents").join(name)).expect("an intent");
    let intent: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let written: Timestamp = intent["timestamp"].as_str().expect("a time").parse().expect("a time");
    let report = patient_cycle(&stargate, written + Duration::from_secs(10));
    assert_eq!(report.outcome, CycleOutcome::Idle);
    let next = report.next_try.expect("a time to look at it");
    assert_eq!(next, written.as_second() + 61);
    let report = patient_cycle(&stargate, Timestamp::from_second(next).expect("a time"));
    assert_eq!((report.next_try, stargate.intents().len()), (None, 0));
}

/// The same, mirrored, except one group that has just failed, because the mirror has somebody else's history.
fn with_a_trouble(now: Timestamp) -> (Stargate, CycleReport) {
    let (stargate, mirror, client) = stargate();
    push(&client, "main");
    assert_eq!(patient_cycle(&stargate, now).outcome, CycleOutcome::Mirrored);
    git(
        &client,
        ["push", "-q", &mirror.display().to_string(), "HEAD:refs/kv/other"],
    );
    git(&client, ["checkout", "-q", "--orphan", "another"]);
    git(&client, ["commit", "-q", "--allow-empty", "-m", "another"]);
    push(&client, "other");
    let tried = patient_cycle(&stargate, now);
    assert!(tried.asked && tried.next_try.is_some());
    (stargate, tried)
}

#[test]
fn a_cycle_in_which_every_group_rests_asks_nothing() {
    let now = Timestamp::now();
    let (stargate, tried) = with_a_trouble(now);
    let rested = patient_cycle(&stargate, now + Duration::from_secs(1));
    assert_eq!(rested.outcome, CycleOutcome::Incomplete);
    assert_eq!((rested.asked, rested.pending), (false, 1));
    assert_eq!(rested.next_try, tried.next_try);
}

#[test]
fn a_trouble_of_which_no_entry_is_pending_is_forgotten() {
    let now = Timestamp::now();
    let (stargate, _) = with_a_trouble(now);
    let backoffs = || {
        Memory::load(&stargate.git_dir.join(".stargate/worker.json"))
            .backoffs
            .len()
    };
    assert_eq!(backoffs(), 1);
    let journal = fs::read_to_string(stargate.journal()).expect("a journal");
    fs::write(stargate.journal(), journal.replace("\"pending\"", "\"skipped\"")).expect("a file");
    let report = patient_cycle(&stargate, now + Duration::from_secs(1));
    assert_eq!((report.outcome, report.next_try), (CycleOutcome::Idle, None));
    assert_eq!(backoffs(), 0);
    // The refs of both sides were compared: this one differs, without an entry.
    let report = patient_cycle(&stargate, now + Duration::from_secs(2));
    assert_eq!((report.outcome, report.asked), (CycleOutcome::Idle, false));
}
