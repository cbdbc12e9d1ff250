//! What holds at the end of a cycle, and why. PURE but for the status, which the cycle's observers share.
use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    mirror::{Condition, Observed, Outcome},
    worker::{
        backoff::Backoff,
        cycle_observer::EndedCycle,
        error::RunError,
        memory::Memory,
        missing::Missing,
        report::CycleReport,
        status::{GroupStatus, RepositoryStatus},
        token::TokenExpiry,
    },
};

/// Longest reason, in bytes. An alert must fit into the buffer of a pipe.
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
/// Instruction for everything else.
const SHOW: &str = "run `stargate-mirror status` and `stargate-mirror doctor`";

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
    /// Judges a cycle that has ended, with the memory that it left.
    pub(super) fn new(ended: &EndedCycle<'_>, memory: &Memory, stale_after: Duration) -> Self {
        let mut findings = Findings::default();
        let now = ended.at;
        for (condition, outcome) in [
            (Condition::Diverged, Outcome::Diverged),
            (Condition::Refused, Outcome::Rejected),
            (Condition::Misconfigured, Outcome::Misconfigured),
        ] {
            findings.add(condition, of_groups(memory, outcome, now));
        }
        findings.add(Condition::Misconfigured, of_comparison(memory, now));
        if let Err(error) = ended.result {
            findings.add(Condition::Misconfigured, of_error(error, now));
        }
        match ended.status() {
            Ok(status) => {
                findings.add(Condition::Stale, stale(status, ended.result.ok(), stale_after, now));
                findings.add_token(status, now);
            }
            Err(_) => findings.unknown.extend([Condition::Stale, Condition::Token]),
        }
        findings
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

/// Finds groups whose last attempt had this outcome.
fn of_groups(memory: &Memory, outcome: Outcome, now: Timestamp) -> Option<Finding> {
    let mut groups = memory
        .backoffs
        .iter()
        .filter(|(_, backoff)| backoff.outcome == Some(outcome));
    let (label, backoff) = groups.next()?;
    let rejection = memory.rejections.iter().find(|rejection| rejection.group == *label);
    let words = rejection.map_or(&[][..], |rejection| &rejection.server_words);
    let mut reason = explained(label, &backoff.reason, words);
    match groups.count() {
        0 => {}
        1 => reason.push_str("\nand 1 more group"),
        more => reason.push_str(&format!("\nand {more} more groups")),
    }
    let hint = match outcome {
        Outcome::Diverged => COMPARE,
        Outcome::Misconfigured => CORRECT,
        _ => CHECK_RULES,
    };
    let advice = rejection.and_then(|rejection| rejection.advice.as_deref());
    Some(Finding::new(now, Some(reason), advice.unwrap_or(hint)))
}

/// Finds a comparison that failed because of the settings.
fn of_comparison(memory: &Memory, now: Timestamp) -> Option<Finding> {
    let is_misconfigured = |failed: &&Backoff| failed.outcome == Some(Outcome::Misconfigured);
    let failed = memory.comparison.as_ref().filter(is_misconfigured)?;
    Some(Finding::new(now, Some(failed.reason.clone()), CORRECT))
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

/// Finds an oldest pending entry that is too old. A repository without a mirror has no stale one.
fn stale(
    status: &RepositoryStatus,
    report: Option<&CycleReport>,
    stale_after: Duration,
    now: Timestamp,
) -> Option<Finding> {
    let missing = report.and_then(|report| report.missing.as_ref());
    if matches!(missing, Some(Missing::Remote | Missing::RemoteOfSeveral)) {
        return None;
    }
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
