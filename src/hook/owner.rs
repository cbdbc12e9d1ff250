//! Owner of a repository, and files in it that the owner cannot access.
//!
//! git runs as the owner of a repository. Every push fails if the owner cannot read a file of git, such as a `config`
//! that root has rewritten with mode 0600, or cannot write to a folder of refs or objects.
//!
//! # Limitations
//! - Only modes are checked, not access control lists or the owner's supplementary groups.
//! - Folders of loose objects are checked, but not the objects.
use std::{
    io,
    path::{Path, PathBuf},
};

/// A file or folder that the owner of a repository cannot access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptOut {
    /// The file or folder.
    pub path: PathBuf,
    /// The access that the owner lacks.
    pub denied: Denied,
}

/// Access to a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Reading it.
    Read,
    /// Creating files in it.
    Write,
}

/// Returns the shell prefix with which this process's user runs a command as the owner of the repository at `git_dir`.
/// It ends with a space, or is empty if none is needed.
///
/// # Errors
/// The errors of `stat(2)`.
pub fn as_owner(git_dir: &Path) -> io::Result<String> {
    platform::as_owner(git_dir)
}

/// Returns the name (else the number) of the owner of the repository at `git_dir`, and git's files and folders there that
/// the owner cannot access. Root can access everything.
///
/// # Errors
/// A file or folder cannot be accessed by this process.
pub fn kept_out(git_dir: &Path) -> io::Result<(String, Vec<KeptOut>)> {
    platform::kept_out(git_dir)
}

#[cfg(not(unix))]
mod platform {
    use super::*;

    pub(super) fn as_owner(_git_dir: &Path) -> io::Result<String> {
        Ok(String::new())
    }

    pub(super) fn kept_out(_git_dir: &Path) -> io::Result<(String, Vec<KeptOut>)> {
        Ok(Default::default())
    }
}

#[cfg(unix)]
mod platform {
    use std::{
        fs::{self, Metadata},
        os::unix::fs::MetadataExt,
    };

    use super::*;
    use crate::journal::user_name;

    /// Maximum number of files and folders that are checked.
    const MAX_LOOKED_AT: usize = 100_000;
    /// Files of git at the top of a repository.
    const FILES: [&str; 4] = ["config", "HEAD", "packed-refs", "shallow"];
    /// Folders that are checked with everything below them.
    const FOLDERS: [&str; 6] = ["hooks", "info", "logs", "refs", "objects/info", "objects/pack"];

    pub(super) fn as_owner(git_dir: &Path) -> io::Result<String> {
        let found = fs::metadata(git_dir)?;
        if found.uid() == 0 || !rustix::process::geteuid().is_root() {
            return Ok(String::new());
        }
        let (uid, gid, name) = (found.uid(), found.gid(), user_name(found.uid()));
        Ok(match name {
            Some(name) if cfg!(target_os = "linux") => format!("runuser -u {name} -- "),
            None if cfg!(target_os = "linux") => format!("setpriv --reuid {uid} --regid {gid} --clear-groups -- "),
            Some(name) => format!("sudo -u {name} "),
            None => format!("sudo -u '#{uid}' "),
        })
    }

    pub(super) fn kept_out(git_dir: &Path) -> io::Result<(String, Vec<KeptOut>)> {
        let repository = fs::metadata(git_dir)?;
        let owner = user_name(repository.uid()).unwrap_or_else(|| repository.uid().to_string());
        let mut search = Search {
            uid: repository.uid(),
            gid: repository.gid(),
            looked_at: 0,
            found: Vec::new(),
        };
        if search.uid != 0 {
            search.all(git_dir)?;
        }
        Ok((owner, search.found))
    }

    struct Search {
        uid: u32,
        gid: u32,
        looked_at: usize,
        found: Vec<KeptOut>,
    }

    impl Search {
        fn all(&mut self, git_dir: &Path) -> io::Result<()> {
            for name in FILES {
                self.look(&git_dir.join(name))?;
            }
            for name in FOLDERS {
                self.below(&git_dir.join(name))?;
            }
            // Folders of loose objects.
            let objects = git_dir.join("objects");
            if self.look(&objects)? {
                for entry in fs::read_dir(&objects)? {
                    self.look(&entry?.path())?;
                }
            }
            Ok(())
        }

        fn below(&mut self, folder: &Path) -> io::Result<()> {
            if !self.look(folder)? || self.looked_at > MAX_LOOKED_AT {
                return Ok(());
            }
            for entry in fs::read_dir(folder)? {
                self.below(&entry?.path())?;
            }
            Ok(())
        }

        /// Checks one file or folder. Returns true if it is a folder that the owner can list.
        fn look(&mut self, path: &Path) -> io::Result<bool> {
            let metadata = match fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                metadata => metadata?,
            };
            self.looked_at += 1;
            let read = if metadata.is_dir() { 0o5 } else { 0o4 };
            let denied = if metadata.is_symlink() {
                None
            } else if !self.may(&metadata, read) {
                Some(Denied::Read)
            } else if metadata.is_dir() && !self.may(&metadata, 0o2) {
                Some(Denied::Write)
            } else {
                None
            };
            let path = path.to_owned();
            self.found.extend(denied.map(|denied| KeptOut { path, denied }));
            Ok(metadata.is_dir() && denied != Some(Denied::Read))
        }

        /// Returns true if the owner has all of these rights: read (4), write (2), enter a folder (1).
        fn may(&self, metadata: &Metadata, rights: u32) -> bool {
            let shift = if metadata.uid() == self.uid {
                6
            } else if metadata.gid() == self.gid {
                3
            } else {
                0
            };
            metadata.mode() >> shift & rights == rights
        }
    }
}
