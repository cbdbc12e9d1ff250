//! Fence: waits until a reader of the mirror sees a commit.
//!
//! Each poll reads the watermark and the ledger. A commit is visible when the watermark is that commit or descends from
//! it, and the ledger is the watermark or descends from it. So a mirror that is behind the commit, or was rewound, never
//! passes. Polls start 100 ms apart and slow down to 2 s. Temporary errors, such as a mirror that is down, are retried
//! until the timeout.
mod refs;

use std::time::Duration;

use bstr::{BStr, BString};
use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Connection, Error};
use git_push_transport::Remote;
use gix::ObjectId;

pub use self::refs::{Expected, RefFence, RefsOutcome, RemoteRefFence, SeenRefs, wait_for_refs};
use super::ancestry::Ancestry;
use crate::mirror::watermark::{ledger_ref, watermark_ref};

/// Delays between polls.
const POLLS: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(2),
};

/// Watermark and ledger of a namespace, both from the same request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Position of the watermark; none if the mirror has none.
    pub watermark: Option<ObjectId>,
    /// Position of the ledger; none if the mirror has none.
    pub ledger: Option<ObjectId>,
}

/// Reads that a fence makes on the mirror.
pub trait Fence {
    /// Reads the watermark and the ledger.
    ///
    /// # Errors
    /// The mirror cannot be reached, or gives no usable answer.
    fn look(&mut self) -> Result<Seen, Error>;

    /// Returns true if `whole`, a commit of the mirror, descends from `part`. The two must differ.
    ///
    /// # Errors
    /// The commits cannot be fetched or read.
    fn contains(&mut self, whole: ObjectId, part: ObjectId) -> Result<bool, Error>;
}

/// Outcome of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The commit is visible.
    Visible(Seen),
    /// The timeout has passed.
    TimedOut {
        /// Last watermark and ledger.
        last_seen: Seen,
        /// Error of the last poll, if it failed.
        error: Option<String>,
    },
    /// The timeout has passed. The watermark covers the commit, but the ledger does not contain the watermark: the ledger
    /// was rewound or overwritten.
    Rewound(Seen),
}

/// Relation of the commit to the watermark and the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Visible,
    Behind,
    Rewound,
}

/// Polls until `commit` is visible or `timeout` has passed. Polls at least once.
///
/// # Errors
/// Permanent errors, such as a missing repository or refused credentials.
pub fn wait(
    fence: &mut dyn Fence,
    commit: ObjectId,
    timeout: Duration,
    clock: &dyn Clock,
) -> Result<WaitOutcome, Error> {
    let mut known = (Seen::default(), Standing::Behind);
    let polled = poll_until(timeout, clock, || {
        known = poll(fence, commit, known)?;
        Ok(known.1 == Standing::Visible)
    })?;
    Ok(match polled {
        Polled::Visible => WaitOutcome::Visible(known.0),
        Polled::TimedOut(error) => timed_out(known, error),
    })
}

/// Result of polls.
enum Polled {
    Visible,
    /// The error is that of the last poll, if it failed.
    TimedOut(Option<Error>),
}

/// Calls `poll` until it returns true or `timeout` has passed, at least once. Temporary errors are retried.
fn poll_until(
    timeout: Duration,
    clock: &dyn Clock,
    mut poll: impl FnMut() -> Result<bool, Error>,
) -> Result<Polled, Error> {
    let deadline = clock.elapsed() + timeout;
    let mut delays = POLLS.delays(|| clock.random());
    loop {
        let error = match poll() {
            Ok(true) => return Ok(Polled::Visible),
            Ok(false) => None,
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "poll failed");
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let left = deadline.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return Ok(Polled::TimedOut(error));
        }
        let asked = error.and_then(|error| error.retry_after()).unwrap_or_default();
        clock.sleep(delays.next().unwrap_or(POLLS.max_delay).max(asked).min(left));
    }
}

