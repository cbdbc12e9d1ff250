//! What holds at the end of a cycle, and why. PURE but for the status, which the cycle's observers share.
use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::AlertConfig,
    mirror::{Condition, Observed, Outcome},
    worker::{
        backoff::Backoff,
        cycle_observer::EndedCycle,
        error::RunError,
        lock::WorkerStatus,
        memory::{DifferingRef, Memory},
        missing::Missing,
        report::CycleReport,
        status::{BrokenRef, GroupStatus, RepositoryStatus},
        token::TokenExpiry,
    },
};

/// Time for which a running cycle is never stale, whatever the setting.
pub(super) const LONGEST_SILENCE: SignedDuration = SignedDuration::from_secs(10);
/// Longest reason, in bytes.
const MAX_REASON: usize = 8 << 10;
/// Instruction for refs that differ.
const COMPARE: &str =
    "run `stargate-mirror sync --dry-run`, and decide: nothing on the mirror is overwritten without `sync --force`";
/// Instruction for settings that must be corrected.
const CORRECT: &str = "correct the settings (run `stargate-mirror doctor`); a retry does not help";
/// Instruction for a rejection whose cause is not recognised.
const CHECK_RULES: &str = "check the hooks and rules of the mirror, which rejected the push; the next cycle retries";
/// Instruction for a token that ends.
const NEW_TOKEN: &str = "create a new token, and replace the old one with it";
/// Instruction for refs and objects that cannot be read.
const RESTORE: &str = "run `git fsck` in the repository, and restore the ref or the object; nothing else is held up";
/// Instruction for a cycle that does not end.
const RESTART: &str = "unless a large repository is pushed for the first time, look at the worker's log, and restart it; \
    that is safe at any time";
/// Instruction for everything else.
const SHOW: &str = "run `stargate-mirror status` and `stargate-mirror doctor`";

/// Conditions that the memory knows, with the outcomes of their groups.
const OF_MEMORY: [(Condition, Outcome); 4] = [
    (Condition::Diverged, Outcome::Diverged),
    (Condition::Broken, Outcome::Broken),
    (Condition::Refused, Outcome::Rejected),
    (Condition::Misconfigured, Outcome::Misconfigured),
];

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Begin, as far as this cycle knows, in seconds since the epoch.
    pub(super) since: i64,
    /// What is wrong, in the server's words if it explained it.
    pub(super) reason: Option<String>,
    /// Instruction for the operator.
    pub(super) hint: Option<String>,
}

/// State of each condition.
#[derive(Debug, Default)]
pub(super) struct Findings {
    hold: BTreeMap<Condition, Finding>,
    /// Conditions that could not be found out.
    unknown: Vec<Condition>,
}

impl Findings {
    /// Judges a cycle that has ended, with the memory that it left, if that can be read.
    pub(super) fn new(ended: &EndedCycle<'_>, memory: Option<&Memory>, stale_after: Duration) -> Self {
        let mut findings = Findings::default();
        let now = ended.at;
        if ended.result.is_ok_and(has_no_mirror) {
            // What the memory knows is about a mirror that was removed from the settings.
            return findings;
        }
        match memory {
            Some(memory) => findings.add_memory(memory, now),
            None => findings.unknown.extend(OF_MEMORY.map(|(condition, _)| condition)),
        }
        if let Err(error) = ended.result {
            findings.add_error(error, now);
        }
        match ended.status() {
            Ok(status) => {
                findings.add(Condition::Stale, stale(status, ended.result.ok(), stale_after, now));
                findings.add(Condition::Broken, broken(&status.broken, now));
                findings.add_token(status, now);
            }
            Err(_) => {
                let of_status = [Condition::Stale, Condition::Broken, Condition::Token];
                findings.unknown.extend(of_status);
            }
        }
        findings
    }

    /// Judges a cycle that could not run because of the worker whose signs of life these are.
    pub(super) fn of_locked(worker: &WorkerStatus, config: &AlertConfig, now: Timestamp) -> Self {
        let since = worker.running_since();
        let stale = since.and_then(|since| Findings::of_running(since, config.stale_after, now));
        stale.unwrap_or_else(|| Findings {
            unknown: Condition::ALL.to_vec(),
            ..Findings::default()
        })
    }

    /// Judges a cycle that began then and is still running. Returns none if it has not taken too long.
    pub(super) fn of_running(began: Timestamp, stale_after: Duration, now: Timestamp) -> Option<Self> {
        let age = now.duration_since(began);
        // A clock that was set back makes no cycle old.
        let is_stale = age >= LONGEST_SILENCE && Duration::try_from(age).is_ok_and(|age| age >= stale_after);
        let reason = format!("a cycle has been running since {began:.0}, and has not ended");
        is_stale.then(|| Findings {
            hold: [(Condition::Stale, Finding::new(began, Some(reason), RESTART))].into(),
            unknown: Condition::ALL.to_vec(),
        })
    }

