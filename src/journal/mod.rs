//! The journal of ref updates: what a Stargate accepted, and what of it has reached the mirror.
//!
//! The hook appends to it. The worker (`stargate-mirror run`) is its sole consumer: nobody else reads entries in order
//! to act on them, and nobody else changes a status.
//!
//! # Format
//!
//! `$GIT_DIR/.stargate/mirror-journal.ndjson` holds lines, each ended by a line feed. A line is one JSON object (an
//! *entry*), or blanks, which mean nothing. An entry has these keys, written in this order and without blanks between
//! them:
//!
//! | key | value |
//! |---|---|
//! | `entry_id` | a ULID; each is greater than all credible ones before it in the file, see *Ids* |
//! | `timestamp` | when the entry was made: UTC, milliseconds, `Z` |
//! | `event` | `"ref_update"` |
//! | `ref` | the full ref name; where it is not UTF-8, U+FFFD stands for what is not, and `meta.ref_b64` has the bytes |
//! | `old_oid` | 40 or 64 hexadecimal digits; null when the ref was created |
//! | `new_oid` | the same; all zeros when the ref was deleted |
//! | `pusher` | who pushed, or null |
//! | `repo` | the repository's identifier, or null |
//! | `source` | `post-receive`, `recovered`, `reconcile` or `manual` |
//! | `status` | `"pending"`, `"done"   `, `"failed" ` or `"skipped"`: 9 bytes, blanks after the closing quote included |
//! | `meta` | null, or an object with those of `txn_id`, `push_options` (array), `ref_b64` (base64) that are known |
//!
//! A reader takes keys in any order, passes over keys that it does not know, and takes a line of at most
//! [`MAX_LINE`] bytes. One bad line never hides a good one.
//!
//! # What changes a written line
//!
//! Only the status: its 9 bytes are overwritten in place by 9 others. They lie within one block of [`BLOCK`] bytes, so
//! that no reader sees half of them on disk; the writer puts up to 8 blanks in front of a line to that end.
//!
//! # How entries are appended
//!
//! Under an exclusive lock (`flock`) on the file, which waits a bounded time. The path must still name the locked file.
//! A torn tail is repaired first. The lines are written together; a write that falls short is cut back to the last complete
//! line, its entry has failed, and the others are tried one by one. One fsync makes all of them durable, and then the lock
//! goes. The first writer, who finds the file empty, fsyncs the directories too.
//!
//! When the fsync fails, nobody knows what is on the disk, and a second one would report success for pages that the kernel
//! has given up. So the journal is put aside, and the same lines, with the same ids, go to a new segment, which is fsynced.
//! What cannot be appended at all stays as an [`intent`]: that is the spool.
//!
//! # The files
//!
//! Under its lock the journal is renamed to `mirror-journal.<ULID>.ndjson`, a *segment*, when it has reached [`ROTATE_AT`].
//! The ULID is greater than every id in it, so ids go on growing. A segment is read like the journal: a foreign writer
//! who only locks may still write to it. When all of it is settled, and nobody wrote to it for [`QUIET`] and then for
//! `stargate.retention`, it is removed.
//!
//! `.stargate/journal-scan.ndjson` remembers for each file up to where it was read, and which lines before that must be
//! looked at again, so that reading costs what is pending, not what was. It is a memory only: without it, or when it is of
//! another file, everything is read. It is written when it spares 64 KiB of reading.
//!
//! # Ids
//!
//! The id of a new entry is of the present moment, or, where the clock stands still or went back, the one after the last id.
//! One forged or damaged id must not end that: behind the greatest ULID there is none. So an id is *credible* when
//!
//! - its time is at most a day ahead of the entry's `timestamp`, or
//! - it is at most 2^32 greater than the greatest credible id before it (the segment's name included, and the newest segment's
//!   name for the journal), or nothing is before it; and its time is not behind the year 9999, which no clock shows.
//!
//! The writer goes on from the greatest credible id, whatever else stands there. An entry whose id is not credible is reported,
//! and its update counts. Repair copies its line to quarantine, appends the update anew if it is pending, and blanks the line.
//!
//! # Damage
//!
//! - A *torn tail* is a last line without its line feed: the writer died, or is writing. The next writer repairs it: a
//!   complete entry gets its line feed, anything else is copied to `.stargate/quarantine/<ULID>`, and cut off.
//! - A *corrupt entry* is a line elsewhere that does not parse. It hides no other. One that is not JSON, and bytes that are
//!   NUL, are copied to quarantine and blanked, since jq stops at them; JSON that is no entry (a key that is missing, or of
//!   another type, an unknown status) is reported, left as it is, and never pushed.
//! - A line that is longer than [`MAX_LINE`] is reported and passed over in bounded memory, and left.
//! - A status that is a mix of two is that of an overwrite that was cut off: the entry is pending.
//! - The same line twice (same id, same content) is one entry, settled in both places. The same id with other content is two
//!   entries, and reported.
//!
//! Before anything is changed, it is looked at again, under the lock.
//!
//! # Other lines
//!
//! [`log`] keeps lines of another kind by the same rules, for one process that holds its files open: complete lines or none,
//! one fsync for many, a new file after an fsync that failed, repair of the tail.
//!
//! # Limitations
//!
//! - A reader takes no lock. It may see the bytes of two statuses mixed, or a line that is being written, and reports
//!   a corrupt entry or a torn tail that a second look does not find.
//! - When neither the journal nor a new segment can be made durable, the entries are reported as failed, although their
//!   bytes may be in the file: they are facts, and the worker may use them, but nothing is promised about them.
//! - The file belongs to the repository's owner, mode 0644. Where pushes run as several users, the repository is to be shared
//!   (`core.sharedRepository`) before the folder is made; then it is the group's, 0664.
//! - The last id is looked for in the last [`ID_WINDOW`] bytes. Behind more damage than that, ids start anew from the
//!   newest segment, or the clock. Where several entries in a row are ahead of their time, and nothing near them is not, they
//!   are believed without a look at what is before them.
//! - A settled status that somebody changes by hand, without [`Writer::retry`], is not noticed where a scan remembers it.
//! - Of entries with the same id, those are compared that are pending at the same time.
//! - Network file systems are refused where they can be told (Linux: NFS, SMB, CIFS), unless `stargate.allowNfs` is set.
mod append;
mod backlog;
mod entry;
mod folder;
mod format;
mod ids;
pub mod intent;
mod line;
pub mod log;
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
mod writer;

