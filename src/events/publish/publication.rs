//! Publishing the branch: fetch, rebase, push, and read back.
use std::collections::HashSet;

use bstr::BString;
use durable::{clock::Clock, retry::RetryPolicy, storage::Storage};
use git_push::{Advertisement, Command, Connection, ErrorKind, Push, Verdict};
use git_push_transport::Remote;
use gix::ObjectId;

use super::{
    super::repository::{
        Repository,
        changes::adds_event,
        instance::lock_of,
        lock_file::{self, Lock, LockState},
        refused::Refusal,
    },
    rebase,
    tracking::Tracking,
    unpushable,
};
use crate::{
    config::AGENT,
    object_store::{Error, Kind, difference, objects::Objects},
};

/// Maximum number of *have* lines sent to a server in a fetch.
const MAX_HAVES: usize = 256;

/// A remote that can be pushed to and fetched from.
pub trait Upstream: Connection {
    /// Fetches `want`, as [`Remote::fetch()`] does.
    ///
    /// # Errors
    /// The errors of [`Remote::fetch()`].
    fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), git_push::Error>;
}

impl Upstream for Remote {
    fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), git_push::Error> {
        Remote::fetch(self, want, into, haves)
    }
}

/// Result of publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Commit of the remote's branch, read back.
    pub commit: ObjectId,
    /// Number of events that became visible; 0 if the remote had everything.
    pub events: usize,
    /// Number of attempts.
    pub attempts: u32,
    /// Number of local commits that were rebased onto the remote's.
    pub rebased: usize,
    /// Events that exist on the remote with other content. The remote's content stays; the local event is stored in
    /// [`FILE`](super::super::refused::FILE).
    pub refused: Vec<Refusal>,
    /// Events in folders whose names git reserves, such as a feed `.gitmodules`. The commits that were not pushed yet were
    /// rewritten without them. They are stored in [`FILE`](super::super::refused::FILE).
    pub left_out: Vec<Refusal>,
    /// Another instance that committed to the remote less than 60 seconds ago.
    pub other_instance: Option<Lock>,
}

/// One publication: its parties, and its progress from one attempt to the next.
pub struct Publication<'a, S: Storage> {
    repository: &'a Repository<S>,
    upstream: &'a mut dyn Upstream,
    clock: &'a dyn Clock,
    rebased: usize,
    refused: Vec<Refusal>,
    left_out: Vec<Refusal>,
    other: Option<Lock>,
    /// Commit that was sent without a reliable answer, and its number of events.
    sent: Option<(ObjectId, usize)>,
}

/// A branch that may be pushed.
struct Ready {
    ours: ObjectId,
    events: usize,
}

impl<'a, S: Storage> Publication<'a, S> {
    /// Prepares a publication to `upstream`.
    pub fn new(repository: &'a Repository<S>, upstream: &'a mut dyn Upstream, clock: &'a dyn Clock) -> Self {
        Publication {
            repository,
            upstream,
            clock,
            rebased: 0,
            refused: Vec::new(),
            left_out: Vec::new(),
            other: None,
            sent: None,
        }
    }

    /// Publishes the branch. Lost races and transient failures are retried as `policy` says.
    ///
    /// # Errors
    /// The errors of [`Context::publish()`](super::super::Context::publish()).
    pub fn run(mut self, policy: RetryPolicy) -> Result<Published, git_push::Error> {
        let _one = self.repository.publishing();
        let clock = self.clock;
        let mut delays = policy.delays(|| clock.random());
        let mut attempts = 1;
        loop {
            match self.attempt() {
                Ok((commit, events)) => return Ok(self.published(commit, events, attempts)),
                Err(error) => match delays.next().filter(|_| error.is_retryable()) {
                    Some(delay) => {
                        tracing::info!(%error, attempts, "retrying the push");
                        clock.sleep(delay.max(error.retry_after().unwrap_or_default()));
                        attempts += 1;
                    }
                    None => return Err(error),
                },
            }
        }
    }

    fn published(self, commit: ObjectId, events: usize, attempts: u32) -> Published {
        Published {
            commit,
            events,
            attempts,
            rebased: self.rebased,
            refused: self.refused,
            left_out: self.left_out,
            other_instance: self.other,
        }
    }

    fn attempt(&mut self) -> Result<(ObjectId, usize), git_push::Error> {
        let store = &self.repository.store;
        let local = store.repository();
        let name = BString::from(store.branch(&local).full_name());
        let advertisement = self.upstream.advertisement()?;
        let theirs = advertisement.id(name.as_ref());
        if let Some(theirs) = theirs {
            self.fetch(&local, theirs)?;
            self.note_other_instance(&local, theirs);
        }
        let ready = self.integrate(&local, theirs).map_err(push_error)?;
        if theirs != Some(ready.ours) {
            let command = Command {
                name,
                old: theirs.unwrap_or(local.object_hash().null()),
                new: ready.ours,
            };
            self.sent = Some((ready.ours, ready.events));
            self.send(&advertisement, &local, command)?;
        }
        self.tracking(&local).remember(ready.ours, "update by push");
        Ok((ready.ours, ready.events))
    }

    /// Fetches the commit of the remote's branch, unless it exists locally.
    fn fetch(&mut self, local: &gix::Repository, theirs: ObjectId) -> Result<(), git_push::Error> {
        if !local.has_object(theirs) {
            let haves = self.haves(local).map_err(push_error)?;
            self.upstream.fetch(theirs, local, &haves)?;
        }
        self.tracking(local).remember(theirs, "fetch");
        Ok(())
    }

