//! Reader of lines in bounded memory.
use std::io::{self, BufRead, BufReader, Read, Seek};

use bstr::ByteSlice;

/// Reader of lines of any length, which keeps only their first bytes up to a limit.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    /// Offset of the next line.
    offset: u64,
    max: usize,
    kept: Vec<u8>,
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Offset of its first byte in the input.
    pub offset: u64,
    /// Number of bytes without the line feed.
    pub length: u64,
    /// The bytes without the line feed. `None` if there are more than the limit.
    pub bytes: Option<&'a [u8]>,
    /// The bytes without the line feed, cut off at the limit.
    pub start: &'a [u8],
    /// True if it ends with a line feed. Only the last line may lack one.
    pub terminated: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads the lines of `input`, which starts at `offset` of the file. Drops the bytes of a line beyond `max`.
    pub fn new(input: R, offset: u64, max: usize) -> Self {
        Lines {
            input,
            offset,
            max,
            kept: Vec::new(),
        }
    }

    /// Returns the next line, or `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
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
            let room = self.max - self.kept.len();
            self.kept.extend_from_slice(&content[..content.len().min(room)]);
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
            start: &self.kept,
            terminated,
        }))
    }

    /// Returns the offset of the next line.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the input.
    pub fn into_inner(self) -> R {
        self.input
    }
}

impl<R: Read + Seek> Lines<BufReader<R>> {
    /// Continues with the line that starts at `offset`. Keeps buffered bytes if possible.
    ///
    /// # Errors
    /// The input cannot seek there.
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
    fn lines_have_their_offsets_and_an_overlong_line_does_not_hide_others() {
        // A buffer of 3 bytes splits every line.
        let input = io::BufReader::with_capacity(3, &b"one\n\ntoo long\ntwo\nrest"[..]);
        let mut lines = Lines::new(input, 100, 4);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            let cut = &b"too long"[..line.start.len()];
            assert_eq!(line.start, line.bytes.unwrap_or(cut));
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
