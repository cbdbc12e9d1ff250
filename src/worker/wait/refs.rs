//! Fence on refs themselves, for branches, tags and other refs without a watermark.
//!
//! Each poll reads all refs in one request. A ref is visible when it is the expected id or descends from it; a tag
//! counts as its target. If the mirror has another id, and no local repository has both, the commits of the mirror's
//! ref are fetched, once for each new id.
use std::{collections::BTreeMap, time::Duration};

use bstr::BString;
use durable::clock::Clock;
use git_push::{Connection, Error};
use git_push_transport::Remote;
use gix::ObjectId;

use super::{Polled, poll_until};
use crate::worker::ancestry::Ancestry;

/// A ref and the id to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The full name.
    pub name: BString,
    /// The id.
    pub id: ObjectId,
}

/// Refs of the mirror, by name.
pub type SeenRefs = BTreeMap<BString, ObjectId>;

/// Reads that a fence on refs makes on the mirror.
pub trait RefFence {
    /// Reads the refs.
    ///
    /// # Errors
    /// The mirror cannot be reached, or gives no usable answer.
    fn look(&mut self) -> Result<SeenRefs, Error>;

    /// Returns true if `whole`, an object of the mirror, descends from `part`. The two must differ.
    ///
    /// # Errors
    /// The commits cannot be fetched or read.
    fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error>;
}

/// Outcome of a wait for refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefsOutcome {
    /// All refs are visible.
    Visible(SeenRefs),
    /// The timeout has passed.
    TimedOut {
        /// Refs of the last poll.
        last_seen: SeenRefs,
        /// Error of the last poll, if it failed.
        error: Option<String>,
    },
}

/// Polls until all of `expected` are visible or `timeout` has passed. Polls at least once.
///
/// # Errors
/// Permanent errors, such as a missing repository or refused credentials.
pub fn wait_for_refs(
    fence: &mut dyn RefFence,
    expected: &[Expected],
    timeout: Duration,
    clock: &dyn Clock,
) -> Result<RefsOutcome, Error> {
    let mut known = (SeenRefs::new(), false);
    let polled = poll_until(timeout, clock, || {
        let seen = fence.look()?;
        if seen != known.0 {
            known = (seen.clone(), are_visible(fence, expected, &seen)?);
        }
        Ok(known.1)
    })?;
    let (last_seen, _) = known;
    Ok(match polled {
        Polled::Visible => RefsOutcome::Visible(last_seen),
        Polled::TimedOut(error) => RefsOutcome::TimedOut {
            last_seen,
            error: error.map(|error| error.to_string()),
        },
    })
}

fn are_visible(fence: &mut dyn RefFence, expected: &[Expected], seen: &SeenRefs) -> Result<bool, Error> {
    for Expected { name, id } in expected {
        let is_visible = match seen.get(name) {
            Some(found) => found == id || fence.contains(*found, *id)?,
            None => false,
        };
        if !is_visible {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fence on refs of a remote.
pub struct RemoteRefFence<'a> {
    remote: &'a mut Remote,
    names: Vec<BString>,
    ancestry: Ancestry<'a>,
}

impl<'a> RemoteRefFence<'a> {
    /// Creates a fence on the refs of `expected`. Commits that `local` has are not fetched.
    pub fn new(remote: &'a mut Remote, expected: &[Expected], local: Option<&'a gix::Repository>) -> Self {
        RemoteRefFence {
            remote,
            names: expected.iter().map(|expected| expected.name.clone()).collect(),
            ancestry: Ancestry::beside(local),
        }
    }
}

impl RefFence for RemoteRefFence<'_> {
    fn look(&mut self) -> Result<SeenRefs, Error> {
        let refs = self.remote.read_refs(&self.names)?.into_iter();
        // A name is also the prefix of longer names.
        let named = refs.filter(|remote| self.names.contains(&remote.name));
        Ok(named.map(|remote| (remote.name, remote.id)).collect())
    }

    fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error> {
        self.ancestry.contains(self.remote, whole, part)
    }
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;
    use git_push::ErrorKind;

    use super::*;

    /// Scripted polls: the ids of `refs/heads/a` and `refs/heads/b`. A greater number descends from a smaller one.
    struct Script {
        polls: Vec<Result<[u8; 2], ErrorKind>>,
        asked: usize,
    }

    fn id(commit: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[commit; 20])
    }

    fn seen([a, b]: [u8; 2]) -> SeenRefs {
        let refs = [("refs/heads/a", a), ("refs/heads/b", b)].into_iter();
        let there = refs.filter(|(_, commit)| *commit > 0);
        there.map(|(name, commit)| (name.into(), id(commit))).collect()
    }

    impl RefFence for Script {
        fn look(&mut self) -> Result<SeenRefs, Error> {
            let poll = if self.polls.len() > 1 {
                self.polls.remove(0)
            } else {
                self.polls[0]
            };
            poll.map(seen).map_err(|kind| Error::new(kind, "no answer"))
        }
        fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error> {
            self.asked += 1;
            Ok(whole > part)
        }
    }

    /// Waits for `refs/heads/a` at 5 and `refs/heads/b` at 7.
    fn waited(polls: &[Result<[u8; 2], ErrorKind>]) -> (Result<RefsOutcome, Error>, usize) {
        let mut script = Script {
            polls: polls.to_vec(),
            asked: 0,
        };
        let expected = [("refs/heads/a", 5), ("refs/heads/b", 7)].map(|(name, commit)| Expected {
            name: name.into(),
            id: id(commit),
        });
        let clock = ManualClock::default();
        let waited = wait_for_refs(&mut script, &expected, Duration::from_secs(10), &clock);
        (waited, script.asked)
    }

    #[test]
    fn all_refs_must_be_at_or_after_their_ids() {
        for refs in [[5, 7], [6, 7], [9, 9]] {
            assert_eq!(waited(&[Ok(refs)]).0.unwrap(), RefsOutcome::Visible(seen(refs)));
        }
        for refs in [[0, 0], [5, 0], [4, 7], [5, 6]] {
            let (waited, asked) = waited(&[Ok(refs)]);
            let expected = RefsOutcome::TimedOut {
                last_seen: seen(refs),
                error: None,
            };
            assert_eq!(waited.unwrap(), expected);
            assert!(asked <= 2, "an unchanged state is examined once");
        }
        let (later, _) = waited(&[Ok([0, 0]), Err(ErrorKind::Transient), Ok([5, 6]), Ok([5, 8])]);
        assert_eq!(later.unwrap(), RefsOutcome::Visible(seen([5, 8])));
    }

    #[test]
    fn errors_are_those_of_every_wait() {
        let (refused, _) = waited(&[Err(ErrorKind::Misconfigured)]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Misconfigured);
        let (down, _) = waited(&[Ok([4, 7]), Err(ErrorKind::Transient)]);
        let expected = RefsOutcome::TimedOut {
            last_seen: seen([4, 7]),
            error: Some("no answer".into()),
        };
        assert_eq!(down.unwrap(), expected);
    }
}
