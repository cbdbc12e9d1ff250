//! The repositories below a folder that may have something to mirror.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{config, journal};

/// How deep below a root repositories are looked for.
const MAX_DEPTH: usize = 16;

/// What was found below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Below {
    /// Repositories with `stargate.remote`, a `[stargate]` section or a journal, in order of path.
    pub repositories: Vec<PathBuf>,
    /// Folders that were not searched, or not completely, and why.
    pub unsearched: BTreeMap<PathBuf, String>,
}

/// Searches the folders below `root`. Symbolic links are not followed, and what is inside a repository is not searched. A
/// repository whose configuration cannot be read is among those found: the cycle over it says why.
///
/// # Errors
/// `root` itself cannot be read.
pub fn find_repositories(root: &Path) -> io::Result<Below> {
    let mut below = Below::default();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join("HEAD").is_file() && folder.join("objects").is_dir() {
            below.repositories.extend(is_wanted(&folder).then_some(folder));
            continue;
        }
        if depth > MAX_DEPTH {
            let why = format!("it is more than {MAX_DEPTH} folders below {}", root.display());
            below.unsearched.insert(folder, why);
            continue;
        }
        match fs::read_dir(&folder) {
            Ok(entries) => folders.extend(below.folders(&folder, entries).map(|found| (found, depth + 1))),
            Err(error) if depth == 0 => return Err(error),
            Err(error) => drop(below.unsearched.insert(folder, error.to_string())),
        }
    }
    below.repositories.sort();
    Ok(below)
}

impl Below {
    /// The folders among these entries. An entry that cannot be read is noted.
    fn folders(&mut self, folder: &Path, entries: fs::ReadDir) -> impl Iterator<Item = PathBuf> + use<> {
        let mut folders = Vec::new();
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok((path, kind)) => folders.extend(kind.is_dir().then_some(path)),
                Err(error) => drop(self.unsearched.insert(folder.to_owned(), error.to_string())),
            }
        }
        folders.into_iter()
    }
}

/// Whether the repository may have something to mirror. Nobody knows where its configuration cannot be read.
fn is_wanted(git_dir: &Path) -> bool {
    git_dir.join(journal::FOLDER).is_dir() || config::has_section(git_dir).unwrap_or(true)
}
