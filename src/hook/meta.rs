//! Metadata of a ref update: push options and the transaction id. Nothing here fails: unreadable metadata is left out.
use std::{collections::HashMap, path::PathBuf};

use bstr::BString;
use gix::{
    ObjectId,
    objs::{CommitRef, Find, FindHeader, Kind},
};

use super::{Environment, identity::bytes, object_folders::Objects};

/// The trailer of a commit that names its transaction.
const TRAILER: &str = "KV-Txn";
/// Longest valid transaction id in bytes.
const MAX_TXN_ID: usize = 1024;
/// Largest commit that is read, in bytes.
const MAX_COMMIT: u64 = 1 << 20;
/// Maximum number of push options that are recorded.
const MAX_PUSH_OPTIONS: usize = 100;
/// Maximum total size in bytes of the push options that are recorded. Options beyond that are left out.
const MAX_PUSH_OPTION_BYTES: usize = 64 << 10;

/// Returns the values of the pusher's `--push-option` flags, in order (githooks, *pre-receive*).
pub(super) fn push_options(environment: Environment<'_>) -> Vec<BString> {
    let count = environment("GIT_PUSH_OPTION_COUNT").and_then(|count| count.to_str()?.parse::<usize>().ok());
    let mut room = MAX_PUSH_OPTION_BYTES;
    (0..count.unwrap_or(0).min(MAX_PUSH_OPTIONS))
        .filter_map(|number| environment(&format!("GIT_PUSH_OPTION_{number}")))
        .map(bytes)
        .take_while(|option| {
            let fits = option.len() <= room;
            room = room.saturating_sub(option.len());
            fits
        })
        .collect()
}

/// Reads transaction ids from commits.
pub(super) struct TxnIds {
    objects: Objects,
    /// Results by commit, because many refs of one push may have the same commit.
    known: HashMap<ObjectId, Option<BString>>,
    buffer: Vec<u8>,
}

impl TxnIds {
    /// Opens object folders, which are searched in order. `kind` is the kind of their ids.
    pub(super) fn open(folders: &[PathBuf], kind: gix::hash::Kind) -> Self {
        TxnIds {
            objects: Objects::open(folders, kind),
            known: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Returns the value of the last `KV-Txn` trailer, if `id` is a commit that has one.
    pub(super) fn of(&mut self, id: ObjectId) -> Option<BString> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = self.read(id);
        self.known.insert(id, found.clone());
        found
    }

    fn read(&mut self, id: ObjectId) -> Option<BString> {
        let header = self.objects.try_header(&id).ok()??;
        if header.kind != Kind::Commit || header.size > MAX_COMMIT {
            return None;
        }
        let object = self.objects.try_find(&id, &mut self.buffer).ok()??;
        let commit = CommitRef::from_bytes(object.data, id.kind()).ok()?;
        let trailers = commit.message_trailers();
        let named = trailers.filter(|trailer| trailer.token.eq_ignore_ascii_case(TRAILER.as_bytes()));
        let value = named.last()?.value.into_owned();
        (1..=MAX_TXN_ID).contains(&value.len()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn push_options_are_bounded_in_number_and_size() {
        let many = |name: &str| {
            Some(OsString::from(match name {
                "GIT_PUSH_OPTION_COUNT" => "1000000".to_owned(),
                other => other.to_owned(),
            }))
        };
        let options = push_options(&many);
        assert_eq!(options.len(), MAX_PUSH_OPTIONS);
        assert_eq!(options[99], "GIT_PUSH_OPTION_99");

        let large = |name: &str| {
            Some(OsString::from(match name {
                "GIT_PUSH_OPTION_COUNT" => "3".to_owned(),
                _ => "x".repeat(MAX_PUSH_OPTION_BYTES / 2),
            }))
        };
        assert_eq!(push_options(&large).len(), 2);
        assert_eq!(push_options(&|_| None).len(), 0);
    }

    #[test]
    fn without_objects_there_is_no_transaction_id() {
        let mut ids = TxnIds::open(&["/does/not/exist".into()], gix::hash::Kind::Sha1);
        assert_eq!(ids.of(gix::hash::Kind::Sha1.null()), None);
    }
}
