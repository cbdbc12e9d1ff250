//! What a cycle came to, in the shape of `run --json`.
use bstr::ByteSlice;
use git_push::{Traffic, Verdict};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{comparison::FailedComparison, cycle::Settled, missing::Missing, watermarks::FalseWatermark};
use crate::mirror::{Change, Group, Outcome};

/// What a cycle came to.
#[derive(Debug, Clone, Serialize)]
pub struct CycleReport {
    /// The whole.
    pub outcome: CycleOutcome,
    /// The mirror without secrets; none when there is none.
    pub remote: Option<String>,
    /// Every group that the backlog made.
    pub groups: Vec<GroupReport>,
    /// Entries that are pending after the cycle.
    pub pending: usize,
    /// Entries that can never be mirrored.
    pub failed: usize,
    /// Ref updates that the journal could not be told, of intents or of a comparison; left out where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub unwritten: usize,
    /// What is missing for a push, where the cycle was `local-only`.
    pub missing: Option<Missing>,
    /// Why the refs of both sides could not be compared; none where they were, or need not be.
    pub comparison: Option<FailedComparison>,
    /// Watermarks on the mirror that were found to be false.
    pub watermarks: Vec<FalseWatermark>,
    /// Requests that were made.
    pub http_requests: u64,
    /// Bytes of their bodies.
    pub bytes_sent: u64,
    /// How long the cycle took, in milliseconds.
    pub elapsed_ms: u64,
    /// When there is something to do though nothing new arrives, in seconds since the epoch: a group that failed is to be
    /// tried again, or an intent to be looked at.
    #[serde(skip)]
    pub next_try: Option<i64>,
    /// Whether the mirror was asked anything, or sent.
    #[serde(skip)]
    pub asked: bool,
}

/// What a cycle came to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CycleOutcome {
    /// Every pending entry was settled.
    Mirrored,
    /// Nothing was pending, and no comparison failed.
    Idle,
    /// Entries stay pending or could not be written, or the refs could not be compared, and that will be tried again; or
    /// some entries became `failed`.
    Incomplete,
    /// No remote, or no credentials for it: there was no push.
    LocalOnly,
}

/// What a cycle came to for one group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupReport {
    /// The namespace, else the ref; `refs` where something is broken that may hold any ref.
    pub group: String,
    /// None for a ref outside the namespaces.
    pub namespace: Option<String>,
    /// See [`GroupOutcome::word()`].
    pub outcome: GroupOutcome,
    /// Attempts within the cycle.
    pub attempts: u32,
    /// How many entries the group covers.
    pub entries: usize,
    /// Where the watermark stands now; none when it was not moved there.
    pub watermark: Option<String>,
    /// The refs of the group, without the watermark.
    pub refs: Vec<RefReport>,
    /// Why it is not mirrored.
    pub error: Option<String>,
}

/// What a cycle came to for one ref.
#[derive(Debug, Clone, Serialize)]
pub struct RefReport {
    /// The full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// What the mirror had; none when it had no such ref.
    pub old: Option<String>,
    /// What it shall have; zeros for a deletion.
    pub new: String,
    /// None in a dry run.
    pub verdict: Option<RefVerdict>,
    /// The server's reason for a rejection.
    pub reason: Option<String>,
}

/// What a cycle came to for one group, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOutcome {
    /// It would be sent: the cycle was a dry run.
    Planned,
    /// What the last attempt came to, or why there was none.
    Settled(Outcome),
}

/// What a server's report and a look at the refs say about one ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefVerdict {
    /// There was nothing to do.
    UpToDate,
    /// It is as it shall be.
    Accepted,
    /// The server refuses.
    Rejected,
    /// Nobody knows.
    Unknown,
}

impl GroupOutcome {
    /// The word that a person and JSON read: `mirrored`, `transient`, `uncertain`, `rejected`, `diverged`,
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
    /// The word that a person and JSON read.
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
    /// The same, with ref updates that the journal could not be told: then there is something left to do.
    pub(super) fn with_unwritten(mut self, unwritten: usize) -> Self {
        self.unwritten = unwritten;
        if unwritten > 0 {
            self.outcome = CycleOutcome::Incomplete;
        }
        self
    }

    /// The same, with a comparison that failed, which is made again at this time: then there is something left to do.
    pub(super) fn with_comparison(mut self, failed: Option<FailedComparison>, again: Option<Timestamp>) -> Self {
        if failed.is_some() {
            self.outcome = CycleOutcome::Incomplete;
            self = self.with_try_at(again);
        }
        self.comparison = failed;
        self
    }

    /// The same, with watermarks that were found to be false: one that could not be set back is left to do.
    pub(super) fn with_watermarks(mut self, found: Vec<FalseWatermark>) -> Self {
        if found.iter().any(|found| !found.set_back) {
            self.outcome = CycleOutcome::Incomplete;
        }
        self.watermarks = found;
        self
    }

    /// The report of a cycle without a push, and what is missing for one.
    pub(super) fn local_only(missing: Missing, pending: usize, failed: usize) -> Self {
        CycleReport {
            missing: Some(missing),
            ..CycleReport::empty(CycleOutcome::LocalOnly, pending, failed)
        }
    }

    /// The same, with one more time at which there is something to do.
    pub(super) fn with_try_at(mut self, at: Option<Timestamp>) -> Self {
        // Not a moment too early.
        let at = at.map(|at| at.as_second().saturating_add(1));
        self.next_try = self.next_try.into_iter().chain(at).min();
        self
    }

    /// A report without groups.
    pub fn empty(outcome: CycleOutcome, pending: usize, failed: usize) -> Self {
        CycleReport {
            outcome,
            remote: None,
            groups: Vec::new(),
            pending,
            failed,
            unwritten: 0,
            missing: None,
            comparison: None,
            watermarks: Vec::new(),
            http_requests: 0,
            bytes_sent: 0,
            elapsed_ms: 0,
            next_try: None,
            asked: false,
        }
    }

    /// Adds what was sent.
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        self.http_requests = traffic.http_requests;
        self.bytes_sent = traffic.bytes_sent;
        self
    }
}

// The shape of the attribute asks for a reference.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl GroupReport {
    /// The report on a group that was attempted.
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
            attempts: settled.attempts,
            entries: settled.group.entries.len(),
            watermark: stands.map(|change| change.new.to_string()),
            refs: verdicts
                .map(|(change, verdict)| RefReport::new(change, Some(verdict)))
                .collect(),
            error: result.error.clone(),
        }
    }

    /// The report on a group that would be attempted.
    pub fn planned(group: &Group) -> Self {
        GroupReport {
            group: group.label().to_string(),
            namespace: group.namespace.as_ref().map(ToString::to_string),
            outcome: match &group.hold {
                Some(hold) => GroupOutcome::Settled(hold.outcome()),
                None => GroupOutcome::Planned,
            },
            attempts: 0,
            entries: group.entries.len(),
            watermark: None,
            refs: group
                .changes
                .iter()
                .map(|change| RefReport::new(change, None))
                .collect(),
            error: group.hold.as_ref().map(ToString::to_string),
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
