//! The branch, brought to the remote: asked, fetched, replayed, pushed and read back.
use bstr::{BStr, BString};
use durable::{clock::Clock, retry::RetryPolicy, storage::Storage};
use git_push::{Advertisement, Command, Connection, ErrorKind, Push, Verdict};
use git_push_transport::Remote;
use gix::ObjectId;
use jiff::Timestamp;

use super::{
    Context, Error, Refusal, context, difference,
    error::Kind,
    lock_file::{self, Judgement, Lock},
    objects::Objects,
    replay,
};
use crate::config::AGENT;

/// How far back commits are told to a server that is fetched from.
const MAX_HAVES: usize = 256;

/// A remote that can be pushed to and fetched from.
pub trait Upstream: Connection {
    /// As [`Remote::fetch()`].
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

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What the remote's branch is, read back.
    pub commit: ObjectId,
    /// How many events became visible; 0 when the remote had everything.
    pub events: usize,
    /// How often it was tried.
    pub attempts: u32,
    /// How many of our commits were put on top of others' commits.
    pub replayed: usize,
    /// Events that somebody else had added to the remote with another content: theirs stand, ours are kept in
    /// [`FILE`](super::refused::FILE).
    pub refused: Vec<Refusal>,
    /// Events in folders whose names git takes for its own, such as a feed `.gitmodules`: the commits that were not pushed
    /// yet were made again without them. They are kept in [`FILE`](super::refused::FILE).
    pub left_out: Vec<Refusal>,
    /// Another instance that committed to the remote less than 60 seconds ago.
    pub other_instance: Option<Lock>,
}

/// What is known from one attempt to the next.
#[derive(Default)]
struct Account {
    replayed: usize,
    refused: Vec<Refusal>,
    left_out: Vec<Refusal>,
    other: Option<Lock>,
    /// What was sent without an answer that can be believed, and how many events it has.
    sent: Option<(ObjectId, usize)>,
}

/// What is to be sent.
struct Ready {
    ours: ObjectId,
    events: usize,
}

impl<S: Storage> Context<S> {
    /// Brings the branch to the remote: fetches, replays our commits on others' where there are any, proves that events
    /// were only added, pushes, and reads back. A lost race is fetched and replayed again, and what may pass is tried again, as
    /// `policy` says. A branch that the remote lacks is made. Nothing is ever forced.
    ///
    /// Events can be committed meanwhile: while the network is awaited nothing is locked but other publishing.
    ///
    /// # Errors
    /// The remote does not have what is here. [`ErrorKind`] says whether trying again helps: [`ErrorKind::NotSent`] for what
    /// somebody has to look at; the message has the paths.
    pub fn publish(
        &self,
        upstream: &mut dyn Upstream,
        clock: &dyn Clock,
        policy: RetryPolicy,
    ) -> Result<Published, git_push::Error> {
        let _one = self.publishing();
        let mut account = Account::default();
        let mut delays = policy.delays(|| clock.random());
        let mut attempts = 1;
        loop {
            match self.attempt(upstream, clock, &mut account) {
                Ok((commit, events)) => {
                    return Ok(Published {
                        commit,
                        events,
                        attempts,
                        replayed: account.replayed,
                        refused: account.refused,
                        left_out: account.left_out,
                        other_instance: account.other,
                    });
                }
                Err(error) => match delays.next().filter(|_| error.is_retryable()) {
                    Some(delay) => {
                        tracing::info!(%error, attempts, "the push is tried again");
                        clock.sleep(delay.max(error.retry_after().unwrap_or_default()));
                        attempts += 1;
                    }
                    None => return Err(error),
                },
            }
        }
    }

