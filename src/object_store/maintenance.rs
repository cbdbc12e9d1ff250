//! Joining packs every few commits.
use std::path::Path;

use durable::storage::Storage;
use gix::hash;

use super::packs;

/// Number of commits between checks for packs to join.
const COMMITS_PER_REPACK: u32 = 8;
/// While packs are held, they are joined only after this many commits.
const MAX_UNJOINED: u32 = 1024;

/// Number of commits since the last check.
#[derive(Debug, Default)]
pub struct Maintenance {
    commits: u32,
}

impl Maintenance {
    /// Counts a commit, and joins packs if a check is due. `are_held` is true while a reader relies on the packs. A failure
    /// is logged and retried later.
    pub fn after_commit(&mut self, storage: &impl Storage, objects: &Path, hash: hash::Kind, are_held: bool) {
        self.commits += 1;
        if self.commits < COMMITS_PER_REPACK || are_held && self.commits < MAX_UNJOINED {
            return;
        }
        self.commits = 0;
        if let Err(error) = packs::join(storage, objects, hash) {
            tracing::warn!(%error, "the packs could not be combined");
        }
    }
}
