//! What a peer got wrong on the wire, sorted by kind of fault.
use bstr::{BStr, BString, ByteSlice};

use super::{Error, ErrorKind};

/// The longest part of a peer's line that an error shows, in bytes.
const SHOWN: usize = 200;

/// A peer did not keep to the protocol, or said that it failed.
///
/// As it is made, nothing has been sent yet and the error is [`ErrorKind::Transient`]; whoever reads an answer to
/// commands makes it [`uncertain`](WireError::uncertain()).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct WireError {
    /// What is wrong.
    pub fault: Fault,
    kind: ErrorKind,
}

/// Kinds of what can be wrong with what a peer sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are not pkt-lines (gitprotocol-common, *pkt-line Format*).
    #[error("the server's answer is not in git's pkt-line format at byte {at}: {why}")]
    Framing {
        /// Bytes from the start of what was fed.
        at: u64,
        /// What was expected.
        why: String,
    },
    /// A well-framed line says something that it must not say there.
    #[error("the server sent an unexpected line, {why}: {line:?}")]
    Line {
        /// What is wrong with it, or what was expected instead.
        why: &'static str,
        /// The line, or its start.
        line: BString,
    },
    /// A flush-pkt or another special line where a data line was due, or the reverse.
    #[error("the server's answer ends too early, before {awaited}")]
    Premature {
        /// What was due.
        awaited: &'static str,
    },
    /// The answer is larger than anything that is sensible.
    #[error("the server's answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was hit.
        limit: u64,
    },
    /// The server itself says that it failed: an `ERR` line, or sideband 3.
    #[error("the server says: {words}")]
    Said {
        /// Its words, cleaned for a terminal.
        words: String,
        /// Whether it refused in an `ERR` line, rather than broke down in the middle of its work.
        refused: bool,
    },
}

impl WireError {
    /// The line is not what must be there.
    pub(super) fn line(why: &'static str, line: &[u8]) -> Self {
        let line = BString::from(&line[..line.len().min(SHOWN)]);
        Fault::Line { why, line }.into()
    }

    /// The answer ends before what is due.
    pub(super) fn premature(awaited: &'static str) -> Self {
        Fault::Premature { awaited }.into()
    }

    /// The server's words of an `ERR` line (gitprotocol-pack, *pkt-line Format*), if `line` is one.
    pub(super) fn err_line(line: &BStr) -> Option<Self> {
        let words = super::progress::cleaned(line.strip_prefix(b"ERR ")?.trim());
        Some(Fault::Said { words, refused: true }.into())
    }

    /// The same, in an answer to commands: they may have been carried out.
    pub fn uncertain(mut self) -> Self {
        self.kind = ErrorKind::Uncertain;
        self
    }

    /// What it means for the attempt.
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
            (_, ErrorKind::Uncertain) => "the push may have been carried out: read the refs back before trying again",
            (Fault::Framing { .. }, _) => "check that the URL is a Git repository served over git's smart protocol",
            (Fault::Said { .. }, _) => "ask whoever runs the server",
            _ => "the server, or something in between, does not speak git's protocol as documented",
        };
        Error::new(error.kind, error.to_string()).with_hint(hint)
    }
}
