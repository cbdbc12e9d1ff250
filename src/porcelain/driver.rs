//! One push over a connection.
use std::{
    cell::OnceCell,
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use bstr::{BStr, BString};
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Push, Report, ReportedUpdate, Stage,
    certificate::Signer,
    lease::{self, Lease},
    refspec::{LocalRefs, Refspecs, Sourced, Wanted},
    ruling::{self, Refusal, Ruling},
};
use gix::{ObjectId, Repository, prelude::ObjectIdExt};

use super::{
    error::PushError,
    fate::{fate, verdicts},
    follow_tags,
    includes::includes,
    report::{Fate, RefReport, Update},
    tracking::Tracking,
};
use crate::{
    config::AGENT,
    local_repository::{AllRefs, LocalRepository, RevisionError, UnreadableRefs},
    parts,
};

/// Maximum number of refs that are read back by name. If there are more, all refs are requested.
const MOST_PREFIXES: usize = 200;

/// Maximum number of refs of a remote whose ids are abbreviated to align the lines for people.
const MOST_ALIGNED: usize = 1000;

/// Request for a push: refspecs and options.
#[derive(Debug, Clone)]
pub struct Order {
    /// Refs to push.
    pub refspecs: Refspecs,
    /// Force every update, as a `+` in front of each refspec does.
    pub force: bool,
    /// Expected values of the remote's refs.
    pub leases: Vec<Lease>,
    /// Let a lease on a remote-tracking ref override a refusal only if the local branch had that commit.
    pub force_if_includes: bool,
    /// Also push annotated tags that the remote lacks and that point into the pushed history.
    pub follow_tags: bool,
    /// Allow deltas of objects that only the remote has.
    pub thin: bool,
    /// Push the history of a shallow clone even if the remote lacks the rest.
    pub shallow: bool,
    /// Options of the push itself.
    pub options: git_push::Options,
    /// Becomes true to stop the push.
    pub interrupt: Arc<AtomicBool>,
    /// Send and change nothing.
    pub dry_run: bool,
    /// Bytes of a pack above which the push goes in parts. None is unlimited.
    pub max_pack_size: Option<u64>,
    /// Rule for reading the refs back.
    pub read_back: ReadBack,
}

impl Default for Order {
    fn default() -> Self {
        Order {
            refspecs: Refspecs::default(),
            force: false,
            leases: Vec::new(),
            force_if_includes: false,
            follow_tags: false,
            thin: true,
            shallow: false,
            options: git_push::Options::default(),
            interrupt: Arc::default(),
            dry_run: false,
            max_pack_size: None,
            read_back: ReadBack::default(),
        }
    }
}

/// Rule for reading the refs back after a push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadBack {
    /// Never: the server's report decides.
    Never,
    /// Only if the server's report is missing or incomplete. Otherwise the report decides, as in git.
    WithoutReport,
    /// Always: the report is accepted if the refs agree with it.
    #[default]
    Always,
}

/// Pushes from `local` as `order` requests, and updates the remote-tracking refs of `tracking`.
///
/// An update that is refused locally or rejected by the server is not an error. The report on its ref has the reason.
///
/// # Errors
/// The refspecs are invalid, or the remote cannot be reached. If the server's answer is lost after the commands were sent,
/// that is not an error as long as the refs can be read back.
pub fn push(
    connection: &mut dyn Connection,
    local: &LocalRepository,
    tracking: &Tracking<'_>,
    order: &Order,
    observer: &dyn Observer,
) -> Result<Vec<RefReport>, PushError> {
    let steps = Steps {
        check: &|_| Ok(Next::Send),
        signer: None,
    };
    Ok(push_in_steps(connection, local, tracking, order, &steps, observer)?.refs)
}

/// What follows the checks of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The push.
    Send,
    /// Nothing: only submodules were to be pushed.
    Stop,
}

/// Steps of a push that depend on programs.
pub(super) struct Steps<'a> {
    /// Called with the planned updates before anything is sent, in a dry run, too.
    pub(super) check: &'a dyn Fn(&[RefReport]) -> Result<Next, PushError>,
    /// Signs a certificate. True if a server need not accept one.
    pub(super) signer: Option<(&'a dyn Signer, bool)>,
}

