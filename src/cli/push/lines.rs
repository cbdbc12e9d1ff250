//! A push line by line: as `git push --porcelain` writes it, and for a person.
use std::fmt::Write;

use bstr::{BStr, ByteSlice};

use crate::{
    by_refspec::{Fate, PushOutcome, PushReport, RefReport},
    push::{cleaned, ruling::Refusal},
};

/// How wide the summary is in the lines for a person, so that names stand below each other.
const SUMMARY_WIDTH: usize = 17;

/// What git says of one ref.
struct Line<'a> {
    flag: char,
    summary: String,
    /// None for most deletions; one that is refused here comes from `(delete)`.
    from: Option<&'a BStr>,
    to: &'a BStr,
    reason: Option<String>,
}

/// The lines of `git push --porcelain` (git-push, *Output*).
pub fn porcelain(report: &PushReport, quiet: bool) -> String {
    let mut out = String::new();
    let lines = if quiet { Vec::new() } else { in_order(&report.refs) };
    if !lines.is_empty() {
        let _ = writeln!(out, "To {}", report.remote);
    }
    for (flag, from, to, summary, reason) in lines.iter().map(Line::parts) {
        let _ = writeln!(out, "{flag}\t{from}:{to}\t{summary}{reason}");
    }
    out.push_str("Done\n");
    out
}

/// The same for a person: what is up to date is passed over, names are short.
pub fn human(report: &PushReport) -> String {
    let mut out = String::new();
    if matches!(report.outcome, PushOutcome::Idle) {
        return "Everything up-to-date\n".into();
    }
    let _ = writeln!(out, "To {}", report.remote);
    for line in in_order(&report.refs).iter().filter(|line| line.flag != '=') {
        let (flag, _, to, summary, reason) = line.parts();
        let from = match line.from {
            Some(from) => format!("{} -> ", short(&from.to_str_lossy())),
            None => String::new(),
        };
        let _ = writeln!(out, " {flag} {summary:<SUMMARY_WIDTH$} {from}{}{reason}", short(&to));
    }
    out
}

impl Line<'_> {
    /// Flag, from, to, summary, reason with a space and parentheses.
    fn parts(&self) -> (char, String, String, &str, String) {
        let reason = self
            .reason
            .as_ref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        let from = self.from.unwrap_or_default().to_str_lossy().into_owned();
        (
            self.flag,
            from,
            self.to.to_str_lossy().into_owned(),
            &self.summary,
            reason,
        )
    }
}

/// What is up to date first, then what was done, then what was not.
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
