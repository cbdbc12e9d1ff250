//! Temporary file that a pack is written to, with its checksum.
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use gix::hash;

use super::super::{Error, ErrorKind};

/// A pack that is being written. The file has no name and goes away with its last handle.
pub(super) struct Output {
    out: hash::io::Write<BufWriter<File>>,
    written: u64,
}

impl Output {
    /// Creates the file.
    pub(super) fn new(object_format: hash::Kind) -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(|error| failed(&error))?;
        Ok(Output {
            out: hash::io::Write::new(BufWriter::new(file), object_format),
            written: 0,
        })
    }

    /// Returns the number of bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Adds the checksum. Returns the file, at its start, and its size in bytes.
    pub(super) fn finish(self) -> io::Result<(File, u64)> {
        let checksum = self.out.hash.try_finalize().map_err(io::Error::other)?;
        let mut out = self.out.inner;
        out.write_all(checksum.as_slice())?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = file.stream_position()?;
        file.rewind()?;
        Ok((file, bytes))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the error of a temporary file that cannot be written.
pub(super) fn failed(error: &io::Error) -> Error {
    let folder = std::env::temp_dir();
    let what = format!(
        "cannot write the pack to a temporary file in {}: {error}",
        folder.display()
    );
    Error::new(ErrorKind::Transient, what).with_hint("set TMPDIR to a folder with more space")
}
