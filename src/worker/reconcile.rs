//! Comparison of the refs of both sides, to find ref updates that the journal missed.

use git_push::Advertisement;

use super::{
    alike::{alike, others},
    comparison::FailedComparison,
    error::RunError,
    memory::DifferingRef,
    remote_mirror::RemoteMirror,
    requests::Mirror,
    session::Session,
};
use crate::{
    journal::{Backlog, Source},
    mirror::{Compared, Standing, compare, missed},
    ref_update::RefUpdate,
    refs::LocalRefs,
};

/// Limit of refs left to the operator that are remembered. The log and `sync` count all of them.
const MOST_DIFFERING: usize = 50;

/// Result of a comparison.
#[derive(Debug, Clone, Default)]
pub(super) struct Reconciled {
    /// Ref updates appended to the journal.
    pub(super) appended: usize,
    /// Ref updates that could not be appended.
    pub(super) unwritten: usize,
    /// Reason why there was no comparison.
    pub(super) failed: Option<FailedComparison>,
    /// True if a push would overwrite a ref, which is left to the operator.
    pub(super) has_diverged: bool,
}

impl Reconciled {
    /// Returns true if the comparison succeeded and found nothing to do.
    pub(super) fn found_nothing_to_do(&self) -> bool {
        self.appended + self.unwritten == 0 && self.failed.is_none() && !self.has_diverged
    }
}

/// Compares the refs of both sides, and appends missed updates to the journal. If the mirror cannot be reached, the next
/// cycle retries. An update whose hook still runs may be appended, too; then the journal has it twice.
pub(super) fn reconcile(
    session: &Session<'_>,
    mirror: &mut RemoteMirror<'_>,
    local: &LocalRefs,
    backlog: &Backlog,
) -> Result<Reconciled, RunError> {
    let advertisement = match mirror.advertisement() {
        Ok(advertisement) => advertisement,
        Err(error) => {
            tracing::warn!(%error, "cannot compare the refs of both sides");
            mirror.remember_failed_comparison(&error);
            return Ok(Reconciled {
                failed: Some((&error).into()),
                ..Default::default()
            });
        }
    };
    let (missed, differing) = missed_updates(session, &advertisement, local, backlog);
    let has_diverged = differing
        .iter()
        .any(|differing| differing.standing.would_be_overwritten());
    mirror.remember_differing(differing);
    let all = missed.len();
    let appended = session.entries.append(missed, Source::Reconcile)?;
    // A pending push may continue after the parts that have arrived.
    if all == 0 && backlog.pending.is_empty() {
        mirror.delete_part_refs(&advertisement);
    }
    // Remembered last: after a crash, or if an update could not be appended, the next cycle compares again.
    if appended == all {
        mirror.remember_reconciled(advertisement, local);
    }
    if appended > 0 {
        tracing::info!(refs = appended, "appended ref updates that the journal had missed");
    }
    Ok(Reconciled {
        appended,
        unwritten: all - appended,
        failed: None,
        has_diverged,
    })
}

/// Returns the ref updates that the journal lacks, and the first [`MOST_DIFFERING`] refs that are left to the operator, those
/// that a push would overwrite first. Logs refs that cannot be mirrored.
pub(super) fn missed_updates(
    session: &Session<'_>,
    advertisement: &Advertisement,
    local: &LocalRefs,
    backlog: &Backlog,
) -> (Vec<RefUpdate>, Vec<DifferingRef>) {
    let (cycle, stargate) = (session.cycle(), session.view.stargate());
    let compared = compare(local, &advertisement.refs, stargate, &cycle.rules);
    let needs_operator = compared.iter().filter(|compared| compared.standing.needs_operator());
    let mut differing: Vec<&Compared> = needs_operator.collect();
    for alike in alike(differing.iter(), |differing| differing.standing.word()) {
        let (standing, others) = (alike[0].standing.word(), others(&alike));
        tracing::warn!(ref = %alike[0].name, others, %standing, "the mirror's ref stays unchanged; run stargate-mirror sync --dry-run");
    }
    for broken in compared.iter().filter(|compared| compared.standing == Standing::Broken) {
        let reason = broken.reason.as_deref().unwrap_or_default();
        tracing::error!(ref = %broken.name, reason, "the ref cannot be mirrored; run git fsck");
    }
    let pending = session.view.pending(backlog);
    let missed = missed(&compared, &advertisement.refs, stargate, &*pending, cycle.null);
    differing.sort_by_key(|compared| !compared.standing.would_be_overwritten());
    let differing = differing
        .into_iter()
        .take(MOST_DIFFERING)
        .map(|differing| DifferingRef {
            name: differing.name.to_string(),
            standing: differing.standing,
        });
    (missed, differing.collect())
}
