//! One push over a connection.
use std::collections::BTreeMap;

use bstr::{BStr, BString};
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Push, Report, Stage, Verdict, causes,
    lease::{self, Lease},
    refspec::{LocalRefs, Refspecs, Wanted},
    ruling::{self, Refusal, Ruling},
};
use gix::{ObjectId, Repository, prelude::ObjectIdExt, refs::TargetRef};

use super::{
    error::PushError,
    report::{Fate, RefReport},
    tracking::Tracking,
};
use crate::config::AGENT;

/// Number of refs that are read back by name. Beyond it, all refs are requested.
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
    /// Read the refs back instead of trusting the server's report.
    pub verify: bool,
}

/// Pushes from `repository` as `order` requests, and updates the remote-tracking refs of `tracking`.
///
/// An update that is refused locally or rejected by the server is not an error. The report on its ref has the reason.
///
/// # Errors
/// The refspecs are invalid, or the remote cannot be reached. If the server's answer is lost after the commands were sent,
/// that is not an error as long as the refs can be read back.
pub fn push(
    connection: &mut dyn Connection,
    repository: &Repository,
    tracking: &Tracking<'_>,
    order: &Order,
    observer: &dyn Observer,
) -> Result<Vec<RefReport>, PushError> {
    let object = |expression: &BStr| Some(repository.rev_parse_single(expression).ok()?.detach());
    let sourced = order.refspecs.with_sources(&local_refs(repository, &object)?)?;
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
    for report in &refs {
        if matches!(report.fate, Fate::Accepted | Fate::UpToDate) {
            tracking.update(report.name.as_ref(), report.new);
        }
    }
    Ok(refs)
}

fn local_refs<'a>(
    repository: &Repository,
    object: &'a dyn Fn(&BStr) -> Option<ObjectId>,
) -> Result<LocalRefs<'a>, Error> {
    let failed = |error: gix::Error| {
        let what = format!(
            "cannot read the refs of {}: {}",
            repository.git_dir().display(),
            causes(&error)
        );
        Error::new(ErrorKind::Misconfigured, what).with_hint("run `git fsck` in the local repository")
    };
    let mut local = LocalRefs {
        ids: BTreeMap::new(),
        symbolic: BTreeMap::new(),
        object,
        null: repository.object_hash().null(),
    };
    for reference in repository.references().map_err(failed)?.all().map_err(failed)? {
        let mut reference = reference.map_err(failed)?;
        let name = BString::from(reference.name().as_bstr());
        if let TargetRef::Symbolic(target) = reference.target() {
            local.symbolic.insert(name.clone(), target.as_bstr().into());
        }
        // Like git, skip a dangling symbolic ref.
        if let Ok(id) = reference.follow_to_object() {
            local.ids.insert(name, id.detach());
        }
    }
    if let Some(name) = repository.head_name().map_err(failed)? {
        local.symbolic.insert("HEAD".into(), name.as_bstr().into());
    }
    Ok(local)
}

fn rulings(
    wanted: &[Wanted],
    repository: &Repository,
    tracking: &Tracking<'_>,
    advertisement: &Advertisement,
    order: &Order,
) -> Result<Vec<Ruling>, Error> {
    let null = repository.object_hash().null();
    let can_delete = advertisement.capabilities.offers("delete-refs");
    let one = |update: &Wanted| {
        if update.new.is_null() && !can_delete {
            return Ok(Ruling::Refuse(Refusal::CannotDelete));
        }
        let name = update.name.as_ref();
        let expected = lease::expected(&order.leases, name, null, || tracking.id(name));
        ruling::rule(update, order.force, expected, || {
            ruling::relation(repository, update.old, update.new)
        })
    };
    let mut rulings = wanted.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if order.options.atomic {
        ruling::all_or_none(&mut rulings);
    }
    Ok(rulings)
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

/// Returns both ids, abbreviated as far as they are unique in the repository. An id that is missing there gets the length
/// of the other one.
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

/// Sends the planned updates, and sets the fate of each.
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
    let answer = push.send(connection);
    let lost = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Uncertain);
    let answer = match answer {
        Err(error) if !lost => return Err(error.into()),
        answer => answer,
    };
    if let Some(error) = answer.as_ref().ok().and_then(Report::unpack_error) {
        tracing::warn!("the remote could not unpack what it was sent: {error}");
    }
    let seen = order.verify.then(|| {
        observer.stage(Stage::ReadingBack);
        read_back(connection, &sent)
    });
    let verdicts = verdicts(&answer, sent.len());
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

/// Decides the fate of an update from the server's verdict and the ref that was read back, if any. `moved_on` returns true
/// for an id that is known to contain the pushed one: then another push came before the refs were read back.
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