    fn add_memory(&mut self, memory: &Memory, now: Timestamp) {
        for (condition, outcome) in OF_MEMORY {
            self.add(condition, of_groups(memory, outcome, now));
        }
        self.add(Condition::Diverged, of_differing(&memory.differing, now));
        self.add(Condition::Misconfigured, of_comparison(memory, now));
    }

    /// Adds the reason why no cycle could run. If it may pass by itself, the settings were not tried.
    fn add_error(&mut self, error: &RunError, now: Timestamp) {
        match of_error(error, now) {
            Some(finding) => self.add(Condition::Misconfigured, Some(finding)),
            None => self.unknown.push(Condition::Misconfigured),
        }
    }

    /// Adds a finding, unless the condition has one.
    fn add(&mut self, condition: Condition, finding: Option<Finding>) {
        if let Some(finding) = finding {
            self.hold.entry(condition).or_insert(finding);
        }
    }

    /// Adds the end of the token. After a refusal, the end is forgotten, but the token is no better.
    fn add_token(&mut self, status: &RepositoryStatus, now: Timestamp) {
        let expiry = status
            .token
            .as_ref()
            .map(|token| TokenExpiry::new(token.expires_at, now));
        match expiry {
            Some(expiry) if expiry.is_near() => {
                let finding = Finding::new(now, Some(expiry.to_string()), NEW_TOKEN);
                self.add(Condition::Token, Some(finding));
            }
            None if self.hold.contains_key(&Condition::Misconfigured) => self.unknown.push(Condition::Token),
            Some(_) | None => {}
        }
    }

    /// Returns the finding about a condition, if it holds.
    pub(super) fn of(&self, condition: Condition) -> Option<&Finding> {
        self.hold.get(&condition)
    }

    /// Returns the state of each condition.
    pub(super) fn observed(&self) -> impl Iterator<Item = (Condition, Observed)> {
        Condition::ALL.into_iter().map(|condition| {
            let observed = match self.hold.get(&condition) {
                Some(finding) => Observed::Holds(finding.since),
                None if self.unknown.contains(&condition) => Observed::Unknown,
                None => Observed::Ended,
            };
            (condition, observed)
        })
    }
}

impl Finding {
    fn new(since: Timestamp, reason: Option<String>, hint: &str) -> Self {
        Finding {
            since: since.as_second(),
            reason: reason.map(|reason| shortened(&reason)),
            hint: Some(hint.to_owned()),
        }
    }
}

/// Finds groups whose last definite outcome is this one.
fn of_groups(memory: &Memory, outcome: Outcome, now: Timestamp) -> Option<Finding> {
    let definite = memory
        .backoffs
        .iter()
        .filter_map(|(label, backoff)| Some((label, backoff.definite()?)));
    let mut groups = definite.filter(|(_, definite)| definite.outcome == outcome);
    let (label, definite) = groups.next()?;
    let rejection = memory.rejections.iter().find(|rejection| rejection.group == *label);
    let words = rejection.map_or(&[][..], |rejection| &rejection.server_words);
    let reason = explained(label, &definite.reason, words) + &and_more(groups.count(), "group");
    let hint = match outcome {
        Outcome::Diverged => COMPARE,
        Outcome::Misconfigured => CORRECT,
        Outcome::Broken => RESTORE,
        _ => CHECK_RULES,
    };
    let advice = rejection.and_then(|rejection| rejection.advice.as_deref());
    Some(Finding::new(now, Some(reason), advice.unwrap_or(hint)))
}

/// Finds refs that the last comparison left to the operator, because a push would overwrite them.
fn of_differing(differing: &[DifferingRef], now: Timestamp) -> Option<Finding> {
    let mut diverged = differing.iter().filter(|one| one.standing.would_be_overwritten());
    let first = diverged.next()?;
    let what = "the mirror has commits that a push would overwrite";
    let reason = format!("{}: {what}{}", first.name, and_more(diverged.count(), "ref"));
    Some(Finding::new(now, Some(reason), COMPARE))
}

/// Finds refs that cannot be mirrored.
fn broken(broken: &[BrokenRef], now: Timestamp) -> Option<Finding> {
    let first = broken.first()?;
    let name = first.name.as_deref().unwrap_or("a file with refs");
    let reason = format!("{name}: {}{}", first.reason, and_more(broken.len() - 1, "ref"));
    Some(Finding::new(now, Some(reason), RESTORE))
}

