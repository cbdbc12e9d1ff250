//! Reports on groups as text: one block for all groups with the same result.
use super::{
    output::counted,
    report::REPAIR,
    text::{listed, named},
};
use crate::{
    mirror::Outcome,
    worker::{GroupOutcome, GroupReport, RefVerdict, alike, without_names},
};

/// Number of planned refs that a dry run lists without `-v`.
const MOST_PLANNED: usize = 20;

/// Returns the text about these groups of the mirror at `remote`. With `verbose`, it lists every ref.
pub(super) fn about_groups(groups: &[GroupReport], remote: &str, verbose: bool) -> String {
    let alike = alike(groups, kind);
    alike.iter().map(|alike| block(alike, remote, verbose)).collect()
}

/// Returns equal values for groups that are reported together.
fn kind(group: &GroupReport) -> (&'static str, Option<String>, &[String], Option<&'static str>) {
    let names = || group.refs.iter().map(|line| line.name.as_str());
    let reason = group.error.as_ref().map(|error| without_names(error, names()));
    (group.outcome.word(), reason, &group.server_words, group.advice)
}

fn block(alike: &[&GroupReport], remote: &str, verbose: bool) -> String {
    let labels: Vec<&str> = alike.iter().map(|group| group.group.as_str()).collect();
    let (first, who) = (alike[0], named(&labels));
    let entries = alike.iter().map(|group| group.entries as u64).sum();
    let mut text = format!(
        "{who}: {}, {}\n",
        result(first.outcome, remote),
        counted(entries, "entry")
    );
    if let Some(error) = &first.error {
        text += &format!("  {error}\n");
        if labels.len() > 1 {
            text += &format!("  the same reason for {}\n", listed(&labels, verbose));
        }
        let words = first.server_words.iter().map(|line| format!("  remote: {line}\n"));
        text.extend(words);
        text.extend(first.advice.map(|advice| format!("  {advice}\n")));
        text += &format!("  {}\n", instruction(first.outcome));
    }
    text + &refs(alike, verbose)
}

/// Returns the result of a push to the mirror at `remote`.
fn result(outcome: GroupOutcome, remote: &str) -> String {
    match outcome {
        GroupOutcome::Planned => format!("would be pushed to {remote}"),
        GroupOutcome::Settled(Outcome::Mirrored) => format!("mirrored to {remote}"),
        GroupOutcome::Settled(outcome) => format!("not mirrored to {remote} ({})", outcome.word()),
    }
}

/// Returns a line for each ref and each watermark: of all groups with `verbose`, else of the first that are planned.
fn refs(alike: &[&GroupReport], verbose: bool) -> String {
    let is_planned = alike[0].outcome == GroupOutcome::Planned;
    let lines: Vec<String> = alike.iter().flat_map(|group| lines(group)).collect();
    let shown = match (verbose, is_planned) {
        (true, _) => lines.len(),
        (false, true) => MOST_PLANNED,
        (false, false) => 0,
    };
    let mut text: String = lines.iter().take(shown).map(String::as_str).collect();
    if is_planned && lines.len() > shown {
        text += &format!("  and {} more; -v lists them\n", lines.len() - shown);
    }
    text
}

fn lines(group: &GroupReport) -> impl Iterator<Item = String> {
    let refs = group.refs.iter().map(|line| {
        let old = line.old.as_deref().map_or("(none)", short);
        let verdict = line.verdict.map(RefVerdict::word).unwrap_or_default();
        let line = format!("  {}  {old} -> {}  {verdict}", line.name, short(&line.new));
        format!("{}\n", line.trim_end())
    });
    let watermark = group.namespace.iter().zip(&group.watermark);
    refs.chain(watermark.map(|(namespace, id)| format!("  watermark refs/kv-mirror/{namespace}  {}\n", short(id))))
}

/// Returns an instruction, and whether a retry may help.
fn instruction(outcome: GroupOutcome) -> &'static str {
    match outcome {
        GroupOutcome::Planned | GroupOutcome::Settled(Outcome::Mirrored) => "nothing to do",
        GroupOutcome::Settled(Outcome::Transient) => "this may be temporary; the next cycle retries",
        GroupOutcome::Settled(Outcome::Uncertain) => "the next cycle checks the mirror before it retries",
        GroupOutcome::Settled(Outcome::Rejected) => {
            "check the hooks and rules of the mirror, which rejected the push; the next cycle retries"
        }
        GroupOutcome::Settled(Outcome::Diverged) => {
            "run `stargate-mirror sync --dry-run`, and decide: nothing on the mirror is overwritten without `sync --force`"
        }
        GroupOutcome::Settled(Outcome::Misconfigured) => {
            "correct the settings (run `stargate-mirror doctor`); a retry does not help"
        }
        GroupOutcome::Settled(Outcome::Broken) => REPAIR,
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(10)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::RefReport;

    const REMOTE: &str = "https://h/r.git";

    fn group(name: &str, outcome: Outcome, error: Option<String>) -> GroupReport {
        GroupReport {
            group: name.into(),
            namespace: None,
            outcome: GroupOutcome::Settled(outcome),
            attempts: 1,
            attempted: vec![outcome],
            entries: 2,
            watermark: None,
            refs: vec![RefReport {
                name: name.into(),
                old: None,
                new: "a1".repeat(20),
                verdict: (outcome == Outcome::Mirrored).then_some(RefVerdict::Accepted),
                reason: None,
            }],
            error,
            server_words: Vec::new(),
            advice: None,
        }
    }

    #[test]
    fn many_groups_with_one_result_are_one_block() {
        let rejected = |number: usize| {
            let name = format!("refs/tags/v{number}");
            let error = format!("the mirror rejected {name} (hook declined)");
            group(&name, Outcome::Rejected, Some(error))
        };
        let mut groups: Vec<GroupReport> = (1..=60).map(rejected).collect();
        groups.extend(["a", "b"].map(|name| group(&format!("refs/heads/{name}"), Outcome::Mirrored, None)));
        let expected = "60 tags: not mirrored to https://h/r.git (rejected), 120 entries\n  \
             the mirror rejected refs/tags/v1 (hook declined)\n  \
             the same reason for refs/tags/v1, refs/tags/v2, refs/tags/v3 and 57 more\n  \
             check the hooks and rules of the mirror, which rejected the push; the next cycle retries\n\
             2 branches: mirrored to https://h/r.git, 4 entries\n";
        assert_eq!(about_groups(&groups, REMOTE, false), expected);
        let all = about_groups(&groups, REMOTE, true);
        assert!(
            all.contains("  refs/heads/b  (none) -> a1a1a1a1a1  accepted\n"),
            "{all}"
        );
        assert!(all.contains("refs/tags/v59, refs/tags/v60\n"), "{all}");
    }

    #[test]
    fn a_dry_run_lists_the_first_planned_refs() {
        let planned = |number: usize| GroupReport {
            outcome: GroupOutcome::Planned,
            ..group(&format!("refs/tags/v{number}"), Outcome::Transient, None)
        };
        let groups: Vec<GroupReport> = (0..25).map(planned).collect();
        let text = about_groups(&groups, REMOTE, false);
        assert!(text.starts_with("25 tags: would be pushed to https://h/r.git, 50 entries\n  refs/tags/v0  "));
        assert!(
            text.ends_with("  and 5 more; -v lists them\n") && text.lines().count() == 22,
            "{text}"
        );
    }
}
