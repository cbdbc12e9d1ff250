//! The journal in order, before and after a cycle: corrupt lines, intents, segments.
use jiff::Timestamp;

use super::{RunError, Work};
use crate::{journal::Backlog, mirror::LocalView};

/// What is left of intents.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intents {
    /// Updates that the journal could not be told.
    pub(super) unwritten: usize,
    /// When the first intent of a push that may go on is one of a push that has ended.
    pub(super) stale_at: Option<Timestamp>,
}

impl Work<'_> {
    /// Puts corrupt lines into quarantine; whether there were any.
    pub(super) fn mend(&self, backlog: &Backlog) -> Result<bool, RunError> {
        let mended = self.writer.mend(&backlog.problems)?;
        for repair in &mended {
            tracing::warn!(%repair, "the journal was repaired");
        }
        Ok(!mended.is_empty())
    }

    /// Pushes whose hook was killed before it could tell the journal.
    pub(super) fn recover_intents(&self) -> Result<Intents, RunError> {
        let recovered = self.writer.recover_intents(&|name| self.stargate.local(name))?;
        for (entry, update) in &recovered.appended {
            tracing::info!(%entry, ref = %update.name, "recovered from an intent");
        }
        for (update, reason) in &recovered.dropped {
            tracing::debug!(ref = %update.name, %reason, "an intent needs nothing");
        }
        for (update, cause) in &recovered.failed {
            tracing::error!(ref = %update.name, %cause, "an intent could not become an entry; it stays");
        }
        for (update, why) in &recovered.unknown {
            tracing::error!(ref = %update.name, %why, "an intent waits: the ref cannot be read");
        }
        for (intent, why) in &recovered.unreadable {
            tracing::warn!(%intent, why, "not an intent; it is kept in quarantine");
        }
        Ok(Intents {
            unwritten: recovered.failed.len(),
            stale_at: recovered.stale_at,
        })
    }

    /// Keeps the journal small. That it is not is no reason to fail.
    pub(super) fn maintain(&self, backlog: &Backlog) {
        match self.writer.maintain(backlog, self.config.retention) {
            Ok(maintained) => {
                maintained
                    .rotated
                    .iter()
                    .for_each(|segment| tracing::info!(%segment, "the journal was put aside"));
                maintained
                    .removed
                    .iter()
                    .for_each(|segment| tracing::info!(%segment, "a settled segment was removed"));
            }
            Err(error) => tracing::warn!(%error, "the journal could not be put in order"),
        }
    }
}
