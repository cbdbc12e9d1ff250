//! Remote-tracking refs: the local copies of a configured remote's refs, as its fetch refspecs map them.
use bstr::{BStr, BString, ByteSlice};
use git_push::refspec;
use gix::{
    ObjectId,
    refs::FullName,
    refspec::{Instruction, instruction::Fetch},
    remote::Direction,
};

use crate::local_repository::{LocalRepository, UnreadableRefs};

/// The remote-tracking refs of a remote.
#[derive(Debug)]
pub struct Tracking<'a> {
    local: &'a LocalRepository,
    /// Pairs of remote and local names or patterns.
    followed: Vec<(BString, BString)>,
    excluded: Vec<BString>,
}

impl<'a> Tracking<'a> {
    /// Reads the fetch refspecs of a configured remote. A URL has none.
    pub fn new(local: &'a LocalRepository, remote: Option<&gix::Remote<'_>>) -> Self {
        let mut tracking = Tracking {
            local,
            followed: Vec::new(),
            excluded: Vec::new(),
        };
        for refspec in remote.map_or(&[][..], |remote| remote.refspecs(Direction::Fetch)) {
            match refspec.to_ref().instruction() {
                Instruction::Fetch(Fetch::AndUpdate { src, dst, .. }) => {
                    tracking.followed.push((src.into(), dst.into()));
                }
                Instruction::Fetch(Fetch::Exclude { src }) => tracking.excluded.push(src.into()),
                _ => {}
            }
        }
        tracking
    }

    /// Returns the value of the remote-tracking ref for the remote's ref `name`.
    ///
    /// # Errors
    /// There may be one, but it cannot be read.
    pub fn id(&self, name: &BStr) -> Result<Option<ObjectId>, UnreadableRefs> {
        match self.name(name) {
            Some(local) => self.local.find(local.as_bstr()),
            None => Ok(None),
        }
    }

    /// Sets the remote-tracking refs for these refs of the remote. The null id deletes one. Failures are only logged: the
    /// push succeeded, and the next fetch corrects the refs.
    pub fn update_all<'n>(&self, refs: impl Iterator<Item = (&'n BStr, ObjectId)>) {
        let stale: Vec<_> = refs.filter_map(|(name, id)| self.stale(name, id)).collect();
        self.local.set_tracking_refs(&stale, "update by push");
    }

    /// Returns the edit of the remote-tracking ref for the remote's ref `name`, if its value differs from `id`.
    fn stale(&self, name: &BStr, id: ObjectId) -> Option<(FullName, ObjectId)> {
        let local = self.name(name)?;
        // An unreadable one is set, which repairs it or fails with the reason.
        let is_current = self
            .local
            .find(local.as_bstr())
            .is_ok_and(|known| known.unwrap_or(id.kind().null()) == id);
        (!is_current).then_some((local, id))
    }

    /// Returns the name of the remote-tracking ref for the remote's ref `name`.
    pub(super) fn name(&self, name: &BStr) -> Option<FullName> {
        let fits = |pattern: &BString| refspec::filled(pattern.as_ref(), name, b"".as_bstr()).is_some();
        if self.excluded.iter().any(fits) {
            return None;
        }
        let mut local = self
            .followed
            .iter()
            .filter_map(|(there, here)| refspec::filled(there.as_ref(), name, here.as_ref()));
        FullName::try_from(local.next()?).ok()
    }
}
