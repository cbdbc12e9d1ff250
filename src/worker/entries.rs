//! Journal as the worker uses it: reads the backlog, appends entries, writes their statuses, and repairs and rotates files.
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bstr::{BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use jiff::Timestamp;
use ulid::Ulid;

use super::{
    attempt::{EntryResults, Settled},
    cycle::Cycle,
    error::RunError,
    requests::Mirror,
    share::Share,
};
use crate::{
    config::Config,
    journal::{self, Backlog, Draft, Entry, Located, Origin, Source, Status, Writer},
    mirror::{LocalView, Tally},
    namespace::namespace,
    ref_update::RefUpdate,
};

/// Entries of one repository, as one mirror sees them.
pub(super) struct Entries<'a> {
    writer: Writer<Disk, &'a dyn Clock>,
    clock: &'a dyn Clock,
    share: Share,
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

/// Statuses written to the journal.
#[derive(Debug, Clone, Default)]
pub(super) struct StatusCounts {
    pub(super) failed: usize,
    others: usize,
    /// Age of each entry when it was seen on the mirror.
    pub(super) lags: Vec<Duration>,
}

impl StatusCounts {
    pub(super) fn settled(&self) -> usize {
        self.failed + self.others
    }
}

/// Returns the ref updates of these entries.
pub(super) fn updates(entries: &[Located]) -> Vec<RefUpdate> {
    entries.iter().map(|located| located.entry.update.clone()).collect()
}

impl<'a> Entries<'a> {
    /// Creates the entries of the repository at `git_dir`.
    pub(super) fn new(git_dir: &Path, config: &Config, share: Share, clock: &'a dyn Clock) -> Self {
        Entries {
            clock,
            share,
            writer: Writer::new(Disk, clock, git_dir, config.lock_timeout).allow_network(config.allow_nfs),
            git_dir: git_dir.to_owned(),
            repo_id: config.repo_id.clone(),
            retention: config.retention,
        }
    }

    /// Reads the backlog without the entries that the mirror has settled, and logs lines that are not entries.
    pub(super) fn view(&self) -> Result<Backlog, RunError> {
        let backlog = self.load()?;
        Ok(mirror_view(backlog, &self.share.tally(), self.share.mirror()))
    }

    /// Returns the same view after bringing journal and tally in line: an entry that every mirror has settled gets its
    /// final status. There may be one after a crash, or after a mirror was removed from the settings.
    pub(super) fn backlog(&self, location: Option<&str>) -> Result<Backlog, RunError> {
        let _locked = self.share.lock(self.clock)?;
        let mut backlog = self.load()?;
        let before = self.share.tally();
        let mut tally = before.clone();
        tally.retain_mirrors(self.share.mirrors());
        if let Some(location) = location {
            tally.locate(self.share.mirror(), location);
        }
        let overall = |located: &Located| tally.overall(self.share.mirrors(), located.entry.entry_id);
        let ended = backlog
            .pending
            .iter()
            .filter_map(|located| Some((located.clone(), overall(located)?)));
        let ended: Vec<(Located, Status)> = ended.collect();
        if !ended.is_empty() {
            self.writer.settle(&ended)?;
            backlog = self.load()?;
        }
        let pending: HashSet<Ulid> = backlog.pending.iter().map(|located| located.entry.entry_id).collect();
        tally.retain_entries(|entry| pending.contains(&entry));
        self.share.save(&before, &tally);
        Ok(mirror_view(backlog, &tally, self.share.mirror()))
    }

    fn load(&self) -> Result<Backlog, RunError> {
        let journal = journal::path_in(&self.git_dir);
        let backlog = Backlog::load(&Disk, &self.git_dir).map_err(|error| RunError::Read(journal.clone(), error))?;
        for problem in &backlog.problems {
            tracing::warn!(journal = %journal.display(), %problem, "not a journal entry");
        }
        Ok(backlog)
    }

    /// Pushes these entries. Returns the results of their groups, and the statuses written to the journal.
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

    /// Appends entries for these ref updates of the mirror, and returns their number. They do not concern other mirrors,
    /// which may have other refs.
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
        let _locked = self.share.lock(self.clock)?;
        let appended = self.writer.append(&drafts)?;
        if self.share.name_among_several().is_some() {
            let before = self.share.tally();
            let mut tally = before.clone();
            for entry in &appended.written {
                tally.record(self.share.others(), *entry, Status::Skipped);
            }
            self.share.save(&before, &tally);
        }
        for (index, cause) in &appended.failed {
            tracing::error!(ref = %drafts[*index].update.name, %cause, "cannot write a journal entry");
        }
        Ok(appended.written.len())
    }

    /// Repairs the end of the journal, and turns the intents of pushes whose hook was killed into entries.
    pub(super) fn recover(&self, local_view: &dyn LocalView) -> Result<Intents, RunError> {
        let _locked = self.share.lock(self.clock)?;
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
        let _locked = self.share.lock(self.clock)?;
        let mended = self.writer.mend(&backlog.problems)?;
        for repair in &mended {
            tracing::warn!(%repair, "the journal was repaired");
        }
        Ok(!mended.is_empty())
    }

    /// Rotates the journal and removes old segments. An error is logged only.
    pub(super) fn maintain(&self, backlog: &Backlog) {
        // Other mirrors do the same, so this can wait.
        let Ok(_locked) = self.share.lock(self.clock) else {
            return;
        };
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

    /// Settles these results for the mirror, and counts them.
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
        let settled = each
            .into_iter()
            .flat_map(|(indexes, status)| indexes.iter().map(move |index| (&pending[*index], status)));
        let settled: Vec<(&Located, Status)> = settled.collect();
        if settled.is_empty() {
            return Ok(());
        }
        let unwritten = self.settle(&settled)?;
        let written = settled
            .iter()
            .filter(|(located, _)| !unwritten.contains(&located.entry.entry_id));
        let now = self.clock.now();
        for (located, status) in written {
            log_settled(&located.entry, *status, attempt);
            match status {
                Status::Failed => counts.failed += 1,
                _ => counts.others += 1,
            }
            if *status == Status::Done {
                // The clock may have been set back.
                let lag = now.duration_since(located.entry.timestamp);
                counts.lags.push(lag.try_into().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Settles entries for the mirror: in the journal if all other mirrors have settled them, else in the tally. Returns
    /// the entries whose status could not be written.
    fn settle(&self, settled: &[(&Located, Status)]) -> Result<HashSet<Ulid>, RunError> {
        let _locked = self.share.lock(self.clock)?;
        let before = self.share.tally();
        let mut tally = before.clone();
        let mut ended: Vec<(Located, Status)> = Vec::new();
        for (located, status) in settled {
            let entry = located.entry.entry_id;
            let overall = tally.settle(self.share.mirror(), self.share.mirrors(), entry, *status);
            ended.extend(overall.map(|overall| ((*located).clone(), overall)));
        }
        let mut saved = before;
        if ended.len() < settled.len() {
            // Before the journal: a later entry of a ref must not be settled while an earlier one is pending again.
            self.share.save(&saved, &tally);
            saved = tally.clone();
        }
        let written = self.writer.settle(&ended)?;
        tally.forget(&ended.iter().map(|(located, _)| located.entry.entry_id).collect());
        self.share.save(&saved, &tally);
        let mut unwritten = HashSet::new();
        for (index, cause) in &written.failed {
            let entry = ended[*index].0.entry.entry_id;
            tracing::error!(%entry, %cause, "cannot write the entry's status; the entry stays pending");
            unwritten.insert(entry);
        }
        Ok(unwritten)
    }
}

/// Returns the backlog as a mirror sees it: entries that it has settled are counted with their status there.
pub(super) fn mirror_view(mut backlog: Backlog, tally: &Tally, mirror: &str) -> Backlog {
    let counts = &mut backlog.counts;
    backlog.pending.retain(|located| {
        let status = tally.at(mirror, located.entry.entry_id);
        if let Some(status) = status {
            counts.pending -= 1;
            match status {
                Status::Failed => counts.failed += 1,
                Status::Skipped => counts.skipped += 1,
                Status::Done | Status::Pending => counts.done += 1,
            }
        }
        status.is_none()
    });
    backlog
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
