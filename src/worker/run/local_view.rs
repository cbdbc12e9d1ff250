//! View of the Stargate for planning: its refs, its objects, and its journal.
use std::{collections::BTreeMap, time::Duration};

use bstr::{BStr, BString};
use durable::storage::Disk;
use gix::ObjectId;
use ulid::Ulid;

use super::Work;
use crate::{
    journal::{self, Status},
    mirror::{Damaged, Grouping, LocalView},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// Longest run of a hook. Its entry cannot be later than this.
const LATEST: Duration = Duration::from_secs(60 * 60);

impl LocalView for Work<'_> {
    fn local(&self, name: &BStr) -> LocalRef {
        self.stargate.local(name)
    }

    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        self.stargate.list(patterns)
    }

    fn exists(&self, id: ObjectId) -> Result<bool, Damaged> {
        self.stargate.exists(id)
    }

    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        self.stargate.fast_forward(old, new)
    }

    fn aliases(&self) -> BTreeMap<BString, BString> {
        self.local_refs().aliases().clone()
    }

    fn settled(&self, name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        let settled = self.settled.get_or_init(|| self.settled_lately());
        let settled = settled.as_ref().map_err(Clone::clone)?.iter();
        Ok(settled.filter(|update| update.name == name).cloned().collect())
    }
}

impl Work<'_> {
    /// Returns the mirrored refs, as they were at the first call.
    pub(super) fn local_refs(&self) -> &LocalRefs {
        self.local
            .get_or_init(|| self.stargate.mirrored_refs(&self.config.refs))
    }

    /// Returns the grouping of refs that land together.
    pub(super) fn grouping(&self) -> Grouping {
        Grouping::new(self.local_refs().aliases(), &self.config.refs)
    }

    /// Returns the updates of done entries that are not older than [`LATEST`].
    fn settled_lately(&self) -> Result<Vec<RefUpdate>, Damaged> {
        let since = self.clock.now() - LATEST;
        let since = Ulid::from_parts(since.as_millisecond().unsigned_abs(), 0);
        let mut settled = Vec::new();
        let visited = journal::visit(&Disk, &self.git_dir, Some(since), |located| {
            if located.entry.status == Status::Done && located.entry.entry_id >= since {
                settled.push(located.entry.update);
            }
        });
        match visited {
            Ok(()) => Ok(settled),
            Err(error) => Err(Damaged(format!("cannot read the journal: {error}"))),
        }
    }
}
