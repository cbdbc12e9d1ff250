//! The fence: returns when a reader of the mirror sees a commit.
//!
//! The watermark is polled, and the ledger with it. A commit is visible when the watermark is that commit or descends from
//! it, and the ledger is the watermark or descends from that: a mirror that is behind the commit, or was rewound, never
//! passes. Polls start 100 ms apart and slow down to 2 s; what may pass by itself (a mirror that
//! is down) is borne until the timeout.
use std::time::Duration;

use bstr::{BStr, BString};
use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Connection, Error};
use git_push_transport::Remote;
use gix::ObjectId;

use super::ancestry::Ancestry;
use crate::mirror::watermark::{ledger_ref, watermark_ref};

/// Distances between polls.
const POLLS: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(2),
};

/// What the mirror has of a namespace; both come from the same request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where the watermark stands; none when the mirror has none.
    pub watermark: Option<ObjectId>,
    /// Where the ledger stands; none when the mirror has none.
    pub ledger: Option<ObjectId>,
}

/// What a fence can see of the mirror.
pub trait Fence {
    /// Looks at the mirror.
    ///
    /// # Errors
    /// The mirror cannot be asked.
    fn look(&mut self) -> Result<Seen, Error>;

    /// Whether `whole`, which the mirror has, descends from `part`. Both are known to differ.
    ///
    /// # Errors
    /// The commits cannot be had.
    fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error>;
}

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The commit is visible.
    Visible(Seen),
    /// The time is over.
    TimedOut {
        /// What was seen last.
        last_seen: Seen,
        /// Why the last poll failed, if it did.
        error: Option<String>,
    },
    /// The time is over, and the watermark covers the commit, but the ledger on the mirror does not contain the watermark:
    /// somebody has rewound or overwritten it.
    Rewound(Seen),
}

/// How the commit stands to what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Visible,
    Behind,
    Rewound,
}

/// Polls until `commit` is visible or `timeout` is over. There is always at least one poll.
///
/// # Errors
/// What does not pass by itself: no such repository, credentials refused.
pub fn wait(fence: &mut dyn Fence, commit: ObjectId, timeout: Duration, clock: &dyn Clock) -> Result<Waited, Error> {
    let deadline = clock.elapsed() + timeout;
    let mut delays = POLLS.delays(|| clock.random());
    let mut known = (Seen::default(), Standing::Behind);
    loop {
        let error = match poll(fence, commit, known) {
            Ok((seen, Standing::Visible)) => return Ok(Waited::Visible(seen)),
            Ok(polled) => {
                known = polled;
                None
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "poll failed");
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let left = deadline.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return Ok(timed_out(known, error));
        }
        let asked = error.and_then(|error| error.retry_after()).unwrap_or_default();
        clock.sleep(delays.next().unwrap_or(POLLS.max_delay).max(asked).min(left));
    }
}

fn timed_out((last_seen, standing): (Seen, Standing), error: Option<Error>) -> Waited {
    match (standing, error) {
        (Standing::Rewound, None) => Waited::Rewound(last_seen),
        (_, error) => Waited::TimedOut {
            last_seen,
            error: error.map(|error| error.to_string()),
        },
    }
}

/// What is seen, and how `commit` stands to it. `known` is what was seen before: the same is not looked into twice.
fn poll(fence: &mut dyn Fence, commit: ObjectId, known: (Seen, Standing)) -> Result<(Seen, Standing), Error> {
    let seen = fence.look()?;
    if seen == known.0 {
        return Ok(known);
    }
    let Some(watermark) = seen.watermark else {
        return Ok((seen, Standing::Behind));
    };
    if watermark != commit && !fence.contains(watermark, commit)? {
        return Ok((seen, Standing::Behind));
    }
    let is_there = match seen.ledger {
        Some(ledger) => ledger == watermark || fence.contains(ledger, watermark)?,
        None => false,
    };
    let standing = if is_there { Standing::Visible } else { Standing::Rewound };
    Ok((seen, standing))
}

/// A fence on a remote.
pub struct RemoteFence<'a> {
    remote: &'a mut Remote,
    /// The names of watermark and ledger.
    names: [BString; 2],
    ancestry: Ancestry<'a>,
}

impl<'a> RemoteFence<'a> {
    /// A fence on the watermark of `namespace`. Commits that `local` has need not be fetched.
    pub fn new(remote: &'a mut Remote, namespace: &BStr, local: Option<&'a gix::Repository>) -> Self {
        RemoteFence {
            remote,
            names: [watermark_ref(namespace), ledger_ref(namespace)],
            ancestry: Ancestry::beside(local),
        }
    }
}

