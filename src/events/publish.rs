//! Publishing the branch: fetch, rebase, push, and read back.
use bstr::{BStr, BString};
use durable::{clock::Clock, retry::RetryPolicy, storage::Storage};
use git_push::{Advertisement, Command, Connection, ErrorKind, Push, Verdict};
use git_push_transport::Remote;
use gix::ObjectId;
use jiff::Timestamp;

use super::{
    Context, Error, Refusal, context, difference,
    error::Kind,
    lock_file::{self, Lock, LockState},
    objects::Objects,
    rebase,
};
use crate::config::AGENT;

/// Maximum number of *have* lines sent to a server in a fetch.
const MAX_HAVES: usize = 256;

/// A remote that can be pushed to and fetched from.
pub trait Upstream: Connection {
    /// Fetches `want`, as [`Remote::fetch()`] does.
    ///
    /// # Errors
    /// As [`Remote::fetch()`].
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
    /// [`FILE`](super::refused::FILE).
    pub refused: Vec<Refusal>,
    /// Events in folders whose names git reserves, such as a feed `.gitmodules`. The commits that were not pushed yet were
    /// rewritten without them. They are stored in [`FILE`](super::refused::FILE).
    pub left_out: Vec<Refusal>,
    /// Another instance that committed to the remote less than 60 seconds ago.
    pub other_instance: Option<Lock>,
}