/// Result of a push.
pub(super) struct Pushed {
    pub(super) refs: Vec<RefReport>,
    /// Length of the longest abbreviated id.
    pub(super) id_width: usize,
    pub(super) unpack_error: Option<String>,
    /// True if the remote has no refs, and nothing was to be pushed.
    pub(super) is_nothing_in_common: bool,
}

/// Carries out [`push()`] with these steps.
pub(super) fn push_in_steps(
    connection: &mut dyn Connection,
    local: &LocalRepository,
    tracking: &Tracking<'_>,
    order: &Order,
    steps: &Steps<'_>,
    observer: &dyn Observer,
) -> Result<Pushed, PushError> {
    let (sourced, local_ids) = sourced(&order.refspecs, local)?;
    observer.stage(Stage::Asking);
    let advertisement = connection.advertisement()?;
    check_options(order, &advertisement)?;
    let wanted = wanted(local, &sourced, &local_ids, &advertisement, order)?;
    let rulings = rulings(&wanted, local, tracking, &advertisement, order)?;
    let repository = local.repository();
    let refs = wanted.into_iter().zip(rulings);
    let refs: Vec<_> = refs
        .map(|(wanted, ruling)| planned(repository, wanted, ruling))
        .collect();
    let mut pushed = Pushed {
        id_width: id_width(repository, &advertisement, &refs),
        unpack_error: None,
        is_nothing_in_common: refs.is_empty() && advertisement.refs.is_empty(),
        refs,
    };
    let next = (steps.check)(&pushed.refs)?;
    if next == Next::Stop {
        pushed.refs.retain(|report| report.fate != Fate::Planned);
    }
    if next == Next::Stop || order.dry_run && !connection.rehearses() {
        return Ok(pushed);
    }
    let parts = Sending {
        repository,
        advertisement: &advertisement,
        order,
        signer: signer(steps, &advertisement),
        observer,
    };
    parts.send(connection, &mut pushed)?;
    if order.dry_run {
        pushed.refs.iter_mut().for_each(RefReport::rehearsed);
        return Ok(pushed);
    }
    let is_there = |report: &&RefReport| matches!(report.fate, Fate::Accepted | Fate::ServerSide | Fate::UpToDate);
    let there = pushed.refs.iter().filter(is_there).flat_map(RefReport::effects);
    tracking.update_all(there.map(|effect| (effect.name, effect.new)));
    Ok(pushed)
}

/// Refuses options that the remote does not support, as git does even if there is nothing to push.
fn check_options(order: &Order, advertisement: &Advertisement) -> Result<(), PushError> {
    let is_missing = |name: &str| !advertisement.capabilities.offers(name);
    if order.options.atomic && is_missing("atomic") {
        return Err(PushError::Unsupported("--atomic push"));
    }
    if !order.options.push_options.is_empty() && is_missing("push-options") {
        return Err(PushError::Unsupported("push options"));
    }
    Ok(())
}

fn signer<'a>(steps: &Steps<'a>, advertisement: &Advertisement) -> Option<&'a dyn Signer> {
    let (signer, if_asked) = steps.signer?;
    if if_asked && advertisement.capabilities.value("push-cert").is_none() {
        tracing::warn!("not sending a push certificate since the receiving end does not support --signed push");
        return None;
    }
    Some(signer)
}

fn wanted(
    local: &LocalRepository,
    sourced: &Sourced,
    local_ids: &BTreeMap<BString, ObjectId>,
    advertisement: &Advertisement,
    order: &Order,
) -> Result<Vec<Wanted>, PushError> {
    let mut wanted = sourced.matched(&advertisement.refs)?;
    if order.follow_tags {
        let tags = follow_tags::missing(local.repository(), local_ids, &advertisement.refs, &wanted, sourced)?;
        wanted.extend(tags);
    }
    Ok(wanted)
}

/// Looks up the sources of the refspecs.
fn sourced(refspecs: &Refspecs, local: &LocalRepository) -> Result<(Sourced, BTreeMap<BString, ObjectId>), PushError> {
    let unreadable = OnceCell::new();
    let object = |expression: &BStr| match local.object(expression) {
        Ok(id) => Some(id),
        Err(RevisionError::Unknown(_)) => None,
        Err(RevisionError::Unreadable(error)) => {
            unreadable.get_or_init(|| error);
            None
        }
    };
    let AllRefs { ids, symbolic } = local.all_refs()?;
    let refs = LocalRefs {
        ids,
        symbolic,
        object: &object,
        null: local.repository().object_hash().null(),
    };
    let sourced = refspecs.with_sources(&refs);
    let ids = refs.ids;
    match unreadable.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok((sourced?, ids)),
    }
}

