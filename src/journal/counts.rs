//! Number of entries by status.
use serde::{Deserialize, Serialize};

use super::entry::Status;

/// Number of entries by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Not mirrored yet.
    pub pending: u64,
    /// Confirmed on the mirror.
    pub done: u64,
    /// Can never be mirrored.
    pub failed: u64,
    /// Excluded from mirroring by the configuration.
    pub skipped: u64,
}

impl Counts {
    pub(super) fn count(&mut self, status: Status) {
        *match status {
            Status::Pending => &mut self.pending,
            Status::Done => &mut self.done,
            Status::Failed => &mut self.failed,
            Status::Skipped => &mut self.skipped,
        } += 1;
    }

    pub(super) fn add(&mut self, other: Counts) {
        self.pending += other.pending;
        self.done += other.done;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}
