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
    /// An object or a ref of the local repository is missing, damaged or cannot be read. Nothing was sent, and what does
    /// not need it can be.
    Broken,
}

/// Whose fault a failure is: who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Settings on our side, or our repository.
    Us,
    /// The server, its hooks or its rules.
    Server,
    /// The way there, or a server that is down: nobody has to, it may pass by itself.
    Between,
    /// Somebody else who wrote to the remote, or rewrote what was there.
    Others,
}

impl Outcome {
    /// Whose fault it is; nobody's when it is mirrored.
    pub fn fault(self) -> Option<Party> {
        match self {
            Outcome::Mirrored => None,
            Outcome::Transient | Outcome::Ambiguous => Some(Party::Between),
            Outcome::Rejected => Some(Party::Server),
            Outcome::Diverged => Some(Party::Others),
            Outcome::Misconfigured | Outcome::Broken => Some(Party::Us),
        }
    }

    /// Whether trying again helps, though nobody changes anything. After [`Outcome::Ambiguous`] a look comes first.
    pub fn may_pass(self) -> bool {
        self.fault() == Some(Party::Between)
    }
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

    /// The same in other words, such as with the place where it happened.
    pub fn reworded(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
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
