//! Journal of ref updates: every update that a Stargate accepted, with its mirroring status.
//!
//! The hook appends to it. The worker (`stargate-mirror run`) is its sole consumer: no other program acts on entries or
//! changes a status.
//!
//! # Format
//!
//! `$GIT_DIR/.stargate/mirror-journal.ndjson` is a sequence of lines, each terminated by a line feed. A line is either one
//! JSON object (an *entry*), or consists of spaces only and is ignored. An entry has these keys, in this order, without
//! whitespace between them:
//!
//! | key | value |
//! |---|---|
//! | `entry_id` | a ULID, greater than all credible ids before it in the file (see *Ids*) |
//! | `timestamp` | time at which the entry was written: UTC, milliseconds, `Z` |
//! | `event` | `"ref_update"` |
//! | `ref` | full ref name; invalid UTF-8 is replaced by U+FFFD, and `meta.ref_b64` has the exact bytes |
//! | `old_oid` | 40 or 64 hexadecimal digits; null if the ref was created |
//! | `new_oid` | 40 or 64 hexadecimal digits; all zeros if the ref was deleted |
//! | `pusher` | name of the pusher, or null |
//! | `repo` | identifier of the repository, or null |
//! | `source` | `post-receive`, `recovered`, `reconcile` or `manual` |
//! | `status` | `"pending"`, `"done"   `, `"failed" ` or `"skipped"`: 9 bytes, including the padding after the quote |
//! | `meta` | null, or an object that may have `txn_id`, `push_options` (array) and `ref_b64` (base64) |
//!
//! A reader accepts keys in any order, ignores unknown keys, and accepts lines of at most [`MAX_LINE`] bytes. An invalid
//! line never hides a valid one.
//!
//! # Changing a status
//!
//! The status is the only part of a written line that changes. Its 9 bytes are overwritten in place. They never cross a
//! multiple of [`BLOCK`] bytes, so that no crash leaves half of them on disk. If necessary, the writer puts up to 8 spaces
//! in front of a line.
//!
//! # Appending entries
//!
//! 1. The writer takes an exclusive lock (`flock`) on the file, waiting for a bounded time. It checks that the path still
//!    names the locked file.
//! 2. It repairs a torn tail.
//! 3. It writes all lines together. After a short write, it truncates the file to the last complete line, reports the
//!    incomplete entry as failed, and writes the remaining ones one by one.
//! 4. One fsync makes all lines durable. If the file was empty, the writer also fsyncs the directories.
//! 5. It releases the lock.
//!
//! After a failed fsync, the content of the disk is unknown, and a second fsync would report success for pages that the
//! kernel has dropped. So the writer rotates the journal, and writes the same lines with the same ids to a new segment,
//! which it fsyncs. Updates that cannot be appended at all are kept as an [`intent`].
//!
//! # Files
//!
//! A journal that has reached [`ROTATE_AT`] is *rotated*: renamed under its lock to `mirror-journal.<ULID>.ndjson`, a
//! *segment*. The ULID is greater than every id in the segment, so ids keep increasing. A segment is read like the journal,
//! because a foreign writer that only locks may still append to it. It is removed when all its entries are settled (not
//! pending) and it has not been written to for [`QUIET`] plus `stargate.retention`.
//!
//! `.stargate/journal-scan.ndjson` is a cache. For each file it records the offset up to which the file was read, and the
//! lines before it that must be read again. So the cost of reading depends on the pending entries, not on the journal's
//! length. If the cache is missing or belongs to another file, the whole journal is read. It is written when it saves
//! 64 KiB of reading.
//!
//! # Ids
//!
//! A new entry gets the ULID of the current time. If the clock stands still or went back, it gets the successor of the last
//! id. A forged or damaged id must not exhaust the ids, since the greatest ULID has no successor. So the writer continues
//! from the greatest *credible* id. An id is credible if
//!
//! - its time is at most one day ahead of the entry's `timestamp`, or
//! - it is at most 2^32 greater than the greatest credible id before it, or no id is before it. The name of the segment
//!   counts as an id before its entries, and the name of the newest segment as an id before those of the journal.
//!
//! In both cases, its time must not be later than the year 9999. An entry whose id is not credible is reported, but its
//! update is valid. Repair copies its line to quarantine, appends the update under a new id if it is pending, and blanks the
//! line.
//!
//! # Damage
//!
//! - A *torn tail* is a last line without a line feed: its writer died or is still writing. The next writer repairs it. It
//!   adds the line feed to a complete entry. It copies anything else to `.stargate/quarantine/<ULID>` and truncates it.
//! - A *corrupt entry* is any other line that does not parse. If it is not JSON, or contains NUL bytes, it is copied to
//!   quarantine and overwritten with spaces, because tools such as jq stop there. If it is JSON but not an entry (a key is
//!   missing or has another type, the status is unknown), it is reported, left unchanged, and never pushed.
//! - A line longer than [`MAX_LINE`] is reported, skipped in bounded memory, and left unchanged.
//! - A status that mixes the bytes of two statuses comes from an interrupted overwrite. The entry is pending.
//! - Two identical lines (same id, same content) are one entry, which is settled in both places. Two different lines with
//!   the same id are two entries, and are reported.
//!
//! A repair reads the damaged bytes again under the lock before it changes them.
//!
//! # Other logs
//!
//! [`log`] applies the same rules to lines of other kinds, for a single process that keeps its files open: only complete
//! lines, one fsync for many lines, a new file after a failed fsync, repair of the tail.
//!
//! # Limitations
//!
//! - Readers take no lock. One may see a mixed status or an unfinished line, and report a corrupt entry or a torn tail that
//!   is gone at the next read.
//! - If neither the journal nor a new segment can be made durable, the entries are reported as failed, although their bytes
//!   may be in the file. The worker may use them, but their durability is not promised.
//! - The file belongs to the repository's owner, with mode 0644. If pushes run as several users, set
//!   `core.sharedRepository` before the folder is created. Then the file belongs to the group, with mode 0664.
//! - The last id is searched in the last [`ID_WINDOW`] bytes. Beyond that much damage, ids restart from the newest
//!   segment or the clock. Several consecutive entries whose ids are ahead of their timestamps count as credible if no
//!   entry near them contradicts them.
//! - If a settled status is edited by hand instead of with [`Writer::retry`], a scan that has cached it does not notice.
//! - Entries with the same id are compared only while they are pending at the same time.
//! - Known network file systems (on Linux: NFS, SMB, CIFS) are refused unless `stargate.allowNfs` is set.
mod access;
mod append;
mod backlog;
mod counts;
mod decode;
mod encode;
mod entry;
mod error;
mod folder;
mod ids;
mod intend;
pub mod intent;
mod line;
mod locked;
pub mod log;
mod mend;
mod oldest;
mod quarantine;
mod reader;
mod recovery;
mod renew;
mod repair;
mod rotation;
mod scan;
mod segment;
mod settle;
mod status;
mod tail;
mod visit;
mod writer;

