//! The fence: returns when a reader of the mirror sees a commit.
//!
//! The watermark is polled. A commit is visible when the watermark is that commit or descends from it; a mirror that is
//! behind the commit never passes. Polls start 100 ms apart and slow down to 2 s; what may pass by itself (a mirror that
//! is down) is borne until the timeout.
use std::time::Duration;

use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Connection, Error, Outcome};
use git_push_transport::Remote;
use gix::ObjectId;

use crate::mirror::watermark::watermark_ref;

/// Distances between polls.
const POLLS: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(2),
};

/// What a fence can see of the mirror.
pub trait Fence {
    /// Where the watermark stands; none when the mirror has none.
    ///
    /// # Errors
    /// The mirror cannot be asked.
    fn watermark(&mut self) -> Result<Option<ObjectId>, Error>;

    /// Whether `watermark` descends from `commit`. Both are known to differ.
    ///
    /// # Errors
    /// The commits cannot be had.
    fn contains(&mut self, watermark: ObjectId, commit: ObjectId) -> Result<bool, Error>;
}

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The commit is visible.
    Visible {
        /// Where the watermark stands.
        watermark: ObjectId,
    },
    /// The time is over.
    TimedOut {
        /// Where the watermark was seen last; none when there was none, or nothing was seen.
        last_seen: Option<ObjectId>,
        /// Why the last poll failed, if it did.
        error: Option<String>,
    },
}

