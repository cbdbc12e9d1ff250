//! Refs in reftables.
use std::{collections::BTreeMap, iter};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Command, Verdict};
use git_reftable::{Committer, Error, Expected, LogLine, Stack, Transaction, Update, Value, WriteError};
use gix::{ObjectId, Repository, objs::Kind};

use super::{
    hooks::Hooks,
    transaction::{LOCK_TIMEOUT, NAME, changes, committed, stopped},
};
use crate::head::Head;

/// Number of symbolic refs in a row that git follows.
const MAX_DEPTH: usize = 5;
/// Number of tables between two warnings. Processes often have a limit of 1,024 open files.
const MANY_TABLES: usize = 100;
/// Prefixes of the refs that have a reflog by default (git-config, `core.logAllRefUpdates`).
const LOGGED: [&str; 3] = ["refs/heads/", "refs/remotes/", "refs/notes/"];

/// Takes a snapshot of the refs that all work trees share.
pub(super) fn open(repository: &Repository) -> Result<Stack, Error> {
    Stack::open(repository.common_dir(), repository.object_hash())
}

/// Returns all refs, symbolic ones with the id of their target. One without a target is not a ref to a reader.
pub(super) fn all(stack: &Stack) -> Result<BTreeMap<BString, ObjectId>, Error> {
    let mut refs = BTreeMap::new();
    for record in stack.iter_prefix("refs/")? {
        let record = record?;
        if gix::validate::reference::name(record.name.as_bstr()).is_err() {
            // No ref can have such a name.
            continue;
        }
        if let Some(id) = follow(stack, record.value)? {
            refs.insert(record.name, id);
        }
    }
    Ok(refs)
}

fn follow(stack: &Stack, value: Value) -> Result<Option<ObjectId>, Error> {
    let mut value = value;
    for _ in 0..MAX_DEPTH {
        let Value::Symbolic(target) = &value else { break };
        match stack.find(target.as_bstr())? {
            Some(record) => value = record.value,
            None => return Ok(None),
        }
    }
    Ok(value.id())
}

/// Returns the ref that the `HEAD` of this work tree names. `None` if it is detached.
pub(super) fn head_name(worktree: &Repository) -> Result<Option<BString>, Error> {
    let stack = Stack::open(worktree.git_dir(), worktree.object_hash())?;
    Ok(match stack.find("HEAD")?.map(|record| record.value) {
        Some(Value::Symbolic(name)) => Some(name),
        _ => None,
    })
}

/// Reads the `HEAD` of the repository.
pub(super) fn head(repository: &Repository) -> Result<Head, Error> {
    let own = Stack::open(repository.git_dir(), repository.object_hash())?;
    Ok(match own.find("HEAD")?.map(|record| record.value) {
        Some(Value::Symbolic(name)) => {
            let stack = open(repository)?;
            let exists = match stack.find(name.as_bstr())? {
                Some(record) => follow(&stack, record.value)?.is_some(),
                None => false,
            };
            if exists {
                Head::Names(name)
            } else {
                Head::Dangles(Some(name))
            }
        }
        Some(Value::Id(id) | Value::Peeled { id, .. }) => Head::Detached(id),
        None => Head::Dangles(None),
    })
}

/// Sets the `HEAD` of the repository.
pub(super) fn set_head(repository: &Repository, branch: &BStr) -> Result<(), WriteError> {
    let update = Update {
        name: "HEAD".into(),
        expected: Expected::Any,
        new: Some(Value::Symbolic(branch.to_owned())),
        log: None,
    };
    let hash = repository.object_hash();
    Transaction::prepare(repository.git_dir(), hash, [update], LOCK_TIMEOUT)?.commit()
}

