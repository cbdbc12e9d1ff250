//! Plan: turns the backlog, the local refs and the remote's refs into groups of commands.
//!
//! The rules, each with a test below:
//!
//! 1. A ref's target is the current id of the Stargate's ref. The journal can be ahead of the refs, after a power cut or
//!    while a hook runs. Then the target is the end of the journaled updates, followed from old id to new id. Hooks append
//!    in any order, and sometimes after a later update is settled. An older id never wins. If the entries show that an
//!    update between them was never journaled, the ref itself decides.
//! 2. The target of a ref covers all of its entries.
//! 3. The mirror's ref is created or fast-forwarded to the target. Any other change needs a journaled update for it and
//!    the permission of the configuration; otherwise the group is held as diverged.
//! 4. All mirrored refs of a namespace, of every family and epoch, move together with the watermark, which is set to the
//!    ledger's target. An entry for one of them moves the others, too, but never by force and never by deletion.
//! 5. A mirrored ref outside the namespaces is a group of its own, without a watermark. A symbolic ref belongs to the
//!    group of its target and has its id; an update of either one counts for both.
//! 6. Entries that the configuration excludes are skipped: deletions with `deletes = false`, refs that no pattern
//!    matches, and watermarks, which only the worker moves.
//! 7. Unreadable is not absent: a ref or an object that may or may not exist holds its group as broken.
//! 8. A ref that conflicts with the name of a ref on the mirror holds its group as diverged.
//! 9. A push that has moved some of a namespace's refs, and not the others yet, holds the group as transient.
//!
//! `names` finds the refs of a group, `target` decides about each of them, `conflict` applies rule 8, `landing` rule 9.
mod conflict;
mod hold;
mod landing;
mod names;
mod target;

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use git_push::Command;
use gix::ObjectId;

pub use self::hold::Hold;
use self::names::Names;
use super::{
    grouping::{Grouping, Unit},
    watermark::{ledger_ref, watermark_ref},
};
use crate::{
    namespace::is_watermark,
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// Mirrored refs and permissions, from the configuration.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Patterns of mirrored refs.
    pub refs: RefPatterns,
    /// Mirror a journaled forced update.
    pub force: bool,
    /// Mirror a journaled deletion.
    pub deletes: bool,
}

/// An object of the Stargate or its journal cannot be read, so a question about it has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(
    /// The unreadable object or ref, and the reason.
    pub String,
);

/// View of the Stargate's refs and objects.
pub trait LocalView {
    /// Returns the local ref of this name.
    fn local(&self, name: &BStr) -> LocalRef;
    /// Lists the current values of all local refs that match `patterns`.
    fn list(&self, patterns: &RefPatterns) -> LocalRefs;
    /// Returns true if the Stargate has the object.
    ///
    /// # Errors
    /// The object may exist, but cannot be read.
    fn exists(&self, id: ObjectId) -> Result<bool, Damaged>;
    /// Returns true if `new` is `old` or descends from it, and false if the Stargate lacks either one.
    ///
    /// # Errors
    /// A commit on the way is missing or cannot be read.
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged>;
    /// Returns the symbolic refs, each with its final target.
    fn aliases(&self) -> BTreeMap<BString, BString> {
        BTreeMap::new()
    }
    /// Returns recently mirrored updates of the ref, and none without a journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn settled(&self, _name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        Ok(Vec::new())
    }
    /// Returns the updates of each push that git may be applying at this moment, and none without intents.
    ///
    /// # Errors
    /// The intents cannot be read.
    fn pushes_in_flight(&self) -> Result<Vec<Vec<RefUpdate>>, Damaged> {
        Ok(Vec::new())
    }
}

/// Work of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Groups in order of name, refs outside the namespaces first.
    pub groups: Vec<Group>,
    /// Entries that the configuration excludes, as indexes of the backlog.
    pub skipped: Vec<usize>,
}

/// Commands that must land together, and the entries that they settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The namespace, else the ref.
    pub label: BString,
    /// The namespace; none for a ref outside the namespaces.
    pub namespace: Option<BString>,
    /// Mirrored refs of the group, the ledger first. Watermarks of other namespaces in the group come last.
    pub changes: Vec<Change>,
    /// The watermark, if there is a ledger.
    pub watermark: Option<Change>,
    /// Covered entries, as indexes of the backlog.
    pub entries: Vec<usize>,
    /// Reason why this group must not be sent.
    pub hold: Option<Hold>,
}

/// Old and new id of a ref on the remote. Both are null for a ref that is and stays absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The full name.
    pub name: BString,
    /// Current id on the remote.
    pub old: ObjectId,
    /// Id after the change.
    pub new: ObjectId,
}