/// State kept from one attempt to the next.
#[derive(Default)]
struct Progress {
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

impl<S: Storage> Context<S> {
    /// Publishes the branch: fetches, rebases local commits onto the remote's, proves that events were only added, pushes, and
    /// reads back. Lost races and transient failures are retried as `policy` says. A missing remote branch is created. Nothing
    /// is ever forced.
    ///
    /// Events can be committed meanwhile: no lock but that for publishing is held while the network is awaited.
    ///
    /// # Errors
    /// The remote lacks local commits. The [`ErrorKind`] says whether a retry helps. [`ErrorKind::NotSent`] needs a person; the
    /// message lists the paths.
    pub fn publish(
        &self,
        upstream: &mut dyn Upstream,
        clock: &dyn Clock,
        policy: RetryPolicy,
    ) -> Result<Published, git_push::Error> {
        let _one = self.publishing();
        let mut progress = Progress::default();
        let mut delays = policy.delays(|| clock.random());
        let mut attempts = 1;
        loop {
            match self.attempt(upstream, clock, &mut progress) {
                Ok((commit, events)) => {
                    return Ok(Published {
                        commit,
                        events,
                        attempts,
                        rebased: progress.rebased,
                        refused: progress.refused,
                        left_out: progress.left_out,
                        other_instance: progress.other,
                    });
                }
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

    /// Returns true if the branch differs from the last known state of the remote.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn has_unpublished(&self) -> Result<bool, Error> {
        let repository = self.repository();
        let tip = self.branch(&repository).tip()?;
        Ok(tip != self.last_seen(&repository))
    }

    fn attempt(
        &self,
        upstream: &mut dyn Upstream,
        clock: &dyn Clock,
        progress: &mut Progress,
    ) -> Result<(ObjectId, usize), git_push::Error> {
        let repository = self.repository();
        let name = BString::from(self.branch(&repository).full_name());
        let advertisement = upstream.advertisement()?;
        let theirs = advertisement.id(name.as_ref());
        if let Some(theirs) = theirs {
            self.fetch(upstream, &repository, theirs)?;
            self.note_other_instance(&repository, theirs, clock.now(), progress);
        }
        let ready = self
            .integrate(&repository, theirs, clock, progress)
            .map_err(push_error)?;
        if theirs != Some(ready.ours) {
            let command = Command {
                name: name.clone(),
                old: theirs.unwrap_or(repository.object_hash().null()),
                new: ready.ours,
            };
            progress.sent = Some((ready.ours, ready.events));
            self.send(upstream, &advertisement, &repository, command)?;
        }
        self.remember(&repository, ready.ours);
        Ok((ready.ours, ready.events))
    }

    /// Fetches the commit of the remote's branch, unless it exists locally.
    fn fetch(
        &self,
        upstream: &mut dyn Upstream,
        repository: &gix::Repository,
        theirs: ObjectId,
    ) -> Result<(), git_push::Error> {
        if !repository.has_object(theirs) {
            let haves = self.haves(repository).map_err(push_error)?;
            upstream.fetch(theirs, repository, &haves)?;
        }
        self.remember(repository, theirs);
        Ok(())
    }

    /// Returns commits that the remote may have: its last known one, and ancestors of the local tip at growing distances.
    fn haves(&self, repository: &gix::Repository) -> Result<Vec<ObjectId>, Error> {
        let mut haves: Vec<ObjectId> = self.last_seen(repository).into_iter().collect();
        let mut at = self.branch(repository).tip()?;
        let (mut place, mut next) = (0_usize, 0);
        while let Some(id) = at.filter(|_| haves.len() < MAX_HAVES) {
            if place == next {
                if !haves.contains(&id) {
                    haves.push(id);
                }
                next += 1 + next / 8;
            }
            place += 1;
            let commit = repository.find_commit(id).ok();
            at = commit.and_then(|commit| commit.parent_ids().next().map(gix::Id::detach));
        }
        Ok(haves)
    }

    /// Rebases local commits onto the remote's, under the lock, and proves that the result may be pushed.
    fn integrate(
        &self,
        repository: &gix::Repository,
        theirs: Option<ObjectId>,
        clock: &dyn Clock,
        progress: &mut Progress,
    ) -> Result<Ready, Error> {
        let mut state = self.state();
        let _lock = self.exclusive(repository, clock)?;
        let objects = Objects(repository);
        let ours = self.begin(&mut state, objects)?;
        let (mut ours, left_out) = self.leave_out_unpushable(&mut state, objects, ours, theirs, clock.now())?;
        progress.left_out.extend(left_out);
        let Some(theirs) = theirs else {
            let all = difference::between(objects, None, Some(objects.tree_of(ours)?))?;
            let events = all.iter().filter(|change| change.adds_event()).count();
            return Ok(Ready { ours, events });
        };
        let (tip, rebased) = self.rebase(&mut state, objects, ours, theirs, clock.now())?;
        ours = tip;
        progress.rebased += rebased.commits;
        progress.refused.extend(rebased.refused);
        let added = rebase::prove(objects, theirs, ours, &std::collections::HashSet::new())?;
        let mut events = added.iter().filter(|change| change.adds_event()).count();
        // Events of an earlier attempt without an answer count, too, if they arrived.
        if let Some((sent, count)) = progress.sent.take()
            && git_push::fast_forward(repository, sent, theirs).unwrap_or(false)
        {
            events += count;
        }
        Ok(Ready { ours, events })
    }

    /// Pushes, then reads the remote's ref back: only that decides.
    fn send(
        &self,
        upstream: &mut dyn Upstream,
        advertisement: &Advertisement,
        repository: &gix::Repository,
        command: Command,
    ) -> Result<(), git_push::Error> {
        let (name, old, new) = (command.name.clone(), command.old, command.new);
        let connection: &mut dyn Connection = upstream;
        let push = Push::new(repository, advertisement).command(command).agent(AGENT);
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
        let refs = upstream.read_refs(std::slice::from_ref(&name))?;
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
    fn note_other_instance(
        &self,
        repository: &gix::Repository,
        theirs: ObjectId,
        now: Timestamp,
        progress: &mut Progress,
    ) {
        let file = context::lock_of(Objects(repository), theirs).ok().flatten();
        match self.lock_state(file.as_deref(), now) {
            LockState::Other(other) => {
                if progress.other.as_ref() != Some(&other) && self.is_first_warning_of(&other.instance_id) {
                    tracing::warn!(%other, "another instance is publishing to the remote; the lock is advisory, both continue");
                }
                progress.other = Some(other);
            }
            LockState::Unreadable if self.is_first_warning_of("") => {
                tracing::warn!("replacing the remote's unreadable {}", lock_file::PATH);
            }
            LockState::Free | LockState::Unreadable => {}
        }
    }

    /// Returns the last known commit of the remote's branch.
    fn last_seen(&self, repository: &gix::Repository) -> Option<ObjectId> {
        let reference = repository.try_find_reference(self.tracking().as_str()).ok()??;
        reference.try_id().map(gix::Id::detach)
    }

    /// Records the commit of the remote's branch. A failure is harmless: the next fetch asks for more than needed.
    fn remember(&self, repository: &gix::Repository, id: ObjectId) {
        if self.last_seen(repository) == Some(id) {
            return;
        }
        let anything = gix::refs::transaction::PreviousValue::Any;
        let who = gix::actor::SignatureRef {
            name: BStr::new("stargate-mirror"),
            email: BStr::new("stargate-mirror@localhost"),
            time: "0 +0000",
        };
        let edit = gix::refs::transaction::RefEdit {
            change: gix::refs::transaction::Change::Update {
                log: gix::refs::transaction::LogChange::default(),
                expected: anything,
                new: gix::refs::Target::Object(id),
            },
            name: match gix::refs::FullName::try_from(self.tracking()) {
                Ok(name) => name,
                Err(_) => return,
            },
            deref: false,
        };
        if let Err(error) = repository.edit_references_as([edit], Some(who)) {
            let cause = git_push::causes(&error);
            tracing::warn!(%cause, "the remote-tracking ref could not be updated");
        }
    }

    fn tracking(&self) -> String {
        format!("refs/remotes/origin/{}", self.branch_name())
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
