//! Output of a push: the lines of `git push --porcelain`, and those for people.
use std::fmt::Write;

use bstr::{BStr, ByteSlice};
use git_push::{cleaned, ruling::Refusal};

use crate::porcelain::{Fate, PushOutcome, PushReport, RefReport};

/// Width of the summary column in the lines for people.
const SUMMARY_WIDTH: usize = 17;

/// Line about one ref, in git's terms.
struct Line<'a> {
    flag: char,
    summary: String,
    /// Source. `None` for most deletions, and `(delete)` for one that is refused locally.
    from: Option<&'a BStr>,
    to: &'a BStr,
    reason: Option<String>,
}

/// Returns the lines of `git push --porcelain` (git-push, *Output*). Names keep their exact bytes.
pub fn porcelain(report: &PushReport, quiet: bool) -> Vec<u8> {
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
    out.extend_from_slice(b"Done\n");
    out
}

/// Returns the lines for people: without refs that are up to date, and with short names.
pub fn human(report: &PushReport) -> String {
    let mut out = String::new();
    if matches!(report.outcome, PushOutcome::Idle) {
        return "Everything up-to-date\n".into();
    }
    let _ = writeln!(out, "To {}", report.remote);
    for line in in_order(&report.refs).iter().filter(|line| line.flag != '=') {
        let (flag, to, summary) = (line.flag, line.to.to_str_lossy(), &line.summary);
        let reason = line.reason_in_parentheses();
        let from = match line.from {
            Some(from) => format!("{} -> ", short(&from.to_str_lossy())),
            None => String::new(),
        };
        let _ = writeln!(out, " {flag} {summary:<SUMMARY_WIDTH$} {from}{}{reason}", short(&to));
    }
    out
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
    let mut lines: Vec<_> = refs.iter().map(line).collect();
    lines.sort_by_key(|line| match line.flag {
        '=' => 0,
        '!' => 2,
        _ => 1,
    });
    lines
}

fn line(report: &RefReport) -> Line<'_> {
    let from = match (&report.source, &report.fate) {
        (Some(source), _) => Some(source.as_bstr()),
        (None, Fate::Refused(refusal)) if *refusal != Refusal::CannotDelete => Some("(delete)".into()),
        (None, _) => None,
    };
    let (flag, summary, reason) = match &report.fate {
        Fate::UpToDate => ('=', "[up to date]".into(), None),
        Fate::Planned | Fate::Accepted => done(report),
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

fn done(report: &RefReport) -> (char, String, Option<String>) {
    let [old, new] = &report.short;
    if report.new.is_null() {
        ('-', "[deleted]".into(), None)
    } else if report.old.is_null() {
        let what = match &report.name {
            name if name.starts_with(b"refs/tags/") => "[new tag]",
            name if name.starts_with(b"refs/heads/") => "[new branch]",
            _ => "[new reference]",
        };
        ('*', what.into(), None)
    } else if report.forced {
        ('+', format!("{old}...{new}"), Some("forced update".into()))
    } else {
        (' ', format!("{old}..{new}"), None)
    }
}

fn short(name: &str) -> &str {
    let prefixes = ["refs/heads/", "refs/tags/", "refs/remotes/"];
    prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use gix::ObjectId;

    use super::*;

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
                fate: Fate::Accepted,
            }],
            http_requests: 0,
            bytes_sent: 0,
            elapsed_ms: 0,
        };
        let expected = b"To origin\n*\trefs/heads/caf\xe9:refs/heads/caf\xe9\t[new branch]\nDone\n";
        assert_eq!(porcelain(&report, false).as_bstr(), expected.as_bstr());
    }
}
