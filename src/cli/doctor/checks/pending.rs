//! Groups that were tried in vain, with the server's words.
use super::{
    check::{Check, Name, Verdict},
    commands::Commands,
};
use crate::{cli::output::counted, worker::GroupStatus};

/// Maximum number of groups to report.
const MAX_GROUPS: usize = 10;
/// Maximum number of the server's lines to report for a group.
const MAX_LINES: usize = 5;

/// Checks the groups with pending entries.
pub fn checks(groups: &[GroupStatus], commands: &Commands) -> Vec<Check> {
    let failed: Vec<_> = groups
        .iter()
        .filter_map(|group| Some((group, group.reason.as_ref()?)))
        .collect();
    let shown = failed.iter().take(MAX_GROUPS);
    let mut checks: Vec<Check> = shown.map(|(group, reason)| check(group, reason, commands)).collect();
    let more = failed.len().saturating_sub(MAX_GROUPS) as u64;
    if more > 0 {
        let found = format!("{} failed", counted(more, "more group"));
        let hint = format!("run {} to see them", commands.mirror("status"));
        checks.push(Check::new(Name::Pending, Verdict::Warning, found).hint(hint));
    }
    checks
}

/// A rejection that the server explained lasts until something changes there. Another failure may be temporary.
fn check(group: &GroupStatus, reason: &str, commands: &Commands) -> Check {
    let attempts = counted(u64::from(group.attempts), "failed attempt");
    let mut found = format!("{}: {attempts}: {reason}", group.group);
    for line in group.server_words.iter().take(MAX_LINES) {
        found += &format!("; the server says: {line}");
    }
    let verdict = if group.server_words.is_empty() {
        Verdict::Warning
    } else {
        Verdict::Problem
    };
    let advice = group.advice.as_deref().unwrap_or("correct what the reason names");
    let hint = format!("{advice}; then run {}", commands.mirror("run"));
    Check::new(Name::Pending, verdict, found).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn group(name: &str, reason: Option<&str>, words: &[&str]) -> GroupStatus {
        GroupStatus {
            group: name.into(),
            pending: 1,
            oldest_pending: jiff::Timestamp::UNIX_EPOCH,
            attempts: 2,
            reason: reason.map(Into::into),
            next_try: None,
            server_words: words.iter().map(|word| (*word).to_owned()).collect(),
            advice: (!words.is_empty()).then(|| "change the protection".into()),
            held: None,
        }
    }

    #[test]
    fn groups_that_failed_are_listed_with_the_words_of_the_server() {
        let commands = Commands::new("", Path::new("/r.git"));
        let groups = [
            group("main", None, &[]),
            group(
                "refs/heads/a",
                Some("hook declined"),
                &["error: GH006: Protected branch"],
            ),
            group("refs/heads/b", Some("no answer"), &[]),
        ];
        let [refused, failed] = &checks(&groups, &commands)[..] else {
            panic!("two checks")
        };
        assert_eq!((refused.verdict, failed.verdict), (Verdict::Problem, Verdict::Warning));
        let expected =
            "refs/heads/a: 2 failed attempts: hook declined; the server says: error: GH006: Protected branch";
        assert_eq!(refused.found, expected);
        let hint = refused.hint.as_deref().expect("a hint");
        assert_eq!(
            hint,
            "change the protection; then run `stargate-mirror run --repo /r.git`"
        );

        let many: Vec<_> = (0..13)
            .map(|number| group(&number.to_string(), Some("no"), &[]))
            .collect();
        let checks = checks(&many, &commands);
        assert_eq!((checks.len(), &checks[10].found[..]), (11, "3 more groups failed"));
    }
}