fn timed_out((last_seen, standing): (Seen, Standing), error: Option<Error>) -> WaitOutcome {
    match (standing, error) {
        (Standing::Rewound, None) => WaitOutcome::Rewound(last_seen),
        (_, error) => WaitOutcome::TimedOut {
            last_seen,
            error: error.map(|error| error.to_string()),
        },
    }
}

/// Reads watermark and ledger, and returns their relation to `commit`. `known` is the last result, which is reused if
/// nothing has changed.
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

/// Fence on a remote.
pub struct RemoteFence<'a> {
    remote: &'a mut Remote,
    /// Names of the watermark and the ledger.
    names: [BString; 2],
    ancestry: Ancestry<'a>,
}

impl<'a> RemoteFence<'a> {
    /// Creates a fence on the watermark of `namespace`. Commits that `local` has are not fetched.
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

    /// Scripted answers. Commits are numbers; a greater one descends from a smaller one.
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

    fn waited(polls: &[Result<Pair, ErrorKind>], seconds: u64) -> (Result<WaitOutcome, Error>, usize, Vec<u128>) {
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
    fn a_watermark_at_or_after_the_commit_passes_at_once_with_any_later_ledger() {
        for pair in [(5, 5), (6, 6), (5, 7), (6, 7)] {
            let pair = (Some(pair.0), Some(pair.1));
            let (waited, _, slept) = waited(&[Ok(pair)], 0);
            assert_eq!(waited.unwrap(), WaitOutcome::Visible(seen(pair)));
            assert!(slept.is_empty());
        }
    }

    #[test]
    fn a_ledger_without_the_watermark_never_passes_and_is_reported_as_rewound() {
        for ledger in [None, Some(4), Some(5)] {
            let pair = (Some(6), ledger);
            let (waited, asked, slept) = waited(&[Ok(pair)], 10);
            assert_eq!(waited.unwrap(), WaitOutcome::Rewound(seen(pair)));
            assert!(asked <= 2, "an unchanged state is examined once");
            assert!(slept.len() > 5, "the mirror may be repaired before the timeout");
        }
        let (mended, ..) = waited(&[Ok((Some(6), Some(4))), both(6)], 10);
        assert_eq!(mended.unwrap(), WaitOutcome::Visible(seen((Some(6), Some(6)))));
    }

    #[test]
    fn polls_start_at_a_tenth_of_a_second_and_slow_down_to_two() {
        let (_, _, slept) = waited(&[Ok((None, None))], 10);
        assert_eq!(slept[..8], [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }

    #[test]
    fn a_mirror_that_is_behind_never_passes_and_is_examined_once() {
        let (waited, asked, _) = waited(&[both(4)], 10);
        let expected = WaitOutcome::TimedOut {
            last_seen: seen((Some(4), Some(4))),
            error: None,
        };
        assert_eq!((waited.unwrap(), asked), (expected, 1));
    }

    #[test]
    fn temporary_errors_are_retried() {
        let polls = [
            Err(ErrorKind::Transient),
            Err(ErrorKind::Uncertain),
            Ok((None, None)),
            both(4),
            both(5),
        ];
        let (waited, ..) = waited(&polls, 60);
        assert_eq!(waited.unwrap(), WaitOutcome::Visible(seen((Some(5), Some(5)))));
    }

    #[test]
    fn permanent_errors_end_the_wait_and_a_timeout_reports_the_last_error() {
        let (refused, _, slept) = waited(&[Err(ErrorKind::Misconfigured)], 60);
        assert_eq!(
            (refused.unwrap_err().kind(), slept.len()),
            (ErrorKind::Misconfigured, 0)
        );
        let (down, ..) = waited(&[both(4), Err(ErrorKind::Transient)], 1);
        let expected = WaitOutcome::TimedOut {
            last_seen: seen((Some(4), Some(4))),
            error: Some("no answer".into()),
        };
        assert_eq!(down.unwrap(), expected);
    }
}
