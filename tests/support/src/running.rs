//! A long-running `stargate-mirror`, and its output.
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    counter::Counter,
    programs,
    stargate::{clean_command, start},
};

/// The longest time to wait for an expected output line.
const PATIENCE: Duration = Duration::from_secs(90);

/// Number of output lines of all running commands of this test program.
pub static LINES: Counter = Counter::new();

/// A running command. It is killed on drop.
pub struct Running {
    child: Child,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts `stargate-mirror` with these arguments and nothing but these variables.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = clean_command(programs::mirror());
        command.args(arguments).envs(environment.iter().copied());
        Running::of(command)
    }

    /// Starts a command.
    pub fn of(mut command: Command) -> Self {
        let mut child = start(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let said = Arc::<(Mutex<Vec<String>>, Condvar)>::default();
        let shared = said.clone();
        let listener = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                shared.1.notify_all();
                LINES.add();
            }
            shared.1.notify_all();
        });
        Running {
            child,
            said,
            listener: Some(listener),
        }
    }

    /// Waits until one output line has this text.
    ///
    /// # Panics
    /// No line has it in time.
    pub fn until(&self, words: &str) {
        self.until_times(words, 1);
    }

    /// Waits until this many lines have this text.
    ///
    /// # Panics
    /// Too few lines have it in time.
    pub fn until_times(&self, words: &str, times: usize) {
        let start = Instant::now();
        let mut said = self.said.0.lock().unwrap_or_else(PoisonError::into_inner);
        while said.iter().filter(|line| line.contains(words)).count() < times {
            assert!(
                start.elapsed() < PATIENCE && !self.listener.as_ref().is_none_or(thread::JoinHandle::is_finished),
                "{words:?} was not said {times} times, but:\n{}",
                said.join("\n")
            );
            let waited = self.said.1.wait_timeout(said, Duration::from_millis(100));
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns its whole output.
    pub fn said(&self) -> String {
        self.said.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Returns the number of lines that contain these words.
    pub fn times(&self, words: &str) -> usize {
        self.said().lines().filter(|line| line.contains(words)).count()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and returns its exit code and its whole output.
    pub fn terminate(mut self) -> (i32, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        self.end()
    }

    /// Waits for its end, and returns its exit code and its whole output.
    pub fn wait(mut self) -> (i32, String) {
        self.end()
    }

    fn end(&mut self) -> (i32, String) {
        let code = self.child.wait().expect("it ends").code().expect("an exit code");
        self.listener.take().expect("it is there").join().expect("it reads");
        (code, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