/// Moves the refs, all or none, if each of them has the old id of its command. Returns one verdict for all.
///
/// [`Verdict::Rejected`] if nothing was moved, [`Verdict::Unknown`] if a power cut can undo the move.
pub(super) fn run(repository: &Repository, commands: &[&Command], hooks: &Hooks) -> Verdict {
    let changes = changes(commands);
    let updates: Result<Vec<_>, _> = changes.iter().map(|command| update(repository, command)).collect();
    let updates = match updates {
        Ok(updates) => updates,
        Err(error) => return Verdict::Rejected(git_push::causes(&error).into()),
    };
    let prepared = Transaction::prepare(repository.common_dir(), repository.object_hash(), updates, LOCK_TIMEOUT);
    if prepared.is_ok()
        && let Some(verdict) = stopped(&changes, hooks)
    {
        return verdict;
    }
    let written = prepared.and_then(|transaction| {
        let count = transaction.table_count();
        transaction.commit().map(|()| count)
    });
    match written {
        Ok(count) => {
            committed(&changes, hooks);
            warn_of_many(repository, count);
            Verdict::Accepted
        }
        Err(error @ WriteError::NotSynced { .. }) => {
            tracing::warn!("{}", with_causes(&error));
            Verdict::Unknown
        }
        Err(error) => Verdict::Rejected(with_causes(&error).into()),
    }
}

/// Warns from time to time about a repository that git never writes to. Its tables are not merged, because only git
/// does that.
fn warn_of_many(repository: &Repository, count: usize) {
    if count >= MANY_TABLES && count.is_multiple_of(MANY_TABLES) {
        let folder = repository.common_dir().display();
        tracing::warn!("{folder} has {count} reftables, and each is an open file; run `git pack-refs` there");
    }
}

fn update(repository: &Repository, command: &Command) -> Result<Update, gix::Error> {
    let expected = if command.old.is_null() {
        Expected::Absent
    } else {
        Expected::Id(command.old)
    };
    table_update(repository, command.name.clone(), expected, command.new, "push")
}

/// Returns the update of a ref to this id, with `message` for its reflog, if git would write one. The null id deletes the
/// ref.
///
/// # Errors
/// The object cannot be read.
pub fn table_update(
    repository: &Repository,
    name: BString,
    expected: Expected,
    id: ObjectId,
    message: &str,
) -> Result<Update, gix::Error> {
    Ok(Update {
        log: is_logged(repository, name.as_bstr()).then(|| log_line(repository, message)),
        new: value(repository, id)?,
        name,
        expected,
    })
}

/// Returns the value with this id, `None` for the null id. Git peels a tag by the table alone, so it is peeled here.
fn value(repository: &Repository, id: ObjectId) -> Result<Option<Value>, gix::Error> {
    if id.is_null() {
        return Ok(None);
    }
    let header = repository.try_find_header(id)?;
    Ok(Some(if header.is_some_and(|header| header.kind() == Kind::Tag) {
        let peeled = repository.find_object(id)?.peel_tags_to_end()?.id;
        Value::Peeled { id, peeled }
    } else {
        Value::Id(id)
    }))
}

/// Returns true if git writes a reflog for a ref with this name. One that exists already is not looked for.
fn is_logged(repository: &Repository, name: &BStr) -> bool {
    const KEY: &str = "core.logAllRefUpdates";
    let config = repository.config_snapshot();
    let value = config.string(KEY);
    let is_always = value.is_some_and(|value| value.eq_ignore_ascii_case(b"always"));
    let is_on = || config.boolean(KEY).unwrap_or(!repository.is_bare());
    is_always || (is_on() && LOGGED.iter().any(|prefix| name.starts_with(prefix.as_bytes())))
}

fn log_line(repository: &Repository, message: &str) -> LogLine {
    let committer = repository.committer().and_then(Result::ok);
    let (name, email) = committer.map_or((NAME.into(), NAME.into()), |committer| {
        (committer.name, committer.email)
    });
    let time = committer.and_then(|committer| committer.time().ok());
    let time = time.unwrap_or_else(gix::date::Time::now_utc);
    LogLine {
        committer: Committer {
            name: name.to_owned(),
            email: email.to_owned(),
            seconds: u64::try_from(time.seconds).unwrap_or(0),
            offset_minutes: i16::try_from(time.offset / 60).unwrap_or(0),
        },
        message: message.into(),
    }
}

/// Returns the messages of the error and of all its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
