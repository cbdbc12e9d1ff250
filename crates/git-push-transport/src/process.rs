//! Programs that are not waited for without end.
use std::{
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// How often a program is looked at that is about to end.
const GLANCE: Duration = Duration::from_millis(5);

/// How the program ended, if it does so within `limit`.
pub(super) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < limit => thread::sleep(GLANCE),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}
