//! Errors of a push, sorted by their meaning for the caller.
use std::time::Duration;

use super::server_words::kept_words;

/// Classes of failures. Success has no class: a push that succeeds returns a [`Report`](super::Report).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused on this side before a whole request was sent: the remote has something that would be overwritten or lost, or
    /// the pack is larger than a limit.
    NotSent,
    /// Nothing was changed. The same push may succeed later.
    Transient,
    /// The answer was lost, and the push may have been carried out. Read the refs back before retrying.
    Uncertain,
    /// The server refuses, and will refuse again until something changes there.
    Rejected,
    /// Settings on this side are wrong: no such remote, credentials refused, `atomic` not offered, TLS.
    Misconfigured,
    /// An object or a ref of the local repository is missing, damaged or unreadable. Nothing was changed on the remote.
    /// Pushes that do not need it can succeed.
    Broken,
    /// The local repository is a shallow or partial clone, and an object that the push needs was left out. Nothing was
    /// sent. Pushes that do not need it can succeed.
    NotCloned,
    /// The caller asked to stop. Nothing was changed, except that parts of a [push in
    /// parts](super::Push::send_in_parts()) that have arrived stay.
    Interrupted,
}

/// The party that has to change something after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Party {
    /// The settings on this side, the local repository, or the caller.
    Us,
    /// The server, its hooks or its rules.
    Server,
    /// The network, or a server that is down. The failure may be temporary.
    Between,
    /// Other writers to the remote.
    Others,
}

/// Change of the pack that may help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// A smaller pack: this one is larger than a limit, or too large for one connection. [`Push::send_in_parts()`] sends
    /// several.
    ///
    /// [`Push::send_in_parts()`]: super::Push::send_in_parts()
    SmallerPack,
    /// A pack without deltas of objects that only the remote has: the server may not accept thin packs.
    SelfContainedPack,
    /// A pack with its length in advance: the server does not take packs of unknown length.
    KnownLength,
    /// The same pack once more: the connection has new credentials, which the server demanded when it had read the first one.
    Again,
}

impl ErrorKind {
    /// Returns the party that has to change something.
    #[must_use]
    pub fn fault(self) -> Party {
        match self {
            ErrorKind::Transient | ErrorKind::Uncertain => Party::Between,
            ErrorKind::Rejected => Party::Server,
            ErrorKind::NotSent => Party::Others,
            ErrorKind::Misconfigured | ErrorKind::Broken | ErrorKind::NotCloned | ErrorKind::Interrupted => Party::Us,
        }
    }

    /// Returns true if a retry can succeed without any change. Read the refs back before retrying after
    /// [`ErrorKind::Uncertain`].
    #[must_use]
    pub fn is_retryable(self) -> bool {
        self.fault() == Party::Between
    }
}

/// A failed attempt. The text says what failed, on what, and why. It contains no secrets.
///
/// Success cannot be an error:
///
/// ```compile_fail,E0599
/// use git_push::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::Mirrored, "the remote has everything");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    hint: Option<String>,
    kind: ErrorKind,
    retry_after: Option<Duration>,
    remedy: Option<Remedy>,
    server_words: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Creates an error. `what` says what failed, on what, and why, without secrets.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Error {
            what: what.into(),
            hint: None,
            kind,
            retry_after: None,
            remedy: None,
            server_words: Vec::new(),
            source: None,
        }
    }

    /// Creates the error of a push that the caller stopped.
    #[must_use]
    pub fn interrupted() -> Self {
        Error::new(ErrorKind::Interrupted, "interrupted; nothing was changed on the remote")
    }

    /// Adds an instruction that helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the delay that the server requested.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Adds a change of the pack that may help.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Removes the change that may help, where it was tried.
    pub(super) fn without_remedy(mut self) -> Self {
        self.remedy = None;
        self
    }

    /// Adds the cause, for [`source()`](std::error::Error::source()). The text of the error already contains its text.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Removes the cause. Call it after removing secrets from the text: the cause may still contain them.
    #[must_use]
    pub fn without_source(mut self) -> Self {
        self.source = None;
        self
    }

    /// Sets the server's human-readable lines (`remote:` lines). They are cleaned and bounded: see
    /// [`kept_words()`].
    #[must_use]
    pub fn with_server_words(mut self, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.server_words = kept_words(lines);
        self
    }

    /// Replaces the text, for example to add the place where it happened.
    #[must_use]
    pub fn reworded(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the party that has to change something.
    #[must_use]
    pub fn fault(&self) -> Party {
        self.kind.fault()
    }

    /// Returns true if a retry can succeed without any change: see [`ErrorKind::is_retryable()`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }

    /// Returns an instruction that helps, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the delay that the server requested.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns a change of the pack that may help, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        self.remedy
    }

    /// Returns the human-readable lines that the server sent before the failure. Do not base decisions on them.
    #[must_use]
    pub fn server_words(&self) -> &[String] {
        &self.server_words
    }
}

/// Returns the messages of gix's error and of all its causes in one line.
// For the other crates of this workspace, which report errors of gix in the same way.
#[doc(hidden)]
#[must_use]
pub fn causes(error: &gix::Error) -> String {
    let causes: Vec<_> = error.iter_errors().map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_words::MAX_WORDS;

    #[test]
    fn words_of_a_server_are_cleaned_and_bounded() {
        let lines = vec!["\u{1b}[31mno\u{1b}[0m"; 100];
        let error = Error::new(ErrorKind::Rejected, "no").with_server_words(lines);
        assert_eq!(error.server_words().len(), MAX_WORDS);
        assert_eq!(error.server_words()[0], "no");
    }

    #[test]
    fn only_failures_between_both_sides_are_worth_a_retry() {
        use ErrorKind::{Broken, Interrupted, Misconfigured, NotCloned, NotSent, Rejected, Transient, Uncertain};
        assert!(Transient.is_retryable() && Uncertain.is_retryable());
        for kind in [NotSent, Rejected, Misconfigured, Broken, NotCloned, Interrupted] {
            assert!(!kind.is_retryable(), "{kind:?}");
        }
    }
}
