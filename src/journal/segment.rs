//! Paths of the files of a journal: the journal itself and its segments.
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use durable::storage::Folders;
use ulid::Ulid;

use super::{FOLDER, path_in};

/// Prefix of the names of a journal's files.
const STEM: &str = "mirror-journal";
const SUFFIX: &str = ".ndjson";

/// Returns the path of a segment of the journal in the repository at `git_dir`, or of the journal itself for `None`.
pub fn file_in(git_dir: &Path, segment: Option<Ulid>) -> PathBuf {
    match segment {
        None => path_in(git_dir),
        segment => file_of(&git_dir.join(FOLDER), STEM, segment),
    }
}

/// Lists the segments of the journal in the repository at `git_dir`, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn segments<S: Folders>(storage: &S, git_dir: &Path) -> io::Result<Vec<Ulid>> {
    segments_of(storage, &git_dir.join(FOLDER), STEM)
}

/// Returns the path in `folder` of a segment of the log named `stem`, or of its newest file for `None`.
pub(super) fn file_of(folder: &Path, stem: &str, segment: Option<Ulid>) -> PathBuf {
    folder.join(match segment {
        None => format!("{stem}{SUFFIX}"),
        Some(id) => format!("{stem}.{id}{SUFFIX}"),
    })
}

/// Lists the segments in `folder` of the log named `stem`, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn segments_of<S: Folders>(storage: &S, folder: &Path, stem: &str) -> io::Result<Vec<Ulid>> {
    let names = storage.list(folder)?;
    let mut ids: Vec<Ulid> = names.iter().filter_map(|name| id_of(name, stem)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn id_of(name: &OsStr, stem: &str) -> Option<Ulid> {
    let id = name.to_str()?.strip_prefix(stem)?.strip_prefix('.')?;
    Ulid::from_string(id.strip_suffix(SUFFIX)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JOURNAL;

    #[test]
    fn the_journal_is_the_file_without_a_segment() {
        let folder = Path::new("r.git").join(FOLDER);
        assert_eq!(file_of(&folder, STEM, None), path_in(Path::new("r.git")));
    }

    #[test]
    fn only_names_of_segments_are_parsed_as_such() {
        let id: Ulid = "01JBAXF5Z8J8M7R2TK7G9QW3EN".parse().unwrap();
        let path = file_in(Path::new("r.git"), Some(id));
        assert_eq!(id_of(path.file_name().unwrap(), STEM), Some(id));
        for other in [
            JOURNAL,
            "mirror-journal.x.ndjson",
            "worker.json",
            "mirror-journal.01JBAXF5Z8J8M7R2TK7G9QW3EN",
        ] {
            assert_eq!(id_of(OsStr::new(other), STEM), None);
        }
    }
}
