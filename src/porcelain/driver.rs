//! One push over a connection.
use std::{cell::OnceCell, collections::BTreeMap};

use bstr::{BStr, BString};
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Push, Report, Stage, Verdict,
    lease::{self, Lease},
    refspec::{LocalRefs, Refspecs, Sourced, Wanted},
    ruling::{self, Refusal, Ruling},
};
use gix::{ObjectId, Repository, prelude::ObjectIdExt};

use super::{
    error::PushError,
    report::{Fate, RefReport},
    tracking::Tracking,
};
use crate::{
    config::AGENT,
    local_repository::{AllRefs, LocalRepository, RevisionError, UnreadableRefs},
    parts,
};

/// Maximum number of refs that are read back by name. If there are more, all refs are requested.
const MOST_PREFIXES: usize = 200;

/// Request for a push: refspecs and options.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Refs to push.
    pub refspecs: Refspecs,
    /// Force every update, as a `+` in front of each refspec does.
    pub force: bool,
    /// Expected values of the remote's refs.
    pub leases: Vec<Lease>,
    /// Options of the push itself.
    pub options: git_push::Options,
    /// Send and change nothing.
    pub dry_run: bool,
    /// Bytes of a pack above which the push goes in parts. None is unlimited.
    pub max_pack_size: Option<u64>,
    /// Rule for reading the refs back.
    pub read_back: ReadBack,
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
    let repository = local.repository();
    let sourced = sourced(&order.refspecs, local)?;
    observer.stage(Stage::Asking);
    let advertisement = connection.advertisement()?;
    let wanted = sourced.matched(&advertisement.refs)?;
    let rulings = rulings(&wanted, repository, tracking, &advertisement, order)?;
    let mut refs: Vec<_> = wanted
        .into_iter()
        .zip(rulings)
        .map(|(wanted, ruling)| planned(repository, wanted, ruling))
        .collect();
    if order.dry_run {
        return Ok(refs);
    }
    send(connection, repository, &advertisement, &mut refs, order, observer)?;
    let is_there = |report: &&RefReport| matches!(report.fate, Fate::Accepted | Fate::UpToDate);
    let there = refs.iter().filter(is_there);
    tracking.update_all(there.map(|report| (report.name.as_ref(), report.new)));
    Ok(refs)
}

/// Looks up the sources of the refspecs.
fn sourced(refspecs: &Refspecs, local: &LocalRepository) -> Result<Sourced, PushError> {
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
    let sourced = refspecs.with_sources(&LocalRefs {
        ids,
        symbolic,
        object: &object,
        null: local.repository().object_hash().null(),
    });
    match unreadable.into_inner() {
        Some(error) => Err(error.into()),
        None => Ok(sourced?),
    }
}

fn rulings(
    wanted: &[Wanted],
    repository: &Repository,
    tracking: &Tracking<'_>,
    advertisement: &Advertisement,
    order: &Order,
) -> Result<Vec<Ruling>, PushError> {
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
        Ok(ruling?)
    };
    let mut rulings = wanted.iter().map(one).collect::<Result<Vec<_>, PushError>>()?;
    if order.options.atomic {
        ruling::all_or_none(&mut rulings);
    }
    Ok(rulings)
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

/// Sends the planned updates, and sets the result of each.
fn send(
    connection: &mut dyn Connection,
    repository: &Repository,
    advertisement: &Advertisement,
    refs: &mut [RefReport],
    order: &Order,
    observer: &dyn Observer,
) -> Result<(), PushError> {
    let sent: Vec<&mut RefReport> = refs.iter_mut().filter(|report| report.fate == Fate::Planned).collect();
    if sent.is_empty() {
        return Ok(());
    }
    let command = |report: &&mut RefReport| Command::update(report.name.clone(), report.old, report.new);
    let commands: Vec<_> = sent.iter().map(command).collect();
    let push = Push::new(repository, advertisement).commands(commands);
    let push = push.options(order.options.clone()).agent(AGENT).progress(observer);
    let answer = parts::send(push, order.max_pack_size, connection);
    let lost = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Uncertain);
    let answer = match answer {
        Err(error) if !lost => return Err(error.into()),
        answer => answer,
    };
    if let Some(error) = answer.as_ref().ok().and_then(Report::unpack_error) {
        tracing::warn!("the remote could not unpack the pack: {error}");
    }
    let verdicts = verdicts(&answer, sent.len());
    let is_looked_up = match order.read_back {
        ReadBack::Never => false,
        ReadBack::WithoutReport => verdicts.iter().any(Result::is_err),
        ReadBack::Always => true,
    };
    let seen = is_looked_up.then(|| {
        observer.stage(Stage::ReadingBack);
        read_back(connection, &sent)
    });
    for (report, verdict) in sent.into_iter().zip(verdicts) {
        let seen = seen.as_ref().map(Result::as_ref);
        let moved_on = |there| git_push::fast_forward(repository, report.new, there).unwrap_or(false);
        report.fate = fate(report, verdict, seen, moved_on);
    }
    Ok(())
}

