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
use durable::ownership;
use git_push::Command;

/// Files and folders that a push may create.
pub(super) struct Made {
    git_dir: PathBuf,
    /// The mode of folders in a shared repository.
    shared: Option<u32>,
    /// Folders that did not exist, the outer ones first.
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
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
        }
    }

    /// Records the path of HEAD, before it is set.
    pub(super) fn of_head(repository: &gix::Repository) -> Self {
        let git_dir = repository.git_dir().to_owned();
        Made {
            shared: shared_folder_mode(repository),
            folders: BTreeSet::new(),
            files: BTreeSet::from([git_dir.join("HEAD")]),
            git_dir,
        }
    }

    /// Sets owner and mode of new files. The refs have moved, so a failure is only logged.
    pub(super) fn settle(&self) {
        let folders = self.folders.iter().map(|path| (path, self.shared));
        let mode = self.shared.map(|mode| mode & 0o666);
        let files = self.files.iter().filter(|path| path.is_file()).map(|path| (path, mode));
        for (path, mode) in folders.chain(files) {
            match ownership::hand_over(path, &self.git_dir, mode) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot set owner and mode; other users may be locked out");
                }
                _ => {}
            }
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
