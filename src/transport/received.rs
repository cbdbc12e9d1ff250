//! A pack on its way from a server into a temporary repository.
use std::{fs::File, io, io::Write, sync::atomic::AtomicBool};

use gix::ObjectId;

use super::fetch::PackStream;
use crate::push::{self, Error, Outcome};

/// The most bytes of a pack that is fetched: the history of about 4 million commits.
pub(super) const MAX_PACK: u64 = 1 << 30;

/// A pack that is spooled while it arrives.
pub(super) struct ReceivedPack {
    stream: PackStream,
    spool: File,
}

impl ReceivedPack {
    /// Awaits the pack out of `stream`, for `into`.
    pub(super) fn new(stream: PackStream, into: &gix::Repository) -> Result<Self, Error> {
        let spool = tempfile::tempfile_in(into.path()).map_err(|error| local(&error))?;
        Ok(ReceivedPack { stream, spool })
    }

    /// Takes the next piece of the server's answer.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), Error> {
        let mut pack = Vec::new();
        self.stream.feed(piece, &mut pack)?;
        self.spool.write_all(&pack).map_err(|error| local(&error))
    }

    /// Whether the answer is complete.
    pub(super) fn has_ended(&self) -> bool {
        self.stream.has_ended()
    }

    /// Checks the pack, and puts it with its index among the packs of `into`, which then has `want`.
    pub(super) fn store(self, want: ObjectId, into: &gix::Repository) -> Result<(), Error> {
        self.stream.finish()?;
        index(self.spool, into)?;
        match into.has_object(want) {
            true => Ok(()),
            false => Err(Error::new(
                Outcome::Transient,
                format!("the server's pack does not hold {want}, which was asked for"),
            )),
        }
    }
}

fn index(mut spool: File, into: &gix::Repository) -> Result<(), Error> {
    io::Seek::rewind(&mut spool).map_err(|error| local(&error))?;
    let directory = into.objects.store_ref().path().join("pack");
    gix_pack::Bundle::write_to_directory(
        &mut io::BufReader::new(spool),
        Some(&directory),
        &mut gix::progress::Discard,
        &AtomicBool::new(false),
        None::<gix::objs::find::Never>,
        into.object_hash(),
        gix_pack::bundle::write::Options {
            thread_limit: Some(1),
            alloc_limit_bytes: usize::try_from(MAX_PACK).ok(),
            ..Default::default()
        },
    )
    .map_err(|error| {
        Error::new(
            Outcome::Transient,
            format!("the server's pack is not sound: {}", push::causes(&error)),
        )
    })?;
    Ok(())
}

fn local(error: &io::Error) -> Error {
    Error::new(
        Outcome::Transient,
        format!("what the server sends cannot be stored here: {error}"),
    )
    .with_hint("look at the free space and the permissions of the temporary directory")
}
