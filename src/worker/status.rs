//! Status of a repository, from its files alone. The mirror is not asked, and nothing is written.
mod reading;
mod refs;
mod standing;

use jiff::Timestamp;
use serde::Serialize;

use crate::mirror::Outcome;

use super::{alike::without_names, head::HeadDifference, lock::WorkerStatus, memory::DifferingRef};

pub use reading::status;
pub(super) use reading::status_of;
pub use refs::{RefsStanding, refs_standing};

/// Status of a repository with regard to one mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryStatus {
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Number of entries to be mirrored.
    pub pending: u64,
    /// Number of entries that can never be mirrored.
    pub failed: u64,
    /// Number of entries that the configuration excludes, or that concern another mirror.
    pub skipped: u64,
    /// Time of the oldest pending entry.
    pub oldest_pending: Option<Timestamp>,
    /// Age of the oldest pending entry, in seconds.
    pub oldest_pending_age_s: Option<i64>,
    /// Number of pushes that began and may or may not have been accepted.
    pub intents: usize,
    /// Number of journal lines that are not entries.
    pub problems: u64,
    /// Location of the mirror of the last push, without secrets; none after an error.
    pub remote: Option<String>,
    /// Time of the last comparison of both sides.
    pub compared_at: Option<Timestamp>,
    /// Reason why the last cycle was `local-only`, or why the first one will be.
    pub missing: Option<String>,
    /// Last comparison of both sides, if it failed.
    pub comparison: Option<ComparisonStatus>,
    /// False watermarks on the mirror, until their namespaces are mirrored again.
    pub watermarks: Vec<WatermarkStatus>,
    /// HEAD of the mirror at the last comparison, if it differs from the Stargate's. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadDifference>,
    /// The token for the mirror, if its end is known. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
    /// Reason why refs were pushed without their LFS objects. Omitted if they were carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<String>,
    /// Refs whose last update is on the mirror without some of its LFS objects. Omitted if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_lfs_objects: Vec<String>,
    /// Reason why the worker's memory cannot be read.
    pub forgotten: Option<String>,
    /// Signs of life of the worker.
    pub worker: WorkerStatus,
    /// Last time at which the mirror had everything that was sent to it.
    pub last_success: Option<Timestamp>,
    /// Refs that the last comparison left to the operator, the first 50 of them.
    pub differing: Vec<DifferingRef>,
    /// Groups with pending entries, by name.
    pub groups: Vec<GroupStatus>,
    /// Refs that cannot be read, or whose object is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist. The mirror's refs of that name stay unchanged.
    pub dangling: Vec<BrokenRef>,
}

/// A token whose end is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenStatus {
    /// Its end.
    pub expires_at: Timestamp,
    /// Last time at which the mirror accepted it, up to an hour early.
    pub accepted_at: Option<Timestamp>,
}

/// A ref that cannot be mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenRef {
    /// Name of the ref; none for an unreadable file that may contain any ref.
    #[serde(rename = "ref")]
    pub name: Option<String>,
    /// Reason why it cannot be mirrored.
    pub reason: String,
}

/// Status of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// The namespace, else the ref.
    pub group: String,
    /// Number of its pending entries.
    pub pending: usize,
    /// Time of the oldest of them.
    pub oldest_pending: Timestamp,
    /// Number of failed cycles since the newest of them.
    pub attempts: u32,
    /// Reason of the last failure.
    pub reason: Option<String>,
    /// Latest time of the next retry.
    pub next_try: Option<Timestamp>,
    /// Human-readable lines of the mirror's server about the rejection. Empty if there were none.
    pub server_words: Vec<String>,
    /// Instruction, if the cause of the rejection is recognised.
    pub advice: Option<String>,
    /// Last definite outcome, else the last one; none if the group never failed. Metrics have it.
    #[serde(skip)]
    pub held: Option<Outcome>,
}

/// Status of a failed comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparisonStatus {
    /// Number of failed comparisons in a row.
    pub attempts: u32,
    /// Reason of the last failure.
    pub reason: String,
    /// Latest time of the next retry.
    pub next_try: Option<Timestamp>,
}

/// A false watermark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatermarkStatus {
    /// The namespace.
    pub namespace: String,
    /// Position at which the watermark was found.
    pub found_at: String,
    /// Current position; none if the watermark was deleted.
    pub stands_at: Option<String>,
    /// Position of the ledger on the mirror; none if there is no ledger.
    pub ledger: Option<String>,
    /// True if it was reset to a commit that the ledger contains.
    pub set_back: bool,
}

impl RepositoryStatus {
    /// Returns true if everything is mirrored, according to the local files.
    pub fn is_settled(&self) -> bool {
        self.pending + self.failed == 0
            && self.comparison.is_none()
            && self.watermarks.iter().all(|watermark| watermark.set_back)
    }
}

impl GroupStatus {
    /// Returns the reason without the group's name and without object ids, which is equal for groups that failed alike.
    pub fn reason_without_names(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(without_names(reason, [self.group.as_str()]))
    }
}
