//! Broken refs of the Stargate: those that cannot be read, or whose object is missing or damaged.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use gix::ObjectId;

use super::{
    local_view::StargateView,
    report::{CycleOutcome, CycleReport, GroupOutcome, GroupReport},
};
use crate::{
    mirror::{Grouping, LocalView, Outcome},
    refs::LocalRefs,
};

/// A broken ref, or a broken file that may contain refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    /// Name of the ref; none if the affected refs are unknown.
    pub(super) name: Option<BString>,
    pub(super) reason: String,
}

/// Returns the refs that cannot be read, and the refs whose object is missing or damaged. Objects of refs that have the
/// same id in `settled` are not checked.
pub(super) fn broken(
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

/// Adds broken refs without an entry to the report. They make the cycle incomplete. If the report already has the
/// group, the group becomes broken, because a retry alone does not help.
pub(super) fn add_broken(
    mut report: CycleReport,
    view: &StargateView<'_>,
    settled: &BTreeMap<BString, ObjectId>,
) -> CycleReport {
    let grouping = view.grouping();
    for broken in broken(view.local_refs(), settled, view.stargate()) {
        let one = group(&grouping, &broken);
        let label = one.group.clone();
        let is_new = match report.groups.iter_mut().find(|reported| reported.group == label) {
            Some(reported) => add_to_group(reported, one, broken.name.is_some()),
            None => {
                report.groups.push(one);
                true
            }
        };
        if is_new {
            tracing::error!(group = %label, reason = %broken.reason, "broken; the group is not mirrored");
        }
        report.outcome = CycleOutcome::Incomplete;
    }
    for (name, target) in view.local_refs().dangling() {
        tracing::warn!(ref = %name, %target, "the target of the symbolic ref does not exist; the mirror's ref stays unchanged");
    }
    report
}

/// Marks a group of the report as broken. Returns false if it is broken in the report already: one broken ref is named
/// for each group, but every file that may contain any ref is named.
fn add_to_group(reported: &mut GroupReport, one: GroupReport, has_name: bool) -> bool {
    let is_broken = reported.outcome == one.outcome;
    let earlier = reported.error.take();
    let is_said = |earlier: &String| has_name || one.error.as_ref().is_some_and(|error| earlier.contains(error));
    if is_broken && earlier.as_ref().is_some_and(is_said) {
        reported.error = earlier;
        return false;
    }
    let errors: Vec<String> = [one.error, earlier].into_iter().flatten().collect();
    reported.error = Some(errors.join("; "));
    reported.outcome = one.outcome;
    true
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
        attempted: Vec::new(),
        entries: 0,
        watermark: None,
        refs: Vec::new(),
        error: Some(format!("{of_ref}{}", broken.reason)),
        server_words: Vec::new(),
        advice: None,
    }
}
