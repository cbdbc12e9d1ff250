//! One cycle: attempts with delays between them, until every group is settled or the attempts are used up.
//!
//! An attempt asks the mirror what it has, plans, and sends all groups in one atomic push (`sending` says when in more).
//! Then it looks at the refs, and settles. Where the last push is remembered, the first question is left out: the old ids
//! of the commands are the guard. When anything is not as remembered, that is forgotten, and the mirror is asked.
use std::{collections::BTreeMap, rc::Rc, time::Duration};

use bstr::{BString, ByteSlice};
use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Advertisement, Command, Error, ErrorKind, RemoteRef, Report};
use gix::ObjectId;

use super::sending::{MOST_COMMANDS, Sent, Tried, send};
use crate::{
    mirror::{Group, GroupResult, Hold, Knowledge, Outcome, Plan, Rules, held, plan, settle, settle_unseen},
    ref_update::RefUpdate,
};

/// A server that asks for a longer pause than this gets it by the end of the cycle.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Beyond this many refs, a look asks for the patterns' prefixes instead of each name.
const MOST_PREFIXES: usize = 200;

/// The mirror as a cycle sees it.
pub trait Mirror {
    /// What it had after the last push, if that is remembered.
    fn remembered(&mut self) -> Option<Advertisement>;
    /// Remembers what it has now, or forgets what was remembered.
    fn remember(&mut self, advertisement: Option<Advertisement>);
    /// See [`Connection::advertisement()`](git_push::Connection::advertisement()).
    fn advertisement(&mut self) -> Result<Advertisement, Error>;
    /// Sends these commands in one atomic push.
    fn push(&mut self, advertisement: &Advertisement, commands: Vec<Command>) -> Result<Report, Error>;
    /// See [`Connection::read_refs()`](git_push::Connection::read_refs()).
    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error>;
}

/// What a cycle goes by.
pub struct Cycle<'a> {
    /// Which refs, and what may be forced or deleted.
    pub rules: Rules,
    /// How often, and how long to wait.
    pub retry: RetryPolicy,
    /// Whether refs are read back after a push.
    pub verify: bool,
    /// Time and randomness.
    pub clock: &'a dyn Clock,
    /// The Stargate's refs and commits.
    pub knowledge: &'a dyn Knowledge,
    /// The null id of the repository's object format.
    pub null: ObjectId,
}

/// What an attempt settled, as indexes of the backlog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Seen on the mirror.
    pub mirrored: Vec<usize>,
    /// Not to be mirrored, by configuration.
    pub skipped: Vec<usize>,
    /// Can never be mirrored: the object is gone, and nothing later replaces it.
    pub failed: Vec<usize>,
}

/// A group with what became of it.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The group as it was planned last.
    pub group: Group,
    /// What the last attempt came to.
    pub result: GroupResult,
    /// In how many attempts the group took part.
    pub attempts: u32,
}

/// What one attempt came to.
struct Attempt {
    skipped: Vec<usize>,
    groups: Vec<(Group, GroupResult)>,
    retry_after: Option<Duration>,
}

/// Groups with what became of them, and how long the server asked to wait.
type Results = (Vec<(Group, GroupResult)>, Option<Duration>);

