//! The bytes of a pack that is being written, with their checksum: in memory, in a temporary file, or in a pipe to the thread
//! that sends them.
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use gix::hash;

use super::super::pipe::{PipeReader, PipeWriter, pipe};
use super::super::{Error, ErrorKind};

/// A pack that is being written to memory.
pub(super) type Memory = Vec<u8>;
/// A pack that is being written to a file. The file has no name, and is removed when its last handle is closed.
pub(super) type Spool = BufWriter<File>;

/// A pack that is being written.
pub(super) struct Output<W> {
    out: hash::io::Write<W>,
    written: u64,
    /// Bytes of the checksum.
    checksum: u64,
}

impl<W: Write> Output<W> {
    /// Returns the number of bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the size of the pack if it ended here, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.written + self.checksum
    }

    /// Goes on in another place.
    fn moved<V>(self, to: V) -> Output<V> {
        let hash::io::Write { hash, .. } = self.out;
        Output {
            out: hash::io::Write { hash, inner: to },
            written: self.written,
            checksum: self.checksum,
        }
    }

    /// Adds the checksum. Returns the place.
    fn finish(self) -> io::Result<W> {
        let checksum = self.out.hash.try_finalize().map_err(io::Error::other)?;
        let mut out = self.out.inner;
        out.write_all(checksum.as_slice())?;
        Ok(out)
    }
}

impl Output<Memory> {
    /// Starts a pack.
    pub(super) fn new(object_format: hash::Kind) -> Self {
        Output {
            out: hash::io::Write::new(Vec::new(), object_format),
            written: 0,
            checksum: object_format.len_in_bytes() as u64,
        }
    }

    /// Goes on in a new temporary file.
    pub(super) fn into_file(self) -> Result<Output<Spool>, Error> {
        let mut file = tempfile::tempfile()
            .map(BufWriter::new)
            .map_err(|error| failed(&error))?;
        file.write_all(&self.out.inner).map_err(|error| failed(&error))?;
        Ok(self.moved(file))
    }

    /// Continues in a pipe, which begins with the bytes that are in memory.
    pub(super) fn into_pipe(mut self) -> (Output<PipeWriter>, PipeReader) {
        let (writer, reader) = pipe(std::mem::take(&mut self.out.inner));
        (self.moved(writer), reader)
    }

    /// Ends the pack, and returns it.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, Error> {
        self.finish().map_err(|error| failed(&error))
    }
}

impl Output<Spool> {
    /// Ends the pack. Returns the file, at its start, and its size in bytes.
    pub(super) fn into_spool(self) -> Result<(File, u64), Error> {
        let ended = || {
            let mut file = self.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            let bytes = file.stream_position()?;
            file.rewind()?;
            Ok((file, bytes))
        };
        ended().map_err(|error| failed(&error))
    }
}

impl Output<PipeWriter> {
    /// Returns true if the reader of the pipe was found to be gone.
    pub(super) fn is_hung_up(&self) -> bool {
        self.out.inner.is_hung_up
    }

    /// Ends the pack. If its reader is gone, that is no matter.
    pub(super) fn end(self) {
        let _ = self.finish().and_then(PipeWriter::finish);
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the error of a temporary file that cannot be written. The error of a pipe is not shown.
pub(super) fn failed(error: &io::Error) -> Error {
    let folder = std::env::temp_dir();
    let what = format!(
        "cannot write the pack to a temporary file in {}: {error}",
        folder.display()
    );
    Error::new(ErrorKind::Transient, what).with_hint("set TMPDIR to a folder with more space")
}
