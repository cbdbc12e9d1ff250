//! Repositories that were watched and are missing. A repository that was removed is forgotten. One whose volume is missing must be
//! noticed.
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// Returns true if it is certain that there is no such folder.
pub(super) fn is_missing(repository: &Path) -> bool {
    matches!(repository.try_exists(), Ok(false))
}

/// Returns the repositories of `known` that are not forgotten although a search has not found them: those that cannot be looked
/// at, and those that are missing together with all others in the same folder.
///
/// `exists` looks for a folder.
pub(super) fn vanished(
    known: &BTreeSet<PathBuf>,
    found: &BTreeSet<PathBuf>,
    exists: &dyn Fn(&Path) -> io::Result<bool>,
) -> BTreeSet<PathBuf> {
    let folders: BTreeSet<&Path> = found.iter().filter_map(|found| found.parent()).collect();
    let is_vanished = |repository: &&PathBuf| match exists(repository) {
        // It is no longer to be mirrored.
        Ok(true) => false,
        Ok(false) => repository.parent().is_none_or(|folder| !folders.contains(folder)),
        Err(_) => true,
    };
    known.difference(found).filter(is_vanished).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_volume_is_no_removed_repository() {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let known = set(&["/v/a.git", "/v/b.git", "/w/c.git", "/w/d.git", "/x/e.git", "/y/f.git"]);
        let found = set(&["/w/c.git", "/x/new.git"]);
        let exists = |path: &Path| match path.to_str().expect("UTF-8") {
            "/x/e.git" => Ok(true),
            "/y/f.git" => Err(io::Error::other("input/output error")),
            _ => Ok(false),
        };
        // d was removed, for c is still there. e is there, but not mirrored any more.
        let expected = set(&["/v/a.git", "/v/b.git", "/y/f.git"]);
        assert_eq!(vanished(&known, &found, &exists), expected);
    }
}
