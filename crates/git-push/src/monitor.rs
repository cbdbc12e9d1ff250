//! Progress and interruption of a running push.
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Observer};

/// A flag that stays false.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);

/// An observer, and a flag that stops the work.
#[derive(Clone, Copy)]
pub(super) struct Monitor<'a> {
    pub(super) observer: &'a dyn Observer,
    pub(super) interrupt: &'a AtomicBool,
}

impl Monitor<'_> {
    /// A monitor that does nothing.
    pub(super) fn none() -> Self {
        Monitor {
            observer: &(),
            interrupt: &NEVER,
        }
    }

    /// Fails if the caller asked to stop.
    pub(super) fn check(self) -> Result<(), Error> {
        check(self.interrupt)
    }
}

/// Fails if the flag is set.
pub(super) fn check(interrupt: &AtomicBool) -> Result<(), Error> {
    if interrupt.load(Ordering::Relaxed) {
        return Err(Error::interrupted());
    }
    Ok(())
}
