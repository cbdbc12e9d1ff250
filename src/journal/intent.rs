//! Intents: records that `pre-receive` writes before a push is accepted, so that a crash before `post-receive` is noticed.
//!
//! # Format
//!
//! `.stargate/intents/<ULID>.json` is one JSON object with these keys:
//!
//! - `intent_id`: the ULID, greater than every `entry_id` that the journal had at that time.
//! - `timestamp`: time at which it was written.
//! - `entries`: array of objects as in the journal, with the source `recovered` and the id of the intent. They become
//!   entries if the push was accepted but not journaled.
//!
//! An intent is written to `.<ULID>.tmp`, fsynced, and renamed, and then the folder is fsynced. So a file with an intent's
//! name is complete. Its removal is not synced: if it reappears after a power cut, its updates are found in the journal.
//!
//! # Limitations
//!
//! `post-receive` gets only the refs that were updated, and an `update` hook may have declined some. It removes the oldest
//! intent with exactly its updates, or else the oldest one that contains them. If two concurrent pushes have the same
//! updates, and git accepts one of them, the hook may remove the intent of the other push. The remaining one is resolved
//! like any other.
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::ByteSlice;
use durable::{
    replace::NewFile,
    storage::{FILE_MODE, Folders, Names, ReadFiles, remove_existing},
};
use gix::ObjectId;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::{
    FOLDER,
    decode::decode,
    encode::{encode_draft, timestamp},
    entry::{Draft, Source},
    reader::read_exact_at,
};
use crate::ref_update::RefUpdate;

/// Folder of the intents in [`FOLDER`].
pub const INTENTS: &str = "intents";
/// Age below which the push of an intent may still be running.
pub const IN_FLIGHT: Duration = Duration::from_secs(60);
/// Largest valid intent in bytes.
const MAX_INTENT: u64 = 1 << 30;
const SUFFIX: &str = ".json";
const UNFINISHED: &str = ".tmp";

/// Updates of mirrored refs that a push is about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its id, which is also its name.
    pub id: Ulid,
    /// Time at which it was written.
    pub timestamp: Timestamp,
    /// Drafts of the entries.
    pub drafts: Vec<Draft>,
}

/// Decision on one ref update of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The push may still be running: decide later.
    Keep,
    /// The push was accepted but is not journaled.
    Recover,
    /// No entry is needed.
    Drop(Reason),
}

/// Reasons why no entry is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The journal has the update.
    Journaled,
    /// The ref has another id: the push was not accepted, or a later push has overwritten it.
    Elsewhere,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Journaled => "the journal has it already",
            Reason::Elsewhere => {
                "the ref has another id: the push was not accepted, or a later push has overwritten it"
            }
        })
    }
}

/// Decides on one ref update of an intent. `age` is `None` if the clock has gone back. `journaled` is true if the journal
/// has an entry of the same update that is younger than the intent. `ref_now` is the present id of the ref.
pub fn resolve(update: &RefUpdate, age: Option<Duration>, journaled: bool, ref_now: Option<ObjectId>) -> Verdict {
    let stands = match ref_now {
        Some(id) => id == update.new,
        None => update.is_delete(),
    };
    match age {
        Some(age) if age < IN_FLIGHT => Verdict::Keep,
        _ if journaled => Verdict::Drop(Reason::Journaled),
        _ if stands => Verdict::Recover,
        _ => Verdict::Drop(Reason::Elsewhere),
    }
}

/// Returns the time since `then`. `None` if the clock has gone back so far that it is unknown.
pub(super) fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let age = now.duration_since(then);
    let ahead = age.is_negative() && age.unsigned_abs() > IN_FLIGHT;
    (!ahead).then(|| Duration::try_from(age).unwrap_or_default())
}

/// Lists the ids of the intents in the repository at `git_dir`, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn list<S: Folders>(storage: &S, git_dir: &Path) -> io::Result<Vec<Ulid>> {
    named(storage, git_dir, "", SUFFIX)
}

/// Reads an intent.
///
/// # Errors
/// The intent no longer exists ([`NotFound`](io::ErrorKind::NotFound)), cannot be read, or is invalid
/// ([`InvalidData`](io::ErrorKind::InvalidData)).
pub fn read<S: ReadFiles>(storage: &S, git_dir: &Path, id: Ulid) -> io::Result<Intent> {
    parse(&bytes_of(storage, &path_of(git_dir, id))?)
}

