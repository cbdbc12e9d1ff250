//! Status of one mirror as a table that fits the terminal.
use jiff::Timestamp;

use super::super::{
    output::counted,
    report::REPAIR,
    text::{Colour, Paint, age, listed, named, wrapped},
};
use crate::worker::{
    BrokenRef, DifferingRef, GroupStatus, RepositoryStatus, TokenExpiry, WatermarkStatus, WorkerStatus, alike,
};

/// Width of the labels of rows.
const LABEL: usize = 10;
/// Width of the names of groups. A longer name has a line of its own.
const NAME: usize = 32;
/// Number of broken and of dangling refs that are listed without `-v`.
const MOST_REFS: usize = 20;

/// A table in the making.
pub(super) struct Table {
    /// Time to which ages are relative.
    pub(super) now: Timestamp,
    /// Width at which texts are wrapped.
    pub(super) width: Option<usize>,
    pub(super) paint: Paint,
    /// List everything.
    pub(super) verbose: bool,
    pub(super) text: String,
}

impl Table {
    /// Adds the status of a mirror.
    pub(super) fn add(&mut self, status: &RepositoryStatus) {
        let name = status
            .mirror
            .as_ref()
            .map(|name| format!("{name}: "))
            .unwrap_or_default();
        let remote = status.remote.as_deref().unwrap_or("state unknown until the next push");
        self.row("mirror", None, &format!("{name}{remote}"));
        self.state(status);
        self.worker(&status.worker);
        self.times(status);
        self.trouble(status);
        self.groups(&status.groups);
        self.refs("broken", &status.broken);
        if !status.broken.is_empty() {
            self.row("", None, REPAIR);
        }
        self.refs("dangling", &status.dangling);
    }

    /// Adds a row with a label, in this colour.
    fn row(&mut self, label: &str, colour: Option<Colour>, text: &str) {
        let label = format!("{label:<LABEL$}");
        let label = colour.map_or(label.clone(), |colour| self.paint.paint(colour, &label));
        self.text += &format!("{label} {}\n", wrapped(text, LABEL + 1, self.width));
    }

    /// Adds a line below a row.
    fn line(&mut self, text: &str) {
        self.text += &format!("    {}\n", wrapped(text, 4, self.width));
    }

    fn ago(&self, then: Timestamp) -> String {
        format!("{} ago", age(then, self.now))
    }

    fn state(&mut self, status: &RepositoryStatus) {
        match status.oldest_pending {
            Some(oldest) => {
                let text = format!("{} pending, the oldest for {}", status.pending, age(oldest, self.now));
                self.row("state", Some(Colour::Yellow), &text);
            }
            None => {
                let colour = if status.is_settled() && status.broken.is_empty() {
                    Colour::Green
                } else {
                    Colour::Red
                };
                self.row("state", Some(colour), "nothing is pending");
            }
        }
        if status.failed > 0 {
            let text = format!("{}: see `journal list --status failed`, `journal retry`", status.failed);
            self.row("failed", Some(Colour::Red), &text);
        }
        if status.intents > 0 {
            let text = format!("{} started, result unknown", counted(status.intents as u64, "push"));
            self.row("intents", Some(Colour::Yellow), &text);
        }
        if status.problems > 0 {
            let text = format!(
                "{} in the journal: see `journal verify`",
                counted(status.problems, "invalid line")
            );
            self.row("journal", Some(Colour::Red), &text);
        }
    }

    fn worker(&mut self, worker: &WorkerStatus) {
        if let Some(why) = &worker.unreadable {
            let text = format!("its lock cannot be read: {why}");
            return self.row("worker", Some(Colour::Red), &text);
        }
        match worker.last_run {
            _ if worker.running == Some(true) => self.row("worker", Some(Colour::Green), "a cycle is running"),
            Some(last) if worker.alive == Some(true) => {
                let text = format!("last cycle {}", self.ago(last));
                self.row("worker", Some(Colour::Green), &text);
            }
            Some(last) => {
                let text = format!(
                    "no cycle for {}: check cron, or the service that runs `watch`",
                    age(last, self.now)
                );
                self.row("worker", Some(Colour::Red), &text);
            }
            None => self.row(
                "worker",
                Some(Colour::Yellow),
                "no cycle yet: start `run` from cron, or `watch`",
            ),
        }
    }

    fn times(&mut self, status: &RepositoryStatus) {
        if let Some(at) = status.last_success {
            let text = self.ago(at);
            self.row("success", None, &text);
        }
        if let Some(at) = status.compared_at {
            let text = self.ago(at);
            self.row("compared", None, &text);
        }
        if let Some(token) = &status.token {
            let text = TokenExpiry::new(token.expires_at, self.now).to_string();
            self.row("token", None, &text);
        }
    }

