//! LFS objects of a mirror in a folder, where git-lfs looks for those of a remote at a path.
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use durable::storage::{Disk, Folders, Names, sync_file};
use git_push::{Error, ErrorKind, repository};

use super::source::Checked;
use crate::lfs_pointer::Pointer;

/// The folder `lfs` of a repository.
pub(super) struct Folder {
    lfs: PathBuf,
}

impl Folder {
    /// Finds the folder of the repository at `path`. It need not exist yet.
    pub(super) fn of_repository(path: &Path) -> Result<Self, Error> {
        let git_dir = repository::locate(Some(path)).map_err(|error| {
            let what = format!("{}: {error}", path.display());
            Error::new(ErrorKind::Misconfigured, what).with_hint("check the path of the mirror")
        })?;
        Ok(Folder {
            lfs: git_dir.join("lfs"),
        })
    }

    /// Returns true if it has the object, by its name and size.
    pub(super) fn has(&self, pointer: &Pointer) -> Result<bool, Error> {
        let path = self.place(pointer);
        match path.metadata() {
            Ok(found) => Ok(found.is_file() && found.len() == pointer.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Copies the object durably. At any moment, and after a crash, the whole object is there or nothing under its name.
    pub(super) fn put(&self, object: &mut Checked) -> Result<(), Error> {
        let place = self.place(&object.pointer);
        let temporary = self.lfs.join("tmp").join(format!("stargate-{}", object.pointer.oid));
        let copied = self.copy(object, &temporary, &place);
        match copied {
            Ok(()) => Ok(()),
            Err(_) if object.is_wrong => Err(object.wrong()),
            Err(error) => Err(failed(&place, &error)),
        }
    }

    fn copy(&self, object: &mut Checked, temporary: &Path, place: &Path) -> io::Result<()> {
        let folder = place.parent().unwrap_or(&self.lfs);
        create_folders(&self.lfs, &self.lfs.join("tmp"))?;
        create_folders(&self.lfs, folder)?;
        let mut file = File::create(temporary)?;
        io::copy(object, &mut file)?;
        sync_file(&file)?;
        Disk.rename(temporary, place)?;
        Disk.sync_dir(folder)
    }

    fn place(&self, pointer: &Pointer) -> PathBuf {
        let oid = pointer.oid.as_str();
        self.lfs.join("objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
    }
}

/// Creates `folder` and those above it up to `top`, durably.
fn create_folders(top: &Path, folder: &Path) -> io::Result<()> {
    let above: Vec<&Path> = folder.ancestors().take_while(|path| path.starts_with(top)).collect();
    for path in above.into_iter().rev() {
        if Disk.create_dir(path)?
            && let Some(parent) = path.parent()
        {
            Disk.sync_dir(parent)?;
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Transient,
        format!("cannot write the LFS object {}: {error}", path.display()),
    )
}
