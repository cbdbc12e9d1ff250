//! Age of the backlog, for messages.
use std::path::Path;

use bstr::ByteSlice;
use durable::storage::ReadFiles;
use jiff::Timestamp;

use super::{
    BLOCK,
    decode::decode,
    reader::read_exact_at,
    scan::{Head, Position, WORTH_REMEMBERING},
    segment::file_in,
};

/// Bytes that are searched for the oldest pending entry: more than an unwritten scan covers.
const LOOK_FOR_OLDEST: u64 = 2 * WORTH_REMEMBERING;
/// Text that only pending entries contain, in lines of our own writer.
const PENDING: &[u8] = br#","status":"pending""#;

/// Estimates the time of the oldest pending entry with a few bounded reads, for messages. `None` if no entry is pending, or
/// if none is found there.
pub fn oldest_pending<S: ReadFiles>(storage: &S, git_dir: &Path) -> Option<Timestamp> {
    let Position { segment, offset } = Head::load(storage, git_dir).oldest;
    let file = storage.open_read(&file_in(git_dir, segment)).ok()?;
    let length = storage.length(&file).ok()?.checked_sub(offset)?;
    // Try one block first: the oldest pending entry is usually the first line, and every push runs this.
    [BLOCK, LOOK_FOR_OLDEST].into_iter().find_map(|most| {
        let mut window = vec![0; length.min(most) as usize];
        read_exact_at(storage, &file, offset, &mut window).ok()?;
        first_pending(&window)
    })
}

/// Returns the time of the first pending entry in these lines. Searches for its status, because decoding every line would
/// take a hundred times as long.
fn first_pending(lines: &[u8]) -> Option<Timestamp> {
    let pending = lines.find(PENDING)?;
    let start = lines[..pending].rfind_byte(b'\n').map_or(0, |feed| feed + 1);
    let length = lines[pending..].find_byte(b'\n')?;
    let located = decode(&lines[start..pending + length], 0).ok()?;
    Some(located.entry.timestamp)
}
