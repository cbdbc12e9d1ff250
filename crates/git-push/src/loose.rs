//! Loose objects (gitrepository-layout, *objects/\[0-9a-f\]\[0-9a-f\]*), decoded as streams: a large one never has to be in
//! memory.
use std::io::{self, BufRead, Read};

use gix::objs::Kind;
use gix::zlib::{Decompress, stream::inflate};

/// Upper bound of the length of a header, in bytes.
const MAX_HEADER: usize = 64;

/// A loose object that is being read. [`Read`] returns its content.
pub(super) struct Loose<'a, R> {
    pub(super) kind: Kind,
    /// Size of the content in bytes.
    pub(super) size: u64,
    input: R,
    state: &'a mut Decompress,
    /// Start of the content: the bytes that were decompressed with the header.
    start: io::Cursor<Vec<u8>>,
    /// Number of bytes of the content that are still compressed.
    rest: u64,
}

impl<'a, R: BufRead> Loose<'a, R> {
    /// Reads the header of an object from `input`.
    pub(super) fn new(mut input: R, state: &'a mut Decompress) -> io::Result<Self> {
        state.reset();
        let mut start = vec![0; MAX_HEADER];
        let length = inflate::read(&mut input, state, &mut start)?;
        start.truncate(length);
        let (kind, size, header) = gix::objs::decode::loose_header(&start).map_err(io::Error::other)?;
        let rest = size.checked_sub((length - header) as u64).ok_or_else(wrong_size)?;
        start.drain(..header);
        Ok(Loose {
            kind,
            size,
            input,
            state,
            start: io::Cursor::new(start),
            rest,
        })
    }

    /// Reads the whole content.
    pub(super) fn into_data(mut self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size).map_err(io::Error::other)?;
        let mut data = vec![0; size];
        self.read_exact(&mut data)?;
        Ok(data)
    }
}

impl<R: BufRead> Read for Loose<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.start.read(out)?;
        if read > 0 || self.rest == 0 || out.is_empty() {
            return Ok(read);
        }
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(out.len());
        let read = inflate::read(&mut self.input, self.state, &mut out[..most])?;
        self.rest -= read as u64;
        match read {
            0 => Err(wrong_size()),
            _ => Ok(read),
        }
    }
}

fn wrong_size() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its size differs from that in its header")
}

#[cfg(test)]
mod tests {
    use gix::zlib::{Compression, stream::deflate, stream::deflate::FlushCompress};

    use super::*;

    fn compressed(object: &[u8]) -> Vec<u8> {
        let mut state = deflate::Compress::new(Compression::DEFAULT);
        let mut out = vec![0; object.len() + 100];
        state
            .compress(object, &mut out, FlushCompress::Finish)
            .expect("an object");
        out.truncate(state.total_out() as usize);
        out
    }

    fn read(object: &[u8]) -> io::Result<(Kind, Vec<u8>)> {
        let (bytes, mut state) = (compressed(object), Decompress::new());
        let loose = Loose::new(&bytes[..], &mut state)?;
        Ok((loose.kind, loose.into_data()?))
    }

    #[test]
    fn the_content_follows_the_header() {
        for size in [0, 1, MAX_HEADER - 9, MAX_HEADER, 100_000] {
            let content: Vec<u8> = (0..size).map(|number| number as u8).collect();
            let object = [format!("blob {size}\0").as_bytes(), &content].concat();
            assert_eq!(read(&object).expect("an object"), (Kind::Blob, content), "{size}");
        }
    }

    #[test]
    fn an_object_whose_size_is_not_that_of_its_header_is_refused() {
        for object in ["blob 1\0", "blob 1\0ab", "tree 100\0ab"] {
            assert!(read(object.as_bytes()).is_err(), "{object:?}");
        }
        assert!(read(b"blob").is_err());
    }
}
