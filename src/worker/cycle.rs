//! One cycle: attempts with delays between them, until every group is settled or the attempts are used up.
//!
//! An attempt reads the mirror's refs, plans, and sends all groups in one atomic push (see `bisect` for the exceptions).
//! Then it reads the refs back and settles the groups. If the state after the last push is remembered, the first request
//! is saved: the old ids of the commands protect against a stale memory. If anything differs from the remembered state,
//! that state is dropped and the mirror is asked.
use std::{collections::BTreeMap, rc::Rc, time::Duration};

use bstr::{BString, ByteSlice};
use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Advertisement, Command, Error, ErrorKind, Report};
use gix::ObjectId;

use super::{
    attempt::{Attempt, EntryResults, Settled, Tried},
    bisect::{FailedPush, MOST_COMMANDS, Sent, send},
    requests::Mirror,
};
use crate::{
    mirror::{Group, GroupResult, LocalView, Outcome, Plan, Rules, held, plan, settle, settle_unseen},
    ref_update::RefUpdate,
};

/// Longest pause within a cycle. If a server asks for a longer one, the cycle ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Limit of refs that are read back by name. Above it, the prefixes of the patterns are requested instead.
const MOST_PREFIXES: usize = 200;

/// Rules and resources of a cycle.
pub struct Cycle<'a> {
    /// Mirrored refs, and permission to force or delete.
    pub rules: Rules,
    /// Number of attempts, and delays between them.
    pub retry: RetryPolicy,
    /// If true, refs are read back after a push.
    pub verify: bool,
    /// Time and randomness.
    pub clock: &'a dyn Clock,
    /// Refs and commits of the Stargate.
    pub local_view: &'a dyn LocalView,
    /// Null id of the repository's object format.
    pub null: ObjectId,
}

/// Groups with their results, and the delay that the server asked for.
type Results = (Vec<Tried>, Option<Duration>);

