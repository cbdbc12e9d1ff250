//! Whose a repository is, and what in it keeps its owner out.
//!
//! git runs as the owner of a repository. What the owner cannot read, such as a `config` that root has written anew with
//! mode 0600, makes every push fail; so does a folder of refs or objects that the owner cannot write to.
//!
//! # Limitations
//! - Modes are looked at, not access control lists.
//! - Loose objects are not looked at, only their folders; nor are supplementary groups of the owner.
use std::{
    io,
    path::{Path, PathBuf},
};

/// What keeps the owner of a repository out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptOut {
    /// The file or folder.
    pub path: PathBuf,
    /// What the owner cannot do with it.
    pub denied: Denied,
}

/// What somebody cannot do with a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Read it.
    Read,
    /// Make files in it.
    Write,
}

/// What stands in front of a command, in a shell of this process's user, so that what the command makes belongs to the
/// owner of the repository at `git_dir`: words with a space behind them, or nothing where none are needed.
///
/// # Errors
/// As `stat(2)`.
pub fn as_owner(git_dir: &Path) -> io::Result<String> {
    platform::as_owner(git_dir)
}

/// The name of the owner of the repository at `git_dir` (else the number), and what of git's files and folders there
/// keeps the owner out; nothing keeps root out.
///
/// # Errors
/// A file or folder cannot be looked at.
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

    /// The most files and folders that are looked at.
    const MAX_LOOKED_AT: usize = 100_000;
    /// Files of git at the top of a repository, and in folders that are not looked through.
    const FILES: [&str; 4] = ["config", "HEAD", "packed-refs", "shallow"];
    /// Folders that are looked through.
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
        let owner = user_name(repository.uid()).unwrap_or_else(|| format!("uid {}", repository.uid()));
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

        /// Whether this is a folder that the owner can look into.
        fn look(&mut self, path: &Path) -> io::Result<bool> {
            let metadata = match fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                metadata => metadata?,
            };
            self.looked_at += 1;
            let denied = match metadata.is_dir() {
                _ if metadata.is_symlink() => None,
                true if !self.may(&metadata, 0o5) => Some(Denied::Read),
                true if !self.may(&metadata, 0o2) => Some(Denied::Write),
                false if !self.may(&metadata, 0o4) => Some(Denied::Read),
                _ => None,
            };
            let path = path.to_owned();
            self.found.extend(denied.map(|denied| KeptOut { path, denied }));
            Ok(metadata.is_dir() && denied != Some(Denied::Read))
        }

        /// Whether the owner has these of the rights to read (4), write (2) and look into (1).
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
