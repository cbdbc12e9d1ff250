//! Result of one attempt, and of all attempts of a cycle.
use std::time::Duration;

use bstr::{BStr, ByteSlice};

use super::{
    alike::{alike, others, without_names},
    bisect::Sent,
};
use crate::{
    mirror::{Group, GroupResult, Hold, Outcome},
    ref_update::RefUpdate,
};

/// Entries that an attempt settled, as indexes of the backlog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryResults {
    /// Seen on the mirror.
    pub mirrored: Vec<usize>,
    /// Excluded by the configuration.
    pub skipped: Vec<usize>,
    /// Impossible to mirror: the object is gone, and no later entry replaces it.
    pub failed: Vec<usize>,
}

/// A group with its result.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The group as last planned.
    pub group: Group,
    /// Result of the last attempt.
    pub result: GroupResult,
    /// Human-readable lines in the server's answer. Empty if the group is mirrored.
    pub server_words: Vec<String>,
    /// Outcome of each attempt that included the group.
    pub attempted: Vec<Outcome>,
}

impl Settled {
    /// Returns the number of attempts that included the group.
    pub fn attempts(&self) -> u32 {
        self.attempted.len() as u32
    }
}

/// Result of one attempt.
pub(super) struct Attempt {
    pub(super) skipped: Vec<usize>,
    pub(super) groups: Vec<Tried>,
    pub(super) retry_after: Option<Duration>,
}

/// A group after one attempt.
pub(super) struct Tried {
    pub(super) group: Group,
    pub(super) result: GroupResult,
    pub(super) server_words: Vec<String>,
}

impl Tried {
    /// Creates the result of a group that was sent. The server's words are dropped if the group is mirrored.
    pub(super) fn new(group: Group, result: GroupResult, sent: &Sent) -> Self {
        let server_words = match sent.as_ref() {
            _ if result.outcome == Outcome::Mirrored => &[],
            Ok(report) => report.server_words(),
            Err(error) => error.server_words(),
        };
        Tried {
            server_words: server_words.to_vec(),
            ..Tried::unsent(group, result)
        }
    }

    /// Creates the result of a group that was not sent.
    pub(super) fn unsent(group: Group, result: GroupResult) -> Self {
        Tried {
            group,
            result,
            server_words: Vec::new(),
        }
    }

    /// Logs the result of attempt number `attempt` of `of`, with the server's words, for this group and for `others` with the
    /// same result.
    fn log(&self, others: Option<usize>, attempt: u32, of: u32) {
        let (label, result) = (self.group.label(), &self.result);
        if result.outcome == Outcome::Mirrored {
            tracing::debug!(group = %label, attempt, outcome = result.outcome.word(), "mirrored");
            return;
        }
        let outcome = result.outcome.word();
        let error = result.error.as_deref().unwrap_or_default();
        let words = (!self.server_words.is_empty()).then(|| self.server_words.join(" | "));
        let server_words = words.as_deref();
        if attempt == of {
            tracing::error!(group = %label, others, attempt, of, %outcome, error, server_words, "not mirrored; the entries stay pending");
        } else {
            tracing::warn!(group = %label, others, attempt, of, %outcome, error, server_words, "attempt failed");
        }
    }

    /// Returns equal values for groups of which one log line is enough: those that failed for the same reason.
    fn kind(&self) -> (Option<&BStr>, &'static str, String, &[String]) {
        let mirrored = (self.result.outcome == Outcome::Mirrored).then(|| self.group.label());
        let error = self.result.error.as_deref().unwrap_or_default();
        let names = self.group.changes.iter().filter_map(|change| change.name.to_str().ok());
        let reason = without_names(error, names);
        (mirrored, self.result.outcome.word(), reason, &self.server_words)
    }

    /// Creates the result of the group after this attempt and the earlier ones.
    pub(super) fn settled(self, mut attempted: Vec<Outcome>) -> Settled {
        attempted.push(self.result.outcome);
        Settled {
            group: self.group,
            result: self.result,
            server_words: self.server_words,
            attempted,
        }
    }
}

impl Attempt {
    /// Logs the results of attempt number `number` of `of`.
    pub(super) fn log(&self, number: u32, of: u32) {
        for alike in alike(&self.groups, Tried::kind) {
            alike[0].log(others(&alike), number, of);
        }
    }

    /// Returns the entries of the backlog that this attempt settled.
    pub(super) fn entry_results(&self, backlog: &[RefUpdate]) -> EntryResults {
        let gone = |index: &usize| {
            let holds = self.groups.iter().filter_map(|tried| tried.group.hold.as_ref());
            let mut names = holds.filter_map(|hold| match hold {
                Hold::Gone { name, .. } => Some(name),
                Hold::Diverged { .. }
                | Hold::Conflict { .. }
                | Hold::Landing { .. }
                | Hold::Unreadable { .. }
                | Hold::Damaged { .. } => None,
            });
            names.any(|name| *name == backlog[*index].name)
        };
        let mut failed = self.entries(|group, _| group.hold.is_some());
        failed.retain(gone);
        EntryResults {
            mirrored: self.entries(|_, outcome| outcome == Outcome::Mirrored),
            skipped: self.skipped.clone(),
            failed,
        }
    }

    /// Returns the entries of groups that may succeed if they are retried within the cycle. A rejection may be temporary;
    /// a divergence or a wrong setting is not. A group continues without its failed entry.
    pub(super) fn to_repeat(&self, results: &EntryResults) -> Vec<usize> {
        let passing = [Outcome::Transient, Outcome::Uncertain, Outcome::Rejected];
        let mut entries = self.entries(|_, outcome| passing.contains(&outcome));
        entries.retain(|index| !results.failed.contains(index));
        entries
    }

    fn entries(&self, wanted: impl Fn(&Group, Outcome) -> bool) -> Vec<usize> {
        let groups = self
            .groups
            .iter()
            .filter(|tried| wanted(&tried.group, tried.result.outcome));
        let mut entries: Vec<usize> = groups.flat_map(|tried| tried.group.entries.iter().copied()).collect();
        entries.sort_unstable();
        entries
    }
}
