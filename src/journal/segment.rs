//! The files that a journal is in: itself, and the segments that were put aside.
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use ulid::Ulid;

use super::{FOLDER, path_in};
use crate::storage::Storage;

const PREFIX: &str = "mirror-journal.";
const SUFFIX: &str = ".ndjson";

/// The path of a segment of the journal in the repository at `git_dir`; of the journal itself for none.
pub fn file_in(git_dir: &Path, segment: Option<Ulid>) -> PathBuf {
    match segment {
        None => path_in(git_dir),
        Some(id) => git_dir.join(FOLDER).join(format!("{PREFIX}{id}{SUFFIX}")),
    }
}

/// The segments of the journal in the repository at `git_dir`, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn segments<S: Storage>(storage: &S, git_dir: &Path) -> io::Result<Vec<Ulid>> {
    let names = storage.list(&git_dir.join(FOLDER))?;
    let mut ids: Vec<Ulid> = names.iter().filter_map(|name| id_of(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn id_of(name: &OsStr) -> Option<Ulid> {
    let id = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    Ulid::from_string(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JOURNAL;

    #[test]
    fn names_are_of_segments_or_of_something_else() {
        let id: Ulid = "01JBAXF5Z8J8M7R2TK7G9QW3EN".parse().unwrap();
        let path = file_in(Path::new("r.git"), Some(id));
        assert_eq!(id_of(path.file_name().unwrap()), Some(id));
        for other in [
            JOURNAL,
            "mirror-journal.x.ndjson",
            "worker.json",
            "mirror-journal.01JBAXF5Z8J8M7R2TK7G9QW3EN",
        ] {
            assert_eq!(id_of(OsStr::new(other)), None);
        }
    }
}
