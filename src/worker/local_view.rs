//! View of the Stargate for planning: its refs, its objects, and its journal.
use std::{
    cell::{Cell, OnceCell},
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use gix::ObjectId;
use ulid::Ulid;

use super::{repository::Stargate, share::Share};
use crate::{
    journal::{self, Backlog, Located, Status},
    mirror::{Damaged, Grouping, LocalView},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// Longest run of a hook. Its entry cannot be later than this.
const LATEST: Duration = Duration::from_secs(60 * 60);

/// Stargate during a cycle. Its list of refs does not change after the first call.
pub(super) struct StargateView<'a> {
    stargate: Stargate,
    refs: RefPatterns,
    git_dir: PathBuf,
    clock: &'a dyn Clock,
    share: Share,
    /// Oldest pending entry, if it has been read.
    oldest_pending: Cell<Option<Ulid>>,
    /// Recently mirrored updates, read on first use.
    settled: OnceCell<Result<Vec<RefUpdate>, Damaged>>,
    /// Mirrored refs, read on first use.
    local: OnceCell<LocalRefs>,
}

impl LocalView for StargateView<'_> {
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

    fn pushes_in_flight(&self) -> Result<Vec<Vec<RefUpdate>>, Damaged> {
        journal::intent::in_flight(&Disk, &self.git_dir, self.clock.now())
            .map_err(|error| Damaged(format!("cannot read the intents of pushes: {error}")))
    }
}

impl<'a> StargateView<'a> {
    /// Creates the view of the Stargate at `git_dir`, limited to these refs.
    pub(super) fn new(
        stargate: Stargate,
        refs: &RefPatterns,
        git_dir: &Path,
        share: Share,
        clock: &'a dyn Clock,
    ) -> Self {
        StargateView {
            share,
            oldest_pending: Cell::new(None),
            stargate,
            refs: refs.clone(),
            git_dir: git_dir.to_owned(),
            clock,
            settled: OnceCell::new(),
            local: OnceCell::new(),
        }
    }

    /// Sets the oldest pending entry. Among several mirrors it may be much older than entries that are settled.
    pub(super) fn set_oldest_pending(&self, pending: &[Located]) {
        self.oldest_pending
            .set(pending.first().map(|located| located.entry.entry_id));
    }

    /// Returns the Stargate itself.
    pub(super) fn stargate(&self) -> &Stargate {
        &self.stargate
    }

    /// Returns the mirrored refs, as they were at the first call.
    pub(super) fn local_refs(&self) -> &LocalRefs {
        self.local.get_or_init(|| self.stargate.mirrored_refs(&self.refs))
    }

    /// Returns the grouping of refs that land together.
    pub(super) fn grouping(&self) -> Grouping {
        Grouping::new(self.local_refs().aliases(), &self.refs)
    }

    /// Returns the newest entry of each group, by label.
    pub(super) fn newest(&self, entries: &[Located]) -> BTreeMap<String, String> {
        let grouping = self.grouping();
        let label = |located: &Located| grouping.label(located.entry.update.name.as_bstr()).to_string();
        let newest = entries
            .iter()
            .map(|located| (label(located), located.entry.entry_id.to_string()));
        newest.collect()
    }

    /// Returns a function that returns true if the backlog has an entry of a ref, under any of its names.
    pub(super) fn pending<'b>(&self, backlog: &'b Backlog) -> Box<dyn Fn(&BStr) -> bool + 'b> {
        let (pending, grouping): (_, Grouping) = (backlog.pending_refs(), self.grouping());
        Box::new(move |name| grouping.names_of(name).any(|name| pending.contains(name)))
    }

    /// Returns the updates of entries that the mirror has and that are not older than [`LATEST`]; among several mirrors,
    /// also those that are newer than the oldest pending entry.
    fn settled_lately(&self) -> Result<Vec<RefUpdate>, Damaged> {
        let since = self.clock.now() - LATEST;
        let mut since = Ulid::from_parts(since.as_millisecond().unsigned_abs(), 0);
        if self.share.name_among_several().is_some() {
            since = self.oldest_pending.get().map_or(since, |oldest| oldest.min(since));
        }
        let mut settled = Vec::new();
        let tally = self.share.tally();
        let visited = journal::visit(&Disk, &self.git_dir, Some(since), |located| {
            let here = match located.entry.status {
                Status::Pending => tally.at(self.share.mirror(), located.entry.entry_id),
                status => Some(status),
            };
            if here == Some(Status::Done) && located.entry.entry_id >= since {
                settled.push(located.entry.update);
            }
        });
        match visited {
            Ok(()) => Ok(settled),
            Err(error) => Err(Damaged(format!("cannot read the journal: {error}"))),
        }
    }
}
