//! LFS objects of the Stargate: files in folders, or those of its own LFS server.
use std::{
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use git_push::{Error, ErrorKind};
use ring::digest;

use super::{
    batch::{Operation, Verdict},
    server::Server,
};
use crate::lfs_pointer::Pointer;

/// Places that may have an object.
pub(super) struct Sources {
    /// The Stargate's own `lfs/objects`.
    pub(super) own: PathBuf,
    /// `stargate.lfsStore`
    pub(super) store: Option<PathBuf>,
    /// `stargate.lfsUrl`
    pub(super) server: Option<Server>,
    /// Folder for downloads, which have no name there.
    pub(super) temporary: PathBuf,
}

impl Sources {
    /// Returns true if there is no place to look at.
    pub(super) fn is_empty(&self) -> bool {
        self.store.is_none() && self.server.is_none() && matches!(self.own.try_exists(), Ok(false))
    }

    /// Returns the object, with its hash not checked yet; none if no place has it.
    ///
    /// # Errors
    /// A file cannot be read, or does not have the size of the pointer; the server fails.
    pub(super) fn open(&self, pointer: &Pointer) -> Result<Option<Checked>, Error> {
        for path in pointer.oid.paths(&self.own, self.store.as_deref()) {
            if let Some(file) = opened(&path, pointer)? {
                return Ok(Some(Checked::new(file, pointer.clone())));
            }
        }
        let Some(server) = &self.server else { return Ok(None) };
        Ok(self
            .downloaded(server, pointer)?
            .map(|file| Checked::new(file, pointer.clone())))
    }

    /// Returns the places for a message.
    pub(super) fn shown(&self) -> String {
        let store = self.store.as_ref().map(|path| path.display().to_string());
        let server = self.server.as_ref().map(|server| server.shown());
        let places = [Some(self.own.display().to_string()), store, server];
        places.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn downloaded(&self, server: &Server, pointer: &Pointer) -> Result<Option<File>, Error> {
        let Some(verdicts) = server.batch(Operation::Download, std::slice::from_ref(pointer), None)? else {
            let what = format!("{}: there is no LFS server", server.shown());
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("correct stargate.lfsUrl"));
        };
        let Some(Verdict::Download(action)) = verdicts.into_iter().next() else {
            return Ok(None);
        };
        let failed = |error: io::Error| {
            let what = format!("cannot write to {}: {error}", self.temporary.display());
            Error::new(ErrorKind::Broken, what)
        };
        let mut file = tempfile::tempfile_in(&self.temporary).map_err(failed)?;
        server.download(pointer, &action, &mut file)?;
        file.rewind().map_err(failed)?;
        Ok(Some(file))
    }
}

/// Opens the file of an object; none if it does not exist.
fn opened(path: &Path, pointer: &Pointer) -> Result<Option<File>, Error> {
    let broken = |why: String| {
        let what = format!("LFS object {}: {}: {why}", pointer.oid, path.display());
        Error::new(ErrorKind::Broken, what)
    };
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(|error| broken(error.to_string()))?,
    };
    let found = file.metadata().map_err(|error| broken(error.to_string()))?;
    if !found.is_file() || found.len() != pointer.size {
        let size = pointer.size;
        return Err(broken(format!("not a file of {size} bytes, as the pointer says")));
    }
    Ok(Some(file))
}

/// A file whose hash is checked while it is read. The last bytes of a wrong one are not returned.
pub(super) struct Checked {
    file: File,
    pub(super) pointer: Pointer,
    hash: digest::Context,
    pub(super) read: u64,
    pub(super) is_wrong: bool,
}

impl Checked {
    fn new(file: File, pointer: Pointer) -> Self {
        Checked {
            file,
            pointer,
            hash: digest::Context::new(&digest::SHA256),
            read: 0,
            is_wrong: false,
        }
    }

    /// Returns the error of a file whose contents are not those of the pointer.
    pub(super) fn wrong(&self) -> Error {
        let what = format!(
            "LFS object {}: the content of the file in the Stargate does not match the object's id",
            self.pointer.oid
        );
        Error::new(ErrorKind::Broken, what)
            .with_hint("restore the object in the Stargate, for example with `git lfs push`")
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.pointer.size - self.read;
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let length = self.file.read(&mut buffer[..room])?;
        self.hash.update(&buffer[..length]);
        self.read += length as u64;
        let ends = self.read == self.pointer.size;
        if length == 0 || (ends && hex(&self.hash.clone().finish()) != self.pointer.oid.as_str()) {
            self.is_wrong = true;
            return Err(io::Error::other("the file has other contents"));
        }
        Ok(length)
    }
}

/// Returns a digest in hex.
pub(super) fn hex(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
