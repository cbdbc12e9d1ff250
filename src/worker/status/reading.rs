//! Reading of the files that a status is made of.
use std::path::Path;

use durable::storage::Disk;
use jiff::Timestamp;

use super::{RepositoryStatus, refs::RefsStanding, standing::standing};
use crate::{
    journal::{self, Backlog, intent},
    mirror::Grouping,
    worker::{
        choice::Chosen, entries::mirror_view, error::RunError, lock::WorkerStatus, memory::Memory, missing::Missing,
        repository::Stargate, session::opened, share::read_tally,
    },
};

/// Reads the status of the repository at `git_dir`, for each mirror.
///
/// # Errors
/// The repository cannot be opened, or its configuration, the journal or the intents cannot be read.
pub fn status(git_dir: &Path, now: Timestamp) -> Result<Vec<RepositoryStatus>, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    Chosen::each(&mirrors)
        .map(|chosen| status_of_mirror(git_dir, &stargate, &chosen, now))
        .collect()
}

/// Reads the status with regard to the mirror with this name among several, or the only one.
pub(in crate::worker) fn status_of(
    git_dir: &Path,
    mirror: Option<&str>,
    now: Timestamp,
) -> Result<RepositoryStatus, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    let mut each = Chosen::each(&mirrors);
    let chosen = each.find(|chosen| mirror.is_none_or(|mirror| chosen.name_among_several() == Some(mirror)));
    match chosen {
        Some(chosen) => status_of_mirror(git_dir, &stargate, &chosen, now),
        None => Err(RunError::NoSuchMirror(
            mirror.unwrap_or_default().to_owned(),
            mirrors.names().collect::<Vec<_>>().join(", "),
        )),
    }
}

fn status_of_mirror(
    git_dir: &Path,
    stargate: &Stargate,
    chosen: &Chosen,
    now: Timestamp,
) -> Result<RepositoryStatus, RunError> {
    let unreadable = |error| RunError::Read(git_dir.to_owned(), error);
    let config = chosen.config();
    let local = stargate.mirrored_refs(&config.refs);
    let backlog = Backlog::load(&Disk, git_dir).map_err(unreadable)?;
    let intents = intent::list(&Disk, git_dir).map_err(unreadable)?;
    let read = Memory::read(&chosen.memory_path(git_dir));
    let tally = read_tally(&git_dir.join(journal::FOLDER));
    let errors = [read.as_ref().err(), tally.as_ref().err()].into_iter().flatten();
    let forgotten = errors
        .map(ToString::to_string)
        .reduce(|one, other| format!("{one}; {other}"));
    let (memory, tally) = (read.unwrap_or_default(), tally.unwrap_or_default());
    let backlog = mirror_view(backlog, &tally, &config.name);
    let lock = chosen.lock_path(git_dir);
    let worker = WorkerStatus::read(&lock, now);
    let grouping = Grouping::new(local.aliases(), &config.refs);
    let settled = memory.mirror.as_ref().map(|mirror| mirror.advertisement().refs);
    let refs = RefsStanding::new(&local, &settled.unwrap_or_default(), stargate);
    let never_ran = memory.missing.is_none() && memory.location.is_none() && memory.mirror.is_none();
    let missing = (never_ran && config.remote.is_none()).then(|| Missing::Remote.to_string());
    Ok(RepositoryStatus {
        missing: memory.missing.clone().or(missing),
        mirror: chosen.name_among_several().map(str::to_owned),
        broken: refs.broken,
        dangling: refs.dangling,
        forgotten,
        ..standing(&backlog, &memory, &grouping, intents.len(), worker, now)
    })
}
