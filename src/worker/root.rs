//! Search for repositories below a folder that may have something to mirror.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{config, journal};

/// Depth limit of the search.
const MAX_DEPTH: usize = 16;

/// Result of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundRepositories {
    /// Repositories with `stargate.remote`, a `[stargate]` section or a journal, in order of path.
    pub repositories: Vec<PathBuf>,
    /// Folders that were not searched completely, with the reason.
    pub unsearched: BTreeMap<PathBuf, String>,
}

/// Searches the folders below `root`. Does not follow symbolic links or search inside repositories. A repository whose
/// configuration cannot be read is included, because its cycle reports the error.
///
/// # Errors
/// `root` itself cannot be read.
pub fn find_repositories(root: &Path) -> io::Result<FoundRepositories> {
    let mut below = FoundRepositories::default();
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

impl FoundRepositories {
    /// Returns the folders among these entries, and records an entry that cannot be read.
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

/// Returns true if the repository may have something to mirror, even if its configuration cannot be read.
fn is_wanted(git_dir: &Path) -> bool {
    git_dir.join(journal::FOLDER).is_dir() || config::has_section(git_dir).unwrap_or(true)
}
