//! Last step of a cycle: new findings about the settings, and HEAD of the mirror.
use bstr::{BString, ByteSlice};
use git_push_transport::Remote;

use super::{
    head::{HeadDifference, StargateHead, compare_head, forge_at, stargate_head},
    memory::Memory,
    report::{CycleReport, RefVerdict},
    review::{NothingMirrored, SettingsFinding, unknown_settings, unused_patterns},
    session::Session,
};
use crate::config::DefaultBranch;

/// Adds new findings about the settings to the report, and logs them. Patterns are reviewed if `patterns` is true.
pub(super) fn with_settings_reviewed(session: &Session<'_>, mut report: CycleReport, patterns: bool) -> CycleReport {
    if session.view.local_refs().is_empty() {
        let nothing = NothingMirrored::find(session.view.stargate(), &session.config);
        report.unmirrored = nothing.map(|nothing| nothing.to_string());
    }
    let found = settings_findings(session, patterns);
    if found.is_empty() && !patterns {
        return report;
    }
    let mut memory = Memory::load(&session.memory);
    let new: Vec<String> = found
        .iter()
        .filter(|text| !memory.told.contains(text))
        .cloned()
        .collect();
    for finding in &new {
        tracing::warn!(repository = %session.git_dir.display(), "{finding}");
    }
    if patterns {
        remember(session, &mut memory, |memory| memory.told = found);
    } else {
        remember(session, &mut memory, |memory| memory.told.extend(new.iter().cloned()));
    }
    report.settings = new;
    report
}

fn settings_findings(session: &Session<'_>, patterns: bool) -> Vec<String> {
    let unused = patterns.then(|| unused_patterns(session.view.stargate(), &session.config));
    // Every cycle reports that no ref is mirrored.
    let unused = unused.into_iter().flatten();
    let unused = unused.filter(|finding| !matches!(finding, SettingsFinding::NothingMirrored(_)));
    let unused = unused.map(|finding| finding.to_string());
    let unknown = unknown_settings(&session.git_dir, &session.chosen);
    unknown.into_iter().chain(unused).collect()
}

/// Compares the mirror's HEAD with the Stargate's after a comparison of the refs (`compared`), or after its branch was
/// created. Sets it if the settings allow that. A failure is logged once, and does not change the cycle's outcome.
pub(super) fn with_head_followed(
    session: &Session<'_>,
    mut report: CycleReport,
    remote: &mut Remote,
    compared: bool,
) -> CycleReport {
    let StargateHead::Mirrored(branch) = stargate_head(session.view.stargate(), &session.config.refs) else {
        return report;
    };
    let is_due = (compared && report.comparison.is_none()) || was_created(&report, &branch);
    if session.options.dry_run || !is_due {
        return report;
    }
    let mut memory = Memory::load(&session.memory);
    if !is_on_mirror(&memory, &branch) {
        return report;
    }
    let difference = match compare_head(remote, &branch) {
        Ok(difference) => difference.map(|difference| set_head(session, difference, remote, &branch)),
        Err(error) => {
            tracing::debug!(%error, "cannot read HEAD of the mirror");
            return report;
        }
    };
    let left = difference.clone().filter(|difference| !difference.set);
    if let Some(error) = left.as_ref().and_then(|left| left.error.as_ref())
        && memory.head != left
    {
        let difference = left.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, "{difference}, and cannot be set");
    }
    remember(session, &mut memory, |memory| memory.head = left);
    report.head = difference;
    report
}

fn set_head(
    session: &Session<'_>,
    difference: HeadDifference,
    remote: &mut Remote,
    branch: &BString,
) -> HeadDifference {
    if session.config.default_branch == DefaultBranch::Leave {
        return difference;
    }
    let forge = forge_at(remote.location(), session.config.forge);
    match remote.set_head(branch.as_bstr(), forge) {
        Ok(()) => {
            tracing::info!(%branch, "set HEAD of the mirror");
            HeadDifference {
                set: true,
                ..difference
            }
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            HeadDifference {
                error: Some(format!("{error}{hint}")),
                ..difference
            }
        }
    }
}

/// Changes the memory and saves it, except in a dry run.
fn remember(session: &Session<'_>, memory: &mut Memory, change: impl FnOnce(&mut Memory)) {
    let before = memory.clone();
    change(memory);
    if session.options.dry_run || *memory == before {
        return;
    }
    if let Err(error) = memory.save(&session.memory) {
        tracing::warn!(%error, "cannot write the worker's memory; a message may be repeated");
    }
}

fn was_created(report: &CycleReport, branch: &BString) -> bool {
    let mut refs = report.groups.iter().flat_map(|group| &group.refs);
    refs.any(|one| *branch == one.name.as_str() && one.old.is_none() && one.verdict == Some(RefVerdict::Accepted))
}

fn is_on_mirror(memory: &Memory, branch: &BString) -> bool {
    let mirror = memory.mirror.as_ref().map(|mirror| mirror.advertisement());
    mirror.is_some_and(|mirror| mirror.refs.contains_key(branch))
}
