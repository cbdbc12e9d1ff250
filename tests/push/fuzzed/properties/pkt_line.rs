//! pkt-lines: they are parsed alike, however they are cut, and encoding them again gives the same bytes.
use git_push::{
    WireError,
    pkt_line::{self, Line, Reader},
};

use super::{control, pieces};

/// The first byte limits the number of bytes, in steps of 16.
pub fn check(bytes: &[u8]) {
    let (steps, bytes) = control(bytes, 255);
    let limit = 16 * u64::from(steps);
    if bytes.len() as u64 > limit {
        let (lines, end) = read(pieces(bytes), limit);
        assert!(end.is_err(), "more than {limit} bytes pass for {} lines", lines.len());
        return;
    }
    let (lines, end) = read([bytes], limit);
    assert_eq!(read(pieces(bytes), limit), (lines.clone(), end.clone()));
    let mut written = Vec::new();
    for line in &lines {
        match line {
            Line::Data(payload) => pkt_line::data(&mut written, payload),
            Line::Flush => pkt_line::flush(&mut written),
            Line::Delimiter => pkt_line::delimiter(&mut written),
            Line::ResponseEnd => written.extend_from_slice(b"0002"),
        }
    }
    // Lengths may be written with upper-case digits.
    assert!(bytes.len() >= written.len() && bytes[..written.len()].eq_ignore_ascii_case(&written));
    match end {
        Ok(drained) => assert_eq!(drained, bytes.len() == written.len()),
        Err(_) => assert!(bytes.len() > written.len()),
    }
}

/// The lines, and true if all bytes were lines, or the error that ends them.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: u64) -> (Vec<Line>, Result<bool, WireError>) {
    let mut reader = Reader::new(limit);
    let mut lines = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(error) => {
                    reader.feed(b"0000");
                    assert_eq!(
                        reader.next(),
                        Err(error.clone()),
                        "after an error the state is the error"
                    );
                    return (lines, Err(error));
                }
            }
        }
    }
    (lines, Ok(reader.is_drained()))
}
