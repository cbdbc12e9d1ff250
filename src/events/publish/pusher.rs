//! A thread that pushes while commits continue: commits made during a push go with the next one. [`PushSchedule`] decides
//! when to push, the caller of [`Pusher::start()`] how.
use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use durable::clock::{Clock, SystemClock};

use super::push_schedule::PushSchedule;

/// A thread that pushes.
#[derive(Debug)]
pub struct Pusher {
    notes: Sender<Note>,
    done: Receiver<bool>,
}

/// Result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Everything that was committed before it is on the remote.
    Done,
    /// The push failed; the remote may have asked to wait.
    Failed(Option<Duration>),
}

#[derive(Debug)]
enum Note {
    Committed,
    Finish,
}

impl Pusher {
    /// Starts the thread. It pushes at once, for commits of an earlier run, and then as `schedule` says. `attempt` must log its
    /// own errors.
    pub fn start(schedule: PushSchedule, attempt: impl FnMut() -> Attempt + Send + 'static) -> Self {
        let (notes, inbox) = mpsc::channel();
        let (ended, done) = mpsc::channel();
        let clock = SystemClock::default();
        thread::spawn(move || {
            let is_whole = Work {
                schedule,
                attempt,
                clock,
            }
            .until_finished(&inbox);
            // The receiver is gone if the grace period has ended.
            let _ = ended.send(is_whole);
        });
        Pusher { notes, done }
    }

    /// Reports a commit.
    pub fn committed(&self) {
        // The thread lives as long as this handle.
        let _ = self.notes.send(Note::Committed);
    }

    /// Pushes the rest within `grace`; returns true if everything is on the remote.
    pub fn finish(self, grace: Duration) -> bool {
        let _ = self.notes.send(Note::Finish);
        self.done.recv_timeout(grace).unwrap_or(false)
    }
}

struct Work<A> {
    schedule: PushSchedule,
    attempt: A,
    clock: SystemClock,
}

impl<A: FnMut() -> Attempt> Work<A> {
    fn until_finished(mut self, notes: &Receiver<Note>) -> bool {
        loop {
            let note = match self.schedule.next() {
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => notes.recv_timeout(next.saturating_sub(self.clock.elapsed())),
            };
            match note {
                Ok(Note::Committed) => self.schedule.committed(),
                Err(RecvTimeoutError::Timeout) => self.push(),
                Ok(Note::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.schedule.is_behind() {
            self.push();
        }
        !self.schedule.is_behind()
    }

    fn push(&mut self) {
        self.schedule.begin(self.clock.elapsed());
        match (self.attempt)() {
            Attempt::Done => self.schedule.succeeded(),
            Attempt::Failed(retry_after) => {
                self.schedule
                    .failed(self.clock.elapsed(), retry_after, self.clock.random());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_during_a_push_go_with_the_next_one() {
        let (begun, begins) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let pusher = Pusher::start(PushSchedule::new(0), move || {
            begun.send(()).expect("somebody waits");
            gate.recv().expect("it is opened")
        });
        begins.recv().expect("the first is made at once");
        (0..100).for_each(|_| pusher.committed());
        go.send(Attempt::Done).expect("it waits");
        begins.recv().expect("one for all of them");
        go.send(Attempt::Done).expect("it waits");
        assert!(pusher.finish(Duration::from_secs(60)));
        assert!(begins.recv().is_err(), "there is nothing left to push");
    }

    #[test]
    fn the_end_waits_for_no_budget_and_no_distance() {
        let (begun, begins) = mpsc::channel();
        let mut attempts = vec![Attempt::Done, Attempt::Failed(Some(Duration::from_secs(3600)))];
        let pusher = Pusher::start(PushSchedule::new(1), move || {
            begun.send(()).expect("somebody waits");
            attempts.pop().expect("two are made")
        });
        begins.recv().expect("the first is made at once");
        assert!(pusher.finish(Duration::from_secs(60)));
        assert_eq!(begins.iter().count(), 1);
        let pusher = Pusher::start(PushSchedule::new(1), || Attempt::Failed(None));
        assert!(!pusher.finish(Duration::from_secs(60)));
    }
}
