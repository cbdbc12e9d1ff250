//! Remote-tracking refs in reftables.
use std::{collections::BTreeMap, path::Path, time::Duration};

use git_push::causes;
use git_push_transport::local::{table_update, with_causes};
use git_reftable::{Expected, Transaction, Update, WriteError};
use gix::{ObjectId, Repository, refs::FullName};

use super::tables::TableRefs;

/// Time limit of waiting while another process changes refs.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Sets these refs, with `message` for their reflogs. The null id deletes one. Failures are only logged.
pub(super) fn set(repository: &Repository, tables: &TableRefs, refs: &[(FullName, ObjectId)], message: &str) {
    let mut by_folder = BTreeMap::<&Path, Vec<Update>>::new();
    for (name, id) in refs {
        let (folder, end) = tables.place(name.as_bstr());
        match table_update(repository, end, Expected::Any, *id, message) {
            Ok(update) => by_folder.entry(folder).or_default().push(update),
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