impl Group {
    /// Returns the commands to send: one for each ref that changes.
    pub fn commands(&self) -> Vec<Command> {
        let all = self.changes.iter().chain(&self.watermark);
        all.filter(|change| change.old != change.new)
            .map(Change::command)
            .collect()
    }

    /// Returns deletions of refs that the remote does not advertise. They have the null id on both sides. Such a ref is gone,
    /// or the remote hides it (`receive.hideRefs`, `transfer.hideRefs`). Only the answer to the command shows which.
    pub fn unseen_deletions(&self) -> Vec<Command> {
        let all = self.changes.iter().chain(&self.watermark);
        all.filter(|change| change.is_unseen_deletion())
            .map(Change::command)
            .collect()
    }

    /// Returns the label of the group in a log: the namespace, else the ref.
    pub fn label(&self) -> &BStr {
        self.label.as_bstr()
    }
}

impl Change {
    /// Returns true for the deletion of a ref that the remote does not advertise.
    pub(super) fn is_unseen_deletion(&self) -> bool {
        self.old.is_null() && self.new.is_null()
    }

    /// Returns the command for the change.
    pub fn command(&self) -> Command {
        Command {
            name: self.name.clone(),
            old: self.old,
            new: self.new,
        }
    }
}

/// Plans pending ref updates (in journal order), given the Stargate and the remote's refs. `null` is the null id of the
/// repository's object format.
pub fn plan(
    backlog: &[RefUpdate],
    local_view: &dyn LocalView,
    remote: &BTreeMap<BString, ObjectId>,
    rules: &Rules,
    null: ObjectId,
) -> Plan {
    let mut plan = Plan::default();
    let grouping = Grouping::new(&local_view.aliases(), &rules.refs);
    let mut units: BTreeMap<Unit, Vec<usize>> = BTreeMap::new();
    for (index, update) in backlog.iter().enumerate() {
        let name = update.name.as_bstr();
        let excluded = is_watermark(name) || !rules.refs.matches(name);
        if excluded || (update.is_delete() && !rules.deletes) {
            plan.skipped.push(index);
        } else {
            units.entry(grouping.unit(name)).or_default().push(index);
        }
    }
    let names = Names::read(local_view, units.keys(), &grouping, backlog, rules);
    let fold = Fold {
        backlog,
        local_view,
        names,
        remote,
        rules,
        grouping: &grouping,
        null,
    };
    let groups = units.into_iter().map(|(unit, entries)| fold.group(&unit, entries));
    plan.groups = groups.collect();
    conflict::hold_conflicts(&mut plan.groups, remote);
    plan
}

struct Fold<'a> {
    backlog: &'a [RefUpdate],
    local_view: &'a dyn LocalView,
    names: Names<'a>,
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
        // The progress of the pushes is read before the refs, so a ref that counts as moved has its new id when it is
        // read.
        let landing = self.landing(unit)?;
        let refs: Vec<BString> = members.iter().flat_map(|member| self.names.of(member)).collect();
        let mirrored = refs.iter().filter(|name| self.rules.refs.matches(name.as_bstr()));
        let changes: Vec<_> = mirrored.map(|name| self.change_of(name.as_bstr(), group)).collect();
        let mut hold = members
            .iter()
            .find_map(|member| self.names.check_complete(member).err());
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
        landing.or(hold).map_or(Ok(()), Err)
    }

    /// Sets the watermark to the ledger, wherever it was: only the worker moves it.
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

    /// Returns the change of a ref in this group.
    fn change_of(&self, name: &BStr, group: &Group) -> Result<Option<Change>, Hold> {
        let updates = group.entries.iter().map(|index| &self.backlog[*index]);
        let of_ref = updates.filter(|update| self.grouping.is_same(update.name.as_bstr(), name));
        self.change(name, &of_ref.collect::<Vec<_>>())
    }

    fn exists(&self, name: &BStr, id: ObjectId) -> Result<bool, Hold> {
        self.local_view.exists(id).map_err(|why| damaged(name, why))
    }

    fn fast_forward(&self, name: &BStr, old: ObjectId, new: ObjectId) -> Result<bool, Hold> {
        self.local_view.fast_forward(old, new).map_err(|why| damaged(name, why))
    }

    fn remote_id(&self, name: &BStr) -> ObjectId {
        self.remote.get(name.as_bytes()).copied().unwrap_or(self.null)
    }
}

fn damaged(name: &BStr, why: Damaged) -> Hold {
    let name = name.to_owned();
    Hold::Damaged { name, why }
}

#[cfg(test)]
mod tests;
