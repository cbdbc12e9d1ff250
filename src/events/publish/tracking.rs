//! The remote-tracking ref `refs/remotes/origin/<branch>`: the last known commit of the remote's branch.
use bstr::BStr;
use gix::{
    ObjectId,
    refs::{
        FullName, Target,
        transaction::{Change, LogChange, PreviousValue, RefEdit},
    },
};

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

    /// Records the commit of the remote's branch. A failure is harmless: the next fetch asks for more than needed.
    pub fn remember(&self, id: ObjectId) {
        if self.last_seen() == Some(id) {
            return;
        }
        let Ok(name) = FullName::try_from(self.name.as_str()) else {
            return;
        };
        let who = gix::actor::SignatureRef {
            name: BStr::new("stargate-mirror"),
            email: BStr::new("stargate-mirror@localhost"),
            time: "0 +0000",
        };
        let edit = RefEdit {
            change: Change::Update {
                log: LogChange::default(),
                expected: PreviousValue::Any,
                new: Target::Object(id),
            },
            name,
            deref: false,
        };
        if let Err(error) = self.local.edit_references_as([edit], Some(who)) {
            let cause = git_push::causes(&error);
            tracing::warn!(%cause, "the remote-tracking ref could not be updated");
        }
    }
}