/// Returns a line about others of the same kind.
fn and_more(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("\nand 1 more {what}"),
        more => format!("\nand {more} more {what}s"),
    }
}

/// Finds a comparison that failed because of the settings.
fn of_comparison(memory: &Memory, now: Timestamp) -> Option<Finding> {
    let failed = memory.comparison.as_ref().and_then(Backoff::definite)?;
    let is_misconfigured = failed.outcome == Outcome::Misconfigured;
    is_misconfigured.then(|| Finding::new(now, Some(failed.reason), CORRECT))
}

/// Finds the reason why no cycle could run, unless it may pass by itself.
fn of_error(error: &RunError, now: Timestamp) -> Option<Finding> {
    if let RunError::Remote(error) = error
        && Outcome::from(error.kind()) != Outcome::Misconfigured
    {
        return None;
    }
    let hint = error.hint().unwrap_or(CORRECT);
    Some(Finding::new(now, Some(error.to_string()), hint))
}

/// Returns true if no mirror is configured: nothing can be wrong with it.
fn has_no_mirror(report: &CycleReport) -> bool {
    matches!(report.missing, Some(Missing::Remote | Missing::RemoteOfSeveral))
}

/// Finds an oldest pending entry that is too old.
fn stale(
    status: &RepositoryStatus,
    report: Option<&CycleReport>,
    stale_after: Duration,
    now: Timestamp,
) -> Option<Finding> {
    let missing = report.and_then(|report| report.missing.as_ref());
    let oldest = status.oldest_pending?;
    // A clock that was set back makes no entry old.
    let age = Duration::try_from(now.duration_since(oldest)).unwrap_or_default();
    if age < stale_after {
        return None;
    }
    let failed = status.groups.iter().filter(|group| group.reason.is_some());
    let group: Option<&GroupStatus> = failed.min_by_key(|group| group.oldest_pending);
    let of_group = group.and_then(|group| {
        let reason = group.reason.as_deref()?;
        Some(explained(&group.group, reason, &group.server_words))
    });
    let of_comparison = status.comparison.as_ref().map(|failed| failed.reason.clone());
    let reason = missing.map(ToString::to_string).or(of_group).or(of_comparison);
    let advice = group.and_then(|group| group.advice.as_deref());
    Some(Finding::new(oldest, reason, advice.unwrap_or(SHOW)))
}

/// Returns the reason why a group failed, and the server's words.
fn explained(group: &str, reason: &str, server_words: &[String]) -> String {
    let words = server_words.iter().map(|line| format!("\nremote: {line}"));
    format!("{group}: {reason}{}", words.collect::<String>())
}

