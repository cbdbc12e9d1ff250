//! Pushes beside the commits, on a thread of its own: what is committed while a push is under way goes with the next one. When
//! it pushes is [`PushSchedule`]'s affair, what a push is that of who starts it.
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

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Everything that was committed before it is on the remote.
    Done,
    /// It failed; the remote may have asked to wait.
    Failed(Option<Duration>),
}

#[derive(Debug)]
enum Note {
    Committed,
    Finish,
}

impl Pusher {
    /// Pushes at once, for there may be commits from before, and from then on as `pace` says. `attempt` is to tell of its errors
    /// itself.
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
            // Nobody waits for it any more when it took too long.
            let _ = ended.send(is_whole);
        });
        Pusher { notes, done }
    }

    /// Something was committed.
    pub fn committed(&self) {
        // Its thread lives as long as this.
        let _ = self.notes.send(Note::Committed);
    }

    /// Has what is left pushed, within `grace`; whether everything is on the remote.
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
    fn what_is_committed_during_a_push_goes_with_the_next_one() {
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
