//! Why an attempt failed, and what that means for whoever made it.
use std::time::Duration;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The remote has what was sent.
    Mirrored,
    /// Nothing was changed; the same again may succeed.
    Transient,
    /// The answer was lost: look before acting.
    Ambiguous,
    /// The server refuses. The same again will be refused until somebody changes something there.
    Rejected,
    /// The remote has something that would be overwritten.
    Diverged,
    /// Settings on our side are wrong: no such remote, credentials refused, `atomic` not offered, TLS.
    Misconfigured,
}

/// A failed attempt: what, where, and (by [`Error::outcome()`]) whether trying again helps.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    hint: Option<String>,
    outcome: Outcome,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error with this outcome. `what` says what failed, on what, and why, without secrets.
    pub fn new(outcome: Outcome, what: impl Into<String>) -> Self {
        Error {
            what: what.into(),
            hint: None,
            outcome,
            retry_after: None,
        }
    }

    /// Says what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The server asked to wait this long.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// What the attempt came to.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// What gix says, with all its causes, in one line.
pub fn causes(error: &gix::Error) -> String {
    let causes: Vec<_> = error.iter_errors().map(ToString::to_string).collect();
    causes.join(": ")
}