impl Cycle<'_> {
    /// Works off `backlog` (journal order). `record` is told after each attempt what became of entries; the cycle ends
    /// when it fails.
    ///
    /// # Errors
    /// What `record` gives.
    pub fn run<E>(
        &self,
        mirror: &mut dyn Mirror,
        backlog: &[RefUpdate],
        mut record: impl FnMut(&Marks) -> Result<(), E>,
    ) -> Result<Vec<Settled>, E> {
        let mut settled: BTreeMap<BString, Settled> = BTreeMap::new();
        let mut open: Vec<usize> = (0..backlog.len()).collect();
        let mut delays = self.retry.delays(|| self.clock.random());
        for number in 1..=self.retry.attempts {
            if open.is_empty() {
                break;
            }
            let attempt = self.attempt(mirror, backlog, &open);
            let marks = attempt.marks(backlog);
            record(&marks)?;
            open = attempt.to_repeat(&marks);
            let retry_after = attempt.retry_after;
            for (group, result) in attempt.groups {
                log_attempt(&group, &result, number, self.retry.attempts);
                let label = group.label().to_owned();
                let attempts = settled.get(&label).map_or(0, |earlier| earlier.attempts) + 1;
                settled.insert(
                    label,
                    Settled {
                        group,
                        result,
                        attempts,
                    },
                );
            }
            let delay = delays.next().map(|delay| delay.max(retry_after.unwrap_or_default()));
            match delay {
                Some(delay) if !open.is_empty() && delay <= LONGEST_PAUSE => {
                    tracing::warn!(
                        attempt = number,
                        delay_ms = delay.as_millis() as u64,
                        "trying again after a pause"
                    );
                    self.clock.sleep(delay);
                }
                Some(delay) if !open.is_empty() => {
                    tracing::error!(
                        delay_s = delay.as_secs(),
                        "the mirror asks for a long pause; the entries stay pending"
                    );
                    break;
                }
                _ => break,
            }
        }
        Ok(settled.into_values().collect())
    }

    fn attempt(&self, mirror: &mut dyn Mirror, backlog: &[RefUpdate], open: &[usize]) -> Attempt {
        let updates: Vec<RefUpdate> = open.iter().map(|index| backlog[*index].clone()).collect();
        let mut attempt = match self.push_to_remembered(mirror, &updates) {
            Ok(attempt) => attempt,
            Err(tried) => self.push_to_advertised(mirror, &updates, tried),
        };
        // Indexes of the updates become indexes of the backlog.
        let entries = attempt.groups.iter_mut().flat_map(|(group, _)| &mut group.entries);
        entries
            .chain(&mut attempt.skipped)
            .for_each(|index| *index = open[*index]);
        attempt
    }

    /// Pushes straight away to the mirror as it was after the last push. Anything but a push that is seen to have landed
    /// is forgotten, and the mirror must be asked; the error is what was tried, if anything.
    fn push_to_remembered(
        &self,
        mirror: &mut dyn Mirror,
        updates: &[RefUpdate],
    ) -> Result<Attempt, Option<Box<Tried>>> {
        let remembered = mirror.remembered().ok_or(None)?;
        let plan = self.plan(updates, &remembered.refs);
        // What looks settled or held from memory is to be seen, not remembered. So is what is to be deleted: it may be
        // hidden by now, and git would carry out the rest of the group without it.
        let deletes = |group: &Group| group.changes.iter().any(|change| change.new.is_null());
        let certain = |group: &Group| group.hold.is_none() && !group.commands().is_empty() && !deletes(group);
        if plan.groups.is_empty() || !plan.groups.iter().all(certain) {
            return Err(None);
        }
        let commands: Vec<Command> = plan.groups.iter().flat_map(Group::commands).collect();
        if commands.len() > MOST_COMMANDS {
            return Err(None);
        }
        let sent = Rc::new(mirror.push(&remembered, commands.clone()));
        if matches!(sent.as_ref(), Ok(report) if report.all_accepted()) {
            let all = vec![sent.clone(); plan.groups.len()];
            let (groups, _) = self.settled(mirror, plan.groups, all);
            if all_mirrored(&groups) {
                remember(mirror, remembered, &groups);
                return Ok(Attempt {
                    skipped: plan.skipped,
                    groups,
                    retry_after: None,
                });
            }
        }
        tracing::info!("the push to the mirror as it is remembered did not land; asking the mirror");
        mirror.remember(None);
        Err(Some(Box::new(Tried {
            commands,
            remembered,
            sent,
        })))
    }

    fn push_to_advertised(&self, mirror: &mut dyn Mirror, updates: &[RefUpdate], tried: Option<Box<Tried>>) -> Attempt {
        let (plan, groups, retry_after);
        match mirror.advertisement() {
            Ok(advertisement) => {
                plan = self.plan(updates, &advertisement.refs);
                (groups, retry_after) = self.send_groups(mirror, &advertisement, plan.groups, tried);
                // What was not sent has changed nothing.
                match all_mirrored(groups.iter().filter(|(group, _)| group.hold.is_none())) {
                    true => remember(mirror, advertisement, &groups),
                    false => mirror.remember(None),
                }
            }
            Err(error) => {
                plan = self.plan(updates, &BTreeMap::new());
                let failed = |group: Group| (group, unreachable_mirror(&error));
                groups = plan.groups.into_iter().map(failed).collect();
                retry_after = error.retry_after();
            }
        }
        Attempt {
            skipped: plan.skipped,
            groups,
            retry_after,
        }
    }

    /// What is to be done about these updates when the mirror has these refs.
    pub fn plan(&self, updates: &[RefUpdate], refs: &BTreeMap<BString, ObjectId>) -> Plan {
        plan(updates, self.knowledge, refs, &self.rules, self.null)
    }

    fn send_groups(
        &self,
        mirror: &mut dyn Mirror,
        advertisement: &Advertisement,
        groups: Vec<Group>,
        tried: Option<Box<Tried>>,
    ) -> Results {
        let mut results = Vec::new();
        let (mut sending, mut unseen) = (Vec::new(), Vec::new());
        let nothing_sent = Report::new(Vec::new());
        for group in groups {
            let result = match &group.hold {
                Some(hold) => held(&group, hold.outcome(), hold.to_string()),
                None if !group.unseen_deletions().is_empty() => {
                    unseen.push(group);
                    continue;
                }
                None if group.commands().is_empty() => settle(&group, Ok(&nothing_sent), Some(&advertisement.refs)),
                None => {
                    sending.push(group);
                    continue;
                }
            };
            results.push((group, result));
        }
        let (settled, asked_to_wait) = self.delete_unseen(mirror, advertisement, unseen, &mut sending);
        results.extend(settled);
        if sending.is_empty() {
            return (results, asked_to_wait);
        }
        let commands: Vec<_> = sending.iter().map(Group::commands).collect();
        let sent = send(mirror, advertisement, &commands, tried);
        let (settled, retry_after) = self.settled(mirror, sending, sent);
        results.extend(settled);
        (results, retry_after.max(asked_to_wait))
    }

    /// Sends deletions of refs that the mirror does not show, apart from the rest of their groups: git carries out the
    /// rest of an atomic push when it rejects a hidden ref. Groups that have more commands go to `sending`, once these
    /// refs are known to be gone.
    fn delete_unseen(
        &self,
        mirror: &mut dyn Mirror,
        advertisement: &Advertisement,
        groups: Vec<Group>,
        sending: &mut Vec<Group>,
    ) -> Results {
        let commands: Vec<_> = groups.iter().map(Group::unseen_deletions).collect();
        let sent = send(mirror, advertisement, &commands, None);
        let errors = sent.iter().filter_map(|sent| sent.as_ref().as_ref().err());
        let retry_after = errors.filter_map(Error::retry_after).max();
        let (mut results, mut gone) = (Vec::new(), (Vec::new(), Vec::new()));
        for (group, sent) in groups.into_iter().zip(sent) {
            match settle_unseen(&group, sent.as_ref().as_ref()) {
                Some(result) => results.push((group, result)),
                None if group.commands().is_empty() => {
                    gone.0.push(group);
                    gone.1.push(sent);
                }
                None => sending.push(group),
            }
        }
        let (settled, asked_to_wait) = self.settled(mirror, gone.0, gone.1);
        results.extend(settled);
        (results, retry_after.max(asked_to_wait))
    }

    /// Looks at the refs, and settles each group by what was sent for it.
    fn settled(&self, mirror: &mut dyn Mirror, groups: Vec<Group>, sent: Vec<Sent>) -> Results {
        let seen = (self.verify && sent.iter().any(worth_a_look)).then(|| self.look(mirror, &groups));
        let errors = sent.iter().filter_map(|sent| sent.as_ref().as_ref().err());
        let errors = errors.chain(seen.iter().flat_map(|seen| seen.as_ref().err()));
        let retry_after = errors.filter_map(Error::retry_after).max();
        let mut results = Vec::new();
        for (group, sent) in groups.into_iter().zip(sent) {
            let attempt = sent.as_ref().as_ref();
            let result = match &seen {
                None => settle(&group, attempt, None),
                Some(Ok(seen)) => settle(&group, attempt, Some(seen)),
                Some(Err(error)) => unseen(settle(&group, attempt, None), error),
            };
            results.push((group, result));
        }
        (results, retry_after)
    }

    fn look(&self, mirror: &mut dyn Mirror, groups: &[Group]) -> Result<BTreeMap<BString, ObjectId>, Error> {
        let changes = groups
            .iter()
            .flat_map(|group| group.changes.iter().chain(&group.watermark));
        let mut prefixes: Vec<BString> = changes.map(|change| change.name.clone()).collect();
        if prefixes.len() > MOST_PREFIXES {
            prefixes = self.rules.refs.prefixes().map(|prefix| prefix.to_owned()).collect();
            prefixes.push(crate::mirror::watermark::watermark_ref(b"".as_bstr()));
        }
        let refs = mirror.read_refs(&prefixes)?;
        Ok(refs.into_iter().map(|remote| (remote.name, remote.id)).collect())
    }
}

