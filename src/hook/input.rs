//! What git tells a hook on its standard input: lines of `old SP new SP ref LF` (githooks, *pre-receive*).
use std::io::{self, BufReader, Read};

use bstr::ByteSlice;

use super::account::Account;
use crate::{clock::Clock, journal::Lines, ref_pattern::RefPatterns, ref_update::RefUpdate};

/// A longer line is nothing that git writes, in bytes: a pkt-line has at most as many.
pub const MAX_INPUT_LINE: usize = 64 << 10;
/// Bytes per read: as many as a pipe holds.
const READ_SIZE: usize = 64 << 10;
/// How much of a line that is no ref update is logged, in bytes.
const MAX_LOGGED: usize = 200;

/// The mirrored ref updates that `input` tells of, and all its bytes if they are to be kept.
pub(super) fn read(
    input: impl Read,
    refs: &RefPatterns,
    keep: bool,
    account: &mut Account<impl Clock>,
) -> (Vec<RefUpdate>, Vec<u8>) {
    let kept = keep.then(Vec::new);
    let mut lines = Lines::new(
        BufReader::with_capacity(READ_SIZE, Tee { input, kept }),
        0,
        MAX_INPUT_LINE,
    );
    let mut updates = Vec::new();
    for number in 1u64.. {
        let parsed = match lines.next_line() {
            Ok(None) => break,
            Ok(Some(line)) if line.bytes.is_none() => Err(format!("longer than {MAX_INPUT_LINE} bytes")),
            Ok(Some(line)) if !line.terminated => Err("cut off: no line feed ends it".into()),
            Ok(Some(line)) => {
                let bytes = line.bytes.unwrap_or_default();
                RefUpdate::parse(bytes).map_err(|error| format!("{error}: {}", excerpt(bytes)))
            }
            Err(error) => {
                malformed(account, number, &format!("cannot be read: {error}"));
                break;
            }
        };
        match parsed {
            Ok(update) if refs.matches(update.name.as_bstr()) => updates.push(update),
            Ok(_) => {}
            Err(why) => malformed(account, number, &why),
        }
    }
    let kept = lines.into_inner().into_inner().kept;
    (updates, kept.unwrap_or_default())
}

fn malformed(account: &mut Account<impl Clock>, number: u64, why: &str) {
    let text = format!("line {number} of the hook's input is no ref update: {why}");
    account.log(&text);
    account.tell(&text);
    account.complete = false;
}

fn excerpt(line: &[u8]) -> String {
    format!("{:?}", line[..line.len().min(MAX_LOGGED)].as_bstr())
}

/// Reads, and keeps what it read when it is to.
struct Tee<R> {
    input: R,
    kept: Option<Vec<u8>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&buffer[..read]);
        }
        Ok(read)
    }
}
