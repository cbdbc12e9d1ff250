//! Failures of a channel.
use crate::mirror::Fate;

/// Failure to deliver one alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its extent.
    pub(super) extent: Extent,
    /// Its reason, without secrets.
    pub(super) why: String,
}

/// Extent of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The channel cannot be used, and nothing was sent.
    NotSent,
    /// There was no answer in time, so the channel may have the alert. The next one would wait as long.
    Unanswered,
    /// The channel does not accept this alert. It may accept the next one.
    Refused,
}

impl Failure {
    pub(super) fn not_sent(why: String) -> Self {
        Failure {
            extent: Extent::NotSent,
            why,
        }
    }

    pub(super) fn unanswered(why: String) -> Self {
        Failure {
            extent: Extent::Unanswered,
            why,
        }
    }

    pub(super) fn refused(why: String) -> Self {
        Failure {
            extent: Extent::Refused,
            why,
        }
    }
}

impl Extent {
    /// Returns true if later alerts would fail in the same way.
    pub(super) fn ends_delivery(self) -> bool {
        self != Extent::Refused
    }

    /// Returns what is known of the alert. A program that failed, or a server that refused it, may have passed it on.
    pub(super) fn fate(self) -> Fate {
        match self {
            Extent::NotSent => Fate::NotSent,
            Extent::Unanswered | Extent::Refused => Fate::Unknown,
        }
    }
}
