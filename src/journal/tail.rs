//! End of a file of lines: writes only complete lines, and repairs a torn tail. Works for every kind of line. The caller
//! holds the lock.
use std::{io, path::Path, sync::Arc};

use bstr::ByteSlice;
use durable::storage::{Folders, Names, ReadFiles, WriteFiles};
use ulid::Ulid;

use super::{error::Cause, quarantine::quarantine, reader::read_exact_at, repair::Repair};

/// Longest torn tail that is repaired, in bytes. Our writers never leave a longer one.
const MAX_TORN_TAIL: u64 = 64 << 20;
/// Bytes per step of the backward search for the last line feed.
const STEP: u64 = 64 << 10;

/// Writes lines in one call at the end of `file`, which has this `length`. After a short write, truncates the file to the
/// last complete line. Returns the number of complete lines, and the cause if there are fewer than given. `ends` has the
/// end of each line in `bytes`, after its line feed.
pub(super) fn write_lines<S: WriteFiles>(
    storage: &S,
    file: &S::File,
    length: u64,
    bytes: &[u8],
    ends: &[usize],
) -> (usize, Option<Cause>) {
    let (written, error) = match storage.append(file, bytes) {
        Ok(written) if written == bytes.len() => return (ends.len(), None),
        Ok(written) => (written, None),
        Err(error) => (0, Some(error)),
    };
    let complete = ends.iter().take_while(|end| **end <= written).count();
    let end = |count: usize| count.checked_sub(1).map_or(0, |last| ends[last]);
    let cause = match error {
        Some(error) => Cause::Write(Arc::new(error)),
        None => Cause::Short {
            written: written - end(complete),
            length: end(complete + 1) - end(complete),
        },
    };
    match storage.truncate(file, length + end(complete) as u64) {
        Ok(()) => (complete, Some(cause)),
        Err(error) => (complete, Some(Cause::NotCutBack(Arc::new(error)))),
    }
}

/// Repairs the tail of `file` in `folder`, so that it ends with a line feed or is empty. `is_complete` gets the last line
/// and its offset. If it returns true, the line gets its line feed. Otherwise the line is moved to quarantine as `name`.
/// The file is synced only after a truncation.
///
/// # Errors
/// The tail cannot be read, copied or truncated. Then nothing may be appended.
pub(super) fn repair_tail<S: Folders + Names + WriteFiles>(
    storage: &S,
    file: &S::File,
    folder: &Path,
    name: Ulid,
    is_complete: impl Fn(&[u8], u64) -> bool,
) -> io::Result<Option<Repair>> {
    let length = storage.length(file)?;
    let start = tail_start(storage, file, length)?;
    if start == length {
        return Ok(None);
    }
    let mut tail = vec![0; (length - start) as usize];
    read_exact_at(storage, file, start, &mut tail)?;
    if is_complete(&tail, start) {
        return match storage.append(file, b"\n")? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(Some(Repair::Completed)),
        };
    }
    quarantine(storage, folder, name, &tail)?;
    storage.truncate(file, start)?;
    storage.sync(file)?;
    Ok(Some(Repair::Quarantined {
        name,
        length: length - start,
    }))
}

/// Returns the offset after the last line feed. Reads only one byte if the tail is intact.
fn tail_start<S: ReadFiles>(storage: &S, file: &S::File, length: u64) -> io::Result<u64> {
    let (mut end, mut step) = (length, 1);
    while end > 0 {
        if length - end > MAX_TORN_TAIL {
            let why = format!("its last line is torn and longer than {MAX_TORN_TAIL} bytes: move the file away");
            return Err(io::Error::other(why));
        }
        let start = end.saturating_sub(step);
        let mut chunk = vec![0; (end - start) as usize];
        read_exact_at(storage, file, start, &mut chunk)?;
        if let Some(index) = chunk.rfind_byte(b'\n') {
            return Ok(start + index as u64 + 1);
        }
        (end, step) = (start, STEP);
    }
    Ok(0)
}
