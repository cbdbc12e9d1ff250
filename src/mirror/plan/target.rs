//! Target of one ref, and the decision whether the mirror's ref may be moved there.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::{Change, Fold, Hold, damaged};
use crate::{ref_update::RefUpdate, refs::LocalRef};

impl Fold<'_> {
    /// Returns the change of one ref, given its pending updates in journal order, or none if the ref is not involved.
    pub(super) fn change(&self, name: &BStr, updates: &[&RefUpdate]) -> Result<Option<Change>, Hold> {
        let old = self.remote_id(name);
        let change = |new| {
            Ok(Some(Change {
                name: name.to_owned(),
                old,
                new,
            }))
        };
        let Some(target) = self.target(name, old, updates)? else {
            return Ok(None);
        };
        if target == old {
            return change(target);
        }
        if !target.is_null() && !self.exists(name, target)? {
            return Err(Hold::Gone {
                name: name.to_owned(),
                id: target,
            });
        }
        let safe = old.is_null() || (!target.is_null() && self.fast_forward(name, old, target)?);
        if safe || self.journaled(name, old, target, updates)? {
            return change(target);
        }
        // A ref without an entry need not hold the group if the mirror is ahead of it.
        if updates.is_empty() && self.fast_forward(name, target, old)? {
            return Ok(None);
        }
        Err(Hold::Diverged {
            name: name.to_owned(),
            remote: old,
            target: if target.is_null() {
                "deletion".into()
            } else {
                target.to_string()
            },
        })
    }

    /// Returns the target of the ref (rule 1), which is the null id for a deletion. `old` is the mirror's id.
    fn target(&self, name: &BStr, old: ObjectId, updates: &[&RefUpdate]) -> Result<Option<ObjectId>, Hold> {
        let local = match self.names.local(name) {
            LocalRef::Id(id) => Some(id),
            LocalRef::Absent => None,
            LocalRef::Unreadable(why) => {
                let name = name.to_owned();
                return Err(Hold::Unreadable { name, why });
            }
        };
        if updates.is_empty() {
            return Ok(local);
        }
        let stands = local.unwrap_or(self.null);
        let Some(end) = end(updates, stands).filter(|end| *end != stands) else {
            return Ok(Some(stands));
        };
        let ahead = match local {
            Some(local) => self.is_ahead(name, end, local)?,
            None => true,
        };
        if !ahead {
            return Ok(Some(stands));
        }
        let settled = self.settled(name, updates)?;
        let known: Vec<&RefUpdate> = settled.iter().chain(updates.iter().copied()).collect();
        // A hook was late: other updates, some of them settled, have moved the ref from the end of its entries to its current id.
        let was_superseded = reached(end, known.iter().copied()).contains(&stands);
        let is_known = |id: &ObjectId| *id == old || settled.iter().any(|update| update.new == *id);
        Ok(Some(
            if was_superseded || came_through_a_gap(updates, stands, is_known) {
                stands
            } else {
                end
            },
        ))
    }

    /// Returns the updates of a ref that were mirrored, under all names that it has in these updates.
    fn settled(&self, name: &BStr, updates: &[&RefUpdate]) -> Result<Vec<RefUpdate>, Hold> {
        let names: BTreeSet<&BString> = updates.iter().map(|update| &update.name).collect();
        let mut settled = Vec::new();
        for one in names {
            let of_name = self.local_view.settled(one.as_bstr());
            settled.extend(of_name.map_err(|why| damaged(name, why))?);
        }
        Ok(settled)
    }

    /// Returns true if the end of the journal is ahead of the local ref: a descendant of it, or an object that the Stargate
    /// lost in a power cut after it was mirrored.
    fn is_ahead(&self, name: &BStr, end: ObjectId, local: ObjectId) -> Result<bool, Hold> {
        if end.is_null() {
            return Ok(false);
        }
        let taken = end == self.remote_id(name) && !self.exists(name, end)?;
        Ok(taken || self.fast_forward(name, local, end)?)
    }

    /// Returns true if journaled updates and the configuration allow replacing `remote` by `target`, or deleting it (rule 3).
    /// The journal must show that the Stargate once had the remote's id.
    fn journaled(&self, name: &BStr, remote: ObjectId, target: ObjectId, updates: &[&RefUpdate]) -> Result<bool, Hold> {
        let deleted = self.rules.deletes && updates.iter().any(|update| update.is_delete());
        let forced = self.rules.force && updates.iter().any(|update| update.new == target);
        if !deleted && !forced {
            return Ok(false);
        }
        let ids = || updates.iter().flat_map(|update| [update.old, update.new]);
        if ids().any(|id| id == remote) {
            return Ok(true);
        }
        for id in ids().filter(|id| !id.is_null()) {
            if self.fast_forward(name, remote, id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the end of a ref's updates, chained from new id to old id regardless of the order in which they were
/// appended. An end is an id from which no update leads on. In a cycle, every id counts as an end. Of several ends, the
/// current id of the ref wins (null if it is absent), else the newest.
fn end(updates: &[&RefUpdate], stands: ObjectId) -> Option<ObjectId> {
    let moves = updates.iter().filter(|update| update.old != update.new);
    let left: BTreeSet<ObjectId> = moves.map(|update| update.old).collect();
    let goes_round = updates.iter().all(|update| left.contains(&update.new));
    let newest_first = updates.iter().rev().map(|update| update.new);
    let mut ends = newest_first.filter(|id| goes_round || !left.contains(id));
    if ends.clone().any(|end| end == stands) {
        Some(stands)
    } else {
        ends.next()
    }
}

/// Returns true if the newest update about the current id moved the ref there, from an id to which no update leads. `is_known` returns
/// true for ids that the mirror has or had.
///
/// An update in between was then never journaled, so the updates are several chains. The one that ends at the current id is the last:
/// the ref itself decides.
fn came_through_a_gap(updates: &[&RefUpdate], stands: ObjectId, is_known: impl Fn(&ObjectId) -> bool) -> bool {
    let about = |update: &&&RefUpdate| update.old != update.new && [update.old, update.new].contains(&stands);
    let Some(arrival) = updates.iter().rev().find(about).filter(|update| update.new == stands) else {
        return false;
    };
    let backwards: Vec<RefUpdate> = updates.iter().map(|update| reversed(update)).collect();
    let before = reached(arrival.old, backwards.iter());
    !before.iter().any(|id| id.is_null() || is_known(id))
}

fn reversed(update: &RefUpdate) -> RefUpdate {
    RefUpdate {
        old: update.new,
        new: update.old,
        name: update.name.clone(),
    }
}

/// Returns every id that a ref can have had after `from`, by these updates in any order.
fn reached<'a>(from: ObjectId, updates: impl Iterator<Item = &'a RefUpdate>) -> BTreeSet<ObjectId> {
    let mut moves: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
    for update in updates {
        moves.entry(update.old).or_default().push(update.new);
    }
    let mut reached = BTreeSet::from([from]);
    let mut followed = vec![from];
    while let Some(id) = followed.pop() {
        let next = moves.get(&id).into_iter().flatten();
        followed.extend(next.copied().filter(|next| reached.insert(*next)));
    }
    reached
}
