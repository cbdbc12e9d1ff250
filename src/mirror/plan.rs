//! Folds the backlog, the local refs and the remote's refs into groups of commands.
//!
//! The rules, each of which has a test below:
//!
//! 1. A ref's target is what the Stargate's ref is now. Where the journal is ahead of the refs (a power cut, or a hook
//!    between the update and this look) it is where the journaled updates end, from old id to new id: hooks append in
//!    any order, and some when what came later is settled. What is older never wins.
//! 2. All entries of a ref are covered by its target.
//! 3. The mirror's ref is created or fast-forwarded to the target. Anything else needs a journaled update that says so
//!    and the configuration to allow it; otherwise the group is held as diverged.
//! 4. All mirrored refs of a namespace move together with the watermark, which is set to the ledger's target; an entry
//!    for one of them brings the others along (never by force, never by deletion).
//! 5. A mirrored ref outside the namespaces is a group of its own, without a watermark. A symbolic ref is in the group of
//!    its target and is what it resolves to; an update of the one is one of the other.
//! 6. Entries that the configuration excludes are skipped: deletions with `deletes = false`, refs that no pattern
//!    matches, watermarks, which only the worker moves.
//! 7. What cannot be read is not absent: a ref or an object that may be there or not holds its group as broken.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use git_push::Command;
use gix::ObjectId;

use super::{
    Outcome,
    grouping::{Grouping, Unit},
    watermark::{self, ledger_ref, watermark_ref},
};
use crate::{
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, Unreadable},
};

/// What the configuration allows.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which refs are mirrored.
    pub refs: RefPatterns,
    /// Carry a forced update that is journaled.
    pub force: bool,
    /// Carry a deletion that is journaled.
    pub deletes: bool,
}

/// Something of the Stargate's objects or its journal cannot be read, so that a question about them has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(
    /// What, where and why.
    pub String,
);

/// What is known of commits and refs of the Stargate.
pub trait Knowledge {
    /// What the local ref of this name is.
    fn local(&self, name: &BStr) -> LocalRef;
    /// Whether the Stargate has the object.
    ///
    /// # Errors
    /// It may have it, and it cannot be read.
    fn exists(&self, id: ObjectId) -> Result<bool, Damaged>;
    /// Whether `new` is `old` or descends from it; false when the Stargate does not have either.
    ///
    /// # Errors
    /// A commit on the way is missing or cannot be read.
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged>;
    /// Symbolic refs, each with the ref that it leads to in the end.
    fn aliases(&self) -> BTreeMap<BString, BString> {
        BTreeMap::new()
    }
    /// Updates of the ref that were carried lately; none are known where there is no journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn settled(&self, _name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        Ok(Vec::new())
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Groups in order of name, refs outside the namespaces first.
    pub groups: Vec<Group>,
    /// Entries that the configuration excludes, as indexes of the backlog.
    pub skipped: Vec<usize>,
}

/// The commands that must land together, and the entries that they settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The namespace, else the ref.
    pub label: BString,
    /// None for a ref outside the namespaces.
    pub namespace: Option<BString>,
    /// The mirrored refs of the group, the ledger first; watermarks of other namespaces that are in it last.
    pub changes: Vec<Change>,
    /// The watermark, where there is a ledger.
    pub watermark: Option<Change>,
    /// The entries that are covered, as indexes of the backlog.
    pub entries: Vec<usize>,
    /// Why nothing of this group may be sent.
    pub hold: Option<Hold>,
}

/// A ref of the remote as it is and as it shall be; both null when it is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The full name.
    pub name: BString,
    /// What the remote has.
    pub old: ObjectId,
    /// What it shall have.
    pub new: ObjectId,
}

/// Why a group waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// The remote has something that would be overwritten or removed.
    #[error("{name} is at {remote} on the mirror, which the Stargate's {target} does not contain")]
    Diverged {
        /// The ref.
        name: BString,
        /// What the remote has.
        remote: ObjectId,
        /// What the Stargate wants there, in words.
        target: String,
    },
    /// The object to push is gone from the Stargate.
    #[error("{name}: object {id} is no longer in the Stargate")]
    Gone {
        /// The ref.
        name: BString,
        /// The object.
        id: ObjectId,
    },
    /// The Stargate's ref may be there or not.
    #[error("{name} cannot be read: {why}")]
    Unreadable {
        /// The ref.
        name: BString,
        /// Which file, and what is wrong with it.
        why: Unreadable,
    },
    /// An object, or the part of the journal, that decides about the ref cannot be read.
    #[error("{name}: {why}")]
    Damaged {
        /// The ref.
        name: BString,
        /// Which one, and what is wrong with it.
        why: Damaged,
    },
}

