//! The transaction of refs in files: all of the given commands or none.
use std::time::Duration;

use git_push::{Command, Verdict, causes};
use gix::lock::acquire::Fail;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};

use super::hooks::{Hooks, Phase};

/// Time limit of waiting for the lock of a ref or of `packed-refs`.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Committer in the reflog, if the configuration of the repository names none.
pub(super) const NAME: &str = "stargate-mirror";

/// Moves the refs if each of them has the old id of its command. Returns one verdict for all.
///
/// The refs are locked, then compared, then moved. [`Verdict::Rejected`] if nothing was moved, [`Verdict::Unknown`] if the
/// move failed, so that some may have been moved.
pub(super) fn run(repository: &gix::Repository, commands: &[&Command], hooks: &Hooks) -> Verdict {
    let changes = changes(commands);
    let edits: Result<Vec<_>, _> = changes.iter().map(|command| edit(command)).collect();
    let edits = match edits {
        Ok(edits) => edits,
        Err(error) => return Verdict::Rejected(error.to_string().into()),
    };
    let patience = Fail::AfterDurationWithBackoff(LOCK_TIMEOUT);
    let prepared = match repository.refs.transaction().prepare(edits, patience, patience) {
        Ok(prepared) => prepared,
        Err(error) => return Verdict::Rejected(causes(&error).into()),
    };
    if let Some(verdict) = stopped(&changes, hooks) {
        return verdict;
    }
    let now = gix::date::Time::now_utc().to_string();
    let fallback = gix::actor::SignatureRef {
        name: NAME.into(),
        email: NAME.into(),
        time: &now,
    };
    let committer = repository.committer().and_then(Result::ok).unwrap_or(fallback);
    match prepared.commit(Some(committer)) {
        Ok(_) => {
            committed(&changes, hooks);
            Verdict::Accepted
        }
        Err(error) => {
            tracing::warn!(
                "cannot move refs in {}: {}",
                repository.git_dir().display(),
                causes(&error)
            );
            Verdict::Unknown
        }
    }
}

/// Returns the commands that change something. Deleting a ref that does not exist changes nothing.
pub(super) fn changes<'a>(commands: &[&'a Command]) -> Vec<&'a Command> {
    let is_change = |command: &&&Command| !(command.old.is_null() && command.is_delete());
    commands.iter().filter(is_change).copied().collect()
}

/// Runs the hook `reference-transaction` on locked refs. Returns a verdict if it stops the transaction.
pub(super) fn stopped(changes: &[&Command], hooks: &Hooks) -> Option<Verdict> {
    if changes.is_empty() || hooks.reference_transaction(Phase::Prepared, changes) {
        return None;
    }
    hooks.reference_transaction(Phase::Aborted, changes);
    Some(Verdict::Rejected("ref updates aborted by hook".into()))
}

/// Runs the hook `reference-transaction` on refs that have moved. It can no longer stop anything.
pub(super) fn committed(changes: &[&Command], hooks: &Hooks) {
    if !changes.is_empty() {
        hooks.reference_transaction(Phase::Committed, changes);
    }
}

fn edit(command: &Command) -> Result<RefEdit, gix::validate::reference::name::Error> {
    let Command { name, old, new } = command;
    let expected = if old.is_null() {
        PreviousValue::MustNotExist
    } else {
        PreviousValue::MustExistAndMatch(Target::Object(*old))
    };
    let change = if command.is_delete() {
        let log = RefLog::AndReference;
        Change::Delete { expected, log }
    } else {
        Change::Update {
            log: LogChange {
                message: "push".into(),
                ..LogChange::default()
            },
            expected,
            new: Target::Object(*new),
        }
    };
    Ok(RefEdit {
        change,
        name: FullName::try_from(name.clone())?,
        deref: false,
    })
}
