//! The append-only rule as a gate: `stargate.appendOnly` names where files are only ever added.
//!
//! It guards every branch (`refs/heads/`) and every ledger (`refs/kv/`), mirrored or not. Tags and other refs are free.
//! A push to a symbolic ref moves the ref that it stands for, and is judged as a change of that.
//!
//! - An update: the [rule](crate::append_only) over the new commits, and over the two ends: a rewind that loses a file is
//!   refused, a rebase that keeps them all passes.
//! - A new ref: the rule over the commits that the branch of `HEAD` does not have; over all of its history, while there is
//!   no such branch.
//! - A deletion: what the ref had must be, the same, on the branch of `HEAD`. Deleting that branch is refused if it has
//!   any guarded file.
//!
//! One violation rejects the whole push, as ever in `pre-receive`. So does whatever keeps this from a verdict: a value of
//! the setting that cannot be understood, an object that is missing or damaged, a ref that cannot be read.
//!
//! # Limitations
//!
//! The branch of `HEAD` is the one before the push. Names are those of the whole repository, not of a `GIT_NAMESPACE`.
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use gix::ObjectId;

use super::{
    Environment,
    account::{Account, readable},
    head::{Refs, Unreadable},
    objects::{self, Objects},
};
use crate::{
    append_only::{self, Error, Findings, RULE, Range, Relation, Violation},
    config::{self, Config, Problem},
    ref_update::RefUpdate,
};

/// Which refs are guarded.
const GUARDED: [&str; 2] = ["refs/heads/", "refs/kv/"];
/// How many violations the pusher is told.
const MAX_TOLD: usize = 10;

/// Whether anything is guarded, or nobody knows.
pub(super) fn is_on(config: &Config) -> bool {
    !config.append_only.is_empty() || problem(config).is_some()
}

/// Judges the updates of guarded refs among these. Where one breaks the rule, the account is no longer complete, and says
/// why.
pub(super) fn judge(
    updates: &[RefUpdate],
    environment: Environment<'_>,
    config: &Config,
    git_dir: &Path,
    account: &mut Account<impl Clock>,
) {
    let mut reasons = Reasons::default();
    let (guarded, branch) = guarded(updates, git_dir, &mut reasons);
    if let Some(problem) = problem(config).filter(|_| !guarded.is_empty()) {
        account.tell("this push is rejected, and nothing was updated: nobody knows where files are only ever added:");
        account.tell(&format!("  configuration: {problem}"));
        account.tell("please tell the administrator of this server");
        account.complete = false;
        return;
    }
    if let Some(first) = guarded.first() {
        let gate = Gate {
            objects: Objects::open(&objects::folders(environment, git_dir), first.update.new.kind()).cached(),
            branch,
            config,
        };
        for guarded in &guarded {
            match gate.findings(&guarded.update) {
                Ok(findings) => reasons.add_all(&guarded.shown, &findings),
                Err(error) => reasons.add_unknown(&guarded.shown, &error),
            }
        }
    }
    if reasons.count > 0 {
        reasons.give(config, git_dir, account);
    }
}

/// An update of a guarded ref.
struct Guarded {
    /// Of the ref that is moved: symbolic refs are resolved.
    update: RefUpdate,
    /// What was pushed to, and what that stands for.
    shown: String,
}

/// The branch that `HEAD` stands for, if it is there.
type Branch = Option<(BString, ObjectId)>;

/// The updates that move a guarded ref, and the branch of `HEAD`. What cannot be read becomes a reason.
fn guarded(updates: &[RefUpdate], git_dir: &Path, reasons: &mut Reasons) -> (Vec<Guarded>, Branch) {
    let Some(first) = updates.first() else {
        return (Vec::new(), None);
    };
    let opened = Refs::open(git_dir, first.new.kind()).and_then(|refs| Ok((refs.branch_of_head()?, refs)));
    let (branch, refs) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            reasons.add_unknown(&readable(first.name.as_bstr()), &error);
            return (Vec::new(), None);
        }
    };
    let mut all = Vec::new();
    for update in updates {
        match guarded_update(update, &refs) {
            Ok(guarded) => all.extend(guarded),
            Err(error) => reasons.add_unknown(&readable(update.name.as_bstr()), &error),
        }
    }
    (all, branch)
}