impl Cycle<'_> {
    /// Mirrors `backlog`, which is in journal order. Calls `record` after each attempt with the entries that it settled.
    ///
    /// # Errors
    /// An error of `record`, which ends the cycle.
    pub fn run<E>(
        &self,
        mirror: &mut dyn Mirror,
        backlog: &[RefUpdate],
        mut record: impl FnMut(&EntryResults) -> Result<(), E>,
    ) -> Result<Vec<Settled>, E> {
        let mut settled: BTreeMap<BString, Settled> = BTreeMap::new();
        let mut open: Vec<usize> = (0..backlog.len()).collect();
        let mut delays = self.retry.delays(|| self.clock.random());
        for number in 1..=self.retry.attempts {
            if open.is_empty() {
                break;
            }
            let attempt = self.attempt(mirror, backlog, &open);
            let results = attempt.entry_results(backlog);
            record(&results)?;
            open = attempt.to_repeat(&results);
            let retry_after = attempt.retry_after;
            attempt.log(number, self.retry.attempts);
            for tried in attempt.groups {
                let label = tried.group.label().to_owned();
                let earlier = settled.remove(&label).map(|earlier| earlier.attempted);
                settled.insert(label, tried.settled(earlier.unwrap_or_default()));
            }
            let delay = delays.next().map(|delay| delay.max(retry_after.unwrap_or_default()));
            match delay {
                Some(delay) if !open.is_empty() && delay <= LONGEST_PAUSE => {
                    tracing::warn!(
                        attempt = number,
                        delay_ms = delay.as_millis() as u64,
                        "retrying after a delay"
                    );
                    self.clock.sleep(delay);
                }
                Some(delay) if !open.is_empty() => {
                    tracing::error!(
                        delay_s = delay.as_secs(),
                        "the mirror asked for a long delay; the entries stay pending"
                    );
                    break;
                }
                _ => break,
            }
        }
        Ok(settled.into_values().collect())
    }

    fn attempt(&self, mirror: &mut dyn Mirror, backlog: &[RefUpdate], open: &[usize]) -> Attempt {
        mirror.start_attempt();
        let updates: Vec<RefUpdate> = open.iter().map(|index| backlog[*index].clone()).collect();
        let mut attempt = match self.push_to_remembered(mirror, &updates) {
            Ok(attempt) => attempt,
            Err(earlier_push) => self.push_to_advertised(mirror, &updates, earlier_push),
        };
        // Convert indexes of the updates to indexes of the backlog.
        let entries = attempt.groups.iter_mut().flat_map(|tried| &mut tried.group.entries);
        entries
            .chain(&mut attempt.skipped)
            .for_each(|index| *index = open[*index]);
        attempt
    }

    /// Pushes without asking first, based on the remembered state of the mirror. Unless the refs confirm the push, the
    /// memory is dropped and the caller must ask the mirror. The error holds the failed push, if one was sent.
    fn push_to_remembered(
        &self,
        mirror: &mut dyn Mirror,
        updates: &[RefUpdate],
    ) -> Result<Attempt, Option<Box<FailedPush>>> {
        let remembered = mirror.remembered().ok_or(None)?;
        let plan = self.plan(updates, &remembered.refs);
        // Groups that seem settled or held must be checked against the mirror itself. So must deletions: the ref may be
        // hidden by now, and git would apply the rest of the group without it.
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
        tracing::info!("the push based on the remembered refs was not confirmed; asking the mirror");
        mirror.remember(None);
        Err(Some(Box::new(FailedPush {
            commands,
            remembered,
            sent,
        })))
    }

    fn push_to_advertised(
        &self,
        mirror: &mut dyn Mirror,
        updates: &[RefUpdate],
        earlier_push: Option<Box<FailedPush>>,
    ) -> Attempt {
        let (plan, groups, retry_after);
        match mirror.advertisement() {
            Ok(advertisement) => {
                plan = self.plan(updates, &advertisement.refs);
                (groups, retry_after) = self.send_groups(mirror, &advertisement, plan.groups, earlier_push);
                // A held group was not sent, so it has changed nothing.
                if all_mirrored(groups.iter().filter(|tried| tried.group.hold.is_none())) {
                    remember(mirror, advertisement, &groups);
                } else {
                    mirror.remember(None);
                }
            }
            Err(error) => {
                plan = self.plan(updates, &BTreeMap::new());
                let failed = |group: Group| Tried {
                    group,
                    result: unreachable_mirror(&error),
                    server_words: error.server_words().to_vec(),
                };
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

    /// Plans these updates for a mirror with these refs.
    pub fn plan(&self, updates: &[RefUpdate], refs: &BTreeMap<BString, ObjectId>) -> Plan {
        plan(updates, self.local_view, refs, &self.rules, self.null)
    }

    fn send_groups(
        &self,
        mirror: &mut dyn Mirror,
        advertisement: &Advertisement,
        groups: Vec<Group>,
        earlier_push: Option<Box<FailedPush>>,
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
            results.push(Tried::unsent(group, result));
        }
        let (settled, asked_to_wait) = self.delete_unseen(mirror, advertisement, unseen, &mut sending);
        results.extend(settled);
        if sending.is_empty() {
            return (results, asked_to_wait);
        }
        let commands: Vec<_> = sending.iter().map(Group::commands).collect();
        let sent = send(mirror, advertisement, &commands, earlier_push);
        let (settled, retry_after) = self.settled(mirror, sending, sent);
        results.extend(settled);
        (results, retry_after.max(asked_to_wait))
    }

    /// Sends deletions of refs that the mirror does not advertise, separately from the rest of their groups: if git rejects
    /// a hidden ref, it still applies the rest of an atomic push. Once these refs are known to be gone, groups with further
    /// commands are added to `sending`.
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
                Some(result) => results.push(Tried::new(group, result, &sent)),
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

    /// Reads the refs back, and settles each group by its push.
    fn settled(&self, mirror: &mut dyn Mirror, groups: Vec<Group>, sent: Vec<Sent>) -> Results {
        let seen = (self.verify && sent.iter().any(may_have_changed)).then(|| self.read_back(mirror, &groups));
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
            results.push(Tried::new(group, result, &sent));
        }
        (results, retry_after)
    }

    fn read_back(&self, mirror: &mut dyn Mirror, groups: &[Group]) -> Result<BTreeMap<BString, ObjectId>, Error> {
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

fn all_mirrored<'a>(groups: impl IntoIterator<Item = &'a Tried>) -> bool {
    let mut groups = groups.into_iter();
    groups.all(|tried| tried.result.outcome == Outcome::Mirrored)
}

/// Remembers the state of the mirror after these groups. All of them are mirrored except the held ones.
fn remember(mirror: &mut dyn Mirror, mut advertisement: Advertisement, groups: &[Tried]) {
    let sent = groups.iter().map(|tried| &tried.group);
    let sent = sent.filter(|group| group.hold.is_none());
    for change in sent.flat_map(|group| group.changes.iter().chain(&group.watermark)) {
        if change.new.is_null() {
            advertisement.refs.remove(&change.name);
        } else {
            advertisement.refs.insert(change.name.clone(), change.new);
        }
    }
    mirror.remember(Some(advertisement));
}

/// Returns true if the push may have changed the mirror. False if nothing was sent or accepted.
fn may_have_changed(sent: &Sent) -> bool {
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

/// Downgrades `mirrored` if the refs could not be read back: the server's report alone is not enough.
fn unseen(mut result: GroupResult, error: &Error) -> GroupResult {
    if result.outcome == Outcome::Mirrored {
        result.outcome = Outcome::Uncertain;
        result.error = Some(format!("cannot read the refs back: {error}"));
    }
    result
}
