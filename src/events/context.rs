//! The handle on a context repository: a Git repository that events are committed into.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use durable::{
    clock::Clock,
    retry::RetryPolicy,
    storage::{Disk, Storage},
};
use gix::ObjectId;
use jiff::Timestamp;

use super::{
    Committed, Options, Published, ResumePoint, Upstream,
    ingest::committer,
    lock_file::Lock,
    publish::{publication::Publication, tracking::Tracking},
    repository::{Repository, queries},
};
use crate::{
    event::Event,
    object_store::{Error, objects::Objects},
};

/// A context repository. Clones share it between threads. Threads wait for each other for milliseconds, never for the
/// network.
#[derive(Debug)]
pub struct Context<S: Storage = Disk>(Arc<Repository<S>>);

impl<S: Storage> Clone for Context<S> {
    fn clone(&self) -> Self {
        Context(Arc::clone(&self.0))
    }
}

impl Context {
    /// Creates a context repository at `path`, which must be missing or empty; opens the repository if one exists there.
    ///
    /// # Errors
    /// `path` has other contents, or cannot be written.
    pub fn init(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::init_on(Disk, path, options, now)
    }

    /// Opens the context repository at `path`.
    ///
    /// # Errors
    /// There is no repository or no such branch, its version is unknown, or it cannot be read.
    pub fn open(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::open_on(Disk, path, options, now)
    }
}

impl<S: Storage> Context<S> {
    /// Like [`init()`](Context::init()), on the given storage.
    ///
    /// # Errors
    /// The errors of [`init()`](Context::init()).
    pub fn init_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Repository::init(storage, path, options, now).map(|opened| Context(Arc::new(opened)))
    }

    /// Like [`open()`](Context::open()), on the given storage.
    ///
    /// # Errors
    /// The errors of [`open()`](Context::open()).
    pub fn open_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Repository::open(storage, path, options, now).map(|opened| Context(Arc::new(opened)))
    }

    /// The Git folder; with a work tree, its `.git`.
    pub fn git_dir(&self) -> PathBuf {
        self.0.store.repository().git_dir().to_owned()
    }

    /// Sets the remote `origin` in the repository's configuration, without the secrets of the URL.
    ///
    /// # Errors
    /// The URL is invalid; the configuration cannot be read or written; or another process is writing it
    /// ([`Kind::Busy`](super::Kind::Busy)).
    pub fn set_origin(&self, url: &str, clock: &dyn Clock) -> Result<(), Error> {
        self.0.set_origin(url, clock)
    }

    /// Commits the new ones among `events` in one commit, durably: `Mirror: add {n} event(s)`, with the heartbeat of this
    /// instance in `.crp/lock.json`. Makes no commit if nothing is new.
    ///
    /// An event is known if the same content exists. It is refused if its id exists with other content in its feed, on any
    /// day, or earlier in `events`.
    ///
    /// # Errors
    /// Nothing was committed. The repository cannot be read or written; another process uses it
    /// ([`Kind::Busy`](super::Kind::Busy)); or the work tree has other files where events belong
    /// ([`Kind::Refused`](super::Kind::Refused)). The call may be repeated; it never commits an event twice.
    pub fn commit(&self, events: &[Event], clock: &dyn Clock) -> Result<Committed, Error> {
        let committed = self.commit_each(&[events], clock)?;
        Ok(committed.into_iter().next().unwrap_or_default())
    }

    /// Commits each of `batches` as [`commit()`](Context::commit()) does, but together: one pack, one move of the branch.
    /// Returns the results in the same order.
    ///
    /// # Errors
    /// The errors of [`commit()`](Context::commit()); no batch was committed.
    pub fn commit_each(&self, batches: &[&[Event]], clock: &dyn Clock) -> Result<Vec<Committed>, Error> {
        committer::commit_each(&self.0, batches, clock)
    }

    /// Stores input that is not an event in [`FILE`](super::refused::FILE), without a path.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_unreadable(&self, raw: &[u8], now: Timestamp) -> Result<(), Error> {
        self.0.keep_unreadable(raw, now)
    }

    /// Publishes the branch: fetches, rebases local commits onto the remote's, proves that events were only added, pushes, and
    /// reads back. Lost races and transient failures are retried as `policy` says. A missing remote branch is created. Nothing
    /// is ever forced.
    ///
    /// Events can be committed meanwhile: while waiting for the network, only the lock for publishing is held.
    ///
    /// # Errors
    /// The remote lacks local commits. The [`ErrorKind`](git_push::ErrorKind) says whether a retry helps.
    /// [`ErrorKind::NotSent`](git_push::ErrorKind::NotSent) requires manual action; the message lists the paths.
    pub fn publish(
        &self,
        upstream: &mut dyn Upstream,
        clock: &dyn Clock,
        policy: RetryPolicy,
    ) -> Result<Published, git_push::Error> {
        Publication::new(&self.0, upstream, clock).run(policy)
    }

    /// Returns true if the branch differs from the last known state of the remote.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn has_unpublished(&self) -> Result<bool, Error> {
        let store = &self.0.store;
        let local = store.repository();
        let tip = store.branch(&local).tip()?;
        Ok(tip != Tracking::new(&local, store.branch_name()).last_seen())
    }

    /// Returns true if a feed has an event with this id, regardless of its content.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn has(&self, feed_id: &str, event_id: &str) -> Result<bool, Error> {
        let found = self.at_tip(|objects, tip| queries::has(objects, tip, feed_id, event_id))?;
        Ok(found.unwrap_or(false))
    }

    /// Returns the newest event of a feed up to `now`, from the newest day that has one. Events dated in the future are
    /// ignored: they would hide everything until then.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn resume_point(&self, feed_id: &str, now: Timestamp) -> Result<Option<ResumePoint>, Error> {
        let found = self.at_tip(|objects, tip| queries::resume_point(objects, tip, feed_id, now))?;
        Ok(found.flatten())
    }

    /// Another instance that used this repository less than 60 seconds before it was opened. Advisory: no instance is blocked.
    pub fn other_instance(&self) -> Option<&Lock> {
        self.0.instance.other()
    }

    /// Writes the heartbeat of this instance to a file beside the commits. Call it every
    /// [`HEARTBEAT`](super::lock_file::HEARTBEAT).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn heartbeat(&self, now: Timestamp) -> Result<(), Error> {
        self.0.instance.beat(self.0.store.storage(), now)
    }

    /// Records that this instance has ended, so that the next one does not warn about it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&self) -> Result<(), Error> {
        self.0.instance.end(self.0.store.storage())
    }

    /// Runs a query on the newest commit; `None` if the branch has been deleted.
    fn at_tip<T>(&self, ask: impl FnOnce(Objects<'_>, ObjectId) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let local = self.0.store.repository();
        let tip = self.0.store.branch(&local).tip()?;
        tip.map(|tip| ask(Objects(&local), tip)).transpose()
    }
}
