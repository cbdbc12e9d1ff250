//! Report of a cycle, in the shape of `run --json`.
use std::time::Duration;

use bstr::ByteSlice;
use git_push::{Traffic, Verdict};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    attempt::Settled, comparison::FailedComparison, false_watermark::FalseWatermark, head::HeadDifference,
    missing::Missing, rejection::RejectionCause,
};
use crate::{
    lfs::Carried,
    mirror::{Change, Group, Outcome},
};

/// Report of a cycle.
#[derive(Debug, Clone, Serialize)]
pub struct CycleReport {
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Outcome of the whole cycle.
    pub outcome: CycleOutcome,
    /// Location of the mirror, without secrets; none if there is no mirror.
    pub remote: Option<String>,
    /// Every group of the backlog.
    pub groups: Vec<GroupReport>,
    /// Number of entries still pending after the cycle.
    pub pending: usize,
    /// Number of entries that can never be mirrored.
    pub failed: usize,
    /// Number of ref updates, from intents or from a comparison, that could not be written to the journal. Omitted if zero.
    #[serde(skip_serializing_if = "is_zero")]
    pub unwritten: usize,
    /// Setting that is missing for a push, if the cycle was `local-only`.
    pub missing: Option<Missing>,
    /// Failed comparison of the refs of both sides; none if it succeeded or was not needed.
    pub comparison: Option<FailedComparison>,
    /// False watermarks that were found on the mirror.
    pub watermarks: Vec<FalseWatermark>,
    /// HEAD of the mirror, if it was found to differ from the Stargate's in this cycle. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadDifference>,
    /// Settings that have no effect, each reported once. Omitted if there are no new ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Message that no ref matches `stargate.ref`. Omitted if a ref matches, or if there are no refs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmirrored: Option<String>,
    /// LFS objects that the cycle carried. Omitted if it pushed no pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<Carried>,
    /// Number of HTTP requests.
    pub http_requests: u64,
    /// Bytes of the request bodies.
    pub bytes_sent: u64,
    /// Duration of the cycle, in milliseconds.
    pub elapsed_ms: u64,
    /// Time of the next cycle if nothing new arrives, in seconds since the epoch: for the retry of a failed group, or for
    /// an intent that becomes stale.
    #[serde(skip)]
    pub next_try: Option<i64>,
    /// True if a request was sent to the mirror.
    #[serde(skip)]
    pub asked: bool,
    /// Number of ref updates that a comparison found and the journal had missed.
    #[serde(skip)]
    pub reconciled: usize,
    /// Age of each entry when it was seen on the mirror.
    #[serde(skip)]
    pub lags: Vec<Duration>,
}

/// Outcome of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CycleOutcome {
    /// Every pending entry was settled.
    Mirrored,
    /// Nothing was pending, and no comparison failed.
    Idle,
    /// Some entries stay pending, could not be written, or became `failed`; or the refs could not be compared.
    Incomplete,
    /// There was no push, because the remote or its credentials are missing.
    LocalOnly,
}

/// Report on one group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupReport {
    /// The namespace, else the ref; `refs` for a broken file that may contain any ref.
    pub group: String,
    /// The namespace; none for a ref outside the namespaces.
    pub namespace: Option<String>,
    /// Outcome; see [`GroupOutcome::word()`].
    pub outcome: GroupOutcome,
    /// Number of attempts within the cycle.
    pub attempts: u32,
    /// Outcome of each of them.
    #[serde(skip)]
    pub attempted: Vec<Outcome>,
    /// Number of entries that the group covers.
    pub entries: usize,
    /// New position of the watermark; none if the watermark was not moved.
    pub watermark: Option<String>,
    /// The refs of the group, without the watermark.
    pub refs: Vec<RefReport>,
    /// Reason why the group is not mirrored.
    pub error: Option<String>,
    /// Human-readable lines in the server's answer. Empty if the group is mirrored.
    pub server_words: Vec<String>,
    /// Instruction, if the cause of a rejection is recognised by these lines.
    pub advice: Option<&'static str>,
}

/// Report on one ref.
#[derive(Debug, Clone, Serialize)]
pub struct RefReport {
    /// The full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// Old id on the mirror; none if it had no such ref.
    pub old: Option<String>,
    /// New id; zeros for a deletion.
    pub new: String,
    /// Verdict; none in a dry run.
    pub verdict: Option<RefVerdict>,
    /// The server's reason for a rejection.
    pub reason: Option<String>,
}

/// Outcome of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOutcome {
    /// A dry run: the group would be sent.
    Planned,
    /// Outcome of the last attempt, or the reason why there was none.
    Settled(Outcome),
}

/// Verdict on one ref, from the server's report and from reading the refs back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefVerdict {
    /// The ref needed no update.
    UpToDate,
    /// The ref has its new id.
    Accepted,
    /// The server rejected the update.
    Rejected,
    /// The result is unknown.
    Unknown,
}

impl CycleOutcome {
    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            CycleOutcome::Mirrored => "mirrored",
            CycleOutcome::Idle => "idle",
            CycleOutcome::Incomplete => "incomplete",
            CycleOutcome::LocalOnly => "local-only",
        }
    }
}

impl GroupOutcome {
    /// The word for people and for JSON: `mirrored`, `transient`, `uncertain`, `rejected`, `diverged`,
    /// `misconfigured`, `broken`; `planned` in a dry run.
    pub fn word(self) -> &'static str {
        match self {
            GroupOutcome::Planned => "planned",
            GroupOutcome::Settled(outcome) => outcome.word(),
        }
    }
}

