//! What git tells a hook on its standard input: lines of `old SP new SP ref LF` (githooks, *pre-receive*).
use std::io::{self, BufRead, BufReader, Read};

use bstr::BString;
use durable::clock::Clock;

use super::account::Account;
use crate::{
    journal::Lines,
    ref_update::{MalformedLine, RefUpdate},
};

/// A longer line is nothing that git writes, in bytes: a pkt-line has at most as many.
pub const MAX_INPUT_LINE: usize = 64 << 10;
/// Bytes per read: as many as a pipe holds.
const READ_SIZE: usize = 64 << 10;
/// How much of a line that is no ref update is told, in bytes.
const MAX_EXCERPT: usize = 200;

/// The ref updates in a hook's input, one per line, in bounded memory. A line that is none hides no other; where the input
/// cannot be read any further, that is the last thing it gives.
#[derive(Debug)]
pub struct RefUpdates<R> {
    lines: Lines<R>,
    /// Of the last line, from 1.
    number: u64,
    broken: bool,
}

/// A line of a hook's input that is no ref update.
#[derive(Debug, thiserror::Error)]
#[error("line {number} of the hook's input is no ref update: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a line of a hook's input.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It has more than [`MAX_INPUT_LINE`] bytes.
    #[error("longer than {MAX_INPUT_LINE} bytes")]
    TooLong,
    /// The input ends within it.
    #[error("cut off: no line feed ends it")]
    CutOff,
    /// It says something else.
    #[error("{error}: {excerpt:?}")]
    Malformed {
        /// What is wrong with what it says.
        error: MalformedLine,
        /// Its beginning.
        excerpt: BString,
    },
    /// The input failed.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl<R: BufRead> RefUpdates<R> {
    /// What `input` tells, from its first line on.
    pub fn new(input: R) -> Self {
        RefUpdates {
            lines: Lines::new(input, 0, MAX_INPUT_LINE),
            number: 0,
            broken: false,
        }
    }

    fn next_update(&mut self) -> Result<Option<RefUpdate>, Why> {
        let Some(line) = self.lines.next_line().map_err(Why::Unreadable)? else {
            return Ok(None);
        };
        let bytes = line.bytes.ok_or(Why::TooLong)?;
        if !line.terminated {
            return Err(Why::CutOff);
        }
        let malformed = |error| Why::Malformed {
            error,
            excerpt: bytes[..bytes.len().min(MAX_EXCERPT)].into(),
        };
        RefUpdate::parse(bytes).map(Some).map_err(malformed)
    }
}

impl<R: BufRead> Iterator for RefUpdates<R> {
    type Item = Result<RefUpdate, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        self.number += 1;
        let number = self.number;
        let update = self.next_update().map_err(|why| BadLine { number, why });
        self.broken = matches!(&update, Err(bad) if matches!(bad.why, Why::Unreadable(_)));
        update.transpose()
    }
}

/// Gives each ref update that `input` tells of to `take`; its result is all bytes of the input, if they are to be kept.
pub(super) fn read(
    input: impl Read,
    keep: bool,
    account: &mut Account<impl Clock>,
    mut take: impl FnMut(RefUpdate),
) -> Vec<u8> {
    let kept = keep.then(Vec::new);
    let input = BufReader::with_capacity(READ_SIZE, Tee { input, kept });
    let mut updates = RefUpdates::new(input);
    for update in updates.by_ref() {
        match update {
            Ok(update) => take(update),
            Err(bad) => {
                let text = bad.to_string();
                account.log(&text);
                account.tell(&text);
                account.complete = false;
            }
        }
    }
    updates.lines.into_inner().into_inner().kept.unwrap_or_default()
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
