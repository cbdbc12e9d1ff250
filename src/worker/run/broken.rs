//! Broken refs of the Stargate: those that cannot be read, or whose object is missing or damaged.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use gix::ObjectId;

use super::Work;
use crate::{
    mirror::{Grouping, LocalView, Outcome},
    refs::LocalRefs,
    worker::report::{CycleOutcome, CycleReport, GroupOutcome, GroupReport},
};

/// A broken ref, or a broken file that may contain refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Name of the ref; none if the affected refs are unknown.
    pub(crate) name: Option<BString>,
    pub(crate) reason: String,
}

/// Returns the refs that cannot be read, and the refs whose object is missing or damaged. Objects of refs that have the
/// same id in `settled` are not checked.
pub(crate) fn broken(
    local: &LocalRefs,
    settled: &BTreeMap<BString, ObjectId>,
    local_view: &dyn LocalView,
) -> Vec<Broken> {
    let unreadable = local.unreadable().map(|(name, why)| Broken {
        name: name.map(ToOwned::to_owned),
        reason: why.to_string(),
    });
    let open = local
        .known()
        .iter()
        .filter(|(name, id)| settled.get(*name) != Some(*id));
    let tips = open.filter_map(|(name, id)| {
        let reason = match local_view.exists(*id) {
            Ok(true) => return None,
            Ok(false) => format!("object {id} is not in the Stargate"),
            Err(damaged) => damaged.to_string(),
        };
        let name = Some(name.clone());
        Some(Broken { name, reason })
    });
    unreadable.chain(tips).collect()
}

impl Work<'_> {
    /// Adds broken refs without an entry to the report. They make the cycle incomplete.
    pub(super) fn with_broken(&self, mut report: CycleReport, settled: &BTreeMap<BString, ObjectId>) -> CycleReport {
        let grouping = self.grouping();
        for broken in broken(self.local_refs(), settled, &self.stargate) {
            let one = group(&grouping, &broken);
            let is_reported = |reported: &GroupReport| {
                reported.group == one.group
                    && reported.outcome == one.outcome
                    && (broken.name.is_some() || reported.error == one.error)
            };
            if !report.groups.iter().any(is_reported) {
                tracing::error!(group = %one.group, reason = %broken.reason, "broken; the group is not mirrored");
                report.groups.push(one);
            }
            report.outcome = CycleOutcome::Incomplete;
        }
        for (name, target) in self.local_refs().dangling() {
            tracing::warn!(ref = %name, %target, "the target of the symbolic ref does not exist; the mirror's ref stays unchanged");
        }
        report
    }
}

fn group(grouping: &Grouping, broken: &Broken) -> GroupReport {
    let name = broken.name.as_ref().map(|name| name.as_bstr());
    let label = name.map(|name| grouping.label(name));
    let namespace = name.and_then(|name| grouping.namespace(name));
    let of_ref = name.map(|name| format!("{name}: ")).unwrap_or_default();
    GroupReport {
        group: label.map_or_else(|| "refs".to_owned(), |label| label.to_string()),
        namespace: namespace.map(|namespace| namespace.to_string()),
        outcome: GroupOutcome::Settled(Outcome::Broken),
        attempts: 0,
        entries: 0,
        watermark: None,
        refs: Vec::new(),
        error: Some(format!("{of_ref}{}", broken.reason)),
    }
}
