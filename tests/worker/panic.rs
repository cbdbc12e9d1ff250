//! A cycle that panics is followed by another one.
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use stargate_mirror::worker::{
    CycleObserver, EndedCycle, Observers, Target, WatchEvent, Watched, watch, watch_channel,
};
use support::stargate::Stargate;

/// Panics at the end of the first cycle, asks for a second one, and stops the watch after that.
struct Fails {
    events: Mutex<Sender<WatchEvent>>,
    repository: PathBuf,
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Fails {
    fn send(&self, event: WatchEvent) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.send(event).expect("the watch is running");
    }
}

impl CycleObserver for Fails {
    fn cycle_began(&self, _: &Target, _: Timestamp) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn cycle_ended(&self, _: &EndedCycle<'_>) {
        assert_ne!(self.ended.fetch_add(1, Ordering::SeqCst), 0, "the first cycle fails");
        self.send(WatchEvent::Stop);
    }

    fn cycle_finished(&self, _: &Target) {
        if self.begun.load(Ordering::SeqCst) == 1 {
            self.send(WatchEvent::Appended(self.repository.clone()));
        }
    }
}

#[test]
fn a_cycle_that_panics_is_followed_by_another_one() {
    let stargate = Stargate::with_hook();
    let (sender, events) = watch_channel();
    let fails = Arc::new(Fails {
        events: Mutex::new(sender.clone()),
        repository: stargate.git_dir.clone(),
        begun: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
    });
    let watched = Watched {
        repositories: vec![stargate.git_dir.clone()],
        observers: Observers::default().with(fails.clone()),
        ..Default::default()
    };
    let (done, ends) = mpsc::channel();
    thread::spawn(move || {
        watch(watched, Arc::new(|_: &str| None), (sender, events), || ());
        done.send(()).expect("the test is waiting");
    });
    ends.recv_timeout(Duration::from_secs(60))
        .expect("a second cycle stops the watch");
    assert_eq!(fails.ended.load(Ordering::SeqCst), 2);
}