impl Hold {
    /// What the group comes to by this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Hold::Diverged { .. } => Outcome::Diverged,
            Hold::Gone { .. } | Hold::Unreadable { .. } | Hold::Damaged { .. } => Outcome::Broken,
        }
    }
}

impl Group {
    /// What has to be sent: every change that is one.
    pub fn commands(&self) -> Vec<Command> {
        let all = self.changes.iter().chain(&self.watermark);
        all.filter(|change| change.old != change.new)
            .map(Change::command)
            .collect()
    }

    /// Deletions of refs that the remote does not show. They have the null id on both sides. Such a ref is gone, or the
    /// remote hides it (`receive.hideRefs`, `transfer.hideRefs`): only its answer to the command tells.
    pub fn unseen_deletions(&self) -> Vec<Command> {
        let all = self.changes.iter().chain(&self.watermark);
        all.filter(|change| change.is_unseen_deletion())
            .map(Change::command)
            .collect()
    }

    /// How the group is called in a log: the namespace, else the ref.
    pub fn label(&self) -> &BStr {
        self.label.as_bstr()
    }
}

impl Change {
    /// Whether a ref that the remote does not show is to be deleted.
    pub(super) fn is_unseen_deletion(&self) -> bool {
        self.old.is_null() && self.new.is_null()
    }

    /// The command that makes the change.
    pub fn command(&self) -> Command {
        Command {
            name: self.name.clone(),
            old: self.old,
            new: self.new,
        }
    }
}

/// Folds pending ref updates (in journal order), the Stargate and the remote's refs into a plan. `null` is the null id
/// of the repository's object format.
pub fn plan(
    backlog: &[RefUpdate],
    knowledge: &dyn Knowledge,
    remote: &BTreeMap<BString, ObjectId>,
    rules: &Rules,
    null: ObjectId,
) -> Plan {
    let mut plan = Plan::default();
    let grouping = Grouping::new(&knowledge.aliases(), &rules.refs);
    let mut units: BTreeMap<Unit, Vec<usize>> = BTreeMap::new();
    for (index, update) in backlog.iter().enumerate() {
        let name = update.name.as_bstr();
        let excluded = watermark::is_watermark(name) || !rules.refs.matches(name);
        if excluded || (update.is_delete() && !rules.deletes) {
            plan.skipped.push(index);
        } else {
            units.entry(grouping.unit(name)).or_default().push(index);
        }
    }
    let fold = Fold {
        backlog,
        knowledge,
        remote,
        rules,
        grouping: &grouping,
        null,
    };
    let groups = units.into_iter().map(|(unit, entries)| fold.group(&unit, entries));
    plan.groups = groups.collect();
    plan
}

struct Fold<'a> {
    backlog: &'a [RefUpdate],
    knowledge: &'a dyn Knowledge,
    remote: &'a BTreeMap<BString, ObjectId>,
    rules: &'a Rules,
    grouping: &'a Grouping,
    null: ObjectId,
}