use std::path::{Path, PathBuf};

pub use append::Appended;
pub use backlog::{Backlog, MAX_PROBLEMS};
pub use counts::Counts;
pub use decode::{DecodeError, decode};
pub use encode::encode;
pub use entry::{Draft, Entry, Located, Meta, Origin, Place, Source, Status, next_id};
pub use error::{Cause, WriteError};
#[cfg(unix)]
pub use folder::user_name;
pub use folder::{create_folder, kept_out};
pub use line::{Line, Lines};
pub use oldest::oldest_pending;
pub use reader::{Item, Problem, ProblemKind, Reader};
pub use recovery::Recovered;
pub use repair::Repair;
pub use rotation::{Maintained, QUIET, ROTATE_AT};
pub use scan::SCAN;
pub use segment::{file_in, segments};
pub use settle::Settled;
pub use visit::visit;
pub use writer::Writer;

/// Folder of all our files in `$GIT_DIR`.
pub const FOLDER: &str = ".stargate";
/// Name of the journal in [`FOLDER`].
pub const JOURNAL: &str = "mirror-journal.ndjson";
/// Folder in [`FOLDER`] for bytes that repairs have removed from a journal.
pub const QUARANTINE: &str = "quarantine";
/// Greatest length of a line in bytes, without its line feed.
pub const MAX_LINE: usize = 1 << 20;
/// Block size in bytes: a status never crosses a multiple of it.
pub const BLOCK: u64 = 4096;
/// Number of bytes at the end of the journal in which the last id is searched.
pub const ID_WINDOW: u64 = 4 << 20;

/// Returns the path of the journal in the repository at `git_dir`.
pub fn path_in(git_dir: &Path) -> PathBuf {
    git_dir.join(FOLDER).join(JOURNAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ref_update::RefUpdate;

    pub(super) fn draft(name: &str) -> Draft {
        let line = format!("{} {} refs/kv/{name}", "0".repeat(40), "1".repeat(40));
        Draft {
            update: RefUpdate::parse(line.as_bytes()).unwrap(),
            txn_id: None,
            origin: Origin::of(Source::PostReceive).into(),
        }
    }

    pub(super) fn entry(number: u64) -> Entry {
        draft(&number.to_string()).entry(ulid::Ulid::from_parts(number, 0), jiff::Timestamp::UNIX_EPOCH)
    }

    pub(super) fn journal(numbers: std::ops::Range<u64>) -> Vec<u8> {
        numbers.fold(Vec::new(), |mut journal, number| {
            journal.extend_from_slice(&encode(&entry(number), journal.len() as u64));
            journal
        })
    }
}
