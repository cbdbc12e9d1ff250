//! A pack on its way from a server into a repository.
use std::{
    fs::File,
    io,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use durable::storage::{self, Disk, Folders};
use git_push::{Error, ErrorKind};
use gix::ObjectId;

#[cfg(any(feature = "daemon", feature = "http", feature = "ssh"))]
use super::fetch::{Extent, PackStream};

/// The most bytes of a pack that is fetched: the history of about 4 million commits.
pub(super) const MAX_PACK: u64 = 1 << 30;

#[cfg(any(feature = "daemon", feature = "http", feature = "ssh"))]
/// A pack that is spooled while it arrives.
pub(super) struct ReceivedPack {
    stream: PackStream,
    spool: File,
}

#[cfg(any(feature = "daemon", feature = "http", feature = "ssh"))]
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
    pub(super) fn store(self, want: ObjectId, into: &gix::Repository, extent: Extent) -> Result<(), Error> {
        self.stream.finish()?;
        match extent {
            Extent::Commits => drop(index(self.spool, into)?),
            Extent::Objects => index(self.spool, into)?.settle(into)?,
        }
        require(want, into)
    }
}

/// Refuses when `want` did not come.
pub(super) fn require(want: ObjectId, into: &gix::Repository) -> Result<(), Error> {
    match into.has_object(want) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Transient,
            format!("the server's pack does not hold {want}, which was asked for"),
        )),
    }
}

/// A pack that is among the packs of a repository, and that `git gc` leaves alone as long as this is there.
pub(super) struct Indexed {
    files: Vec<PathBuf>,
    keep: Option<PathBuf>,
}

impl Indexed {
    /// Makes it durable, and a pack like any other.
    pub(super) fn settle(self, into: &gix::Repository) -> Result<(), Error> {
        let folder = into.objects.store_ref().path().join("pack");
        let settled = self.files.iter().try_for_each(|path| settle(&folder, path, None));
        settled
            .and_then(|()| Disk.sync_dir(&folder))
            .map_err(|error| local(&error))
    }
}

impl Drop for Indexed {
    fn drop(&mut self) {
        if let Some(path) = &self.keep {
            // Left behind it costs space and nothing else.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Syncs a new file, and lets whoever may read the folder, or has a right in `mode` to, read it: it comes out of a private
/// temporary file. It belongs to whom the folder belongs, where this process may give it away.
pub(super) fn settle(folder: &Path, path: &Path, mode: Option<u32>) -> io::Result<()> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let of_folder = std::fs::metadata(folder)?.permissions().mode();
        let mode = mode.unwrap_or(of_folder) & 0o444;
        // Where it is there already and belongs to somebody else, it is readable already.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
        durable::ownership::hand_over(path, folder, None)?;
    }
    #[cfg(not(unix))]
    let _ = (folder, mode);
    storage::sync_file(&file)
}

/// Puts a pack with its index among the packs of a repository.
pub(super) fn index(mut spool: File, into: &gix::Repository) -> Result<Indexed, Error> {
    io::Seek::rewind(&mut spool).map_err(|error| local(&error))?;
    let directory = into.objects.store_ref().path().join("pack");
    let written = gix_pack::Bundle::write_to_directory(
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
            ErrorKind::Transient,
            format!("the server's pack is not sound: {}", git_push::causes(&error)),
        )
    })?;
    Ok(Indexed {
        files: [written.data_path, written.index_path].into_iter().flatten().collect(),
        keep: written.keep_path,
    })
}

fn local(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Transient,
        format!("what the server sends cannot be stored here: {error}"),
    )
    .with_hint("look at the free space and the permissions of the temporary directory")
}