impl Fold<'_> {
    fn group(&self, unit: &Unit, entries: Vec<usize>) -> Group {
        let mut group = Group {
            label: unit.label().clone(),
            namespace: match unit {
                Unit::Namespace(namespace) => Some(namespace.clone()),
                Unit::Ref(_) => None,
            },
            changes: Vec::new(),
            watermark: None,
            entries,
            hold: None,
        };
        if let Err(hold) = self.fill(&mut group, unit) {
            group.hold = Some(hold);
        }
        group
    }

    fn fill(&self, group: &mut Group, unit: &Unit) -> Result<(), Hold> {
        let members = self.grouping.members(unit);
        let refs: Vec<BString> = members.iter().flat_map(Unit::refs).collect();
        let mirrored = refs.iter().filter(|name| self.rules.refs.matches(name.as_bstr()));
        let changes: Vec<_> = mirrored.map(|name| self.change_of(name.as_bstr(), group)).collect();
        let mut hold = None;
        for change in changes {
            match change {
                Ok(change) => group.changes.extend(change),
                Err(reason) => drop(hold.get_or_insert(reason)),
            }
        }
        let mut others = Vec::new();
        for member in &members {
            match member {
                Unit::Namespace(namespace) if member == unit => group.watermark = self.watermark(namespace, group)?,
                Unit::Namespace(namespace) => others.extend(self.watermark(namespace, group)?),
                Unit::Ref(_) => {}
            }
        }
        group.changes.extend(others);
        hold.map_or(Ok(()), Err)
    }

    /// The watermark follows the ledger, wherever it was: it is ours alone.
    fn watermark(&self, namespace: &BString, group: &Group) -> Result<Option<Change>, Hold> {
        let ledger = ledger_ref(namespace.as_bstr());
        let planned = group.changes.iter().find(|change| change.name == ledger);
        let stands = || self.remote.get(&ledger).copied();
        let Some(new) = planned.map(|change| change.new).or_else(stands) else {
            return Ok(None);
        };
        if !new.is_null() && !self.exists(ledger.as_bstr(), new)? {
            return Ok(None);
        }
        let name = watermark_ref(namespace.as_bstr());
        let old = self.remote_id(name.as_bstr());
        Ok(Some(Change { name, old, new }))
    }

    /// The change of a ref of this group.
    fn change_of(&self, name: &BStr, group: &Group) -> Result<Option<Change>, Hold> {
        let updates = group.entries.iter().map(|index| &self.backlog[*index]);
        let of_ref = updates.filter(|update| self.grouping.is_same(update.name.as_bstr(), name));
        self.change(name, &of_ref.collect::<Vec<_>>())
    }

    /// The change of one ref, given its pending updates in journal order; none when there is nothing to say about it.
    fn change(&self, name: &BStr, updates: &[&RefUpdate]) -> Result<Option<Change>, Hold> {
        let old = self.remote_id(name);
        let change = |new| {
            Ok(Some(Change {
                name: name.to_owned(),
                old,
                new,
            }))
        };
        let Some(target) = self.target(name, updates)? else {
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
        // Without an entry of its own a ref only comes along: the mirror being ahead of it is no reason to wait.
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

    /// What the ref shall be (rule 1); the null id when it shall not be.
    fn target(&self, name: &BStr, updates: &[&RefUpdate]) -> Result<Option<ObjectId>, Hold> {
        let local = match self.knowledge.local(name) {
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
        let ahead = ahead && !self.was_left(name, updates, end, stands)?;
        Ok(Some(if ahead { end } else { stands }))
    }

    /// Whether a hook was late: what its entry tells of has been left for where the ref stands, by updates of which some
    /// are settled.
    fn was_left(&self, name: &BStr, updates: &[&RefUpdate], end: ObjectId, stands: ObjectId) -> Result<bool, Hold> {
        let names: BTreeSet<&BString> = updates.iter().map(|update| &update.name).collect();
        let mut settled = Vec::new();
        for one in names {
            settled.extend(
                self.knowledge
                    .settled(one.as_bstr())
                    .map_err(|why| damaged(name, why))?,
            );
        }
        Ok(reached(end, settled.iter().chain(updates.iter().copied())).contains(&stands))
    }

    /// Whether the journal's end is ahead of the local ref: a descendant of it, or an object that a power cut took from
    /// the Stargate after the mirror had it.
    fn is_ahead(&self, name: &BStr, end: ObjectId, local: ObjectId) -> Result<bool, Hold> {
        if end.is_null() {
            return Ok(false);
        }
        let taken = end == self.remote_id(name) && !self.exists(name, end)?;
        Ok(taken || self.fast_forward(name, local, end)?)
    }

    /// Whether journaled updates say that `remote` may be replaced by `target` (or removed), and the configuration
    /// allows it (rule 3). What the remote has must be something that the journal knows the Stargate to have had.
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

    fn exists(&self, name: &BStr, id: ObjectId) -> Result<bool, Hold> {
        self.knowledge.exists(id).map_err(|why| damaged(name, why))
    }

    fn fast_forward(&self, name: &BStr, old: ObjectId, new: ObjectId) -> Result<bool, Hold> {
        self.knowledge.fast_forward(old, new).map_err(|why| damaged(name, why))
    }

    fn remote_id(&self, name: &BStr) -> ObjectId {
        self.remote.get(name.as_bytes()).copied().unwrap_or(self.null)
    }
}

fn damaged(name: &BStr, why: Damaged) -> Hold {
    let name = name.to_owned();
    Hold::Damaged { name, why }
}

/// Where the updates of a ref end when each follows the one whose new id is its old id, whatever the order in which they
/// were appended: at the id that none of them leaves, anywhere where they go round. Of several ends it is where the ref
/// stands now (null where it is not), else the newest.
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

/// Where a ref can have been after it was at `from`, by these updates in any order.
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

#[cfg(test)]
mod tests;
