//! What an attempt came to, group by group: the server's report against the refs as they were read back.
//!
//! A look at the refs outweighs every word of the server: what stands there is mirrored though the answer was lost,
//! and what does not stand there is not mirrored though the server said `ok`.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use git_push::{Command, Error, ErrorKind, Report, Verdict};
use gix::ObjectId;

use super::Outcome;
use super::plan::{Change, Group};

/// What one attempt came to for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupResult {
    /// The outcome of the attempt.
    pub outcome: Outcome,
    /// The verdict on each change of the group, the watermark's last.
    pub verdicts: Vec<(Change, Verdict)>,
    /// Why it is not mirrored, for a person.
    pub error: Option<String>,
}

/// Settles a group after an attempt. `seen` are the refs of the remote after it; none where nobody looked.
pub fn settle(
    group: &Group,
    attempt: Result<&Report, &Error>,
    seen: Option<&BTreeMap<BString, ObjectId>>,
) -> GroupResult {
    let changes: Vec<&Change> = group.changes.iter().chain(&group.watermark).collect();
    let misplaced = seen.and_then(|seen| changes.iter().find(|change| at(seen, change) != change.new));
    let verdicts = changes
        .iter()
        .map(|change| ((*change).clone(), verdict(change, attempt, seen)))
        .collect();
    let (outcome, error) = match (attempt, seen, misplaced) {
        (_, Some(_), None) => (Outcome::Mirrored, None),
        (Err(error), Some(_), Some(_)) if error.kind() == ErrorKind::Uncertain => (
            Outcome::Transient,
            Some(format!("{error}; the refs were looked at: nothing had changed")),
        ),
        (Err(error), _, _) => (error.kind().into(), Some(error.to_string())),
        (Ok(report), _, misplaced) => reported(&changes, report, misplaced.copied()),
    };
    GroupResult {
        outcome,
        verdicts,
        error,
    }
}

/// Settles a group whose [deletions of unseen refs](Group::unseen_deletions()) were sent by themselves; none when the
/// server reports that these refs are gone, so that the rest of the group can be sent.
///
/// No look can confirm this: `transfer.hideRefs` hides a ref from readers as well.
pub fn settle_unseen(group: &Group, attempt: Result<&Report, &Error>) -> Option<GroupResult> {
    let (outcome, error) = match attempt {
        Ok(report) => refused_deletion(group, report)?,
        Err(error) => (error.kind().into(), error.to_string()),
    };
    let word = |change: &Change| match attempt {
        Ok(report) if change.is_unseen_deletion() => report.verdict(change.name.as_bstr()).cloned(),
        _ => None,
    };
    let changes = group.changes.iter().chain(&group.watermark);
    let verdicts = changes.map(|change| (change.clone(), word(change).unwrap_or(Verdict::Unknown)));
    Some(GroupResult {
        outcome,
        verdicts: verdicts.collect(),
        error: Some(error),
    })
}

/// Why it is not known that the unseen refs of a group are gone, if so.
fn refused_deletion(group: &Group, report: &Report) -> Option<(Outcome, String)> {
    let mut refused = Vec::new();
    for Command { name, .. } in group.unseen_deletions() {
        match report.verdict(name.as_bstr()) {
            Some(Verdict::Accepted | Verdict::UpToDate) => {}
            Some(Verdict::Rejected(reason)) => refused.push(format!("{name} ({reason})")),
            Some(Verdict::Unknown) | None => {
                let silent = format!("the mirror did not say what became of {name}, which it does not show");
                return Some((Outcome::Uncertain, silent));
            }
        }
    }
    let refused = (!refused.is_empty()).then(|| refused.join(", "))?;
    let why = format!("the mirror does not show, and rejected the deletion of, {refused}; it may hide refs from us");
    Some((Outcome::Rejected, why))
}

/// A held group was not sent at all.
pub fn held(group: &Group, outcome: Outcome, reason: String) -> GroupResult {
    let changes = group.changes.iter().chain(&group.watermark);
    GroupResult {
        outcome,
        verdicts: changes.map(|change| (change.clone(), Verdict::Unknown)).collect(),
        error: Some(reason),
    }
}

