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
//! 5. A mirrored ref outside the namespaces is a group of its own, without a watermark.
//! 6. Entries that the configuration excludes are skipped: deletions with `deletes = false`, refs that no pattern
//!    matches, watermarks, which only the worker moves.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::watermark::{self, index_ref, ledger_ref, watermark_ref};
use crate::{push::Command, ref_pattern::RefPatterns, ref_update::RefUpdate};

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

/// What is known of commits and refs of the Stargate.
pub trait Knowledge {
    /// What the local ref of this name is.
    fn local(&self, name: &BStr) -> Option<ObjectId>;
    /// Whether the Stargate has the object.
    fn exists(&self, id: ObjectId) -> bool;
    /// Whether `new` is `old` or descends from it; false when either is not known.
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> bool;
    /// Updates of the ref that were carried lately; none are known where there is no journal.
    fn settled(&self, _name: &BStr) -> Vec<RefUpdate> {
        Vec::new()
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
    /// None for a ref outside the namespaces.
    pub namespace: Option<BString>,
    /// The mirrored refs of the group, the ledger first.
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
        match (&self.namespace, self.changes.first()) {
            (Some(namespace), _) => namespace.as_bstr(),
            (None, Some(change)) => change.name.as_bstr(),
            (None, None) => BStr::new(""),
        }
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
    let mut refs: BTreeMap<&BStr, Vec<usize>> = BTreeMap::new();
    for (index, update) in backlog.iter().enumerate() {
        let name = update.name.as_bstr();
        let excluded = watermark::is_watermark(name) || !rules.refs.matches(name);
        if excluded || (update.is_delete() && !rules.deletes) {
            plan.skipped.push(index);
        } else {
            refs.entry(name).or_default().push(index);
        }
    }
    let fold = Fold {
        backlog,
        knowledge,
        remote,
        rules,
        null,
    };
    let mut namespaces: BTreeMap<&BStr, Vec<usize>> = BTreeMap::new();
    for (name, entries) in &refs {
        match watermark::namespace(name) {
            Some(namespace) => namespaces.entry(namespace).or_default().extend(entries),
            None => plan.groups.push(fold.single(name, entries)),
        }
    }
    for (namespace, mut entries) in namespaces {
        entries.sort_unstable();
        plan.groups.push(fold.namespace(namespace, entries));
    }
    plan
}

struct Fold<'a> {
    backlog: &'a [RefUpdate],
    knowledge: &'a dyn Knowledge,
    remote: &'a BTreeMap<BString, ObjectId>,
    rules: &'a Rules,
    null: ObjectId,
}

impl Fold<'_> {
    fn single(&self, name: &BStr, entries: &[usize]) -> Group {
        let mut group = Group {
            namespace: None,
            changes: Vec::new(),
            watermark: None,
            entries: entries.to_vec(),
            hold: None,
        };
        self.add(&mut group, name);
        group
    }

    fn namespace(&self, namespace: &BStr, entries: Vec<usize>) -> Group {
        let mut group = Group {
            namespace: Some(namespace.to_owned()),
            changes: Vec::new(),
            watermark: None,
            entries,
            hold: None,
        };
        let (ledger, index) = (ledger_ref(namespace), index_ref(namespace));
        self.add(&mut group, ledger.as_bstr());
        self.add(&mut group, index.as_bstr());
        group.watermark = self.watermark(namespace, ledger.as_bstr(), &group);
        group
    }

    /// The watermark follows the ledger, wherever it was: it is ours alone.
    fn watermark(&self, namespace: &BStr, ledger: &BStr, group: &Group) -> Option<Change> {
        let planned = group
            .changes
            .iter()
            .find(|change| change.name == ledger)
            .map(|change| change.new);
        let new = planned.or_else(|| self.remote.get(ledger.as_bytes()).copied())?;
        if !new.is_null() && !self.knowledge.exists(new) {
            return None;
        }
        let name = watermark_ref(namespace);
        let old = self.remote_id(name.as_bstr());
        Some(Change { name, old, new })
    }

    fn add(&self, group: &mut Group, name: &BStr) {
        if !self.rules.refs.matches(name) {
            return;
        }
        let updates: Vec<&RefUpdate> = group.entries.iter().map(|index| &self.backlog[*index]).collect();
        let updates: Vec<&RefUpdate> = updates.into_iter().filter(|update| update.name == name).collect();
        match self.change(name, &updates) {
            Ok(change) => group.changes.extend(change),
            Err(hold) => group.hold = group.hold.take().or(Some(hold)),
        }
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
        let Some(target) = self.target(name, updates) else {
            return Ok(None);
        };
        if target == old {
            return change(target);
        }
        if !target.is_null() && !self.knowledge.exists(target) {
            return Err(Hold::Gone {
                name: name.to_owned(),
                id: target,
            });
        }
        let safe = old.is_null() || (!target.is_null() && self.knowledge.fast_forward(old, target));
        if safe || self.journaled(old, target, updates) {
            return change(target);
        }
        // Without an entry of its own a ref only comes along: the mirror being ahead of it is no reason to wait.
        if updates.is_empty() && self.knowledge.fast_forward(target, old) {
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
    fn target(&self, name: &BStr, updates: &[&RefUpdate]) -> Option<ObjectId> {
        let local = self.knowledge.local(name);
        if updates.is_empty() {
            return local;
        }
        let stands = local.unwrap_or(self.null);
        let ahead = end(updates, stands).filter(|end| {
            *end != stands
                && local.is_none_or(|local| self.is_ahead(name, *end, local))
                && !self.was_left(name, updates, *end, stands)
        });
        Some(ahead.unwrap_or(stands))
    }

    /// Whether a hook was late: what its entry tells of has been left for where the ref stands, by updates of which some
    /// are settled.
    fn was_left(&self, name: &BStr, updates: &[&RefUpdate], end: ObjectId, stands: ObjectId) -> bool {
        let settled = self.knowledge.settled(name);
        reached(end, settled.iter().chain(updates.iter().copied())).contains(&stands)
    }

    /// Whether the journal's end is ahead of the local ref: a descendant of it, or an object that a power cut took from
    /// the Stargate after the mirror had it.
    fn is_ahead(&self, name: &BStr, end: ObjectId, local: ObjectId) -> bool {
        let taken = || end == self.remote_id(name) && !self.knowledge.exists(end);
        !end.is_null() && (self.knowledge.fast_forward(local, end) || taken())
    }

    /// Whether journaled updates say that `remote` may be replaced by `target` (or removed), and the configuration
    /// allows it (rule 3). What the remote has must be something that the journal knows the Stargate to have had.
    fn journaled(&self, remote: ObjectId, target: ObjectId, updates: &[&RefUpdate]) -> bool {
        let deleted = self.rules.deletes && updates.iter().any(|update| update.is_delete());
        let forced = self.rules.force && updates.iter().any(|update| update.new == target);
        if !deleted && !forced {
            return false;
        }
        let known = |id: ObjectId| !id.is_null() && (id == remote || self.knowledge.fast_forward(remote, id));
        updates.iter().any(|update| known(update.old) || known(update.new))
    }

    fn remote_id(&self, name: &BStr) -> ObjectId {
        self.remote.get(name.as_bytes()).copied().unwrap_or(self.null)
    }
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
    match ends.clone().any(|end| end == stands) {
        true => Some(stands),
        false => ends.next(),
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
