//! The pack writer (gitformat-pack, *pack-\*.pack files have the following format*): version 2, whole objects.
//!
//! Memory: one object, and what compresses it. The pack is spooled to a file without a name in the folder for
//! temporary files (`TMPDIR`), which goes away with its last handle, however the process ends.
use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use gix::zlib::{Compression, Status, stream::deflate};
use gix::{ObjectId, hash};

use super::{Error, Outcome, Pack, objects::Objects};

/// Writes these objects, each to be named once, to a spool.
///
/// # Errors
/// [`Outcome::Transient`] when the spool cannot be written, [`Outcome::Misconfigured`] when an object cannot be read.
pub fn write(repository: &gix::Repository, ids: &[ObjectId]) -> Result<Pack, Error> {
    let objects = Objects::new(repository);
    let count = u32::try_from(ids.len()).map_err(|_| {
        Error::new(
            Outcome::Misconfigured,
            "more objects to push than a pack can hold (2^32)",
        )
    })?;
    let spool = tempfile::tempfile().map_err(|error| spool_failed(&error))?;
    let mut writer = Writer::new(spool, repository.object_hash());
    writer.header(count).map_err(|error| spool_failed(&error))?;
    for id in ids {
        let object = objects.find(*id, &"what is to be pushed")?;
        writer
            .entry(object.kind, &object.data)
            .map_err(|error| spool_failed(&error))?;
    }
    let (file, bytes) = writer.finish().map_err(|error| spool_failed(&error))?;
    Ok(Pack {
        file,
        bytes,
        objects: count,
    })
}

fn spool_failed(error: &std::io::Error) -> Error {
    let folder = std::env::temp_dir();
    let what = format!(
        "cannot write the pack to a temporary file in {}: {error}",
        folder.display()
    );
    Error::new(Outcome::Transient, what).with_hint("set TMPDIR to a folder with more space")
}

/// A pack being written.
struct Writer {
    out: hash::io::Write<BufWriter<File>>,
    deflate: deflate::Compress,
}

impl Writer {
    fn new(file: File, object_format: hash::Kind) -> Self {
        Writer {
            out: hash::io::Write::new(BufWriter::new(file), object_format),
            deflate: deflate::Compress::new(Compression::DEFAULT),
        }
    }

    fn header(&mut self, objects: u32) -> std::io::Result<()> {
        self.out
            .write_all(&gix_pack::data::header::encode(gix_pack::data::Version::V2, objects))
    }

    fn entry(&mut self, kind: gix::objs::Kind, mut data: &[u8]) -> std::io::Result<()> {
        use gix_pack::data::entry::Header;
        let header = match kind {
            gix::objs::Kind::Commit => Header::Commit,
            gix::objs::Kind::Tree => Header::Tree,
            gix::objs::Kind::Blob => Header::Blob,
            gix::objs::Kind::Tag => Header::Tag,
        };
        header.write_to(data.len() as u64, &mut self.out)?;

        self.deflate.reset();
        let mut buffer = [0; 16 * 1024];
        loop {
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            let status = self.deflate.compress(data, &mut buffer, deflate::FlushCompress::Finish);
            let status = status.map_err(std::io::Error::other)?;
            data = &data[(self.deflate.total_in() - read) as usize..];
            self.out
                .write_all(&buffer[..(self.deflate.total_out() - written) as usize])?;
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }

    /// Adds the checksum; gives the file, at its start, and its size.
    fn finish(self) -> std::io::Result<(File, u64)> {
        let checksum = self.out.hash.try_finalize().map_err(std::io::Error::other)?;
        let mut out = self.out.inner;
        out.write_all(checksum.as_slice())?;
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let bytes = file.stream_position()?;
        file.rewind()?;
        Ok((file, bytes))
    }
}
