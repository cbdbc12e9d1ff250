//! Protocol errors of a peer, sorted by kind of fault.
use bstr::{BStr, BString, ByteSlice};

use super::{Error, ErrorKind};

/// Maximum length of a peer's line in an error, in bytes.
const SHOWN: usize = 200;

/// An error of a peer that violated the protocol, or reported a failure.
///
/// A new error is [`ErrorKind::Transient`], for answers to questions. Readers of an answer to commands make it
/// [`uncertain`](WireError::uncertain()).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
#[non_exhaustive]
pub struct WireError {
    /// The fault.
    pub fault: Fault,
    kind: ErrorKind,
}

/// Faults in the bytes of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not pkt-lines (gitprotocol-common, *pkt-line Format*).
    #[error("the server's answer is not in git's pkt-line format at byte {at}: {why}")]
    Framing {
        /// Number of bytes from the start of the answer.
        at: u64,
        /// The expected form.
        why: String,
    },
    /// A well-framed line has content that is not allowed there.
    #[error("the server sent an unexpected line, {why}: {line:?}")]
    Line {
        /// The error in the line, or the expected line.
        why: &'static str,
        /// The line, or its start.
        line: BString,
    },
    /// The answer ends, or a flush-pkt comes, before a line that must come.
    #[error("the server's answer ends too early, before {awaited}")]
    Premature {
        /// The missing part.
        awaited: &'static str,
    },
    /// The answer is larger than the limit.
    #[error("the server's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The server itself says that it failed: an `ERR` line, or sideband 3.
    #[error("the server says: {words}")]
    Said {
        /// Its words, cleaned for a terminal.
        words: String,
        /// True if the server refused in an `ERR` line, false if it failed in the middle of its work.
        refused: bool,
    },
}

impl WireError {
    /// Returns the error of an unexpected line.
    pub(super) fn line(why: &'static str, line: &[u8]) -> Self {
        let line = BString::from(&line[..line.len().min(SHOWN)]);
        Fault::Line { why, line }.into()
    }

    /// Returns the error of an answer that ends too early.
    pub(super) fn premature(awaited: &'static str) -> Self {
        Fault::Premature { awaited }.into()
    }

    /// Returns the error that an `ERR` line reports (gitprotocol-pack, *pkt-line Format*), if `line` is one.
    pub(super) fn err_line(line: &BStr) -> Option<Self> {
        let words = super::progress::cleaned(line.strip_prefix(b"ERR ")?.trim());
        Some(Fault::Said { words, refused: true }.into())
    }

    /// Marks an error in an answer to commands, which may have been carried out.
    #[must_use]
    pub fn uncertain(mut self) -> Self {
        self.kind = ErrorKind::Uncertain;
        self
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<Fault> for WireError {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Said { refused: true, .. } => ErrorKind::Rejected,
            _ => ErrorKind::Transient,
        };
        WireError { fault, kind }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let hint = match (&error.fault, error.kind) {
            (_, ErrorKind::Uncertain) => "the push may have been carried out: read the refs back before retrying",
            (Fault::Framing { .. }, _) => "check that the URL is a Git repository served over git's smart protocol",
            (Fault::Said { .. }, _) => "ask the administrator of the server",
            _ => "check the URL and any proxy: the answer is not git's protocol",
        };
        Error::new(error.kind, error.to_string())
            .with_hint(hint)
            .with_source(error)
    }
}
