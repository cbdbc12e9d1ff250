//! Copies of damaged bytes, kept for inspection.
use std::{io, path::Path};

use durable::storage::{FILE_MODE, Folders, Names};
use ulid::Ulid;

use super::QUARANTINE;

/// Writes bytes durably to the quarantine of `folder`.
///
/// # Errors
/// The bytes cannot be written.
pub(super) fn quarantine<S: Folders + Names>(storage: &S, folder: &Path, name: Ulid, bytes: &[u8]) -> io::Result<()> {
    let quarantine = folder.join(QUARANTINE);
    let kept = if storage.create_dir(&quarantine)? {
        storage.sync_dir(folder)
    } else {
        Ok(())
    };
    kept.and_then(|()| storage.write_new(&quarantine.join(name.to_string()), bytes, FILE_MODE))
        .and_then(|()| storage.sync_dir(&quarantine))
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot copy the damaged bytes to {QUARANTINE}: {error}"),
            )
        })
}
