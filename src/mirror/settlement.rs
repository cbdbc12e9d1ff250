//! Settlement of an attempt, group by group, from the server's report and from the refs that were read back.
//!
//! The refs outweigh the report. A ref with its new id is mirrored, even if the answer was lost. A ref without it is not
//! mirrored, even if the server reported `ok`.
use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use git_push::{Command, Error, ErrorKind, Report, Verdict};
use gix::ObjectId;

use super::Outcome;
use super::plan::{Change, Group};

/// Result of one attempt for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupResult {
    /// Outcome of the attempt.
    pub outcome: Outcome,
    /// Verdict on each change of the group, the watermark's last.
    pub verdicts: Vec<(Change, Verdict)>,
    /// Human-readable reason why the group is not mirrored.
    pub error: Option<String>,
}

/// Settles a group after an attempt. `seen` are the remote's refs after it; none if they were not read back.
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
            Some(format!("{error}; the refs on the mirror have not changed")),
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

/// Settles a group whose [deletions of unseen refs](Group::unseen_deletions()) were sent separately. Returns none if the
/// server reports that these refs are gone, so that the rest of the group can be sent.
///
/// Reading the refs back cannot confirm this: `transfer.hideRefs` hides a ref from readers as well.
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

/// Returns the reason why the unseen refs of a group may still exist, if there is one.
fn refused_deletion(group: &Group, report: &Report) -> Option<(Outcome, String)> {
    let mut refused = Vec::new();
    for Command { name, .. } in group.unseen_deletions() {
        match report.verdict(name.as_bstr()) {
            Some(Verdict::Accepted | Verdict::UpToDate) => {}
            Some(Verdict::Rejected(reason)) => refused.push(format!("{name} ({reason})")),
            Some(Verdict::Unknown) | None => {
                let silent = format!("the mirror did not report the deletion of {name}, which it does not advertise");
                return Some((Outcome::Uncertain, silent));
            }
        }
    }
    let refused = (!refused.is_empty()).then(|| refused.join(", "))?;
    let why = format!("the mirror rejected the deletion of refs that it does not advertise, and may hide: {refused}");
    Some((Outcome::Rejected, why))
}

/// Returns the result of a held group, which was not sent.
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
                let silent = format!("the mirror did not report a result for {}", change.name);
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
                format!("the mirror reported ok for {name}, but did not update it")
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
    fn after_a_lost_answer_the_refs_decide() {
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
    fn an_ok_without_the_new_id_is_not_believed() {
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
    fn without_reading_back_the_report_decides() {
        let ok = report(Verdict::Accepted, Verdict::Accepted);
        assert_eq!(settle(&group(), Ok(&ok), None).outcome, Outcome::Mirrored);
        let silent = report(Verdict::Accepted, Verdict::Unknown);
        assert_eq!(settle(&group(), Ok(&silent), None).outcome, Outcome::Uncertain);
    }
}
