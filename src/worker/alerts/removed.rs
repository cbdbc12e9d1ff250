//! Alerts about mirrors that were removed from the settings, and about repositories that are missing.
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::place::{Place, Unwritten};
use crate::{
    config::{Mirrors, mirror_of_alerts_file},
    journal,
    worker::choice::Chosen,
};

/// Name of the memory of alerts about a repository that is missing. It is in the process until the repository is back.
const MISSING: &str = "alerts-missing.json";

/// Returns the files of alerts about a repository that is missing.
pub(super) fn missing(repository: &Path, unwritten: &Unwritten) -> Place {
    let memory = repository.join(journal::FOLDER).join(MISSING);
    Place::of_removed(repository, None, memory, Some(unwritten.clone()))
}

/// Returns the files of alerts that none of these mirrors has.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn removed(mirrors: &Mirrors, repository: &Path, unwritten: Option<&Unwritten>) -> io::Result<Vec<Place>> {
    let folder = repository.join(journal::FOLDER);
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        files.insert(entry?.path());
    }
    if let Some(unwritten) = unwritten {
        let unwritten = unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        files.extend(unwritten.keys().filter(|path| path.starts_with(&folder)).cloned());
    }
    let known: BTreeSet<PathBuf> = Chosen::each(mirrors)
        .map(|chosen| chosen.alerts_path(repository))
        .collect();
    let place = |path: PathBuf| {
        let file = path.file_name()?.to_str()?;
        let mirror = match file {
            MISSING => None,
            _ => Some(mirror_of_alerts_file(file)?),
        };
        Some(Place::of_removed(repository, mirror, path, unwritten.cloned()))
    };
    Ok(files
        .into_iter()
        .filter(|path| !known.contains(path))
        .filter_map(place)
        .collect())
}
