//! Threads for work that may take long, a limited number at once. Work with the same key never runs at the same time.
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Threads for deliveries.
pub(super) struct Pool<K, W> {
    /// Limit of threads.
    most: usize,
    state: Mutex<State<K, W>>,
    ended: Condvar,
}

struct State<K, W> {
    /// At most one for each key.
    waiting: VecDeque<(K, W)>,
    running: BTreeSet<K>,
    threads: usize,
}

impl<K: Ord + Clone + Send + 'static, W: Send + 'static> Pool<K, W> {
    /// Creates a pool of at most this number of threads. Each ends when it has nothing to do.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            running: BTreeSet::new(),
            threads: 0,
        };
        Arc::new(Pool {
            most,
            state: Mutex::new(state),
            ended: Condvar::new(),
        })
    }

    /// Adds work. It replaces work with the same key that is still waiting.
    ///
    /// # Errors
    /// There is no thread for it, so the work is dropped.
    pub(super) fn add(self: &Arc<Self>, key: K, work: W, run: impl Fn(W) + Send + 'static) -> io::Result<()> {
        let mut state = self.state();
        match state.waiting.iter_mut().find(|(waiting, _)| *waiting == key) {
            Some((_, waiting)) => *waiting = work,
            None => state.waiting.push_back((key, work)),
        }
        if state.threads >= self.most {
            return Ok(());
        }
        let pool = self.clone();
        match thread::Builder::new().spawn(move || pool.run_all(run)) {
            Ok(_) => state.threads += 1,
            // A running thread takes it.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                state.waiting.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits until there is nothing to do, at most for `limit`. Returns the number of what is left.
    pub(super) fn finish(&self, limit: Duration) -> usize {
        let is_busy = |state: &mut State<K, W>| state.left() > 0;
        let waited = self.ended.wait_timeout_while(self.state(), limit, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.left()
    }

    fn run_all(&self, run: impl Fn(W)) {
        while let Some((key, work)) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| run(work))).is_err() {
                tracing::error!("a thread that sends alerts has panicked; the next cycle retries");
            }
            self.state().running.remove(&key);
            self.ended.notify_all();
        }
    }

    /// Takes the next work. If there is none, the thread ends.
    fn next(&self) -> Option<(K, W)> {
        let mut state = self.state();
        let State { waiting, running, .. } = &*state;
        let index = waiting.iter().position(|(key, _)| !running.contains(key));
        let next = index.and_then(|index| state.waiting.remove(index));
        match &next {
            Some((key, _)) => drop(state.running.insert(key.clone())),
            None => state.threads -= 1,
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State<K, W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, W> State<K, W> {
    fn left(&self) -> usize {
        self.waiting.len() + self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(60);

    #[test]
    fn the_number_at_once_is_limited_and_everything_is_done() {
        let pool = Pool::new(2);
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for number in 0..5 {
            let (started, gate) = (started.clone(), gate.clone());
            let run = move |number| {
                started.send(number).expect("the test is waiting");
                gate.lock().expect("not poisoned").recv().expect("the test is waiting");
            };
            pool.add(number, number, run).expect("a thread");
        }
        let mut begun: Vec<i32> = starts.iter().take(2).collect();
        assert_eq!(pool.state().running.len(), 2);
        assert_eq!(pool.finish(Duration::ZERO), 5, "they are abandoned");
        for left in [3, 2, 1] {
            go.send(()).expect("somebody waits");
            begun.push(starts.recv_timeout(ENOUGH).expect("the next one starts"));
            let state = pool.state();
            assert!(state.threads <= 2 && state.waiting.len() == left - 1);
        }
        (0..2).for_each(|_| go.send(()).expect("somebody waits"));
        assert_eq!(pool.finish(ENOUGH), 0);
        begun.sort_unstable();
        assert_eq!(begun, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn work_with_the_same_key_waits_and_newer_work_replaces_it() {
        let pool = Pool::new(2);
        let (started, starts) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for number in 0..3 {
            let (started, gate) = (started.clone(), gate.clone());
            let run = move |number| {
                started.send(number).expect("the test is waiting");
                gate.lock().expect("not poisoned").recv().expect("the test is waiting");
            };
            pool.add("same", number, run).expect("a thread");
            if number == 0 {
                assert_eq!(starts.recv_timeout(ENOUGH), Ok(0));
            }
        }
        (0..2).for_each(|_| go.send(()).expect("somebody waits"));
        assert_eq!(pool.finish(ENOUGH), 0);
        assert_eq!(starts.try_iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_panic_ends_neither_the_thread_nor_the_other_work() {
        let pool = Pool::new(1);
        let (done, ends) = mpsc::channel();
        for number in 0..3 {
            let done = done.clone();
            let run = move |number| {
                assert_ne!(number, 0, "the first one fails");
                done.send(number).expect("the test is waiting");
            };
            pool.add(number, number, run).expect("a thread");
        }
        assert_eq!(pool.finish(ENOUGH), 0);
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