/// What the update means for a guarded ref, if the ref or what it stands for is one.
fn guarded_update(update: &RefUpdate, refs: &Refs) -> Result<Option<Guarded>, Unreadable> {
    let is_guarded = |name: &BStr| GUARDED.iter().any(|prefix| name.starts_with(prefix.as_bytes()));
    let target = refs.target(update.name.as_bstr())?;
    if !is_guarded(target.as_bstr()) && !is_guarded(update.name.as_bstr()) {
        return Ok(None);
    }
    let mut shown = readable(update.name.as_bstr());
    if target != update.name {
        shown += &format!(" -> {}", readable(target.as_bstr()));
    }
    let mut update = update.clone();
    update.name = target;
    Ok(Some(Guarded { update, shown }))
}

/// Why a push is rejected, each in one line.
#[derive(Default)]
struct Reasons {
    told: Vec<String>,
    count: usize,
}

impl Reasons {
    fn add(&mut self, reason: String) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(reason);
        }
    }

    fn add_unknown(&mut self, name: &str, error: &dyn std::error::Error) {
        self.add(format!("{name}: it cannot be said whether the rule is kept: {error}"));
    }

    fn add_all(&mut self, name: &str, findings: &Findings) {
        let unlisted = findings.violation_count - findings.violations.len();
        for violation in &findings.violations {
            self.add(reason(name, violation));
        }
        self.count += unlisted;
    }

    /// Rejects the push for them.
    fn give(&self, config: &Config, git_dir: &Path, account: &mut Account<impl Clock>) {
        account.complete = false;
        let paths = &config.append_only;
        account.tell(&format!(
            "this push is rejected, and nothing was updated: {paths}: {RULE}"
        ));
        for reason in &self.told {
            account.tell(&format!("  {reason}"));
        }
        if self.count > self.told.len() {
            account.tell(&format!("  and {} more", self.count - self.told.len()));
        }
        let first = self.told.first().map(String::as_str).unwrap_or_default();
        account.log(&format!(
            "rejected a push by the append-only rule: {} reasons, first {first}",
            self.count
        ));
        account.write_log(&Disk, git_dir);
    }
}

fn reason(name: &str, violation: &Violation) -> String {
    let to = violation
        .to
        .as_ref()
        .map(|to| format!(" -> {}", readable(to.as_bstr())));
    format!(
        "{name}: {}  {}{}  {}",
        violation.letter.as_str(),
        readable(violation.path.as_bstr()),
        to.unwrap_or_default(),
        violation.commit.to_hex_with_len(10)
    )
}

struct Gate<'a> {
    objects: Objects,
    branch: Branch,
    config: &'a Config,
}

impl Gate<'_> {
    fn findings(&self, update: &RefUpdate) -> Result<Findings, Error> {
        let paths = &self.config.append_only;
        let stays = self.branch.as_ref().filter(|(name, _)| *name != update.name);
        let stays = stays.map(|(_, id)| *id);
        if update.is_delete() {
            return append_only::lost(&self.objects, paths, update.old, stays);
        }
        let (base, relation) = match update.is_create() {
            true => (stays, Relation::Beside),
            false => (Some(update.old), Relation::Replacement),
        };
        let range = Range {
            base,
            head: update.new,
            relation,
        };
        append_only::check(&self.objects, paths, range, &|_| false, false)
    }
}

fn problem(config: &Config) -> Option<&Problem> {
    config
        .problems
        .iter()
        .find(|problem| problem.key == config::APPEND_ONLY)
}
