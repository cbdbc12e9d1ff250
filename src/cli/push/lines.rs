//! Output of a push: the lines of `git push --porcelain`, and those for people.
use bstr::{BStr, BString, ByteSlice};
use git_push::{cleaned, ruling::Refusal};

use crate::porcelain::{Fate, PushReport, RefReport, Update};

/// Line about one ref, in git's terms.
struct Line<'a> {
    flag: char,
    summary: String,
    /// Source. `None` for most deletions, and `(delete)` for one that is refused locally.
    from: Option<&'a BStr>,
    to: &'a BStr,
    reason: Option<String>,
}

/// Returns the lines of `git push --porcelain` (git-push, *Output*) without the last one. Names keep their exact bytes.
pub(super) fn porcelain(report: &PushReport, quiet: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let lines = if quiet { Vec::new() } else { in_order(&report.refs) };
    if !lines.is_empty() {
        out.extend_from_slice(format!("To {}\n", report.remote).as_bytes());
    }
    for line in &lines {
        let (flag, reason) = (line.flag, line.reason_in_parentheses());
        out.extend_from_slice(format!("{flag}\t").as_bytes());
        out.extend_from_slice(line.from.unwrap_or_default());
        out.push(b':');
        out.extend_from_slice(line.to);
        out.extend_from_slice(format!("\t{}{reason}\n", line.summary).as_bytes());
    }
    out
}

/// Returns git's lines for people, with short names. Refs that are up to date are shown on request.
pub(super) fn human(report: &PushReport, verbose: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let lines = in_order(&report.refs);
    let lines: Vec<_> = lines.iter().filter(|line| verbose || line.flag != '=').collect();
    if !lines.is_empty() {
        out.extend_from_slice(format!("To {}\n", report.remote).as_bytes());
    }
    // Two ids with three dots.
    let width = 2 * report.context.id_width + 3;
    for line in lines {
        out.extend_from_slice(format!(" {} {:<width$} ", line.flag, line.summary).as_bytes());
        if let Some(from) = line.from {
            out.extend_from_slice(short(from));
            out.extend_from_slice(b" -> ");
        }
        out.extend_from_slice(short(line.to));
        out.extend_from_slice(line.reason_in_parentheses().as_bytes());
        out.push(b'\n');
    }
    out
}

/// Returns git's line about the first refusal of an atomic push, with git's number of the reason.
pub(super) fn atomic_failure(report: &PushReport) -> String {
    let is_atomic = report
        .refs
        .iter()
        .any(|update| update.fate == Fate::Refused(Refusal::AtomicPushFailed));
    let number = |update: &RefReport| {
        let Fate::Refused(refusal) = &update.fate else {
            return None;
        };
        Some(match refusal {
            Refusal::NonFastForward => 2,
            Refusal::AlreadyExists => 3,
            Refusal::CannotDelete => 4,
            Refusal::FetchFirst => 5,
            Refusal::NeedsForce => 6,
            Refusal::StaleInfo => 7,
            Refusal::RemoteUpdated => 9,
            Refusal::AtomicPushFailed => return None,
        })
    };
    let first = report
        .refs
        .iter()
        .find_map(|update| Some((&update.name, number(update)?)));
    match first.filter(|_| is_atomic) {
        Some((name, number)) => format!("error: atomic push failed for ref {name}. status: {number}\n"),
        None => String::new(),
    }
}

impl Line<'_> {
    /// Returns the reason, if any, in parentheses after a space.
    fn reason_in_parentheses(&self) -> String {
        let reason = self.reason.as_ref();
        reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
    }
}

/// Sorts the lines: up to date, then successful, then failed.
fn in_order(refs: &[RefReport]) -> Vec<Line<'_>> {
    let mut lines: Vec<_> = refs.iter().flat_map(lines).collect();
    lines.sort_by_key(|line| match line.flag {
        '=' => 0,
        '!' => 2,
        _ => 1,
    });
    lines
}

