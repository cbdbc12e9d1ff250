//! Stored events that have the id or the origin of a new one.
use std::{io, sync::Arc};

use axum::body::Bytes;

use super::{
    index::{Identity, Scan, origin},
    store::{Accepted, MatchedBy, Refusal, Shared, Submission},
};
use crate::event::{Event, Folded};

/// A stored event with the same hash as a new one.
struct Candidate {
    seq: u64,
    /// `None` if it was removed.
    stored: Option<(Event, Bytes)>,
}

/// Stored events that may have a key of a new one.
pub struct Candidates {
    by_id: Vec<Candidate>,
    by_origin: Vec<Candidate>,
}

impl Candidates {
    /// Reads the events that were found by their hashes.
    ///
    /// # Errors
    /// The index or the log cannot be read.
    pub fn read(shared: &Shared, by_id: &Scan, by_origin: Option<&Scan>) -> io::Result<Self> {
        let read = |scan: &Scan| {
            let candidates = scan.records()?.into_iter().map(|(record, is_stored)| {
                let stored = if is_stored {
                    let json = shared.read(record.place)?;
                    Some((parse(&json)?, json))
                } else {
                    None
                };
                Ok(Candidate {
                    seq: record.seq,
                    stored,
                })
            });
            candidates.collect::<io::Result<_>>()
        };
        Ok(Candidates {
            by_id: read(by_id)?,
            by_origin: by_origin.map_or(Ok(Vec::new()), read)?,
        })
    }

    /// Answers by the stored event with this key, if there is one.
    pub fn answer(&self, event: &Submission, by: MatchedBy) -> Option<Result<Accepted, Refusal>> {
        let candidates = match by {
            MatchedBy::Id | MatchedBy::Case => &self.by_id,
            MatchedBy::Origin => &self.by_origin,
        };
        let found = candidates.iter().find(|candidate| candidate.has(&event.identity, by))?;
        let seq = found.seq;
        let Some((stored, json)) = &found.stored else {
            return Some(Err(Refusal::Removed));
        };
        let is_same = match by {
            MatchedBy::Case => Ok(false),
            _ => is_same((stored, json), &event.json),
        };
        let stored = Accepted::known(seq, json.clone());
        Some(match is_same {
            Ok(true) => Ok(stored),
            Ok(false) => Err(Refusal::Conflict { by, stored }),
            Err(error) => Err(Refusal::Unreadable(Arc::new(error))),
        })
    }
}

impl Candidate {
    fn has(&self, identity: &Identity, by: MatchedBy) -> bool {
        let Some((stored, _)) = &self.stored else {
            return true;
        };
        match by {
            MatchedBy::Id => *stored.event_id() == *identity.event_id,
            MatchedBy::Origin => stored.origin().map(origin) == identity.origin,
            MatchedBy::Case => Folded(stored.event_id().into()) == Folded(identity.event_id.clone()),
        }
    }
}

/// Returns true if an event, with its JSON, and another one have the same content.
///
/// # Errors
/// The other one is not an event.
pub fn is_same((event, json): (&Event, &[u8]), other: &[u8]) -> io::Result<bool> {
    Ok(json == other || event.has_content_of(&parse(other)?))
}

/// Parses an event of the log.
///
/// # Errors
/// The JSON is not an event.
pub fn parse(json: &[u8]) -> io::Result<Event> {
    Event::parse_logged(json).map_err(|problems| io::Error::other(problems[0].to_string()))
}