    /// Whether there is something that the remote was not seen to have.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn has_unpublished(&self) -> Result<bool, Error> {
        let repository = self.repository();
        let tip = self.branch(&repository).tip()?;
        Ok(tip != self.seen(&repository))
    }

    fn attempt(
        &self,
        upstream: &mut dyn Upstream,
        clock: &dyn Clock,
        account: &mut Account,
    ) -> Result<(ObjectId, usize), git_push::Error> {
        let repository = self.repository();
        let name = BString::from(self.branch(&repository).full_name());
        let advertisement = upstream.advertisement()?;
        let theirs = advertisement.id(name.as_ref());
        if let Some(theirs) = theirs {
            self.fetch(upstream, &repository, theirs)?;
            self.judge(&repository, theirs, clock.now(), account);
        }
        let ready = self.integrate(&repository, theirs, clock, account).map_err(told)?;
        if theirs != Some(ready.ours) {
            let command = Command {
                name: name.clone(),
                old: theirs.unwrap_or(repository.object_hash().null()),
                new: ready.ours,
            };
            account.sent = Some((ready.ours, ready.events));
            self.send(upstream, &advertisement, &repository, command)?;
        }
        self.saw(&repository, ready.ours);
        Ok((ready.ours, ready.events))
    }

    /// Fetches what the remote's branch is, unless it is here.
    fn fetch(
        &self,
        upstream: &mut dyn Upstream,
        repository: &gix::Repository,
        theirs: ObjectId,
    ) -> Result<(), git_push::Error> {
        if !repository.has_object(theirs) {
            let haves = self.haves(repository).map_err(told)?;
            upstream.fetch(theirs, repository, &haves)?;
        }
        self.saw(repository, theirs);
        Ok(())
    }

    /// Commits that the remote may have, too: what it was seen to have, and those before our newest one, ever farther apart.
    fn haves(&self, repository: &gix::Repository) -> Result<Vec<ObjectId>, Error> {
        let mut haves: Vec<ObjectId> = self.seen(repository).into_iter().collect();
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

    /// Puts our commits on theirs, under the lock, and proves that it may be pushed.
    fn integrate(
        &self,
        repository: &gix::Repository,
        theirs: Option<ObjectId>,
        clock: &dyn Clock,
        account: &mut Account,
    ) -> Result<Ready, Error> {
        let mut state = self.state();
        let _lock = self.exclusive(repository, clock)?;
        let objects = Objects(repository);
        let ours = self.begin(&mut state, objects)?;
        let (mut ours, left_out) = self.leave_out_unpushable(&mut state, objects, ours, theirs, clock.now())?;
        account.left_out.extend(left_out);
        let Some(theirs) = theirs else {
            let all = difference::between(objects, None, Some(objects.tree_of(ours)?))?;
            let events = all.iter().filter(|change| change.adds_event()).count();
            return Ok(Ready { ours, events });
        };
        let (tip, replayed) = self.replay(&mut state, objects, ours, theirs, clock.now())?;
        ours = tip;
        account.replayed += replayed.commits;
        account.refused.extend(replayed.refused);
        let added = replay::prove(objects, theirs, ours, &std::collections::HashSet::new())?;
        let mut events = added.iter().filter(|change| change.adds_event()).count();
        // What an attempt without an answer has brought there counts, too.
        if let Some((sent, count)) = account.sent.take()
            && git_push::fast_forward(repository, sent, theirs).unwrap_or(false)
        {
            events += count;
        }
        Ok(Ready { ours, events })
    }

    /// Pushes, and believes what is seen there afterwards.
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
                Some(Verdict::Rejected(reason)) => format!("the remote refuses {name}: {}", git_push::cleaned(reason)),
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
                    .with_hint("look at the rules and hooks of the remote"))
            }
            Some(seen) if Some(seen) != was => Err(git_push::Error::new(
                ErrorKind::Transient,
                format!("{word}: somebody else has pushed {seen} to {name} at the same moment"),
            )),
            _ => Err(git_push::Error::new(
                ErrorKind::Transient,
                format!("{word}, but {name} did not become {new} there"),
            )),
        }
    }

    /// Notes another instance that is at work at the remote, and warns of it once.
    fn judge(&self, repository: &gix::Repository, theirs: ObjectId, now: Timestamp, account: &mut Account) {
        let file = context::lock_of(Objects(repository), theirs).ok().flatten();
        match self.judged(file.as_deref(), now) {
            Judgement::Other(other) => {
                if account.other.as_ref() != Some(&other) && self.is_news(&other.instance_id) {
                    tracing::warn!(%other, "another instance is at work on the remote; the lock is advisory, both go on");
                }
                account.other = Some(other);
            }
            Judgement::Unreadable if self.is_news("") => {
                tracing::warn!("the remote's {} cannot be read, and is replaced", lock_file::PATH);
            }
            Judgement::Free | Judgement::Unreadable => {}
        }
    }

    /// What the remote's branch was seen to be.
    fn seen(&self, repository: &gix::Repository) -> Option<ObjectId> {
        let reference = repository.try_find_reference(self.tracking().as_str()).ok()??;
        reference.try_id().map(gix::Id::detach)
    }

    /// Remembers it. What fails costs a fetch that asks for more than it has to.
    fn saw(&self, repository: &gix::Repository, id: ObjectId) {
        if self.seen(repository) == Some(id) {
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

/// What it means for a push that something failed here.
fn told(error: Error) -> git_push::Error {
    let outcome = match error.kind() {
        Kind::Refused => ErrorKind::NotSent,
        Kind::Misconfigured => ErrorKind::Misconfigured,
        Kind::Busy => ErrorKind::Transient,
        Kind::Failed => ErrorKind::Misconfigured,
    };
    let told = git_push::Error::new(outcome, error.to_string());
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}
