//! Lines of bytes, in bounded memory.
use std::io::{self, BufRead, BufReader, Read, Seek};

use bstr::ByteSlice;

/// Reads lines that may be of any length, and keeps at most so many bytes of one.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    /// Of the next line.
    offset: u64,
    max: usize,
    kept: Vec<u8>,
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Offset of its first byte in the input.
    pub offset: u64,
    /// Its bytes, the line feed not counted.
    pub length: u64,
    /// The bytes without the line feed; `None` when there are too many to keep.
    pub bytes: Option<&'a [u8]>,
    /// Whether a line feed ends it; only the last line may lack one.
    pub terminated: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`, of which the first begins at `offset` of the whole. Of a line of more than `max` bytes nothing
    /// is kept.
    pub fn new(input: R, offset: u64, max: usize) -> Self {
        Lines {
            input,
            offset,
            max,
            kept: Vec::new(),
        }
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// As the input's.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.kept.clear();
        let (mut length, mut terminated) = (0, false);
        while !terminated {
            let available = match self.input.fill_buf() {
                Ok([]) => break,
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let feed = available.find_byte(b'\n');
            let content = &available[..feed.unwrap_or(available.len())];
            length += content.len();
            if length <= self.max {
                self.kept.extend_from_slice(content);
            }
            terminated = feed.is_some();
            let consumed = content.len() + usize::from(terminated);
            self.input.consume(consumed);
        }
        if length == 0 && !terminated {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length as u64 + u64::from(terminated);
        Ok(Some(Line {
            offset,
            length: length as u64,
            bytes: (length <= self.max).then_some(&self.kept),
            terminated,
        }))
    }

    /// Offset of the first byte of the next line.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the lines are read from.
    pub fn into_inner(self) -> R {
        self.input
    }
}

impl<R: Read + Seek> Lines<BufReader<R>> {
    /// Goes to the line that begins at `offset`; what is buffered and still of use is not read again.
    ///
    /// # Errors
    /// As the input's.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.input.seek_relative(offset.wrapping_sub(self.offset) as i64)?;
        self.offset = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_their_offsets_and_one_that_is_too_long_hides_no_other() {
        // A buffer of 3 bytes splits every line.
        let input = io::BufReader::with_capacity(3, &b"one\n\ntoo long\ntwo\nrest"[..]);
        let mut lines = Lines::new(input, 100, 4);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push((
                line.offset,
                line.length,
                line.bytes.map(<[u8]>::to_vec),
                line.terminated,
            ));
        }
        assert_eq!(
            seen,
            [
                (100, 3, Some(b"one".to_vec()), true),
                (104, 0, Some(b"".to_vec()), true),
                (105, 8, None, true),
                (114, 3, Some(b"two".to_vec()), true),
                (118, 4, Some(b"rest".to_vec()), false),
            ]
        );
    }
}
