//! Between sources and commits: a queue with a bound in events and in bytes, so that who is slow to commit makes the sources
//! slow, and never fills the memory.
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The most things that wait.
pub const MAX_WAITING: usize = 256;
/// Beyond so many bytes of JSON nothing is added.
pub const MAX_WAITING_BYTES: usize = 8 << 20;

/// The end that takes out. When it is dropped, senders are told.
#[derive(Debug)]
pub struct Inbox<T>(Arc<Shared<T>>);

/// The end that a source puts into. The inbox ends when there is none left.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Ends the taking, from any thread.
#[derive(Debug)]
pub struct Stop<T>(Arc<Shared<T>>);

/// Nobody takes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// What there is to take.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The oldest.
    Arrival(T),
    /// Nothing for as long as was to be waited.
    Nothing,
    /// Nothing ever again: all sources have ended.
    Ended,
    /// Nothing more is taken: it is time to stop.
    Stopped,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    senders: usize,
    stopped: bool,
}

/// An inbox with its first sender.
pub fn inbox<T>() -> (Sender<T>, Inbox<T>) {
    let state = State {
        waiting: VecDeque::new(),
        bytes: 0,
        senders: 1,
        stopped: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (Sender(shared.clone()), Inbox(shared))
}

impl<T> Inbox<T> {
    /// Takes what is next, waiting for it so long; without end for `None`. What waits already when it is stopped is still
    /// given, before [`Next::Stopped`].
    pub fn next(&self, wait: Option<Duration>) -> Next<T> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let mut state = self.0.lock();
        loop {
            if let Some((item, bytes)) = state.waiting.pop_front() {
                state.bytes -= bytes;
                self.0.changed.notify_all();
                return Next::Arrival(item);
            }
            match (state.stopped, state.senders) {
                (true, _) => return Next::Stopped,
                (false, 0) => return Next::Ended,
                _ => {}
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Next::Nothing,
                Some(left) => self.0.wait_timeout(state, left),
                None => self.0.wait(state),
            };
        }
    }

    /// Waits so long, or until it is stopped; whether it was.
    pub fn rest(&self, duration: Duration) -> bool {
        self.0.rest(duration)
    }

    /// What ends it.
    pub fn stop(&self) -> Stop<T> {
        Stop(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Puts an item of so many bytes in, once there is room.
    ///
    /// # Errors
    /// Nobody takes any more.
    pub fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let mut state = self.0.lock();
        while !state.stopped && (state.waiting.len() >= MAX_WAITING || state.bytes >= MAX_WAITING_BYTES) {
            state = self.0.wait(state);
        }
        if state.stopped {
            return Err(Closed);
        }
        state.waiting.push_back((item, bytes));
        state.bytes += bytes;
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits so long.
    ///
    /// # Errors
    /// Nobody takes any more.
    pub fn rest(&self, duration: Duration) -> Result<(), Closed> {
        match self.0.rest(duration) {
            true => Err(Closed),
            false => Ok(()),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<T> Stop<T> {
    /// It is time to stop.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl<T> Shared<T> {
    /// A thread that panicked has left the queue whole: nothing here panics between two changes.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn rest(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        while !state.stopped {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return false,
                left => state = self.wait_timeout(state, left),
            }
        }
        true
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_timeout<'a>(&self, state: MutexGuard<'a, State<T>>, left: Duration) -> MutexGuard<'a, State<T>> {
        self.changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_sent_is_taken_in_order_and_the_end_is_told() {
        let (sender, inbox) = inbox();
        let other = sender.clone();
        sender.send(1, 1).unwrap();
        other.send(2, 1).unwrap();
        drop(sender);
        assert_eq!(inbox.next(None), Next::Arrival(1));
        assert_eq!(inbox.next(None), Next::Arrival(2));
        assert_eq!(inbox.next(Some(Duration::ZERO)), Next::Nothing);
        drop(other);
        assert_eq!(inbox.next(None), Next::Ended);
        let (sender, inbox) = super::inbox();
        drop(inbox);
        assert_eq!(sender.send(1, 1), Err(Closed));
    }

    #[test]
    fn a_full_inbox_holds_its_senders() {
        for (count, bytes) in [(MAX_WAITING, 1), (8, MAX_WAITING_BYTES / 8)] {
            let (sender, inbox) = inbox();
            let sending = thread::spawn(move || {
                for number in 0..3 * count {
                    sender.send(number, bytes).unwrap();
                }
            });
            for number in 0..3 * count {
                assert!(inbox.0.lock().waiting.len() <= count);
                assert_eq!(inbox.next(None), Next::Arrival(number));
            }
            sending.join().unwrap();
            assert_eq!(inbox.next(None), Next::Ended);
        }
    }

    #[test]
    fn stopping_wakes_everybody_and_gives_what_waits() {
        let (sender, inbox) = inbox();
        for number in 0..MAX_WAITING {
            sender.send(number, 1).unwrap();
        }
        let full = sender.clone();
        let resting = sender.clone();
        let held = thread::spawn(move || full.send(0, 1));
        let rested = thread::spawn(move || resting.rest(Duration::from_secs(3600)));
        inbox.stop().stop();
        assert_eq!(held.join().unwrap(), Err(Closed));
        assert_eq!(rested.join().unwrap(), Err(Closed));
        assert!(inbox.rest(Duration::from_secs(3600)));
        for number in 0..MAX_WAITING {
            assert_eq!(inbox.next(None), Next::Arrival(number));
        }
        assert_eq!(inbox.next(None), Next::Stopped);
    }
}
