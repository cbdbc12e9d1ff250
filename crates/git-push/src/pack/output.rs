//! The bytes of a pack that is being written, with their checksum: in memory, in a temporary file, or in a pipe to the thread
//! that sends them.
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use gix::hash;

use super::super::pipe::{PipeReader, PipeWriter, pipe};
use super::super::{Error, ErrorKind};

/// A pack that is being written.
pub(super) struct Output {
    out: hash::io::Write<Sink>,
    written: u64,
    /// Bytes of the checksum.
    checksum: u64,
}

/// Place of the bytes.
enum Sink {
    Memory(Vec<u8>),
    /// The file has no name and goes away with its last handle.
    File(BufWriter<File>),
    Pipe(PipeWriter),
}

/// A pack that was written.
pub(super) enum Written {
    Memory(Vec<u8>),
    /// The file, at its start, and its size in bytes.
    File(File, u64),
    /// All of it went through the pipe.
    Piped,
}

impl Output {
    /// Starts in memory.
    pub(super) fn in_memory(object_format: hash::Kind) -> Self {
        Output {
            out: hash::io::Write::new(Sink::Memory(Vec::new()), object_format),
            written: 0,
            checksum: object_format.len_in_bytes() as u64,
        }
    }

    /// Moves what is in memory to a new temporary file. The rest goes there, too.
    pub(super) fn move_to_file(&mut self) -> Result<(), Error> {
        let mut file = tempfile::tempfile()
            .map(BufWriter::new)
            .map_err(|error| failed(&error))?;
        if let Sink::Memory(bytes) = &self.out.inner {
            file.write_all(bytes).map_err(|error| failed(&error))?;
        }
        self.out.inner = Sink::File(file);
        Ok(())
    }

    /// Moves what is in memory to a pipe. The rest goes there, too.
    pub(super) fn move_to_pipe(&mut self) -> PipeReader {
        let head = match &mut self.out.inner {
            Sink::Memory(bytes) => std::mem::take(bytes),
            Sink::File(_) | Sink::Pipe(_) => Vec::new(),
        };
        let (writer, reader) = pipe(head);
        self.out.inner = Sink::Pipe(writer);
        reader
    }

    /// Returns the number of bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the size of the pack if it ended here, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.written + self.checksum
    }

    /// Returns true if the bytes went to a pipe that nobody reads any more.
    pub(super) fn is_hung_up(&self) -> bool {
        matches!(&self.out.inner, Sink::Pipe(writer) if writer.is_hung_up)
    }

    /// Adds the checksum.
    pub(super) fn finish(self) -> io::Result<Written> {
        let checksum = self.out.hash.try_finalize().map_err(io::Error::other)?;
        let mut sink = self.out.inner;
        sink.write_all(checksum.as_slice())?;
        match sink {
            Sink::Memory(bytes) => Ok(Written::Memory(bytes)),
            Sink::File(out) => {
                let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                let bytes = file.stream_position()?;
                file.rewind()?;
                Ok(Written::File(file, bytes))
            }
            Sink::Pipe(writer) => writer.finish().map(|()| Written::Piped),
        }
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

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Memory(out) => out.write(bytes),
            Sink::File(out) => out.write(bytes),
            Sink::Pipe(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Memory(_) => Ok(()),
            Sink::File(out) => out.flush(),
            Sink::Pipe(out) => out.flush(),
        }
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