impl Fence for RemoteFence<'_> {
    fn look(&mut self) -> Result<Seen, Error> {
        let refs = self.remote.read_refs(&self.names)?;
        let find = |name: &BString| refs.iter().find(|remote| remote.name == *name).map(|remote| remote.id);
        let [watermark, ledger] = &self.names;
        Ok(Seen {
            watermark: find(watermark),
            ledger: find(ledger),
        })
    }

    fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error> {
        self.ancestry.contains(self.remote, whole, part)
    }
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;

    use super::*;
    use git_push::ErrorKind;

    /// Watermark and ledger.
    type Pair = (Option<u8>, Option<u8>);

    /// Commits are numbers; a greater one descends from a smaller one.
    struct Script {
        polls: Vec<Result<Pair, ErrorKind>>,
        asked: usize,
    }

    impl Fence for Script {
        fn look(&mut self) -> Result<Seen, Error> {
            let poll = if self.polls.len() > 1 {
                self.polls.remove(0)
            } else {
                self.polls[0]
            };
            poll.map(seen).map_err(|outcome| Error::new(outcome, "no answer"))
        }
        fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error> {
            self.asked += 1;
            Ok(whole > part)
        }
    }

    fn id(commit: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[commit; 20])
    }

    fn seen((watermark, ledger): Pair) -> Seen {
        Seen {
            watermark: watermark.map(id),
            ledger: ledger.map(id),
        }
    }

    fn both(commit: u8) -> Result<Pair, ErrorKind> {
        Ok((Some(commit), Some(commit)))
    }

    fn waited(polls: &[Result<Pair, ErrorKind>], seconds: u64) -> (Result<Waited, Error>, usize, Vec<u128>) {
        let mut script = Script {
            polls: polls.to_vec(),
            asked: 0,
        };
        let clock = ManualClock::default();
        let waited = wait(&mut script, id(5), Duration::from_secs(seconds), &clock);
        let slept = clock.slept().iter().map(Duration::as_millis).collect();
        (waited, script.asked, slept)
    }

    #[test]
    fn equal_and_descendant_pass_at_once_wherever_the_ledger_is_beyond() {
        for pair in [(5, 5), (6, 6), (5, 7), (6, 7)] {
            let pair = (Some(pair.0), Some(pair.1));
            let (waited, _, slept) = waited(&[Ok(pair)], 0);
            assert_eq!(waited.unwrap(), Waited::Visible(seen(pair)));
            assert!(slept.is_empty());
        }
    }

    #[test]
    fn a_ledger_that_is_not_at_the_watermark_never_passes_and_has_its_own_word() {
        for ledger in [None, Some(4), Some(5)] {
            let pair = (Some(6), ledger);
            let (waited, asked, slept) = waited(&[Ok(pair)], 10);
            assert_eq!(waited.unwrap(), Waited::Rewound(seen(pair)));
            assert!(asked <= 2, "the same is looked into once");
            assert!(slept.len() > 5, "it may be put in order within the time");
        }
        let (mended, ..) = waited(&[Ok((Some(6), Some(4))), both(6)], 10);
        assert_eq!(mended.unwrap(), Waited::Visible(seen((Some(6), Some(6)))));
    }

    #[test]
    fn polls_start_at_a_tenth_of_a_second_and_slow_down_to_two() {
        let (_, _, slept) = waited(&[Ok((None, None))], 10);
        assert_eq!(slept[..8], [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }

    #[test]
    fn a_mirror_that_is_behind_never_passes_and_is_looked_into_once() {
        let (waited, asked, _) = waited(&[both(4)], 10);
        let expected = Waited::TimedOut {
            last_seen: seen((Some(4), Some(4))),
            error: None,
        };
        assert_eq!((waited.unwrap(), asked), (expected, 1));
    }

    #[test]
    fn what_may_pass_by_itself_is_borne() {
        let polls = [
            Err(ErrorKind::Transient),
            Err(ErrorKind::Uncertain),
            Ok((None, None)),
            both(4),
            both(5),
        ];
        let (waited, ..) = waited(&polls, 60);
        assert_eq!(waited.unwrap(), Waited::Visible(seen((Some(5), Some(5)))));
    }

    #[test]
    fn what_does_not_is_told_at_once_and_a_timeout_tells_the_last_error() {
        let (refused, _, slept) = waited(&[Err(ErrorKind::Misconfigured)], 60);
        assert_eq!(
            (refused.unwrap_err().kind(), slept.len()),
            (ErrorKind::Misconfigured, 0)
        );
        let (down, ..) = waited(&[both(4), Err(ErrorKind::Transient)], 1);
        let expected = Waited::TimedOut {
            last_seen: seen((Some(4), Some(4))),
            error: Some("no answer".into()),
        };
        assert_eq!(down.unwrap(), expected);
    }
}
