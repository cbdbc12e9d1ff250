//! Owner and mode of the files that a push creates in a repository, beside its pack.
//!
//! Files and folders of refs and reflogs get the mode that git gives them (git-config, `core.sharedRepository`), and the
//! owner of the repository if this process may set it: files of a root process must not lock the owner out. Without the
//! setting, the umask decides, as in git.
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use bstr::ByteSlice;
use durable::{
    ownership,
    storage::{Disk, Folders},
};
use git_push::Command;

/// Files and folders that a push may create.
pub(super) struct Made {
    git_dir: PathBuf,
    /// The mode of folders in a shared repository.
    shared: Option<u32>,
    /// Folders that did not exist, the outer ones first.
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    tables: Option<PathBuf>,
}

impl Made {
    /// Records the paths of the refs of these commands, before they are carried out.
    pub(super) fn before(repository: &gix::Repository, commands: &[Command]) -> Self {
        let git_dir = repository.common_dir().to_owned();
        let (mut folders, mut files) = (BTreeSet::new(), BTreeSet::from([git_dir.join("packed-refs")]));
        for root in [git_dir.clone(), git_dir.join("logs")] {
            for path in commands.iter().map(|command| root.join(command.name.to_path_lossy())) {
                let above = path.ancestors().skip(1).take_while(|above| *above != git_dir);
                folders.extend(above.filter(|above| is_absent(above)).map(Path::to_owned));
                files.insert(path);
            }
        }
        Made {
            shared: shared_folder_mode(repository),
            git_dir,
            folders,
            files,
            tables: None,
        }
    }

    /// Records the folder of the reftables. All of its files are handed over.
    pub(super) fn in_tables(repository: &gix::Repository) -> Self {
        let git_dir = repository.common_dir().to_owned();
        Made {
            shared: shared_folder_mode(repository),
            folders: BTreeSet::new(),
            files: BTreeSet::new(),
            tables: Some(git_dir.join(git_reftable::FOLDER)),
            git_dir,
        }
    }

    /// Records the path of HEAD, before it is set.
    pub(super) fn of_head(repository: &gix::Repository) -> Self {
        let git_dir = repository.git_dir().to_owned();
        Made {
            shared: shared_folder_mode(repository),
            folders: BTreeSet::new(),
            files: BTreeSet::from([git_dir.join("HEAD")]),
            tables: None,
            git_dir,
        }
    }

    /// Sets owner and mode of new files. The refs have moved, so a failure is only logged.
    pub(super) fn settle(&self) {
        let folders = self.folders.iter().map(|path| (path, self.shared));
        let mode = self.shared.map(|mode| mode & 0o666);
        let tables = self.tables.as_deref().map_or_else(Vec::new, files_in);
        let files = self.files.iter().chain(&tables).filter(|path| path.is_file());
        for (path, mode) in folders.chain(files.map(|path| (path, mode))) {
            match ownership::hand_over(path, &self.git_dir, mode) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot set owner and mode; other users may be locked out");
                }
                _ => {}
            }
        }
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    match Disk.list(folder) {
        Ok(names) => names.into_iter().map(|name| folder.join(name)).collect(),
        Err(error) => {
            tracing::warn!(path = %folder.display(), %error, "cannot list the files of a push; other users may be locked out");
            Vec::new()
        }
    }
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns the mode of folders in a shared repository (`core.sharedRepository`).
pub(super) fn shared_folder_mode(repository: &gix::Repository) -> Option<u32> {
    const KEY: &str = "core.sharedRepository";
    let config = repository.config_snapshot();
    let value = config.string(KEY).unwrap_or_default();
    ownership::shared_folder_mode(&value.to_str_lossy(), config.boolean(KEY) == Some(true))
}
