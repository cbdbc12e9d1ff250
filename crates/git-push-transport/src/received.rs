//! Packs that a server sends, and their way into a repository.
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

#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
use crate::fetch::{Extent, PackStream, Wanted};

/// Limit of a fetched pack, in bytes: the history of about 4 million commits.
pub(crate) const MAX_PACK: u64 = 1 << 30;

#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
/// A pack that is written to a temporary file while it arrives.
pub(crate) struct ReceivedPack {
    stream: PackStream,
    spool: File,
}

#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
impl ReceivedPack {
    /// Awaits the pack of `stream`, for `into`.
    pub(crate) fn new(stream: PackStream, into: &gix::Repository) -> Result<Self, Error> {
        let spool = tempfile::tempfile_in(into.path()).map_err(|error| local(&error))?;
        Ok(ReceivedPack { stream, spool })
    }

    /// Takes the next piece of the server's answer.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Error> {
        let mut pack = Vec::new();
        self.stream.feed(piece, &mut pack)?;
        self.spool.write_all(&pack).map_err(|error| local(&error))
    }

    /// Returns true if the answer is complete.
    pub(crate) fn has_ended(&self) -> bool {
        self.stream.has_ended()
    }

    /// Checks the pack, and adds it with its index to the packs of `into`, which then has the wanted commit.
    pub(crate) fn store(self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        self.stream.finish()?;
        match wanted.extent {
            Extent::Commits => drop(index(self.spool, into)?),
            Extent::Objects => index(self.spool, into)?.settle(into)?,
        }
        require(wanted.commit, into)
    }
}

/// Fails if `want` did not arrive.
pub(crate) fn require(want: ObjectId, into: &gix::Repository) -> Result<(), Error> {
    if into.has_object(want) {
        return Ok(());
    }
    let what = format!("the server's pack does not contain {want}, which was asked for");
    Err(Error::new(ErrorKind::Transient, what))
}

/// A pack in a repository, which `git gc` skips as long as this value exists.
pub(crate) struct Indexed {
    files: Vec<PathBuf>,
    keep: Option<PathBuf>,
}

impl Indexed {
    /// Makes it durable, and an ordinary pack.
    pub(crate) fn settle(self, into: &gix::Repository) -> Result<(), Error> {
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
            // A file that stays only costs space.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Syncs a new file that was a private temporary file. It gets the read permissions of the folder, or of `mode`, and the owner
/// of the folder if this process may set it.
pub(crate) fn settle(folder: &Path, path: &Path, mode: Option<u32>) -> io::Result<()> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let of_folder = std::fs::metadata(folder)?.permissions().mode();
        let mode = mode.unwrap_or(of_folder) & 0o444;
        // A file that existed before and belongs to another user is readable already.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
        durable::ownership::hand_over(path, folder, None)?;
    }
    #[cfg(not(unix))]
    let _ = (folder, mode);
    storage::sync_file(&file)
}

/// Adds a pack with its index to the packs of a repository.
pub(crate) fn index(mut spool: File, into: &gix::Repository) -> Result<Indexed, Error> {
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
        let what = format!("the server's pack is damaged: {}", git_push::causes(&error));
        Error::new(ErrorKind::Transient, what)
    })?;
    Ok(Indexed {
        files: [written.data_path, written.index_path].into_iter().flatten().collect(),
        keep: written.keep_path,
    })
}

fn local(error: &io::Error) -> Error {
    Error::new(ErrorKind::Transient, format!("cannot store the server's pack: {error}"))
        .with_hint("check the free space and the permissions of the repository")
}
