//! Bodies of requests in chunks (RFC 9112, *Chunked Transfer Coding*).
use std::io::{self, BufRead};

/// A body that is read, without the framing.
#[derive(Default)]
pub struct Chunks {
    pub body: Vec<u8>,
    /// True if the last chunk came.
    pub has_ended: bool,
}

impl Chunks {
    /// Reads chunks until the body has at least `enough` bytes, or ends.
    pub fn read(&mut self, stream: &mut impl BufRead, enough: usize) -> io::Result<()> {
        while !self.has_ended && self.body.len() < enough {
            let size = usize::from_str_radix(line(stream)?.trim(), 16).map_err(io::Error::other)?;
            let start = self.body.len();
            self.body.resize(start + size, 0);
            stream.read_exact(&mut self.body[start..])?;
            line(stream)?;
            self.has_ended = size == 0;
        }
        Ok(())
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}