fn reported(changes: &[&Change], report: &Report, misplaced: Option<&Change>) -> (Outcome, Option<String>) {
    let mut rejections = Vec::new();
    for change in changes.iter().filter(|change| change.old != change.new) {
        match report.verdict(change.name.as_bstr()) {
            Some(Verdict::Rejected(reason)) => rejections.push(format!("{} ({reason})", change.name)),
            Some(Verdict::Accepted | Verdict::UpToDate) => {}
            Some(Verdict::Unknown) | None => {
                let silent = format!("the mirror did not say what became of {}", change.name);
                return (Outcome::Uncertain, Some(silent));
            }
        }
    }
    match misplaced {
        _ if !rejections.is_empty() => {
            let rejected = format!("the mirror rejected {}", rejections.join(", "));
            (Outcome::Rejected, Some(rejected))
        }
        Some(change) => {
            let name = &change.name;
            let lied = if change.new.is_null() {
                format!("the mirror reported ok for the deletion of {name}, but still has it")
            } else {
                format!("the mirror reported ok for {name}, but it does not stand there")
            };
            (Outcome::Uncertain, Some(lied))
        }
        None => (Outcome::Mirrored, None),
    }
}

fn verdict(change: &Change, attempt: Result<&Report, &Error>, seen: Option<&BTreeMap<BString, ObjectId>>) -> Verdict {
    if change.old == change.new {
        return Verdict::UpToDate;
    }
    match seen {
        Some(seen) if at(seen, change) == change.new => Verdict::Accepted,
        _ => match attempt.ok().and_then(|report| report.verdict(change.name.as_bstr())) {
            Some(Verdict::Accepted) if seen.is_some() => Verdict::Unknown,
            Some(verdict) => verdict.clone(),
            None => Verdict::Unknown,
        },
    }
}

fn at(refs: &BTreeMap<BString, ObjectId>, change: &Change) -> ObjectId {
    refs.get(&change.name).copied().unwrap_or(change.new.kind().null())
}

#[cfg(test)]
mod tests {
    use git_push::Command;

    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_hex(format!("{byte:02x}").repeat(20).as_bytes()).unwrap()
    }

    fn change(name: &str, old: u8, new: u8) -> Change {
        Change {
            name: name.into(),
            old: id(old),
            new: id(new),
        }
    }

    fn group() -> Group {
        Group {
            label: "main".into(),
            namespace: Some("main".into()),
            changes: vec![change("refs/kv/main", 1, 2)],
            watermark: Some(change("refs/kv-mirror/main", 1, 2)),
            entries: vec![0],
            hold: None,
        }
    }

    fn report(ledger: Verdict, watermark: Verdict) -> Report {
        let commands: Vec<Command> = group().commands();
        Report::new(commands.into_iter().zip([ledger, watermark]).collect())
    }

    fn seen(ledger: u8, watermark: u8) -> BTreeMap<BString, ObjectId> {
        [
            ("refs/kv/main".into(), id(ledger)),
            ("refs/kv-mirror/main".into(), id(watermark)),
        ]
        .into()
    }

    #[test]
    fn accepted_and_seen_is_mirrored() {
        let result = settle(
            &group(),
            Ok(&report(Verdict::Accepted, Verdict::Accepted)),
            Some(&seen(2, 2)),
        );
        assert_eq!((result.outcome, result.error), (Outcome::Mirrored, None));
        assert!(result.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Accepted));
    }

    #[test]
    fn a_lost_answer_is_found_to_be_done_or_not() {
        let lost = Error::new(ErrorKind::Uncertain, "the connection was lost");
        assert_eq!(
            settle(&group(), Err(&lost), Some(&seen(2, 2))).outcome,
            Outcome::Mirrored
        );
        assert_eq!(
            settle(&group(), Err(&lost), Some(&seen(1, 1))).outcome,
            Outcome::Transient
        );
        assert_eq!(settle(&group(), Err(&lost), None).outcome, Outcome::Uncertain);
    }

    #[test]
    fn an_ok_that_does_not_stand_there_is_not_believed() {
        for refs in [seen(1, 1), seen(2, 1), seen(1, 2)] {
            let result = settle(&group(), Ok(&report(Verdict::Accepted, Verdict::Accepted)), Some(&refs));
            assert_eq!(result.outcome, Outcome::Uncertain);
            assert!(result.verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Unknown));
        }
    }

    #[test]
    fn a_rejection_names_the_refs_and_the_reasons() {
        let report = report(
            Verdict::Rejected("atomic push failure".into()),
            Verdict::Rejected("hook declined".into()),
        );
        let result = settle(&group(), Ok(&report), Some(&seen(1, 1)));
        assert_eq!(result.outcome, Outcome::Rejected);
        assert_eq!(
            result.error.unwrap(),
            "the mirror rejected refs/kv/main (atomic push failure), refs/kv-mirror/main (hook declined)"
        );
    }

    #[test]
    fn without_a_look_the_report_is_taken() {
        let ok = report(Verdict::Accepted, Verdict::Accepted);
        assert_eq!(settle(&group(), Ok(&ok), None).outcome, Outcome::Mirrored);
        let silent = report(Verdict::Accepted, Verdict::Unknown);
        assert_eq!(settle(&group(), Ok(&silent), None).outcome, Outcome::Uncertain);
    }
}