/// Returns the updates of each intent whose push may still be running, oldest first.
///
/// # Errors
/// The folder cannot be read, or an intent in it is unreadable or invalid.
pub fn in_flight<S: Folders + ReadFiles>(
    storage: &S,
    git_dir: &Path,
    now: Timestamp,
) -> io::Result<Vec<Vec<RefUpdate>>> {
    let mut pushes = Vec::new();
    for id in list(storage, git_dir)? {
        match read(storage, git_dir, id) {
            Ok(intent) if intent.is_in_flight(now) => {
                pushes.push(intent.drafts.into_iter().map(|draft| draft.update).collect());
            }
            Ok(_) => {}
            // Its push has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pushes)
}

/// Writes an intent durably. Its folder must exist.
///
/// # Errors
/// Writing, syncing or renaming fails. Then there is no intent.
pub(super) fn write<S: Folders + Names>(storage: &S, git_dir: &Path, intent: &Intent) -> io::Result<()> {
    let (path, temporary) = (path_of(git_dir, intent.id), unfinished(git_dir, intent.id));
    let new = NewFile::write(storage, temporary, &path, &encode(intent), FILE_MODE)?;
    new.commit().inspect_err(|_| {
        // The first error is the one to report.
        let _ = storage.remove(&path);
    })
}

/// Removes an intent, if it still exists.
///
/// # Errors
/// The intent cannot be removed.
pub fn remove<S: Names>(storage: &S, git_dir: &Path, id: Ulid) -> io::Result<()> {
    remove_existing(storage, &path_of(git_dir, id))
}

/// Removes the temporary files of writers that have died: those that were last written to [`IN_FLIGHT`] ago or earlier.
///
/// The time in the name is not that of the file: an id may continue from an entry whose clock was ahead.
pub(super) fn remove_unfinished<S: Folders + Names>(storage: &S, git_dir: &Path, now: Timestamp) -> io::Result<()> {
    for id in named(storage, git_dir, ".", UNFINISHED)? {
        let path = unfinished(git_dir, id);
        // Its writer may have renamed it in the meantime.
        let Some(look) = storage.look(&path)? else { continue };
        if age(now, look.modified).is_none_or(|age| age >= IN_FLIGHT) {
            remove_existing(storage, &path)?;
        }
    }
    Ok(())
}

/// Finds the intent of a push by its updates, see the module's limitations. Skips unreadable files, which
/// [recovery](super::Recovered) reports.
///
/// # Errors
/// The folder cannot be read.
pub fn find<S: Folders + ReadFiles>(storage: &S, git_dir: &Path, updates: &[&RefUpdate]) -> io::Result<Option<Ulid>> {
    let Some(first) = updates.first() else { return Ok(None) };
    let needle = first.new.to_string();
    let mut larger = None;
    for id in list(storage, git_dir)? {
        let Ok(bytes) = bytes_of(storage, &path_of(git_dir, id)) else {
            continue;
        };
        // Search before parsing: with 64 concurrent pushes there may be 64 intents.
        if !bytes.contains_str(&needle) {
            continue;
        }
        let Ok(intent) = parse(&bytes) else { continue };
        if intent.covers(updates) {
            if intent.drafts.len() == updates.len() {
                return Ok(Some(id));
            }
            larger = larger.or(Some(id));
        }
    }
    Ok(larger)
}

impl Intent {
    /// Returns true if its push may still be running. False if the clock has gone back so far that its age is unknown.
    pub(super) fn is_in_flight(&self, now: Timestamp) -> bool {
        age(now, self.timestamp).is_some_and(|age| age < IN_FLIGHT)
    }

    /// Returns true if it contains all of these updates.
    fn covers(&self, updates: &[&RefUpdate]) -> bool {
        // Both lists are in the order of the hook's input.
        let mut own = self.drafts.iter().map(|draft| &draft.update);
        updates.iter().all(|update| own.any(|one| one == *update))
    }
}

#[derive(Deserialize)]
struct ReadIntent<'a> {
    intent_id: Ulid,
    timestamp: Timestamp,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

fn encode(intent: &Intent) -> Vec<u8> {
    let written = timestamp(intent.timestamp);
    let mut text = format!(r#"{{"intent_id":"{}","timestamp":"{written}","entries":["#, intent.id).into_bytes();
    for draft in &intent.drafts {
        text.push(b'\n');
        encode_draft(draft, (intent.id, &written), Source::Recovered, 0, &mut text);
        text.pop();
        text.push(b',');
    }
    if text.ends_with(b",") {
        text.pop();
    }
    text.extend_from_slice(b"\n]}\n");
    text
}

fn parse(bytes: &[u8]) -> io::Result<Intent> {
    let none = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let read: ReadIntent = serde_json::from_slice(bytes).map_err(|error| none(error.to_string()))?;
    let draft = |raw: &&RawValue| decode(raw.get().as_bytes(), 0).map(|located| located.entry.into_draft());
    Ok(Intent {
        id: read.intent_id,
        timestamp: read.timestamp,
        drafts: read
            .entries
            .iter()
            .map(draft)
            .collect::<Result<_, _>>()
            .map_err(|error| none(error.to_string()))?,
    })
}

fn bytes_of<S: ReadFiles>(storage: &S, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open_read(path)?;
    let length = storage.length(&file)?;
    if length > MAX_INTENT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    read_exact_at(storage, &file, 0, &mut bytes)?;
    Ok(bytes)
}

fn named<S: Folders>(storage: &S, git_dir: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<Ulid>> {
    let names = storage.list(&git_dir.join(FOLDER).join(INTENTS))?;
    let id = |name: &std::ffi::OsString| {
        let id = name.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?;
        Ulid::from_string(id).ok()
    };
    let mut ids: Vec<Ulid> = names.iter().filter_map(id).collect();
    ids.sort_unstable();
    Ok(ids)
}

pub(super) fn path_of(git_dir: &Path, id: Ulid) -> PathBuf {
    git_dir.join(FOLDER).join(INTENTS).join(format!("{id}{SUFFIX}"))
}

fn unfinished(git_dir: &Path, id: Ulid) -> PathBuf {
    git_dir.join(FOLDER).join(INTENTS).join(format!(".{id}{UNFINISHED}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use durable::storage::Disk;

    use super::*;
    use crate::journal::{Origin, tests::draft};

    fn intent(id: u128, names: &[&str]) -> Intent {
        Intent {
            id: Ulid(id),
            timestamp: Timestamp::UNIX_EPOCH,
            drafts: names
                .iter()
                .map(|name| Draft {
                    origin: Origin::of(Source::Recovered).into(),
                    ..draft(name)
                })
                .collect(),
        }
    }

    fn folder_with(intents: &[Intent]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(FOLDER).join(INTENTS)).unwrap();
        for intent in intents {
            write(&Disk, folder.path(), intent).unwrap();
        }
        folder
    }

    #[test]
    fn an_intent_that_is_read_equals_the_written_one() {
        let intent = intent(7, &["a", "b"]);
        let folder = folder_with(std::slice::from_ref(&intent));
        assert_eq!(list(&Disk, folder.path()).unwrap(), [intent.id]);
        assert_eq!(read(&Disk, folder.path(), intent.id).unwrap(), intent);
        let text = fs::read_to_string(path_of(folder.path(), intent.id)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["entries"][1]["ref"], "refs/kv/b");
        remove(&Disk, folder.path(), intent.id).unwrap();
        remove(&Disk, folder.path(), intent.id).unwrap();
        assert!(list(&Disk, folder.path()).unwrap().is_empty());
    }

    #[test]
    fn find_prefers_an_exact_match_to_the_oldest_intent_with_all_updates() {
        let all = [
            intent(1, &["a", "b", "c"]),
            intent(2, &["a", "b"]),
            intent(3, &["a", "c"]),
        ];
        let folder = folder_with(&all);
        let found = |names: &[&str]| {
            let updates: Vec<_> = names.iter().map(|name| draft(name).update).collect();
            find(&Disk, folder.path(), &updates.iter().collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(found(&["a", "c"]), Some(Ulid(3)));
        assert_eq!(found(&["b", "c"]), Some(Ulid(1)));
        assert_eq!(found(&["a"]), Some(Ulid(1)));
        assert_eq!(found(&["d"]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn pushes_in_flight_are_those_of_young_intents() {
        let young = Intent {
            timestamp: Timestamp::UNIX_EPOCH + Duration::from_secs(1),
            ..intent(2, &["a", "b"])
        };
        let folder = folder_with(&[intent(1, &["c"]), young.clone()]);
        let in_flight = |seconds| {
            let now = Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
            in_flight(&Disk, folder.path(), now)
        };
        assert_eq!(in_flight(59).unwrap().len(), 2);
        let updates: Vec<_> = young.drafts.into_iter().map(|draft| draft.update).collect();
        assert_eq!(in_flight(60).unwrap(), [updates]);
        assert!(in_flight(61).unwrap().is_empty());
        fs::write(path_of(folder.path(), Ulid(3)), "{").unwrap();
        assert_eq!(in_flight(61).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn every_update_of_an_intent_has_a_verdict() {
        let made = draft("a").update;
        let deleted = RefUpdate {
            old: made.new,
            new: made.old,
            name: made.name.clone(),
        };
        let old = Some(IN_FLIGHT);
        let young = Some(IN_FLIGHT - Duration::from_millis(1));
        let other = Some(ObjectId::from_bytes_or_panic(&[7; 20]));
        let gone = Verdict::Drop(Reason::Elsewhere);
        for (update, age, journaled, now, expected) in [
            (&made, young, true, Some(made.new), Verdict::Keep),
            (&made, old, true, Some(made.new), Verdict::Drop(Reason::Journaled)),
            (&made, old, false, Some(made.new), Verdict::Recover),
            (&made, None, false, Some(made.new), Verdict::Recover),
            (&made, old, false, other, gone),
            (&made, old, false, None, gone),
            (&deleted, old, false, None, Verdict::Recover),
            (&deleted, old, false, other, gone),
        ] {
            assert_eq!(resolve(update, age, journaled, now), expected);
        }
    }
}