fn rulings(
    wanted: &[Wanted],
    local: &LocalRepository,
    tracking: &Tracking<'_>,
    advertisement: &Advertisement,
    order: &Order,
) -> Result<Vec<Ruling>, PushError> {
    let repository = local.repository();
    let null = repository.object_hash().null();
    let can_delete = advertisement.capabilities.offers("delete-refs");
    let one = |update: &Wanted| {
        if update.new.is_null() && !can_delete {
            return Ok(Ruling::Refuse(Refusal::CannotDelete));
        }
        let expected = expected(&order.leases, update.name.as_ref(), null, tracking)?;
        let ruling = ruling::rule(update, order.force, expected, || {
            ruling::relation(repository, update.old, update.new)
        });
        included(ruling?, update, expected, local, tracking, order)
    };
    let mut rulings = wanted.iter().map(one).collect::<Result<Vec<_>, PushError>>()?;
    if order.options.atomic {
        ruling::all_or_none(&mut rulings);
    }
    Ok(rulings)
}

/// Refuses an update that a lease on a remote-tracking ref allows, if the local branch never had that commit, and
/// `--force-if-includes` asks for it.
fn included(
    ruling: Ruling,
    update: &Wanted,
    expected: Option<ObjectId>,
    local: &LocalRepository,
    tracking: &Tracking<'_>,
    order: &Order,
) -> Result<Ruling, PushError> {
    let name = update.name.as_ref();
    let is_checked = order.force_if_includes
        && ruling != Ruling::UpToDate
        && expected == Some(update.old)
        && lease::is_tracked(&order.leases, name);
    let Some(tracked) = tracking.name(name).filter(|_| is_checked) else {
        return Ok(ruling);
    };
    if tracking.id(name)?.is_none() || includes(local, name, Some(tracked.as_bstr()), update.old)? {
        Ok(ruling)
    } else if order.force || update.force {
        Ok(Ruling::Send { forced: true })
    } else {
        Ok(Ruling::Refuse(Refusal::RemoteUpdated))
    }
}

/// Returns the id that the leases expect, see [`lease::expected()`].
fn expected(
    leases: &[Lease],
    name: &BStr,
    null: ObjectId,
    tracking: &Tracking<'_>,
) -> Result<Option<ObjectId>, UnreadableRefs> {
    let mut tracked = Ok(None);
    let expected = lease::expected(leases, name, null, || {
        tracked = tracking.id(name);
        *tracked.as_ref().unwrap_or(&None)
    });
    tracked.map(|_| expected)
}

fn planned(repository: &Repository, wanted: Wanted, ruling: Ruling) -> RefReport {
    RefReport {
        short: shortened(repository, wanted.old, wanted.new),
        source: wanted.source,
        name: wanted.name,
        old: wanted.old,
        new: wanted.new,
        forced: ruling == Ruling::Send { forced: true },
        updates: Vec::new(),
        fate: match ruling {
            Ruling::UpToDate => Fate::UpToDate,
            Ruling::Send { .. } => Fate::Planned,
            Ruling::Refuse(refusal) => Fate::Refused(refusal),
        },
    }
}

/// Returns both ids, each abbreviated to a length that is unique in the repository. An id that is missing there gets
/// the length of the other one.
fn shortened(repository: &Repository, old: ObjectId, new: ObjectId) -> [String; 2] {
    let short = |id: ObjectId| {
        gix::Id::shorten(&id.attach(repository))
            .ok()
            .map(|short| short.to_string())
    };
    let (short_old, short_new) = (short(old), short(new));
    let length = short_old.as_ref().or(short_new.as_ref()).map_or(7, String::len);
    [(old, short_old), (new, short_new)]
        .map(|(id, short)| short.unwrap_or_else(|| id.to_hex_with_len(length).to_string()))
}

