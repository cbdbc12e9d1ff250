//! Parser of a hook's standard input: lines of `old SP new SP ref LF` (githooks, *pre-receive*).
use std::io::{self, BufRead, BufReader, Read};

use bstr::BString;
use durable::clock::Clock;

use super::hook_output::HookOutput;
use crate::{
    journal::Lines,
    ref_update::{MalformedLine, RefUpdate},
};

/// Longest valid line in bytes. git never writes a longer one, because a pkt-line limits a ref update.
pub const MAX_INPUT_LINE: usize = 64 << 10;
/// Bytes per read: the capacity of a pipe.
const READ_SIZE: usize = 64 << 10;
/// Bytes of an invalid line that are reported.
const MAX_EXCERPT: usize = 200;

/// Iterator over the ref updates in a hook's input, one per line, in bounded memory. An invalid line yields an error and
/// does not affect the others. After a read error the iterator ends.
#[derive(Debug)]
pub struct RefUpdates<R> {
    lines: Lines<R>,
    /// Number of the last line, from 1.
    number: u64,
    broken: bool,
}

/// An invalid line of a hook's input.
#[derive(Debug, thiserror::Error)]
#[error("line {number} of the hook's input is not a ref update: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// The reason.
    pub why: Why,
}

/// Reasons why a line of a hook's input is invalid.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It has more than [`MAX_INPUT_LINE`] bytes.
    #[error("longer than {MAX_INPUT_LINE} bytes")]
    TooLong,
    /// The input ends within it.
    #[error("incomplete: the input ends before a line feed")]
    CutOff,
    /// It does not parse.
    #[error("{error}: {excerpt:?}")]
    Malformed {
        /// The parser's error.
        error: MalformedLine,
        /// Its beginning.
        excerpt: BString,
    },
    /// The input cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl<R: BufRead> RefUpdates<R> {
    /// Parses `input` from its first line on.
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

/// Calls `take` with each ref update in `input`, and reports invalid lines. Returns all bytes of the input if `keep` is
/// set.
pub(super) fn read(
    input: impl Read,
    keep: bool,
    output: &mut HookOutput<impl Clock>,
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
                output.log(&text);
                output.tell_pusher(&text);
                output.complete = false;
            }
        }
    }
    updates.lines.into_inner().into_inner().kept.unwrap_or_default()
}

/// Reader that optionally keeps the bytes it has read.
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
