//! Why something could not be done with a context repository here.
use std::{fmt, path::Path};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for would overwrite something, or what is there is no context repository.
    Refused,
    /// The repository's format is not understood.
    Misconfigured,
    /// Another process did something at the same moment; the same again may succeed.
    Busy,
    /// Input or output failed, or the repository is damaged.
    Failed,
}

/// A failure on this side: what failed, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    hint: Option<String>,
    kind: Kind,
}

impl Error {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error {
            what: what.into(),
            hint: None,
            kind,
        }
    }

    pub(super) fn refused(what: impl Into<String>) -> Self {
        Error::new(Kind::Refused, what)
    }

    pub(super) fn misconfigured(what: impl fmt::Display) -> Self {
        Error::new(Kind::Misconfigured, what.to_string())
    }

    pub(super) fn failed(doing: &str, path: &Path, why: impl fmt::Display) -> Self {
        Error::new(Kind::Failed, format!("cannot {doing} {}: {why}", path.display()))
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