/// Cuts a text off.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_REASON {
        return text.to_owned();
    }
    let end = (0..=MAX_REASON).rev().find(|end| text.is_char_boundary(*end));
    format!("{}…", &text[..end.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        mirror::Standing,
        worker::{CycleOutcome, Rejection},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Judges an idle cycle with this memory, whose status cannot be read.
    fn judged(memory: Option<&Memory>) -> Findings {
        let report = CycleReport::empty(CycleOutcome::Idle, 0, 0);
        let ended = EndedCycle::new(Path::new("/r.git"), None, at(100), Ok(&report));
        let unreadable = RunError::SeveralMirrors(String::new());
        Findings::new(&ended.with_status(Err(unreadable)), memory, Duration::ZERO)
    }

    fn state(findings: &Findings, condition: Condition) -> Observed {
        let mut observed = findings.observed().filter(|(one, _)| *one == condition);
        observed.next().expect("every condition").1
    }

    #[test]
    fn what_cannot_be_read_has_not_ended() {
        let unread = judged(None);
        for (condition, observed) in unread.observed() {
            assert_eq!(observed, Observed::Unknown, "{condition:?}");
        }
        let empty = judged(Some(&Memory::default()));
        for condition in [Condition::Diverged, Condition::Refused, Condition::Misconfigured] {
            assert_eq!(state(&empty, condition), Observed::Ended, "{condition:?}");
        }
        assert_eq!(
            state(&empty, Condition::Broken),
            Observed::Unknown,
            "the status knows of it, too"
        );
    }

    #[test]
    fn what_only_a_comparison_found_holds() {
        let differing = |name: &str, standing| DifferingRef {
            name: name.into(),
            standing,
        };
        let extra = differing("refs/heads/a", Standing::Extra);
        let memory = |differing| Memory {
            differing,
            ..Memory::default()
        };
        let only_extra = judged(Some(&memory(vec![extra.clone()])));
        assert_eq!(
            state(&only_extra, Condition::Diverged),
            Observed::Ended,
            "nothing is overwritten"
        );
        let all = vec![
            extra,
            differing("refs/heads/b", Standing::Behind),
            differing("refs/heads/c", Standing::Diverged),
        ];
        let diverged = judged(Some(&memory(all)));
        let found = diverged.of(Condition::Diverged).expect("it holds");
        assert_eq!(
            found.reason.as_deref(),
            Some("refs/heads/b: the mirror has commits that a push would overwrite\nand 1 more ref")
        );
        let one = BrokenRef {
            name: None,
            reason: "not a ref".into(),
        };
        let found = broken(&[one], at(100)).expect("it holds");
        assert_eq!(found.reason.as_deref(), Some("a file with refs: not a ref"));
    }

    #[test]
    fn a_broken_group_is_broken_in_its_servers_words() {
        let backoff = Backoff::after(None, "objects are missing", "e", at(100)).with_outcome(Outcome::Broken);
        let memory = Memory {
            backoffs: [("main".to_owned(), backoff)].into(),
            rejections: vec![Rejection {
                group: "main".into(),
                refs: Vec::new(),
                server_words: vec!["LFS object a is missing".into()],
                advice: Some("upload it".into()),
                alone: false,
            }],
            ..Memory::default()
        };
        let findings = judged(Some(&memory));
        let found = findings.of(Condition::Broken).expect("it holds");
        assert_eq!(
            found.reason.as_deref(),
            Some("main: objects are missing\nremote: LFS object a is missing")
        );
        assert_eq!(found.hint.as_deref(), Some("upload it"));
    }

    #[test]
    fn a_cycle_without_an_answer_ends_nothing() {
        let failed = |outcome| Backoff::after(None, "refused", "e", at(100)).with_outcome(outcome);
        let without_answer =
            |before: &Backoff, outcome| Backoff::after(Some(before), "503", "f", at(130)).with_outcome(outcome);
        for (condition, outcome) in OF_MEMORY {
            for unanswered in [Outcome::Transient, Outcome::Uncertain] {
                let memory = Memory {
                    backoffs: [("main".to_owned(), without_answer(&failed(outcome), unanswered))].into(),
                    ..Memory::default()
                };
                let findings = judged(Some(&memory));
                let found = findings.of(condition).expect("it still holds");
                assert_eq!(found.reason.as_deref(), Some("main: refused"), "{unanswered:?}");
                let others = OF_MEMORY.iter().filter(|(other, _)| *other != condition);
                assert!(
                    others
                        .map(|(other, _)| findings.of(*other))
                        .all(|found| found.is_none())
                );
            }
        }
        let comparison = without_answer(&failed(Outcome::Misconfigured), Outcome::Transient);
        let memory = Memory {
            comparison: Some(comparison),
            ..Memory::default()
        };
        assert!(judged(Some(&memory)).of(Condition::Misconfigured).is_some());
    }

    #[test]
    fn an_error_that_may_pass_says_nothing_about_the_settings() {
        let state_after = |kind| {
            let error = RunError::from(git_push::Error::new(kind, "no answer"));
            let ended = EndedCycle::new(Path::new("/r.git"), None, at(100), Err(&error));
            let unreadable = RunError::SeveralMirrors(String::new());
            let ended = ended.with_status(Err(unreadable));
            let findings = Findings::new(&ended, Some(&Memory::default()), Duration::ZERO);
            state(&findings, Condition::Misconfigured)
        };
        assert_eq!(state_after(git_push::ErrorKind::Transient), Observed::Unknown);
        assert_eq!(state_after(git_push::ErrorKind::Misconfigured), Observed::Holds(100));
    }

    #[test]
    fn a_cycle_that_does_not_end_is_stale_and_nothing_else_is_known() {
        let minute = Duration::from_secs(60);
        assert!(Findings::of_running(at(0), minute, at(59)).is_none());
        assert!(
            Findings::of_running(at(0), Duration::ZERO, at(9)).is_none(),
            "a cycle takes some time"
        );
        assert!(
            Findings::of_running(at(100), Duration::ZERO, at(0)).is_none(),
            "the clock was set back"
        );
        let findings = Findings::of_running(at(0), minute, at(60)).expect("it is stale");
        assert_eq!(state(&findings, Condition::Stale), Observed::Holds(0));
        assert_eq!(state(&findings, Condition::Refused), Observed::Unknown);
        let reason = findings.of(Condition::Stale).and_then(|found| found.reason.clone());
        assert_eq!(
            reason.as_deref(),
            Some("a cycle has been running since 1970-01-01T00:00:00Z, and has not ended")
        );
    }
}