    /// Returns commits that the remote may have: its last known one, and ancestors of the local tip at growing distances.
    fn haves(&self, local: &gix::Repository) -> Result<Vec<ObjectId>, Error> {
        let mut haves: Vec<ObjectId> = self.tracking(local).last_seen().into_iter().collect();
        let mut at = self.repository.store.branch(local).tip()?;
        let (mut place, mut next) = (0_usize, 0);
        while let Some(id) = at.filter(|_| haves.len() < MAX_HAVES) {
            if place == next {
                if !haves.contains(&id) {
                    haves.push(id);
                }
                next += 1 + next / 8;
            }
            place += 1;
            let commit = local.find_commit(id).ok();
            at = commit.and_then(|commit| commit.parent_ids().next().map(gix::Id::detach));
        }
        Ok(haves)
    }

    /// Rebases local commits onto the remote's, under the lock, and proves that the result may be pushed.
    fn integrate(&mut self, local: &gix::Repository, theirs: Option<ObjectId>) -> Result<Ready, Error> {
        let clock = self.clock;
        let mut session = self.repository.begin(local, clock)?;
        let objects = session.objects();
        let left_out = unpushable::leave_out(&mut session, theirs, clock.now())?;
        self.left_out.extend(left_out);
        let Some(theirs) = theirs else {
            let ours = session.tip();
            let all = difference::between(objects, None, Some(objects.tree_of(ours)?))?;
            let events = all.iter().filter(|change| adds_event(change)).count();
            return Ok(Ready { ours, events });
        };
        let rebased = rebase::onto(&mut session, theirs, clock.now())?;
        self.rebased += rebased.commits;
        self.refused.extend(rebased.refused);
        let ours = session.tip();
        let added = rebase::prove(objects, theirs, ours, &HashSet::new())?;
        let mut events = added.iter().filter(|change| adds_event(change)).count();
        // Events of an earlier attempt without an answer count, too, if they arrived.
        if let Some((sent, count)) = self.sent.take()
            && git_push::fast_forward(local, sent, theirs).unwrap_or(false)
        {
            events += count;
        }
        Ok(Ready { ours, events })
    }

    /// Pushes, then reads the remote's ref back. Only the result of the read counts.
    fn send(
        &mut self,
        advertisement: &Advertisement,
        local: &gix::Repository,
        command: Command,
    ) -> Result<(), git_push::Error> {
        let (name, old, new) = (command.name.clone(), command.old, command.new);
        let connection: &mut dyn Connection = &mut *self.upstream;
        let push = Push::new(local, advertisement).command(command).agent(AGENT);
        let answer = push.send(connection);
        let word = match &answer {
            Ok(report) => match report.verdict(name.as_ref()) {
                Some(Verdict::Rejected(reason)) => format!("the remote rejected {name}: {}", git_push::cleaned(reason)),
                Some(Verdict::Accepted | Verdict::UpToDate) => "the remote reported ok".to_owned(),
                Some(Verdict::Unknown) | None => "the remote reported nothing".to_owned(),
            },
            Err(error) if error.kind() == ErrorKind::Uncertain => error.to_string(),
            Err(_) => return answer.map(drop),
        };
        let refs = self.upstream.read_refs(std::slice::from_ref(&name))?;
        let seen = refs.iter().find(|found| found.name == name).map(|found| found.id);
        let was = (!old.is_null()).then_some(old);
        let is_rejected = answer
            .as_ref()
            .is_ok_and(|report| matches!(report.verdict(name.as_ref()), Some(Verdict::Rejected(_))));
        match seen {
            Some(seen) if seen == new => Ok(()),
            seen if seen == was && is_rejected => {
                Err(git_push::Error::new(ErrorKind::Rejected, word)
                    .with_hint("check the rules and hooks of the remote"))
            }
            Some(seen) if Some(seen) != was => Err(git_push::Error::new(
                ErrorKind::Transient,
                format!("{word}, but another push moved {name} to {seen} at the same time"),
            )),
            _ => Err(git_push::Error::new(
                ErrorKind::Transient,
                format!("{word}, but {name} did not become {new} there"),
            )),
        }
    }

    /// Detects another instance that publishes to the remote, and logs one warning about it.
    fn note_other_instance(&mut self, local: &gix::Repository, theirs: ObjectId) {
        let instance = &self.repository.instance;
        let file = lock_of(Objects(local), theirs).ok().flatten();
        match instance.lock_state(file.as_deref(), self.clock.now()) {
            LockState::Other(other) => {
                if self.other.as_ref() != Some(&other) && instance.is_first_warning_of(&other.instance_id) {
                    tracing::warn!(%other, "another instance is publishing to the remote; the lock is advisory, both continue");
                }
                self.other = Some(other);
            }
            LockState::Unreadable if instance.is_first_warning_of("") => {
                tracing::warn!("replacing the remote's unreadable {}", lock_file::PATH);
            }
            LockState::Free | LockState::Unreadable => {}
        }
    }

    fn tracking<'b>(&self, local: &'b gix::Repository) -> Tracking<'b> {
        Tracking::new(local, self.repository.store.branch_name())
    }
}

/// Converts a local failure to an error of a push.
fn push_error(error: Error) -> git_push::Error {
    let outcome = match error.kind() {
        Kind::Refused => ErrorKind::NotSent,
        Kind::Misconfigured => ErrorKind::Misconfigured,
        Kind::Busy => ErrorKind::Transient,
        Kind::Failed => ErrorKind::Misconfigured,
    };
    let failure = git_push::Error::new(outcome, error.to_string());
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