impl Serialize for GroupOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl RefVerdict {
    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            RefVerdict::UpToDate => "up-to-date",
            RefVerdict::Accepted => "accepted",
            RefVerdict::Rejected => "rejected",
            RefVerdict::Unknown => "unknown",
        }
    }
}

impl From<&Verdict> for RefVerdict {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::UpToDate => RefVerdict::UpToDate,
            Verdict::Accepted => RefVerdict::Accepted,
            Verdict::Rejected(_) => RefVerdict::Rejected,
            Verdict::Unknown => RefVerdict::Unknown,
        }
    }
}

impl CycleReport {
    /// Adds ref updates that could not be written to the journal. Any of them makes the cycle incomplete.
    pub(super) fn with_unwritten(mut self, unwritten: usize) -> Self {
        self.unwritten = unwritten;
        if unwritten > 0 {
            self.outcome = CycleOutcome::Incomplete;
        }
        self
    }

    /// Adds a failed comparison and the time of its retry. It makes the cycle incomplete.
    pub(super) fn with_comparison(mut self, failed: Option<FailedComparison>, again: Option<Timestamp>) -> Self {
        if failed.is_some() {
            self.outcome = CycleOutcome::Incomplete;
            self = self.with_try_at(again);
        }
        self.comparison = failed;
        self
    }

    /// Adds false watermarks. One that could not be reset makes the cycle incomplete.
    pub(super) fn with_watermarks(mut self, found: Vec<FalseWatermark>) -> Self {
        if found.iter().any(|found| !found.set_back) {
            self.outcome = CycleOutcome::Incomplete;
        }
        self.watermarks = found;
        self
    }

    /// Creates the report of a cycle without a push, with the missing setting.
    pub(super) fn local_only(missing: Missing, pending: usize, failed: usize) -> Self {
        CycleReport {
            missing: Some(missing),
            ..CycleReport::empty(CycleOutcome::LocalOnly, pending, failed)
        }
    }

    /// Adds a time at which another cycle is needed.
    pub(super) fn with_try_at(mut self, at: Option<Timestamp>) -> Self {
        // Rounds up to a whole second.
        let at = at.map(|at| at.as_second().saturating_add(1));
        self.next_try = self.next_try.into_iter().chain(at).min();
        self
    }

    /// Creates a report without groups.
    pub fn empty(outcome: CycleOutcome, pending: usize, failed: usize) -> Self {
        CycleReport {
            mirror: None,
            outcome,
            remote: None,
            groups: Vec::new(),
            pending,
            failed,
            unwritten: 0,
            missing: None,
            comparison: None,
            watermarks: Vec::new(),
            head: None,
            settings: Vec::new(),
            unmirrored: None,
            lfs: None,
            http_requests: 0,
            bytes_sent: 0,
            elapsed_ms: 0,
            next_try: None,
            asked: false,
            reconciled: 0,
            lags: Vec::new(),
        }
    }

    /// Adds the requests and bytes that were sent.
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        self.http_requests = traffic.http_requests;
        self.bytes_sent = traffic.bytes_sent;
        self
    }
}

// `skip_serializing_if` requires a reference.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl GroupReport {
    /// Creates the report on a group after its attempts.
    pub fn settled(settled: &Settled) -> Self {
        let result = &settled.result;
        let watermark = settled.group.watermark.as_ref();
        let stands = watermark.filter(|change| result.outcome == Outcome::Mirrored && !change.new.is_null());
        let verdicts = result
            .verdicts
            .iter()
            .filter(|(change, _)| Some(&change.name) != watermark.map(|w| &w.name));
        GroupReport {
            group: settled.group.label().to_string(),
            namespace: settled.group.namespace.as_ref().map(ToString::to_string),
            outcome: GroupOutcome::Settled(result.outcome),
            attempts: settled.attempts(),
            attempted: settled.attempted.clone(),
            entries: settled.group.entries.len(),
            watermark: stands.map(|change| change.new.to_string()),
            refs: verdicts
                .map(|(change, verdict)| RefReport::new(change, Some(verdict)))
                .collect(),
            error: result.error.clone(),
            advice: RejectionCause::of(&settled.server_words).map(RejectionCause::advice),
            server_words: settled.server_words.clone(),
        }
    }

    /// Creates the report on a group of a dry run.
    pub fn planned(group: &Group) -> Self {
        GroupReport {
            group: group.label().to_string(),
            namespace: group.namespace.as_ref().map(ToString::to_string),
            outcome: match &group.hold {
                Some(hold) => GroupOutcome::Settled(hold.outcome()),
                None => GroupOutcome::Planned,
            },
            attempts: 0,
            attempted: Vec::new(),
            entries: group.entries.len(),
            watermark: None,
            refs: group
                .changes
                .iter()
                .map(|change| RefReport::new(change, None))
                .collect(),
            error: group.hold.as_ref().map(ToString::to_string),
            server_words: Vec::new(),
            advice: None,
        }
    }
}

impl RefReport {
    fn new(change: &Change, verdict: Option<&Verdict>) -> Self {
        RefReport {
            name: change.name.to_str_lossy().into_owned(),
            old: (!change.old.is_null()).then(|| change.old.to_string()),
            new: change.new.to_string(),
            verdict: verdict.map(RefVerdict::from),
            reason: match verdict {
                Some(Verdict::Rejected(reason)) => Some(reason.to_str_lossy().into_owned()),
                _ => None,
            },
        }
    }
}
