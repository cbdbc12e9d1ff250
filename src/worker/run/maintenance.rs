//! Maintenance of the journal before and after a cycle: corrupt lines, intents, segments.
use jiff::Timestamp;

use super::{RunError, Work};
use crate::{journal::Backlog, mirror::LocalView};

/// Intents that still need work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intents {
    /// Updates that could not be written to the journal.
    pub(super) unwritten: usize,
    /// Time at which the oldest intent becomes stale, because its push must have ended by then.
    pub(super) stale_at: Option<Timestamp>,
}

impl Work<'_> {
    /// Moves corrupt lines to the quarantine. Returns true if there were any.
    pub(super) fn mend(&self, backlog: &Backlog) -> Result<bool, RunError> {
        let mended = self.writer.mend(&backlog.problems)?;
        for repair in &mended {
            tracing::warn!(%repair, "the journal was repaired");
        }
        Ok(!mended.is_empty())
    }

    /// Turns the intents of pushes whose hook was killed into journal entries.
    pub(super) fn recover_intents(&self) -> Result<Intents, RunError> {
        let recovered = self.writer.recover_intents(&|name| self.stargate.local(name))?;
        for (entry, update) in &recovered.appended {
            tracing::info!(%entry, ref = %update.name, "recovered from an intent");
        }
        for (update, reason) in &recovered.dropped {
            tracing::debug!(ref = %update.name, %reason, "an intent needs no entry");
        }
        for (update, cause) in &recovered.failed {
            tracing::error!(ref = %update.name, %cause, "cannot write the entry of an intent; the intent stays");
        }
        for (update, why) in &recovered.unknown {
            tracing::error!(ref = %update.name, %why, "an intent stays, because its ref cannot be read");
        }
        for (intent, why) in &recovered.unreadable {
            tracing::warn!(%intent, why, "not an intent; moved to the quarantine");
        }
        Ok(Intents {
            unwritten: recovered.failed.len(),
            stale_at: recovered.stale_at,
        })
    }

    /// Rotates the journal and removes old segments. An error is logged only.
    pub(super) fn maintain(&self, backlog: &Backlog) {
        match self.writer.maintain(backlog, self.config.retention) {
            Ok(maintained) => {
                maintained
                    .rotated
                    .iter()
                    .for_each(|segment| tracing::info!(%segment, "the journal was rotated"));
                maintained
                    .removed
                    .iter()
                    .for_each(|segment| tracing::info!(%segment, "a settled segment was removed"));
            }
            Err(error) => tracing::warn!(%error, "cannot rotate the journal"),
        }
    }
}
