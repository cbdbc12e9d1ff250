//! The append-only rule as a gate: `stargate.appendOnly` names where files are only ever added.
//!
//! It guards every branch (`refs/heads/`) and every ledger (`refs/kv/`), mirrored or not. Tags and other refs are free.
//!
//! - An update: the [rule](crate::append_only) over the new commits, and over the two ends: a rewind that loses a file is
//!   refused, a rebase that keeps them all passes.
//! - A new ref: the rule over the commits that the branch of `HEAD` does not have; over all of its history, while there is
//!   no such branch.
//! - A deletion: what the ref had must be, the same, on the branch of `HEAD`. Deleting that branch is refused if it has
//!   any guarded file.
//!
//! One violation rejects the whole push, as ever in `pre-receive`. So does whatever keeps this from a verdict: a value of
//! the setting that cannot be understood, an object that is missing or damaged.
//!
//! # Limitations
//!
//! The branch of `HEAD` is the one before the push. A configuration that cannot be read at all has no guard; the pusher is
//! told so by `post-receive`.
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use gix::ObjectId;

use super::{
    Environment,
    account::{Account, readable},
    head::branch_of_head,
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

/// Whether the ref of this name is guarded.
pub(super) fn guards(name: &BStr) -> bool {
    GUARDED.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Judges updates of guarded refs. Where one breaks the rule, the account is no longer complete, and says why.
pub(super) fn judge(
    updates: &[RefUpdate],
    environment: Environment<'_>,
    config: &Config,
    git_dir: &Path,
    account: &mut Account<impl Clock>,
) {
    let Some(first) = updates.first() else { return };
    if let Some(problem) = problem(config) {
        account.tell("this push is rejected, and nothing was updated: nobody knows where files are only ever added:");
        account.tell(&format!("  configuration: {problem}"));
        account.tell("please tell the administrator of this server");
        account.complete = false;
        return;
    }
    let mut reasons = Reasons::default();
    let gate = Gate {
        objects: Objects::open(&objects::folders(environment, git_dir), first.new.kind()).cached(),
        branch: branch_of_head(git_dir),
        config,
    };
    for update in updates {
        let name = readable(update.name.as_bstr());
        match gate.findings(update) {
            Ok(findings) => reasons.add_all(&name, &findings),
            Err(error) => reasons.add(format!("{name}: it cannot be said whether the rule is kept: {error}")),
        }
    }
    if reasons.count > 0 {
        reasons.give(config, git_dir, account);
    }
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
    /// The branch that `HEAD` names, if it is there.
    branch: Option<(BString, ObjectId)>,
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
