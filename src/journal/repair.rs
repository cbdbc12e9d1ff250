//! Repair of a torn tail, under the journal's lock. What is cut off is kept first.
use std::{io, path::Path};

use bstr::ByteSlice;
use ulid::Ulid;

use super::{QUARANTINE, format::decode};
use crate::storage::{FILE_MODE, Storage};

/// A longer torn tail is nothing that a writer of ours leaves; it is refused. In bytes.
const MAX_TORN_TAIL: u64 = 64 << 20;
/// Bytes per step on the way back to the last line feed.
const STEP: u64 = 64 << 10;

/// What a repair did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The last line was a complete entry: it got its line feed.
    Completed,
    /// The last line was none: its bytes went to quarantine under this name.
    Quarantined {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// How many bytes.
        length: u64,
    },
}

/// Repairs the journal `file` in `folder`, whose lock the caller holds, so that it ends with a line feed or is empty.
/// `name` is for the quarantine. The journal itself is not synced, except after a cut.
///
/// # Errors
/// What could not be read, copied or cut off. Then nothing may be appended.
pub(super) fn repair<S: Storage>(storage: &S, file: &S::File, folder: &Path, name: Ulid) -> io::Result<Option<Repair>> {
    let length = storage.length(file)?;
    let start = tail_start(storage, file, length)?;
    if start == length {
        return Ok(None);
    }
    let mut tail = vec![0; (length - start) as usize];
    read_exact_at(storage, file, start, &mut tail)?;
    if decode(&tail, start).is_ok() {
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

/// Fills `buffer` with what is at `offset`.
///
/// # Errors
/// As a read's, and when the file ends before.
pub(super) fn read_exact_at<S: Storage>(
    storage: &S,
    file: &S::File,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> io::Result<()> {
    while !buffer.is_empty() {
        match storage.read_at(file, offset, buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                offset += read as u64;
                buffer = &mut buffer[read..];
            }
        }
    }
    Ok(())
}

/// Offset after the last line feed; the usual case reads one byte.
fn tail_start<S: Storage>(storage: &S, file: &S::File, length: u64) -> io::Result<u64> {
    let (mut end, mut step) = (length, 1);
    while end > 0 {
        if length - end > MAX_TORN_TAIL {
            let why = format!("its last line is torn and longer than {MAX_TORN_TAIL} bytes; move the file away");
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

fn quarantine<S: Storage>(storage: &S, folder: &Path, name: Ulid, bytes: &[u8]) -> io::Result<()> {
    let quarantine = folder.join(QUARANTINE);
    let kept = if storage.create_dir(&quarantine)? {
        storage.sync_dir(folder)
    } else {
        Ok(())
    };
    kept.and_then(|()| storage.write_new(&quarantine.join(name.to_string()), bytes, FILE_MODE))
        .and_then(|()| storage.sync_dir(&quarantine))
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("its torn tail cannot be put in quarantine: {error}"),
            )
        })
}