    /// Adds rows about what is wrong or left out, apart from groups and refs.
    fn trouble(&mut self, status: &RepositoryStatus) {
        if let Some(missing) = &status.missing {
            self.row("local-only", Some(Colour::Yellow), missing);
        }
        if let Some(failed) = &status.comparison {
            self.row(
                "compare",
                Some(Colour::Red),
                "the refs of both sides could not be compared",
            );
            self.failure(failed.attempts, failed.next_try, &failed.reason);
        }
        self.differing(&status.differing);
        status.watermarks.iter().for_each(|found| self.watermark(found));
        if let Some(head) = &status.head {
            self.row("HEAD", Some(Colour::Yellow), &head.to_string());
            if let Some(error) = &head.error {
                self.line(&format!("it could not be set: {error}"));
            }
        }
        if let Some(why) = &status.lfs {
            self.row("LFS", Some(Colour::Yellow), why);
        }
        if !status.without_lfs_objects.is_empty() {
            let names: Vec<&str> = status.without_lfs_objects.iter().map(String::as_str).collect();
            let text = format!("on the mirror without some objects: {}", listed(&names, self.verbose));
            self.row("LFS", Some(Colour::Yellow), &text);
        }
        if let Some(why) = &status.forgotten {
            let text = format!("the worker's memory cannot be read: {why}");
            self.row("memory", Some(Colour::Red), &text);
        }
    }

    fn differing(&mut self, differing: &[DifferingRef]) {
        for alike in alike(differing, |one| one.standing) {
            let names: Vec<&str> = alike.iter().map(|one| one.name.as_str()).collect();
            let text = format!("{}: {}", alike[0].standing.word(), listed(&names, self.verbose));
            self.row("differs", Some(Colour::Red), &text);
        }
        if !differing.is_empty() {
            self.line("the mirror's refs stay as they are; run `stargate-mirror sync --dry-run`, and decide");
        }
    }

    fn watermark(&mut self, found: &WatermarkStatus) {
        let ledger = found.ledger.as_deref().unwrap_or("nothing");
        let text = format!(
            "the watermark of {} was wrong: it was at {}, but the mirror's ledger is at {ledger}",
            found.namespace, found.found_at
        );
        self.row("watermark", Some(Colour::Red), &text);
        match (&found.stands_at, found.set_back) {
            (_, false) => self.line("it has not been reset yet"),
            (Some(stands), true) => self.line(&format!("it was reset to {stands}")),
            (None, true) => self.line("it was deleted"),
        }
    }

    /// Adds the groups with pending entries: one row for all that failed for the same reason.
    fn groups(&mut self, groups: &[GroupStatus]) {
        if groups.is_empty() {
            return;
        }
        self.text += &format!("\n{:<NAME$} {:>8}  {:<10} next retry\n", "group", "pending", "since");
        let verbose = self.verbose;
        for alike in alike(groups, |group| kind(group, verbose)) {
            self.group(&alike);
        }
    }

    fn group(&mut self, alike: &[&GroupStatus]) {
        let labels: Vec<&str> = alike.iter().map(|group| group.group.as_str()).collect();
        let (first, name) = (alike[0], named(&labels));
        let pending: usize = alike.iter().map(|group| group.pending).sum();
        let oldest = alike.iter().map(|group| group.oldest_pending).min();
        let since = age(oldest.unwrap_or(self.now), self.now);
        let next = first.next_try.filter(|next| *next > self.now);
        let next = next.map_or_else(|| "-".to_owned(), |next| format!("in {}", age(self.now, next)));
        let name = if name.chars().count() > NAME {
            format!("{name}\n{:<NAME$}", "")
        } else {
            format!("{name:<NAME$}")
        };
        self.text += &format!("{name} {pending:>8}  {since:<10} {next}\n");
        if labels.len() > 1 {
            self.line(&listed(&labels, self.verbose));
        }
        if let Some(reason) = &first.reason {
            self.failure(first.attempts, None, reason);
        }
        for line in &first.server_words {
            self.line(&format!("remote: {line}"));
        }
        first.advice.iter().for_each(|advice| self.line(advice));
    }

    fn failure(&mut self, attempts: u32, next_try: Option<Timestamp>, reason: &str) {
        let next = next_try.filter(|next| *next > self.now);
        let next = next.map(|next| format!(", next retry in {}", age(self.now, next)));
        let attempts = counted(u64::from(attempts), "failed attempt");
        self.line(&format!("{attempts}{}: {reason}", next.unwrap_or_default()));
    }

    fn refs(&mut self, label: &str, refs: &[BrokenRef]) {
        let most = if self.verbose { refs.len() } else { MOST_REFS };
        for one in refs.iter().take(most) {
            let name = one.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            self.row(label, Some(Colour::Red), &format!("{name}{}", one.reason));
        }
        if refs.len() > most {
            self.row(label, None, &format!("and {} more; -v lists them", refs.len() - most));
        }
    }
}

/// Values that are equal for groups of one row.
type Kind<'a> = (Option<&'a str>, u32, Option<String>, &'a [String], Option<&'a str>);

/// Returns equal values for groups of one row: those that failed for the same reason, or with `verbose` each group by itself.
fn kind(group: &GroupStatus, verbose: bool) -> Kind<'_> {
    (
        verbose.then_some(group.group.as_str()),
        group.attempts,
        group.reason_without_names(),
        &group.server_words,
        group.advice.as_deref(),
    )
}
