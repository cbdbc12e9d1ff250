//! False watermarks, as reported and as remembered. The `watermarks` module finds and resets them.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use gix::ObjectId;
use serde::{Deserialize, Serialize};

use crate::mirror::watermark::{Mismatch, watermark_ref};

/// A false watermark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FalseWatermark {
    /// The namespace.
    pub namespace: String,
    /// Ref name of the watermark.
    #[serde(skip)]
    pub name: BString,
    /// Position at which the watermark was found.
    pub watermark: String,
    /// Position of the ledger on the mirror; none if there is no ledger.
    pub ledger: Option<String>,
    /// Merge base of watermark and ledger, where the watermark belongs; none if there is none.
    pub covered: Option<String>,
    /// True once the watermark was reset.
    pub set_back: bool,
    /// Reason why a reset failed.
    pub error: Option<String>,
}

/// Remembered watermarks that differ from their ledgers, by namespace.
pub type Judged = BTreeMap<String, JudgedWatermark>;

/// Remembered state of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedWatermark {
    /// Position of the watermark; none if it was deleted.
    pub watermark: Option<String>,
    /// Position of the ledger.
    pub ledger: Option<String>,
    /// Last state in which it was false; none if it never was.
    pub was_false: Option<FalseWatermarkSeen>,
}

/// Remembered false watermark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalseWatermarkSeen {
    /// Position at which the watermark was found.
    pub watermark: String,
    /// True if it was reset.
    pub set_back: bool,
}

impl std::fmt::Display for FalseWatermark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FalseWatermark {
            namespace, watermark, ..
        } = self;
        write!(f, "refs/kv-mirror/{namespace} was at {watermark}, but ")?;
        match &self.ledger {
            Some(ledger) => write!(
                f,
                "refs/kv/{namespace} on the mirror is at {ledger}, which does not contain it"
            )?,
            None => write!(f, "the mirror has no refs/kv/{namespace}")?,
        }
        match (&self.covered, &self.error, self.set_back) {
            (_, Some(error), _) => write!(f, "; it could not be reset: {error}"),
            (Some(covered), None, true) => write!(f, "; it was reset to {covered}"),
            (None, None, true) => write!(f, "; it was deleted"),
            (_, None, false) => write!(f, "; the next cycle resets it"),
        }
    }
}

impl FalseWatermark {
    /// Creates one that was found and not reset yet.
    pub(super) fn new(mismatch: &Mismatch, covered: Option<ObjectId>) -> Self {
        FalseWatermark {
            name: watermark_ref(mismatch.namespace.as_bstr()),
            namespace: mismatch.namespace.to_string(),
            watermark: mismatch.watermark.to_string(),
            ledger: mismatch.ledger.map(|id| id.to_string()),
            covered: covered.map(|id| id.to_string()),
            set_back: false,
            error: None,
        }
    }
}
