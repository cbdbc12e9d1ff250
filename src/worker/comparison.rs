//! A comparison of the refs of both sides that could not be made.
use git_push::{Error, ErrorKind};
use serde::Serialize;

/// Why the refs of both sides could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedComparison {
    /// Whether a correction is needed.
    pub outcome: ComparisonOutcome,
    /// Why, for a person.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparisonOutcome {
    /// Nothing but a correction of settings helps: credentials, the URL, TLS.
    Misconfigured,
    /// The mirror gave no answer that could be used; the next cycle asks again.
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