impl Attempt {
    fn marks(&self, backlog: &[RefUpdate]) -> Marks {
        let gone = |index: &usize| {
            let holds = self.groups.iter().filter_map(|(group, _)| group.hold.as_ref());
            let mut names = holds.filter_map(|hold| match hold {
                Hold::Gone { name, .. } => Some(name),
                Hold::Diverged { .. } | Hold::Unreadable { .. } | Hold::Damaged { .. } => None,
            });
            names.any(|name| *name == backlog[*index].name)
        };
        let mut failed = self.entries(|group, _| group.hold.is_some());
        failed.retain(gone);
        Marks {
            mirrored: self.entries(|_, outcome| outcome == Outcome::Mirrored),
            skipped: self.skipped.clone(),
            failed,
        }
    }

    /// Entries of groups for which the same again may succeed within the cycle. A hook or a server that refuses may
    /// have done so for a passing reason; a divergence or a wrong setting does not pass by itself. What a failed entry
    /// has held goes on without it.
    fn to_repeat(&self, marks: &Marks) -> Vec<usize> {
        let passing = [Outcome::Transient, Outcome::Uncertain, Outcome::Rejected];
        let mut entries = self.entries(|_, outcome| passing.contains(&outcome));
        entries.retain(|index| !marks.failed.contains(index));
        entries
    }

