//! Failure to compare the refs of the Stargate with those of the mirror.
use git_push::{Error, ErrorKind};
use serde::Serialize;

/// Failure of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedComparison {
    /// Kind of failure.
    pub outcome: ComparisonOutcome,
    /// Human-readable reason.
    pub error: String,
    /// Instruction for the operator.
    pub hint: Option<String>,
}

/// Kind of failure of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparisonOutcome {
    /// The settings must be corrected: credentials, the URL, TLS.
    Misconfigured,
    /// The mirror gave no usable answer. The next cycle retries.
    Unreachable,
}

impl From<&Error> for FailedComparison {
    fn from(error: &Error) -> Self {
        FailedComparison {
            outcome: match error.kind() {
                ErrorKind::Misconfigured => ComparisonOutcome::Misconfigured,
                _ => ComparisonOutcome::Unreachable,
            },
            error: error.to_string(),
            hint: error.hint().map(ToString::to_string),
        }
    }
}