/// Returns the lines about one update: one, or one for each that the server made instead.
fn lines(report: &RefReport) -> Vec<Line<'_>> {
    let is_accepted = matches!(report.fate, Fate::Accepted | Fate::ServerSide);
    if !is_accepted || report.updates.is_empty() {
        return vec![line(report)];
    }
    let source = report.source.as_ref().map(|source| source.as_bstr());
    report
        .updates
        .iter()
        .map(|update| instead(update, source, report.new.is_null()))
        .collect()
}

fn instead<'a>(update: &'a Update, source: Option<&'a BStr>, is_deletion: bool) -> Line<'a> {
    let ids = [update.old, update.new].map(|id| id.is_null());
    let (flag, summary, reason) = done(&update.name, [ids[0], is_deletion], update.forced, &update.short);
    Line {
        flag,
        summary,
        from: source,
        to: update.name.as_ref(),
        reason,
    }
}

fn line(report: &RefReport) -> Line<'_> {
    let from = match (&report.source, &report.fate) {
        (Some(source), _) => Some(source.as_bstr()),
        (None, Fate::Refused(refusal)) if *refusal != Refusal::CannotDelete => Some("(delete)".into()),
        (None, _) => None,
    };
    let (flag, summary, reason) = match &report.fate {
        Fate::UpToDate => ('=', "[up to date]".into(), None),
        Fate::Planned | Fate::Accepted | Fate::ServerSide => {
            let ids = [report.old.is_null(), report.new.is_null()];
            done(&report.name, ids, report.forced, &report.short)
        }
        Fate::Refused(refusal) => ('!', "[rejected]".into(), Some(refusal.to_string())),
        Fate::Rejected(reason) => ('!', "[remote rejected]".into(), Some(cleaned(reason))),
        Fate::Unknown(how) => ('!', "[remote failure]".into(), Some(how.clone())),
    };
    Line {
        flag,
        summary,
        from,
        to: report.name.as_ref(),
        reason,
    }
}

/// Returns flag, summary and reason of an update that was made. `nulls` are true for a missing old id, and a deletion.
fn done(name: &BString, nulls: [bool; 2], forced: bool, [old, new]: &[String; 2]) -> (char, String, Option<String>) {
    if nulls[1] {
        ('-', "[deleted]".into(), None)
    } else if nulls[0] {
        let what = match name {
            name if name.starts_with(b"refs/tags/") => "[new tag]",
            name if name.starts_with(b"refs/heads/") => "[new branch]",
            _ => "[new reference]",
        };
        ('*', what.into(), None)
    } else if forced {
        ('+', format!("{old}...{new}"), Some("forced update".into()))
    } else {
        (' ', format!("{old}..{new}"), None)
    }
}

fn short(name: &BStr) -> &[u8] {
    let prefixes: [&[u8]; 3] = [b"refs/heads/", b"refs/tags/", b"refs/remotes/"];
    prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use gix::ObjectId;

    use super::*;
    use crate::porcelain::{Context, PushOutcome};

    #[test]
    fn names_keep_their_bytes_for_scripts() {
        let name = b"refs/heads/caf\xe9";
        let report = PushReport {
            remote: "origin".into(),
            outcome: PushOutcome::Pushed,
            refs: vec![RefReport {
                source: Some(name[..].into()),
                name: name[..].into(),
                old: ObjectId::null(gix::hash::Kind::Sha1),
                new: ObjectId::Sha1([1; 20]),
                short: [String::new(), String::new()],
                forced: false,
                updates: Vec::new(),
                fate: Fate::Accepted,
            }],
            http_requests: 0,
            bytes_sent: 0,
            elapsed_ms: 0,
            context: Context::default(),
        };
        let expected = b"To origin\n*\trefs/heads/caf\xe9:refs/heads/caf\xe9\t[new branch]\n";
        assert_eq!(porcelain(&report, false).as_bstr(), expected.as_bstr());
    }
}
