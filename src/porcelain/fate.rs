//! The fate of an update, from the server's verdict and the refs that were read back. PURE.
use std::collections::BTreeMap;

use bstr::BString;
use git_push::{Error, Report, Verdict};
use gix::ObjectId;

use super::report::{Fate, RefReport};

/// Refs that were read back, by name, or the reason why they could not.
pub(super) type Seen<'a> = Option<Result<&'a BTreeMap<BString, ObjectId>, &'a Error>>;

/// Returns the server's verdict on each command, in order, or the reason why there is none.
pub(super) fn verdicts(answer: &Result<Report, Error>, commands: usize) -> Vec<Result<Verdict, String>> {
    let one = |(command, verdict): (&git_push::Command, &Verdict), report: &Report| match verdict {
        // A hook of the server accepted the command, and made other updates.
        Verdict::Unknown if !report.updates(command.name.as_ref()).is_empty() => Ok(Verdict::Accepted),
        Verdict::Unknown => Err("remote failed to report status".into()),
        verdict => Ok(verdict.clone()),
    };
    match answer {
        Ok(report) => report.verdicts().map(|verdict| one(verdict, report)).collect(),
        Err(lost) => vec![Err(lost.to_string()); commands],
    }
}

/// Decides the fate of an update from the server's verdict and the ref that was read back, if any. `moved_on` returns true
/// for an id that is known to contain the pushed one: then another push came before the refs were read back.
pub(super) fn fate(
    report: &RefReport,
    verdict: Result<Verdict, String>,
    seen: Seen<'_>,
    moved_on: impl Fn(ObjectId, ObjectId) -> bool,
) -> Fate {
    let word = match &verdict {
        Ok(Verdict::Rejected(reason)) => return Fate::Rejected(reason.clone()),
        Ok(Verdict::UpToDate) => return Fate::Accepted,
        Ok(Verdict::Accepted | Verdict::Unknown) => "the remote reported ok",
        Err(silence) => silence,
    };
    let seen = match seen {
        None if verdict.is_ok() => return Fate::Accepted,
        None => return Fate::Unknown(word.to_owned()),
        Some(Err(error)) => {
            return Fate::Unknown(format!("{word}, but the refs could not be read back: {error}"));
        }
        Some(Ok(seen)) => seen,
    };
    let mut fates = report.effects().map(|effect| {
        let there = seen.get(effect.name).copied().unwrap_or(effect.new.kind().null());
        match there {
            there if there == effect.new => Fate::Accepted,
            there if there.is_null() && verdict.is_ok() && effect.is_server_side => Fate::ServerSide,
            there if there.is_null() => Fate::Unknown(format!("{word}, but it has no such ref")),
            // Before `moved_on`: in a rewind, the old id contains the new one.
            there if there == effect.old => Fate::Unknown(format!("{word}, but it still has {there}")),
            there if !effect.new.is_null() && moved_on(effect.new, there) => Fate::Accepted,
            there => Fate::Unknown(format!("{word}, but it has {there}")),
        }
    });
    let first = fates.next().unwrap_or(Fate::Accepted);
    fates.fold(first, |worst, fate| match (&worst, &fate) {
        (Fate::Unknown(_), _) | (Fate::ServerSide, Fate::Accepted) => worst,
        _ => fate,
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::Update;
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::Sha1([byte; 20])
    }

    fn report(name: &str, old: u8) -> RefReport {
        RefReport {
            source: Some("refs/heads/a".into()),
            name: name.into(),
            old: id(old),
            new: id(2),
            short: [String::new(), String::new()],
            forced: false,
            updates: Vec::new(),
            fate: Fate::Planned,
        }
    }

    fn seen_as(verdict: Result<Verdict, String>, there: Option<u8>, next: u8) -> Fate {
        let report = report("refs/heads/a", 1);
        let seen: BTreeMap<_, _> = there
            .map(|there| (report.name.clone(), id(there)))
            .into_iter()
            .collect();
        fate(&report, verdict, Some(Ok(&seen)), |_, there| there == id(next))
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

    #[test]
    fn a_ref_of_the_servers_own_need_not_appear() {
        let none = BTreeMap::new();
        let fate_of = |report: &RefReport, verdict| fate(report, verdict, Some(Ok(&none)), |_, _| false);
        let review = report("refs/for/main", 0);
        assert_eq!(fate_of(&review, Ok(Verdict::Accepted)), Fate::ServerSide);
        assert!(matches!(fate_of(&review, Err("lost".into())), Fate::Unknown(_)));
        let branch = report("refs/heads/main", 0);
        assert!(matches!(fate_of(&branch, Ok(Verdict::Accepted)), Fate::Unknown(_)));
    }

    #[test]
    fn the_refs_that_a_hook_updated_instead_are_looked_up() {
        let mut review = report("refs/for/main", 0);
        let update = |name: &str| Update {
            name: name.into(),
            old: id(0),
            new: id(5),
            forced: false,
            short: [String::new(), String::new()],
        };
        review.updates = vec![update("refs/heads/main"), update("refs/changes/1")];
        let seen = BTreeMap::from([("refs/heads/main".into(), id(5))]);
        let look = |seen: &BTreeMap<_, _>| fate(&review, Ok(Verdict::Accepted), Some(Ok(seen)), |_, _| false);
        assert_eq!(look(&seen), Fate::ServerSide, "a change is not a branch");
        let both = BTreeMap::from([("refs/heads/main".into(), id(5)), ("refs/changes/1".into(), id(5))]);
        assert_eq!(look(&both), Fate::Accepted);
        assert!(matches!(look(&BTreeMap::new()), Fate::Unknown(_)));
    }
}
