//! What of the Stargate cannot be mirrored as it is: refs that cannot be read, objects that are missing or damaged.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use gix::ObjectId;

use super::Work;
use crate::{
    mirror::{Grouping, Knowledge, Outcome},
    refs::LocalRefs,
    worker::report::{CycleOutcome, CycleReport, GroupOutcome, GroupReport},
};

/// A ref, or a file that may hold refs, that is broken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// None where nobody knows which refs it is about.
    pub(crate) name: Option<BString>,
    pub(crate) reason: String,
}

/// The refs that cannot be read; and of those that are not at the same commit in `settled`, the refs whose object is
/// missing or damaged.
pub(crate) fn broken(
    local: &LocalRefs,
    settled: &BTreeMap<BString, ObjectId>,
    knowledge: &dyn Knowledge,
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
        let reason = match knowledge.exists(*id) {
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
    /// The same report, with what is broken and has no entry: nothing of that can be done.
    pub(super) fn with_broken(&self, mut report: CycleReport, settled: &BTreeMap<BString, ObjectId>) -> CycleReport {
        let grouping = self.grouping();
        for broken in broken(self.local_refs(), settled, &self.stargate) {
            let one = group(&grouping, &broken);
            let is_told = |told: &GroupReport| {
                told.group == one.group
                    && told.outcome == one.outcome
                    && (broken.name.is_some() || told.error == one.error)
            };
            if !report.groups.iter().any(is_told) {
                tracing::error!(group = %one.group, reason = %broken.reason, "broken; nothing of it is mirrored");
                report.groups.push(one);
            }
            report.outcome = CycleOutcome::Incomplete;
        }
        for (name, target) in self.local_refs().dangling() {
            tracing::warn!(ref = %name, %target, "the symbolic ref leads nowhere; what the mirror has of it stays");
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
