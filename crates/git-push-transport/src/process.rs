//! Waiting for a program with a time limit.
use std::{
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Interval between checks for the end of a program.
const GLANCE: Duration = Duration::from_millis(5);

/// Returns the status of the program if it ends within `limit`.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < limit => thread::sleep(GLANCE),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}
