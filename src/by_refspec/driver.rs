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

/// Beyond this many refs, reading back asks for all refs instead of each name.
const MOST_PREFIXES: usize = 200;

/// What is to be pushed, and how.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// What is wanted.
    pub refspecs: Refspecs,
    /// Whether everything is forced, as with a `+` in front of each refspec.
    pub force: bool,
    /// What the remote is expected to have.
    pub leases: Vec<Lease>,
    /// How it is sent.
    pub options: git_push::Options,
    /// Nothing is sent and nothing is changed.
    pub dry_run: bool,
    /// Whether the refs are read back, and the server's word is not enough.
    pub verify: bool,
}

/// Pushes what `order` says from `repository`, and moves the remote-tracking refs of `tracking`.
///
/// What is refused on our side or rejected by the server is no error: the report on its ref says so.
///
/// # Errors
/// The refspecs ask for nothing that can be done, or the remote cannot be asked or pushed to. An answer that is lost
/// after the commands were sent is no error when the refs can be read back.
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
        Error::new(ErrorKind::Misconfigured, what).with_hint("run `git fsck` there")
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
        // A ref that leads nowhere is none.
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

/// Both ids as short as they are unique here; one that is not here as short as the other.
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

/// Sends what is planned, and says what became of it.
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
    let prefixes = match sent.len() > MOST_PREFIXES {
        true => vec!["refs/".into()],
        false => sent.iter().map(|report| report.name.clone()).collect(),
    };
    let refs = connection.read_refs(&prefixes)?;
    Ok(refs.into_iter().map(|remote| (remote.name, remote.id)).collect())
}

/// What the server says of each command, in their order; where it says nothing, why.
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

/// The server's word against what was seen there, where somebody looked. `moved_on` tells whether an id is known to
/// contain what was pushed: then somebody else was faster with the next push than we with looking.
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
            // What was to be rewound contains where it was to be rewound to.
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