fn read_back(connection: &mut dyn Connection, sent: &[&mut RefReport]) -> Result<BTreeMap<BString, ObjectId>, Error> {
    let prefixes = if sent.len() > MOST_PREFIXES {
        vec!["refs/".into()]
    } else {
        sent.iter().map(|report| report.name.clone()).collect()
    };
    let refs = connection.read_refs(&prefixes)?;
    Ok(refs.into_iter().map(|remote| (remote.name, remote.id)).collect())
}

/// Returns the server's verdict on each command, in order, or the reason why there is none.
fn verdicts(answer: &Result<Report, Error>, commands: usize) -> Vec<Result<Verdict, String>> {
    let one = |verdict: &Verdict| match verdict {
        Verdict::Unknown => Err("remote failed to report status".into()),
        verdict => Ok(verdict.clone()),
    };
    match answer {
        Ok(report) => report.verdicts().map(|(_, verdict)| one(verdict)).collect(),
        Err(lost) => vec![Err(lost.to_string()); commands],
    }
}

/// Determines the result of an update from the server's verdict and the ref that was read back, if any. `moved_on`
/// returns true for an id that is known to contain the pushed one: then another push came before the refs were read
/// back.
fn fate(
    report: &RefReport,
    verdict: Result<Verdict, String>,
    seen: Option<Result<&BTreeMap<BString, ObjectId>, &Error>>,
    moved_on: impl Fn(ObjectId) -> bool,
) -> Fate {
    let word = match &verdict {
        Ok(Verdict::Rejected(reason)) => return Fate::Rejected(reason.clone()),
        Ok(Verdict::UpToDate) => return Fate::Accepted,
        Ok(Verdict::Accepted | Verdict::Unknown) => "the remote reported ok",
        Err(silence) => silence,
    };
    match seen {
        None if verdict.is_ok() => Fate::Accepted,
        None => Fate::Unknown(word.to_owned()),
        Some(Err(error)) => Fate::Unknown(format!("{word}, but the refs could not be read back: {error}")),
        Some(Ok(seen)) => match seen.get(&report.name).copied().unwrap_or(report.new.kind().null()) {
            there if there == report.new => Fate::Accepted,
            there if there.is_null() => Fate::Unknown(format!("{word}, but it has no such ref")),
            // Before `moved_on`: in a rewind, the old id contains the new one.
            there if there == report.old => Fate::Unknown(format!("{word}, but it still has {there}")),
            there if !report.new.is_null() && moved_on(there) => Fate::Accepted,
            there => Fate::Unknown(format!("{word}, but it has {there}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::Sha1([byte; 20])
    }

    fn seen_as(verdict: Result<Verdict, String>, there: Option<u8>, next: u8) -> Fate {
        let report = RefReport {
            source: Some("refs/heads/a".into()),
            name: "refs/heads/a".into(),
            old: id(1),
            new: id(2),
            short: [String::new(), String::new()],
            forced: false,
            fate: Fate::Planned,
        };
        let seen: BTreeMap<_, _> = there
            .map(|there| (report.name.clone(), id(there)))
            .into_iter()
            .collect();
        fate(&report, verdict, Some(Ok(&seen)), |there| there == id(next))
    }

    #[test]
    fn a_look_outweighs_ok_and_silence() {
        let ok = || Ok(Verdict::Accepted);
        let lost = || Err("the connection was lost".to_owned());
        for word in [ok(), lost()] {
            assert_eq!(seen_as(word.clone(), Some(2), 9), Fate::Accepted);
            assert_eq!(seen_as(word, Some(3), 3), Fate::Accepted, "somebody pushed on top");
        }
        let told = |fate: Fate| match fate {
            Fate::Unknown(told) => told.replace(&"01".repeat(20), "OLD").replace(&"03".repeat(20), "OTHER"),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            told(seen_as(ok(), Some(1), 9)),
            "the remote reported ok, but it still has OLD"
        );
        assert_eq!(
            told(seen_as(ok(), Some(3), 9)),
            "the remote reported ok, but it has OTHER"
        );
        assert_eq!(
            told(seen_as(ok(), None, 9)),
            "the remote reported ok, but it has no such ref"
        );
        for next in [9, 1] {
            assert_eq!(
                told(seen_as(lost(), Some(1), next)),
                "the connection was lost, but it still has OLD",
                "a rewind that did not happen"
            );
        }
    }

    #[test]
    fn a_rejection_stands() {
        let rejected = Ok(Verdict::Rejected("hook declined".into()));
        assert_eq!(seen_as(rejected, Some(2), 9), Fate::Rejected("hook declined".into()));
    }
}
