//! Journal as the worker uses it: reads the backlog, appends entries, writes their statuses, and repairs and rotates files.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bstr::{BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use jiff::Timestamp;

use super::{
    attempt::{EntryResults, Settled},
    cycle::Cycle,
    error::RunError,
    requests::Mirror,
};
use crate::{
    config::Config,
    journal::{self, Backlog, Draft, Entry, Located, Origin, Source, Status, Writer},
    mirror::LocalView,
    namespace::namespace,
    ref_update::RefUpdate,
};

/// Entries of one repository.
pub(super) struct Entries<'a> {
    writer: Writer<Disk, &'a dyn Clock>,
    git_dir: PathBuf,
    repo_id: Option<BString>,
    retention: Duration,
}

/// Intents that still need work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intents {
    /// Updates that could not be written to the journal.
    pub(super) unwritten: usize,
    /// Time at which the oldest intent becomes stale, because its push must have ended by then.
    pub(super) stale_at: Option<Timestamp>,
}

/// Number of statuses written to the journal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatusCounts {
    pub(super) failed: usize,
    others: usize,
}

impl StatusCounts {
    pub(super) fn settled(self) -> usize {
        self.failed + self.others
    }
}

/// Returns the ref updates of these entries.
pub(super) fn updates(entries: &[Located]) -> Vec<RefUpdate> {
    entries.iter().map(|located| located.entry.update.clone()).collect()
}

impl<'a> Entries<'a> {
    /// Creates the entries of the repository at `git_dir`.
    pub(super) fn new(git_dir: &Path, config: &Config, clock: &'a dyn Clock) -> Self {
        Entries {
            writer: Writer::new(Disk, clock, git_dir, config.lock_timeout).allow_network(config.allow_nfs),
            git_dir: git_dir.to_owned(),
            repo_id: config.repo_id.clone(),
            retention: config.retention,
        }
    }

    /// Reads the backlog, and logs lines that are not entries.
    pub(super) fn backlog(&self) -> Result<Backlog, RunError> {
        let journal = journal::path_in(&self.git_dir);
        let backlog = Backlog::load(&Disk, &self.git_dir).map_err(|error| RunError::Read(journal.clone(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not a journal entry");
        }
        Ok(backlog)
    }

    /// Pushes these entries. Returns the results of their groups, and the number of statuses written to the journal.
    pub(super) fn push(
        &self,
        cycle: &Cycle<'_>,
        mirror: &mut dyn Mirror,
        entries: &[Located],
    ) -> Result<(Vec<Settled>, StatusCounts), RunError> {
        let mut counts = StatusCounts::default();
        let mut attempt = 0;
        let record = |results: &EntryResults| {
            attempt += 1;
            self.record(entries, results, attempt, &mut counts)
        };
        let settled = cycle.run(mirror, &updates(entries), record)?;
        Ok((settled, counts))
    }

    /// Appends entries for these ref updates, and returns their number.
    pub(super) fn append(&self, updates: Vec<RefUpdate>, source: Source) -> Result<usize, RunError> {
        if updates.is_empty() {
            return Ok(0);
        }
        let origin = Arc::new(Origin {
            repo: self.repo_id.clone(),
            ..Origin::of(source)
        });
        let draft = |update| Draft {
            update,
            txn_id: None,
            origin: origin.clone(),
        };
        let drafts: Vec<Draft> = updates.into_iter().map(draft).collect();
        let appended = self.writer.append(&drafts)?;
        for (index, cause) in &appended.failed {
            tracing::error!(ref = %drafts[*index].update.name, %cause, "cannot write a journal entry");
        }
        Ok(appended.written.len())
    }

    /// Repairs the end of the journal, and turns the intents of pushes whose hook was killed into entries.
    pub(super) fn recover(&self, local_view: &dyn LocalView) -> Result<Intents, RunError> {
        self.writer.repair()?;
        let recovered = self.writer.recover_intents(&|name| local_view.local(name))?;
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

    /// Moves corrupt lines to the quarantine. Returns true if there were any.
    pub(super) fn mend(&self, backlog: &Backlog) -> Result<bool, RunError> {
        let mended = self.writer.mend(&backlog.problems)?;
        for repair in &mended {
            tracing::warn!(%repair, "the journal was repaired");
        }
        Ok(!mended.is_empty())
    }

    /// Rotates the journal and removes old segments. An error is logged only.
    pub(super) fn maintain(&self, backlog: &Backlog) {
        match self.writer.maintain(backlog, self.retention) {
            Ok(maintained) => {
                if let Some(segment) = &maintained.rotated {
                    tracing::info!(%segment, "the journal was rotated");
                }
                for segment in &maintained.removed {
                    tracing::info!(%segment, "a settled segment was removed");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot rotate the journal"),
        }
    }

    /// Writes the new statuses to the journal, and counts them.
    fn record(
        &self,
        pending: &[Located],
        results: &EntryResults,
        attempt: u32,
        counts: &mut StatusCounts,
    ) -> Result<(), RunError> {
        let each = [
            (&results.mirrored, Status::Done),
            (&results.skipped, Status::Skipped),
            (&results.failed, Status::Failed),
        ];
        for (indexes, status) in each.into_iter().filter(|(indexes, _)| !indexes.is_empty()) {
            let settlements: Vec<_> = indexes.iter().map(|index| (pending[*index].clone(), status)).collect();
            let settled = self.writer.settle(&settlements)?;
            for (index, cause) in &settled.failed {
                let entry = &settlements[*index].0.entry;
                tracing::error!(entry = %entry.entry_id, %cause, "cannot write the entry's status; the entry stays pending");
            }
            for (index, (located, status)) in settlements.iter().enumerate() {
                if !settled.failed.iter().any(|(failed, _)| *failed == index) {
                    log_settled(&located.entry, *status, attempt);
                }
            }
            match status {
                Status::Failed => counts.failed += settled.settled,
                _ => counts.others += settled.settled,
            }
        }
        Ok(())
    }
}

/// Logs that an attempt settled an entry. A large backlog would fill the log, so the level is low.
fn log_settled(entry: &Entry, status: Status, attempt: u32) {
    let name = entry.update.name.as_bstr();
    tracing::debug!(
        entry_id = %entry.entry_id,
        ref = %name,
        namespace = namespace(name).map(tracing::field::display),
        attempt,
        outcome = %status,
        "settled"
    );
}
