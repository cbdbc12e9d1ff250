//! PURE: requests to write, and their answers.
use axum::body::Bytes;
use tokio::sync::oneshot;

use super::{
    confirmed::Confirmation,
    index::{About, Identity},
    refusal::Refusal,
};
use crate::event::is_same_json;

/// Request to write something.
#[derive(Debug, Clone)]
pub enum WriteRequest {
    /// A feed.
    Feed(NewFeed),
    /// An event.
    Event(Submission),
    /// Confirmation of a mirror.
    Confirmation(Confirmation),
    /// Nothing: the answer comes when the store has what other relays have stored before.
    Refresh,
}

/// Feed to be created.
#[derive(Debug, Clone)]
pub struct NewFeed {
    /// Description of the feed, if it is new.
    pub about: About,
    /// False if the request gave no name: any name of a stored feed is right.
    pub is_named: bool,
    /// False if the request gave no policy: any policy of a stored feed is right.
    pub has_policy: bool,
    /// True to set the policy of a stored feed, instead of creating one.
    pub sets_policy: bool,
}

impl NewFeed {
    /// Returns true if a stored feed has the id, and the name and policy that the request gave.
    pub fn is(&self, stored: &About) -> bool {
        let policies = (self.about.policy.as_bytes(), stored.policy.as_bytes());
        stored.id == self.about.id
            && (!self.is_named || self.about.name == stored.name)
            && (!self.has_policy || is_same_json(policies.0, policies.1))
    }
}

/// Event to be written.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Feed of the event.
    pub feed: String,
    /// Keys of the event.
    pub identity: Identity,
    /// Compact JSON, as `JSON.stringify` writes it.
    pub json: Bytes,
}

/// A request in the queue, with its answer channel.
#[derive(Debug)]
pub struct QueuedWrite {
    /// The request.
    pub request: WriteRequest,
    /// Receives the answer.
    pub answer: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// Answer to a request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// True if it did not exist before.
    pub is_new: bool,
    /// Number of the line; 0 for a feed that existed.
    pub seq: u64,
    /// The stored event; empty for a feed.
    pub json: Bytes,
}

impl Accepted {
    /// Creates the answer for something that existed.
    pub fn known(seq: u64, json: Bytes) -> Self {
        Accepted {
            is_new: false,
            seq,
            json,
        }
    }
}
