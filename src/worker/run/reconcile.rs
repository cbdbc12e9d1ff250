//! What the journal missed: the refs of both sides, compared.

use git_push::Advertisement;

use super::{RunError, Work, remembered, report, updates};
use crate::{
    journal::{Backlog, Source},
    mirror::{Standing, compare, missed},
    ref_update::RefUpdate,
    refs::LocalRefs,
    worker::{
        comparison::FailedComparison,
        cycle::Mirror,
        remote_mirror::RemoteMirror,
        report::{CycleOutcome, CycleReport, GroupReport},
    },
};

/// What a comparison came to, in ref updates.
#[derive(Debug, Clone, Default)]
pub(super) struct Reconciled {
    pub(super) told: usize,
    pub(super) unwritten: usize,
    /// Why there was no comparison.
    pub(super) failed: Option<FailedComparison>,
}

impl Work<'_> {
    /// Compares the refs of both sides, and tells the journal what it missed. A mirror that cannot be asked is asked again
    /// by the next cycle. A push whose hook still runs may be told, too: then the journal has it twice.
    pub(super) fn reconcile(
        &self,
        mirror: &mut RemoteMirror<'_>,
        local: &LocalRefs,
        backlog: &Backlog,
    ) -> Result<Reconciled, RunError> {
        let advertisement = match mirror.advertisement() {
            Ok(advertisement) => advertisement,
            Err(error) => {
                tracing::warn!(%error, "the refs of both sides could not be compared");
                mirror.remember_failed_comparison(&error);
                return Ok(Reconciled {
                    failed: Some((&error).into()),
                    ..Default::default()
                });
            }
        };
        mirror.forget_failed_comparison();
        let missed = self.missed(&advertisement, local, backlog);
        let all = missed.len();
        let told = self.append_entries(missed, Source::Reconcile)?;
        // Only now: who dies before, or has not told all of it, compares again in the next cycle.
        if told == all {
            mirror.remember_reconciled(advertisement, local);
        }
        if told > 0 {
            tracing::info!(refs = told, "the journal had missed ref updates");
        }
        Ok(Reconciled {
            told,
            unwritten: all - told,
            failed: None,
        })
    }

    /// What a cycle would do; nothing is sent, and nothing told to the journal. Where `local` refs are to be compared, what
    /// the journal missed counts as pending.
    pub(super) fn dry_run(
        &self,
        mirror: &mut RemoteMirror<'_>,
        local: Option<&LocalRefs>,
        backlog: &Backlog,
    ) -> Result<CycleReport, RunError> {
        let mut report = report(CycleOutcome::Idle, backlog);
        let mut updates = updates(&backlog.pending);
        if local.is_none() && updates.is_empty() {
            return Ok(self.with_broken(report, &remembered(mirror)));
        }
        let advertisement = mirror.advertisement()?;
        updates.extend(
            local
                .into_iter()
                .flat_map(|local| self.missed(&advertisement, local, backlog)),
        );
        let plan = self.cycle().plan(&updates, &advertisement.refs);
        report.groups = plan.groups.iter().map(GroupReport::planned).collect();
        report.pending = updates.len();
        if !updates.is_empty() {
            report.outcome = CycleOutcome::Incomplete;
        }
        Ok(self.with_broken(report, &advertisement.refs))
    }

    /// The ref updates that the journal lacks. What cannot be carried is told.
    fn missed(&self, advertisement: &Advertisement, local: &LocalRefs, backlog: &Backlog) -> Vec<RefUpdate> {
        let cycle = self.cycle();
        let compared = compare(local, &advertisement.refs, &self.stargate, &cycle.rules);
        for left in compared.iter().filter(|compared| compared.standing.needs_operator()) {
            let standing = left.standing;
            tracing::warn!(ref = %left.name, ?standing, "left as it is on the mirror; see stargate-mirror sync --dry-run");
        }
        for broken in compared.iter().filter(|compared| compared.standing == Standing::Broken) {
            let reason = broken.reason.as_deref().unwrap_or_default();
            tracing::error!(ref = %broken.name, reason, "cannot be mirrored; run git fsck");
        }
        let pending = self.pending(backlog);
        missed(&compared, &advertisement.refs, &self.stargate, &*pending, cycle.null)
    }
}
