//! The remote-tracking ref `refs/remotes/origin/<branch>`: the last known commit of the remote's branch.
use gix::{ObjectId, refs::FullName};

use crate::local_repository::set_tracking_ref;

/// The remote-tracking ref of a branch.
pub struct Tracking<'a> {
    local: &'a gix::Repository,
    name: String,
}

impl<'a> Tracking<'a> {
    /// The ref for this branch, given without `refs/heads/`.
    pub fn new(local: &'a gix::Repository, branch: &str) -> Self {
        Tracking {
            local,
            name: format!("refs/remotes/origin/{branch}"),
        }
    }

    /// Returns the last known commit of the remote's branch.
    pub fn last_seen(&self) -> Option<ObjectId> {
        let reference = self.local.try_find_reference(self.name.as_str()).ok()??;
        reference.try_id().map(gix::Id::detach)
    }

    /// Records the commit of the remote's branch, with `message` for the reflog. A failure is harmless: the next fetch asks for
    /// more than needed.
    pub fn remember(&self, id: ObjectId, message: &str) {
        if self.last_seen() == Some(id) {
            return;
        }
        let Ok(name) = FullName::try_from(self.name.as_str()) else {
            return;
        };
        set_tracking_ref(self.local, name, id, message);
    }
}
