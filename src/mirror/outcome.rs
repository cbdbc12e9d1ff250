//! Outcomes of an attempt to mirror a group.
use git_push::ErrorKind;
use serde::{Deserialize, Serialize};

/// Outcome of an attempt. Its serialized name is its [`word()`](Outcome::word()).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The mirror has the refs that were sent.
    Mirrored,
    /// Nothing was changed. A retry may succeed.
    Transient,
    /// The answer was lost: look before acting.
    Uncertain,
    /// The server refuses, until something changes there.
    Rejected,
    /// The mirror has something that would be overwritten.
    Diverged,
    /// Settings on this side are wrong, or the Stargate is a shallow or partial clone that lacks an object.
    Misconfigured,
    /// An object is missing or damaged in the Stargate.
    Broken,
}

impl Outcome {
    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Mirrored => "mirrored",
            Outcome::Transient => "transient",
            Outcome::Uncertain => "uncertain",
            Outcome::Rejected => "rejected",
            Outcome::Diverged => "diverged",
            Outcome::Misconfigured => "misconfigured",
            Outcome::Broken => "broken",
        }
    }

    /// Returns true if the outcome was decided. Otherwise there was no answer, so an earlier decision still stands.
    pub fn is_definite(self) -> bool {
        !matches!(self, Outcome::Transient | Outcome::Uncertain)
    }
}

impl From<ErrorKind> for Outcome {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotSent => Outcome::Diverged,
            ErrorKind::Transient | ErrorKind::Interrupted => Outcome::Transient,
            ErrorKind::Rejected => Outcome::Rejected,
            ErrorKind::Misconfigured | ErrorKind::NotCloned => Outcome::Misconfigured,
            ErrorKind::Broken => Outcome::Broken,
            // An unknown kind may have changed something.
            _ => Outcome::Uncertain,
        }
    }
}
