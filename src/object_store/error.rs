//! Errors of a repository on this machine.
use std::{fmt, path::Path};

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request would overwrite something, or the target is not a suitable repository.
    Refused,
    /// The repository's format is not supported.
    Misconfigured,
    /// Another process interfered; a retry may succeed.
    Busy,
    /// Input or output failed, or the repository is damaged.
    Failed,
}

/// A failure on this machine: what failed, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    hint: Option<String>,
    kind: Kind,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error {
            what: what.into(),
            hint: None,
            kind,
        }
    }

    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Error::new(Kind::Refused, what)
    }

    pub(crate) fn misconfigured(what: impl fmt::Display) -> Self {
        Error::new(Kind::Misconfigured, what.to_string())
    }

    pub(crate) fn failed(doing: &str, path: &Path, why: impl fmt::Display) -> Self {
        Error::new(Kind::Failed, format!("cannot {doing} {}: {why}", path.display()))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Instruction for the user.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
