//! A queue between sources and commits, bounded in events and in bytes: slow commits slow the sources down instead of
//! filling the memory.
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Maximum number of waiting items.
pub const MAX_WAITING: usize = 256;
/// Senders block while this many bytes of JSON are waiting.
pub const MAX_WAITING_BYTES: usize = 8 << 20;

/// Receiving end. When it is dropped, senders get [`Closed`].
#[derive(Debug)]
pub struct Inbox<T>(Arc<Shared<T>>);

/// Sending end of a source. The inbox ends when the last sender is dropped.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Stops the receiving end, from any thread.
#[derive(Debug)]
pub struct Stop<T>(Arc<Shared<T>>);

/// Error of a sender: the inbox was dropped or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Result of waiting for the next item.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The oldest item.
    Arrival(T),
    /// Nothing arrived in time.
    Nothing,
    /// All sources have ended.
    Ended,
    /// The inbox was stopped.
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

/// Creates an inbox with its first sender.
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
    /// Receives the next item, waiting at most for `wait`; `None` waits without limit. After a stop, items that are
    /// already waiting are still returned before [`Next::Stopped`].
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

    /// Sleeps for `duration`, or until a stop; returns true if it was stopped.
    pub fn rest(&self, duration: Duration) -> bool {
        self.0.rest(duration)
    }

    /// Returns a handle that stops this inbox.
    pub fn stop(&self) -> Stop<T> {
        Stop(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Adds an item with its size in bytes; blocks while the inbox is full.
    ///
    /// # Errors
    /// The inbox was dropped or stopped.
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

    /// Sleeps for `duration`.
    ///
    /// # Errors
    /// The inbox was dropped or stopped.
    pub fn rest(&self, duration: Duration) -> Result<(), Closed> {
        if self.0.rest(duration) { Err(Closed) } else { Ok(()) }
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
    /// Stops the inbox.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl<T> Shared<T> {
    /// Locks the state. A panicked thread leaves it consistent: nothing here panics between two changes.
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
    fn items_arrive_in_order_and_the_end_is_reported() {
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
    fn a_stop_wakes_all_threads_and_delivers_waiting_items() {
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
