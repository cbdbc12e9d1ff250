//! pkt-lines (gitprotocol-common, *pkt-line Format*): four hexadecimal digits with the length of the whole line, then its
//! content.
//!
//! [`Reader`] takes bytes in pieces of any size and returns complete lines. It never blocks. [`Answer`] passes them on,
//! until the answer is complete.
use std::ops::ControlFlow;

use bstr::BString;
use gix_packetline::PacketLineRef;
use gix_packetline::decode::{self, Stream};

use super::{Fault, WireError};

/// Maximum size of the content of a line in bytes.
pub const MAX_PAYLOAD: usize = 65516;

/// One line. The protocol has no other kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The content, which may be empty.
    Data(BString),
    /// `0000`
    Flush,
    /// `0001` (protocol 2)
    Delimiter,
    /// `0002` (protocol 2)
    ResponseEnd,
}

/// Reader of lines whose bytes arrive in pieces. After an error, it returns only that error.
#[derive(Debug)]
pub struct Reader {
    limit: u64,
    fed: u64,
    buffer: Vec<u8>,
    consumed: usize,
    error: Option<WireError>,
}

impl Reader {
    /// Creates a reader that takes at most `limit` bytes in all.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Reader {
            limit,
            fed: 0,
            buffer: Vec::new(),
            consumed: 0,
            error: None,
        }
    }

    /// Takes the next piece. Beyond the limit it is dropped, and [`next()`](Reader::next()) returns the error.
    ///
    /// Bytes are kept until they are returned as lines: take all lines before the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        if self.fed > self.limit {
            self.error.get_or_insert(Fault::TooLarge { limit: self.limit }.into());
        }
        if self.error.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the next line, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Fault::Framing`] when the bytes are not pkt-lines, [`Fault::TooLarge`] beyond the limit.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends, but this one awaits more bytes"
    )]
    pub fn next(&mut self) -> Result<Option<Line>, WireError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        match first_line(&self.buffer[self.consumed..]) {
            Ok(Some((line, length))) => {
                self.consumed += length;
                Ok(Some(line))
            }
            Ok(None) => {
                self.buffer.drain(..self.consumed);
                self.consumed = 0;
                Ok(None)
            }
            Err(why) => {
                let at = self.fed - (self.buffer.len() - self.consumed) as u64;
                Err(self.error.insert(Fault::Framing { at, why }.into()).clone())
            }
        }
    }

    /// Returns true if no bytes of an incomplete line are left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.consumed == self.buffer.len()
    }
}

/// An answer whose bytes arrive in pieces. Its lines build up `content`. After an error, it returns only that error.
#[derive(Debug)]
pub struct Answer<T> {
    reader: Reader,
    ended: bool,
    /// Content of the lines so far.
    pub content: T,
}

impl<T> Answer<T> {
    /// Creates an empty answer, which may grow to `limit` bytes.
    #[must_use]
    pub fn new(limit: u64, content: T) -> Self {
        Answer {
            reader: Reader::new(limit),
            ended: false,
            content,
        }
    }

    /// Creates an answer that is complete.
    #[must_use]
    pub fn ended(content: T) -> Self {
        Answer {
            reader: Reader::new(0),
            ended: true,
            content,
        }
    }

    /// Takes the next piece, and passes each complete line to `take`, until `take` breaks because the answer is
    /// complete. The rest is ignored.
    ///
    /// # Errors
    /// The errors of [`Reader::next()`] and of `take`.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&mut T, Line) -> Result<ControlFlow<()>, WireError>,
    ) -> Result<(), WireError> {
        if self.ended {
            return Ok(());
        }
        self.reader.feed(bytes);
        while let Some(line) = self.reader.next()? {
            match take(&mut self.content, line) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => {
                    self.ended = true;
                    break;
                }
                Err(error) => return Err(self.reader.error.insert(error).clone()),
            }
        }
        Ok(())
    }

    /// Returns true if the answer is complete. On a connection that stays open, nothing follows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Appends a line with this content.
///
/// # Panics
/// When `payload` is longer than [`MAX_PAYLOAD`].
pub fn data(out: &mut Vec<u8>, payload: &[u8]) {
    assert!(
        payload.len() <= MAX_PAYLOAD,
        "a pkt-line carries at most {MAX_PAYLOAD} bytes"
    );
    out.extend_from_slice(format!("{:04x}", payload.len() + 4).as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a flush-pkt.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends a delim-pkt (protocol 2).
pub fn delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

/// Returns the first line in `bytes` and its length on the wire. `None` if it is incomplete, an error if it is invalid.
fn first_line(bytes: &[u8]) -> Result<Option<(Line, usize)>, String> {
    // Such a line "SHOULD NOT be sent", but receivers must accept it. gix refuses it.
    if bytes.starts_with(b"0004") {
        return Ok(Some((Line::Data(BString::default()), 4)));
    }
    let (line, length) = match decode::streaming(bytes) {
        Ok(Stream::Complete { line, bytes_consumed }) => (line, bytes_consumed),
        Ok(Stream::Incomplete { .. }) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let line = match line {
        PacketLineRef::Data(data) => Line::Data(data.into()),
        PacketLineRef::Flush => Line::Flush,
        PacketLineRef::Delimiter => Line::Delimiter,
        PacketLineRef::ResponseEnd => Line::ResponseEnd,
    };
    Ok(Some((line, length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<Line>, WireError> {
        let mut reader = Reader::new(1 << 20);
        let mut lines = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            while let Some(line) = reader.next()? {
                lines.push(line);
            }
        }
        assert!(reader.is_drained());
        Ok(lines)
    }

    #[test]
    fn lines_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = b"0006a\n0000000100040009hello00020005x";
        let expected = [
            Line::Data("a\n".into()),
            Line::Flush,
            Line::Delimiter,
            Line::Data("".into()),
            Line::Data("hello".into()),
            Line::ResponseEnd,
            Line::Data("x".into()),
        ];
        for at in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]).unwrap(), expected, "cut at {at}");
        }
    }

    #[test]
    fn what_is_not_a_pkt_line_is_refused_with_its_place() {
        for bad in ["0003", "<htm", "fff1", "ffff", "00 9"] {
            let mut reader = Reader::new(100);
            reader.feed(format!("0005x{bad}").as_bytes());
            assert_eq!(reader.next(), Ok(Some(Line::Data("x".into()))));
            let error = reader.next().unwrap_err();
            assert!(matches!(error.fault, Fault::Framing { at: 5, .. }), "{bad}: {error}");
            reader.feed(b"0000");
            assert_eq!(reader.next(), Err(error), "after an error the state is the error");
        }
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let mut reader = Reader::new(8);
        reader.feed(b"00000000");
        assert_eq!(reader.next(), Ok(Some(Line::Flush)));
        reader.feed(b"0");
        assert_eq!(reader.next().unwrap_err().fault, Fault::TooLarge { limit: 8 });
    }

    #[test]
    fn an_incomplete_line_needs_more() {
        let mut reader = Reader::new(100);
        reader.feed(b"0009hel");
        assert_eq!(reader.next(), Ok(None));
        assert!(!reader.is_drained());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(payloads: Vec<Vec<u8>>, cuts: Vec<proptest::sample::Index>) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                data(&mut bytes, payload);
            }
            flush(&mut bytes);
            delimiter(&mut bytes);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let expected = payloads.iter().map(|payload| Line::Data(payload.as_slice().into()));
            let expected: Vec<_> = expected.chain([Line::Flush, Line::Delimiter]).collect();
            prop_assert_eq!(read(&pieces).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(1000);
            reader.feed(&bytes);
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