/// Polls until `commit` is visible or `timeout` is over. There is always at least one poll.
///
/// # Errors
/// What does not pass by itself: no such repository, credentials refused.
pub fn wait(fence: &mut dyn Fence, commit: ObjectId, timeout: Duration, clock: &dyn Clock) -> Result<Waited, Error> {
    let deadline = clock.elapsed() + timeout;
    let mut delays = POLLS.delays(|| clock.random());
    let mut last_seen = None;
    let mut behind = None;
    loop {
        let error = match poll(fence, commit, &mut last_seen, &mut behind) {
            Ok(Some(watermark)) => return Ok(Waited::Visible { watermark }),
            Ok(None) => None,
            Err(error) if error.outcome().may_pass() => {
                tracing::debug!(%error, "poll failed");
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let left = deadline.saturating_sub(clock.elapsed());
        if left.is_zero() {
            let error = error.map(|error| error.to_string());
            return Ok(Waited::TimedOut { last_seen, error });
        }
        let asked = error.and_then(|error| error.retry_after()).unwrap_or_default();
        clock.sleep(delays.next().unwrap_or(POLLS.max_delay).max(asked).min(left));
    }
}

/// The watermark, if `commit` is visible. `behind` is the watermark that is known not to contain it.
fn poll(
    fence: &mut dyn Fence,
    commit: ObjectId,
    last_seen: &mut Option<ObjectId>,
    behind: &mut Option<ObjectId>,
) -> Result<Option<ObjectId>, Error> {
    let now = fence.watermark()?;
    *last_seen = now;
    match now {
        Some(watermark) if watermark == commit => Ok(Some(watermark)),
        Some(watermark) if Some(watermark) != *behind => {
            if fence.contains(watermark, commit)? {
                return Ok(Some(watermark));
            }
            *behind = Some(watermark);
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A fence on a remote. Ancestry comes from a local repository where it has both commits, else from commits that are
/// fetched, without trees and blobs where the server can leave them out, into a temporary repository.
pub struct RemoteFence<'a> {
    remote: &'a mut Remote,
    watermark: bstr::BString,
    local: Option<&'a gix::Repository>,
    fetched: Option<Fetched>,
}

struct Fetched {
    repository: gix::Repository,
    tip: Option<ObjectId>,
    /// Removed when dropped, after the repository.
    _folder: tempfile::TempDir,
}

impl Fetched {
    fn new(object_format: gix::hash::Kind) -> Result<Self, Error> {
        let failed = |why: String| {
            let what = format!(
                "cannot make a temporary repository in {}: {why}",
                std::env::temp_dir().display()
            );
            Error::new(Outcome::Misconfigured, what).with_hint("free some space there, or set TMPDIR to another folder")
        };
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let options = gix::create::Options {
            object_hash: Some(object_format),
            ..Default::default()
        };
        let kind = gix::create::Kind::Bare;
        let opened = gix::ThreadSafeRepository::init_opts(folder.path(), kind, options, gix::open::Options::isolated());
        Ok(Fetched {
            repository: opened.map_err(|error| failed(error.to_string()))?.to_thread_local(),
            tip: None,
            _folder: folder,
        })
    }
}

impl<'a> RemoteFence<'a> {
    /// A fence on the watermark of `namespace`.
    pub fn new(remote: &'a mut Remote, namespace: &bstr::BStr, local: Option<&'a gix::Repository>) -> Self {
        RemoteFence {
            remote,
            watermark: watermark_ref(namespace),
            local,
            fetched: None,
        }
    }
}

impl Fence for RemoteFence<'_> {
    fn watermark(&mut self) -> Result<Option<ObjectId>, Error> {
        let refs = self.remote.read_refs(std::slice::from_ref(&self.watermark))?;
        Ok(refs
            .into_iter()
            .find(|remote| remote.name == self.watermark)
            .map(|remote| remote.id))
    }

    fn contains(&mut self, watermark: ObjectId, commit: ObjectId) -> Result<bool, Error> {
        let has_both =
            |repository: &&gix::Repository| repository.has_object(watermark) && repository.has_object(commit);
        if let Some(local) = self.local.filter(has_both) {
            return git_push::fast_forward(local, commit, watermark);
        }
        let fetched = match self.fetched.take() {
            Some(fetched) => fetched,
            None => Fetched::new(watermark.kind())?,
        };
        let fetched = self.fetched.insert(fetched);
        let haves: Vec<ObjectId> = fetched.tip.into_iter().collect();
        self.remote.fetch_commits(watermark, &fetched.repository, &haves)?;
        fetched.tip = Some(watermark);
        git_push::fast_forward(&fetched.repository, commit, watermark)
    }
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;

    use super::*;

    /// Commits are numbers; a greater one descends from a smaller one.
    struct Script {
        polls: Vec<Result<Option<u8>, Outcome>>,
        asked: usize,
    }

    impl Fence for Script {
        fn watermark(&mut self) -> Result<Option<ObjectId>, Error> {
            let poll = if self.polls.len() > 1 {
                self.polls.remove(0)
            } else {
                self.polls[0]
            };
            poll.map(|commit| commit.map(id))
                .map_err(|outcome| Error::new(outcome, "no answer"))
        }
        fn contains(&mut self, watermark: ObjectId, commit: ObjectId) -> Result<bool, Error> {
            self.asked += 1;
            Ok(watermark > commit)
        }
    }

    fn id(commit: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[commit; 20])
    }

    fn waited(polls: &[Result<Option<u8>, Outcome>], seconds: u64) -> (Result<Waited, Error>, usize, Vec<u128>) {
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
    fn equal_and_descendant_pass_at_once() {
        for commit in [5, 6] {
            let (waited, _, slept) = waited(&[Ok(Some(commit))], 0);
            assert_eq!(waited.unwrap(), Waited::Visible { watermark: id(commit) });
            assert!(slept.is_empty());
        }
    }

    #[test]
    fn polls_start_at_a_tenth_of_a_second_and_slow_down_to_two() {
        let (_, _, slept) = waited(&[Ok(None)], 10);
        assert_eq!(slept[..8], [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }

    #[test]
    fn a_mirror_that_is_behind_never_passes_and_is_looked_into_once() {
        let (waited, asked, _) = waited(&[Ok(Some(4))], 10);
        let expected = Waited::TimedOut {
            last_seen: Some(id(4)),
            error: None,
        };
        assert_eq!((waited.unwrap(), asked), (expected, 1));
    }

    #[test]
    fn what_may_pass_by_itself_is_borne() {
        let polls = [
            Err(Outcome::Transient),
            Err(Outcome::Ambiguous),
            Ok(None),
            Ok(Some(4)),
            Ok(Some(5)),
        ];
        let (waited, ..) = waited(&polls, 60);
        assert_eq!(waited.unwrap(), Waited::Visible { watermark: id(5) });
    }

    #[test]
    fn what_does_not_is_told_at_once_and_a_timeout_tells_the_last_error() {
        let (refused, _, slept) = waited(&[Err(Outcome::Misconfigured)], 60);
        assert_eq!(
            (refused.unwrap_err().outcome(), slept.len()),
            (Outcome::Misconfigured, 0)
        );
        let (down, ..) = waited(&[Ok(Some(4)), Err(Outcome::Transient)], 1);
        let expected = Waited::TimedOut {
            last_seen: Some(id(4)),
            error: Some("no answer".into()),
        };
        assert_eq!(down.unwrap(), expected);
    }
}
