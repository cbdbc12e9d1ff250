//! PURE: reasons for refusing a request.
use std::{io, sync::Arc};

use super::store::{Accepted, MAX_FEEDS};
use crate::journal::Cause;

/// Key by which an event was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// The `event_id`.
    Id,
    /// The `source.platform` and `source.source_msg_id`.
    Origin,
    /// The `event_id`, which differs in case.
    Case,
}

impl MatchedBy {
    /// Path of the member in the event.
    pub fn field(self) -> &'static str {
        match self {
            MatchedBy::Id | MatchedBy::Case => "event_id",
            MatchedBy::Origin => "source.source_msg_id",
        }
    }
}

impl MatchedBy {
    /// Description of a conflict with a stored event.
    pub fn conflict(self) -> String {
        match self {
            MatchedBy::Case => "another event has an event_id that differs from this one only in case".into(),
            _ => {
                let field = self.field();
                format!("another event has this {field} and other content; write corrections as new events")
            }
        }
    }
}

/// Reason for refusing a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The feed does not exist.
    #[error("no such feed; create it with POST /feeds")]
    UnknownFeed,
    /// Another event with the same id or source, and other content, is stored.
    #[error("{}", .by.conflict())]
    Conflict {
        /// The common key.
        by: MatchedBy,
        /// The stored event.
        stored: Accepted,
    },
    /// Another feed has this id, or one that differs in case.
    #[error("another feed has the id {0}, with another name, policy_json or case")]
    OtherFeed(Arc<str>),
    /// The maximum number of feeds is reached.
    #[error("the maximum of {MAX_FEEDS} feeds is reached")]
    TooManyFeeds,
    /// An event with this id or source was stored, and was removed since.
    #[error("an event with this event_id or source was stored before, and has been removed")]
    Removed,
    /// The event, feed or confirmation could not be made durable.
    #[error("the request could not be stored: {0}")]
    NotStored(Cause),
    /// The servers of the stream do not answer, or refuse.
    #[error("the request may not have been stored: {0}; send it again")]
    Unavailable(Arc<str>),
    /// The servers of the stream accept no event of this size.
    #[error("the event is longer than {0} bytes, which is what the servers of the stream accept")]
    TooLong(usize),
    /// The stored event could not be read.
    #[error("the stored event could not be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// The relay is stopping.
    #[error("the relay is stopping and accepts no requests")]
    Stopping,
}