    fn entries(&self, wanted: impl Fn(&Group, Outcome) -> bool) -> Vec<usize> {
        let groups = self
            .groups
            .iter()
            .filter(|(group, result)| wanted(group, result.outcome));
        let mut entries: Vec<usize> = groups.flat_map(|(group, _)| group.entries.iter().copied()).collect();
        entries.sort_unstable();
        entries
    }
}

fn all_mirrored<'a>(groups: impl IntoIterator<Item = &'a (Group, GroupResult)>) -> bool {
    let mut groups = groups.into_iter();
    groups.all(|(_, result)| result.outcome == Outcome::Mirrored)
}

/// Remembers the mirror as it is after these groups, of which those that are not held are mirrored.
fn remember(mirror: &mut dyn Mirror, mut advertisement: Advertisement, groups: &[(Group, GroupResult)]) {
    let sent = groups.iter().filter(|(group, _)| group.hold.is_none());
    for change in sent.flat_map(|(group, _)| group.changes.iter().chain(&group.watermark)) {
        if change.new.is_null() {
            advertisement.refs.remove(&change.name);
        } else {
            advertisement.refs.insert(change.name.clone(), change.new);
        }
    }
    mirror.remember(Some(advertisement));
}

/// Whether the mirror may have changed: not when nothing was sent, or nothing was taken.
fn worth_a_look(sent: &Sent) -> bool {
    match sent.as_ref() {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::Uncertain,
    }
}

fn unreachable_mirror(error: &Error) -> GroupResult {
    GroupResult {
        outcome: error.kind().into(),
        verdicts: Vec::new(),
        error: Some(error.to_string()),
    }
}

/// Nobody saw the refs: what the server reported is not enough for `mirrored`.
fn unseen(mut result: GroupResult, error: &Error) -> GroupResult {
    if result.outcome == Outcome::Mirrored {
        result.outcome = Outcome::Uncertain;
        result.error = Some(format!("the refs could not be read back: {error}"));
    }
    result
}

fn log_attempt(group: &Group, result: &GroupResult, attempt: u32, of: u32) {
    let label = group.label();
    match (result.outcome, &result.error) {
        (Outcome::Mirrored, _) => tracing::info!(group = %label, attempt, "mirrored"),
        (outcome, error) => {
            let error = error.as_deref().unwrap_or_default();
            if attempt == of {
                tracing::error!(group = %label, attempt, of, ?outcome, error, "not mirrored; the entries stay pending");
            } else {
                tracing::warn!(group = %label, attempt, of, ?outcome, error, "attempt failed");
            }
        }
    }
}
