//! Remote-tracking refs in reftables.
use std::{collections::BTreeMap, error::Error, path::Path, time::Duration};

use git_push::causes;
use git_reftable::{Committer, Expected, LogLine, Transaction, Update, Value, WriteError};
use gix::{ObjectId, Repository, objs::Kind, refs::FullName};

use super::{tables::TableRefs, tracking_ref::NAME};

/// Time limit of waiting while another process changes refs.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Prefixes of the refs that have a reflog by default (git-config, `core.logAllRefUpdates`).
const LOGGED: [&str; 3] = ["refs/heads/", "refs/remotes/", "refs/notes/"];

/// Sets these refs, with `message` for their reflogs. The null id deletes one. Failures are only logged.
pub(super) fn set(repository: &Repository, tables: &TableRefs, refs: &[(FullName, ObjectId)], message: &str) {
    let mut by_folder = BTreeMap::<&Path, Vec<Update>>::new();
    for (name, id) in refs {
        let (folder, end) = tables.place(name.as_bstr());
        match value(repository, *id) {
            Ok(new) => by_folder.entry(folder).or_default().push(Update {
                log: is_logged(repository, end.as_slice()).then(|| line(repository, message)),
                name: end,
                expected: Expected::Any,
                new,
            }),
            Err(error) => warn(&name.as_bstr().to_string(), &causes(&error)),
        }
    }
    for (folder, updates) in by_folder {
        write(folder, repository.object_hash(), updates);
    }
}

/// Writes all updates in one transaction; if one of them is impossible, each in its own.
fn write(folder: &Path, hash: gix::hash::Kind, updates: Vec<Update>) {
    let prepared = Transaction::prepare(folder, hash, updates.clone(), LOCK_WAIT);
    let Err(error) = prepared.and_then(Transaction::commit) else {
        return;
    };
    if updates.len() > 1 && is_of_one_ref(&error) {
        for update in updates {
            write(folder, hash, vec![update]);
        }
    } else if let [first, rest @ ..] = &updates[..] {
        let more = if rest.is_empty() {
            String::new()
        } else {
            format!(" and {} more", rest.len())
        };
        warn(&format!("{}{more}", first.name), &with_causes(&error));
    }
}

fn warn(name: &str, cause: &str) {
    tracing::warn!(%name, %cause, "the remote-tracking ref could not be updated");
}

/// Returns true if the other updates of the transaction may be possible.
fn is_of_one_ref(error: &WriteError) -> bool {
    !matches!(
        error,
        WriteError::Read(_) | WriteError::Locked { .. } | WriteError::Io { .. } | WriteError::NotSynced { .. }
    )
}

fn with_causes(error: &WriteError) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Returns the value with this id, `None` for the null id. Git peels a tag by the table alone, so it is peeled here.
fn value(repository: &Repository, id: ObjectId) -> Result<Option<Value>, gix::Error> {
    if id.is_null() {
        return Ok(None);
    }
    let is_tag = repository
        .try_find_header(id)?
        .is_some_and(|header| header.kind() == Kind::Tag);
    Ok(Some(if is_tag {
        let peeled = repository.find_object(id)?.peel_tags_to_end()?.id;
        Value::Peeled { id, peeled }
    } else {
        Value::Id(id)
    }))
}

/// Returns true if git writes a reflog for a ref with this name. One that exists already is not looked for.
fn is_logged(repository: &Repository, name: &[u8]) -> bool {
    let config = repository.config_snapshot();
    let key = "core.logAllRefUpdates";
    let is_always = config
        .string(key)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"always"));
    let is_on = || config.boolean(key).unwrap_or(!repository.is_bare());
    is_always || (is_on() && LOGGED.iter().any(|prefix| name.starts_with(prefix.as_bytes())))
}

fn line(repository: &Repository, message: &str) -> LogLine {
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