/// Returns the length of the longest abbreviated id, of all refs of the remote unless there are too many.
fn id_width(repository: &Repository, advertisement: &Advertisement, refs: &[RefReport]) -> usize {
    let short = |id: &ObjectId| gix::Id::shorten(&id.attach(repository)).map_or(7, |short| short.to_string().len());
    let pushed = refs.iter().flat_map(|report| &report.short).map(String::len).max();
    let others = advertisement
        .refs
        .values()
        .filter(|_| advertisement.refs.len() <= MOST_ALIGNED);
    pushed.into_iter().chain(others.map(short)).max().unwrap_or(7)
}

/// A push on its way.
struct Sending<'a> {
    repository: &'a Repository,
    advertisement: &'a Advertisement,
    order: &'a Order,
    signer: Option<&'a dyn Signer>,
    observer: &'a dyn Observer,
}

impl Sending<'_> {
    /// Sends the planned updates, and sets the fate of each.
    fn send(&self, connection: &mut dyn Connection, pushed: &mut Pushed) -> Result<(), PushError> {
        let is_planned = |report: &&mut RefReport| report.fate == Fate::Planned;
        let mut sent: Vec<&mut RefReport> = pushed.refs.iter_mut().filter(is_planned).collect();
        if sent.is_empty() {
            return Ok(());
        }
        let answer = self.answer(connection, &sent);
        let lost = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Uncertain);
        let answer = match answer {
            Err(error) if !lost => return Err(error.into()),
            answer => answer,
        };
        if let Ok(report) = &answer {
            pushed.unpack_error = report.unpack_error().map(|error| git_push::cleaned(error));
            for sent in &mut sent {
                let updates = report.updates(sent.name.as_ref()).iter();
                sent.updates = updates.map(|update| self.update(sent, update)).collect();
            }
        }
        let verdicts = verdicts(&answer, sent.len());
        let is_looked_up = match self.order.read_back {
            _ if self.order.dry_run => false,
            ReadBack::Never => false,
            ReadBack::WithoutReport => verdicts.iter().any(Result::is_err),
            ReadBack::Always => true,
        };
        let seen = is_looked_up.then(|| {
            self.observer.stage(Stage::ReadingBack);
            read_back(connection, &sent)
        });
        for (report, verdict) in sent.into_iter().zip(verdicts) {
            let seen = seen.as_ref().map(Result::as_ref);
            let moved_on = |new, there| git_push::fast_forward(self.repository, new, there).unwrap_or(false);
            report.fate = fate(report, verdict, seen, moved_on);
        }
        Ok(())
    }

    fn answer(&self, connection: &mut dyn Connection, sent: &[&mut RefReport]) -> Result<Report, Error> {
        let command = |report: &&mut RefReport| Command::update(report.name.clone(), report.old, report.new);
        let commands: Vec<_> = sent.iter().map(command).collect();
        let mut push = Push::new(self.repository, self.advertisement)
            .commands(commands)
            .options(self.order.options.clone())
            .thin(self.order.thin)
            .shallow(self.order.shallow)
            .interrupt(&self.order.interrupt)
            .agent(AGENT)
            .progress(self.observer);
        if let Some(signer) = self.signer {
            push = push.signed_by(signer);
        }
        // Parts of a history that ends at the borders of a shallow clone could not be pushed on their own.
        let max_pack_size = self.order.max_pack_size.filter(|_| !self.order.shallow);
        parts::send(push, max_pack_size, connection)
    }

    fn update(&self, report: &RefReport, update: &ReportedUpdate) -> Update {
        let (old, new) = (update.old.unwrap_or(report.old), update.new.unwrap_or(report.new));
        Update {
            name: update.name.clone().unwrap_or_else(|| report.name.clone()),
            old,
            new,
            forced: update.forced || report.forced,
            short: shortened(self.repository, old, new),
        }
    }
}

fn read_back(connection: &mut dyn Connection, sent: &[&mut RefReport]) -> Result<BTreeMap<BString, ObjectId>, Error> {
    let prefixes = if sent.len() > MOST_PREFIXES {
        vec!["refs/".into()]
    } else {
        let effects = sent.iter().flat_map(|report| report.effects());
        effects.map(|effect| effect.name.to_owned()).collect()
    };
    let refs = connection.read_refs(&prefixes)?;
    Ok(refs.into_iter().map(|remote| (remote.name, remote.id)).collect())
}