use std::path::{Path, PathBuf};

pub use append::Appended;
pub use backlog::{Backlog, Counts, MAX_PROBLEMS, oldest_pending, visit};
pub use entry::{Draft, Entry, Located, Meta, Origin, Place, Source, Status, next_id};
#[cfg(unix)]
pub use folder::user_name;
pub use folder::{create_folder, kept_out};
pub use format::{DecodeError, decode, encode};
pub use line::{Line, Lines};
pub use reader::{Item, Problem, ProblemKind, Reader};
pub use recovery::Recovered;
pub use repair::Repair;
pub use rotation::{Maintained, QUIET, ROTATE_AT};
pub use scan::SCAN;
pub use segment::{file_in, segments};
pub use settle::Settled;
pub use writer::{Cause, WriteError, Writer};

/// The folder in `$GIT_DIR` that everything of ours is in.
pub const FOLDER: &str = ".stargate";
/// The journal's name in [`FOLDER`].
pub const JOURNAL: &str = "mirror-journal.ndjson";
/// The folder in [`FOLDER`] for bytes that were not entries.
pub const QUARANTINE: &str = "quarantine";
/// The length of a line at most, in bytes, its line feed not counted.
pub const MAX_LINE: usize = 1 << 20;
/// A status never crosses a multiple of this offset, in bytes.
pub const BLOCK: u64 = 4096;
/// How far from the end the last id is looked for, in bytes.
pub const ID_WINDOW: u64 = 4 << 20;

/// The journal's path in the repository at `git_dir`.
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
