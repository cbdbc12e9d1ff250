//! Append-only guard: rejects pushes that change, move or delete existing files below the paths of
//! `stargate.appendOnly`.
//!
//! It guards every branch (`refs/heads/`) and every ledger (`refs/kv/`), mirrored or not. Tags and other refs are not
//! guarded. A push to a symbolic ref moves the ref's target, and is checked as an update of that target.
//!
//! - Update: the [rule](crate::append_only) must hold for each new commit, and between the old and the new commit. A
//!   rewind that loses a file is rejected; a rebase that keeps all files is accepted.
//! - New ref: the rule must hold for each commit that the branch of `HEAD` does not contain. Without such a branch, it
//!   must hold for the whole history.
//! - Deletion: the branch of `HEAD` must have the same guarded files as the deleted ref. Deleting that branch itself is
//!   rejected if it has any guarded file.
//!
//! One violation rejects the whole push, as always in `pre-receive`. So does anything that prevents the check: an invalid
//! setting, a missing or damaged object, an unreadable ref.
//!
//! # Limitations
//!
//! The branch of `HEAD` is the one before the push. Ref names are those of the whole repository, not of a
//! `GIT_NAMESPACE`.
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use gix::ObjectId;

use super::{
    Environment,
    head::{Refs, Unreadable},
    hook_output::{HookOutput, readable},
    object_folders::{self, Objects},
};
use crate::{
    append_only::{self, Error, Findings, RULE, Range, Relation, Violation},
    config::{self, Config, Problem},
    ref_update::RefUpdate,
};

/// Prefixes of guarded refs.
const GUARDED: [&str; 2] = ["refs/heads/", "refs/kv/"];
/// Maximum number of violations in the messages to the pusher.
const MAX_LISTED: usize = 10;

/// Returns true if `stargate.appendOnly` is set, even to an invalid value.
pub(super) fn is_enabled(config: &Config) -> bool {
    !config.append_only.is_empty() || problem(config).is_some()
}

/// Checks the updates of guarded refs. On a violation, sets `complete` of `output` to false and adds the reasons to it.
pub(super) fn check(
    updates: &[RefUpdate],
    environment: Environment<'_>,
    config: &Config,
    git_dir: &Path,
    output: &mut HookOutput<impl Clock>,
) {
    let mut reasons = Reasons::default();
    let (guarded, branch) = guarded(updates, git_dir, &mut reasons);
    if let Some(problem) = problem(config).filter(|_| !guarded.is_empty()) {
        output.tell_pusher(
            "push rejected: the server's stargate.appendOnly setting is invalid, so the append-only rule cannot be checked:",
        );
        output.tell_pusher(&format!("  configuration: {problem}"));
        output.tell_pusher("please ask the administrator of this server to correct it");
        output.complete = false;
        return;
    }
    if let Some(first) = guarded.first() {
        let gate = Gate {
            objects: Objects::open(&object_folders::folders(environment, git_dir), first.update.new.kind()).cached(),
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
        reasons.reject(config, git_dir, output);
    }
}

/// An update of a guarded ref.
struct Guarded {
    /// Update of the ref that moves: symbolic refs are resolved.
    update: RefUpdate,
    /// Name of the pushed ref, and its target if it is a symbolic ref, for messages.
    shown: String,
}

/// Name and commit of the branch of `HEAD`, if that branch exists.
type Branch = Option<(BString, ObjectId)>;

/// Returns the updates that move a guarded ref, and the branch of `HEAD`. An unreadable ref becomes a reason to reject.
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

/// Returns the update of the resolved ref, if the ref or its target is guarded.
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

/// Reasons to reject a push, one line each.
#[derive(Default)]
struct Reasons {
    listed: Vec<String>,
    count: usize,
}

impl Reasons {
    fn add(&mut self, reason: String) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(reason);
        }
    }

    fn add_unknown(&mut self, name: &str, error: &dyn std::error::Error) {
        self.add(format!("{name}: cannot check the append-only rule: {error}"));
    }

    fn add_all(&mut self, name: &str, findings: &Findings) {
        let unlisted = findings.violation_count - findings.violations.len();
        for violation in &findings.violations {
            self.add(reason(name, violation));
        }
        self.count += unlisted;
    }

    /// Rejects the push for these reasons.
    fn reject(&self, config: &Config, git_dir: &Path, output: &mut HookOutput<impl Clock>) {
        output.complete = false;
        let paths = &config.append_only;
        output.tell_pusher(&format!(
            "push rejected, and no ref was updated: append-only rule for {paths}: {RULE}"
        ));
        for reason in &self.listed {
            output.tell_pusher(&format!("  {reason}"));
        }
        if self.count > self.listed.len() {
            output.tell_pusher(&format!("  and {} more", self.count - self.listed.len()));
        }
        let first = self.listed.first().map(String::as_str).unwrap_or_default();
        output.log(&format!(
            "rejected a push by the append-only rule: {} reasons, the first is {first}",
            self.count
        ));
        output.write_log(&Disk, git_dir);
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
        let (base, relation) = if update.is_create() {
            (stays, Relation::Beside)
        } else {
            (Some(update.old), Relation::Replacement)
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
