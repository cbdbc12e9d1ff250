//! Pushes that git is applying. It moves the refs of a push one by one. If refs are in files, this also applies to an
//! atomic push.
use bstr::ByteSlice;

use super::{Fold, Hold, Unit, damaged};
use crate::{mirror::watermark::ledger_ref, ref_update::RefUpdate, refs::LocalRef};

/// Progress of one ref update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The ref has the new id, or a later one.
    Moved,
    /// The ref has the old id.
    Waiting,
    /// Another push has moved the ref, or it cannot be read. This update does not count.
    Other,
}

impl Fold<'_> {
    /// Returns the reason to hold a namespace whose refs a push has moved in part, if there is one.
    ///
    /// # Errors
    /// The pushes in flight, or a commit that decides about one, cannot be read.
    pub(super) fn landing(&self, unit: &Unit) -> Result<Option<Hold>, Hold> {
        let Unit::Namespace(namespace) = unit else {
            return Ok(None);
        };
        let ledger = ledger_ref(namespace.as_bstr());
        let pushes = self.names.in_flight().map_err(|why| damaged(ledger.as_bstr(), why))?;
        for push in pushes {
            let of_unit = push
                .iter()
                .filter(|update| self.grouping.unit(update.name.as_bstr()) == *unit);
            if let Some(hold) = self.landed_in_part(of_unit)? {
                return Ok(Some(hold));
            }
        }
        Ok(None)
    }

    fn landed_in_part<'a>(&self, updates: impl Iterator<Item = &'a RefUpdate>) -> Result<Option<Hold>, Hold> {
        let (mut moved, mut waiting) = (None, None);
        for update in updates.filter(|update| update.old != update.new) {
            match self.progress(update)? {
                Progress::Moved => moved = moved.or(Some(update)),
                Progress::Waiting => waiting = waiting.or(Some(update)),
                Progress::Other => {}
            }
        }
        let parts = moved.zip(waiting);
        Ok(parts.map(|(moved, waiting)| Hold::Landing {
            moved: moved.name.clone(),
            waiting: waiting.name.clone(),
        }))
    }

    fn progress(&self, update: &RefUpdate) -> Result<Progress, Hold> {
        let name = update.name.as_bstr();
        let stands = match self.names.local(name) {
            LocalRef::Id(id) => id,
            LocalRef::Absent => self.null,
            // The group is held because of it.
            LocalRef::Unreadable(_) => return Ok(Progress::Other),
        };
        if stands == update.new {
            return Ok(Progress::Moved);
        }
        if stands == update.old {
            return Ok(Progress::Waiting);
        }
        let later = !stands.is_null() && !update.new.is_null() && self.fast_forward(name, update.new, stands)?;
        Ok(if later { Progress::Moved } else { Progress::Other })
    }
}
