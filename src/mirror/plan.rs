//! Folds the backlog, the local refs and the remote's refs into groups of commands.
//!
//! The rules, each of which has a test below:
//!
//! 1. A ref's target is what the Stargate's ref is now. Where the journal is ahead of the refs (a power cut, or a hook
//!    between the update and this look) it is the last entry's new id. What is older never wins.
//! 2. All entries of a ref are covered by its target.
//! 3. The mirror's ref is created or fast-forwarded to the target. Anything else needs a journaled update that says so
//!    and the configuration to allow it; otherwise the group is held as diverged.
//! 4. All mirrored refs of a namespace move together with the watermark, which is set to the ledger's target; an entry
//!    for one of them brings the others along (never by force, never by deletion).
//! 5. A mirrored ref outside the namespaces is a group of its own, without a watermark.
//! 6. Entries that the configuration excludes are skipped: deletions with `deletes = false`, refs that no pattern
//!    matches, watermarks, which only the worker moves.
use std::collections::BTreeMap;

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
        let last = updates.last().map(|update| update.new);
        match (self.knowledge.local(name), last) {
            (Some(local), Some(last)) if self.is_ahead(name, last, local) => Some(last),
            (Some(local), _) => Some(local),
            (None, last) => last,
        }
    }

    /// Whether the journal's last id is ahead of the local ref: a descendant of it, or an object that a power cut took
    /// from the Stargate after the mirror had it.
    fn is_ahead(&self, name: &BStr, last: ObjectId, local: ObjectId) -> bool {
        let taken = || last == self.remote_id(name) && !self.knowledge.exists(last);
        !last.is_null() && (self.knowledge.fast_forward(local, last) || taken())
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

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = "refs/kv/main";
    const INDEX: &str = "refs/kv-index/main";

    /// Commits named by bytes: `0x12` descends from `0x11` descends from `0x10`; another high digit is another line.
    fn id(name: u8) -> ObjectId {
        ObjectId::from_hex(format!("{name:02x}").repeat(20).as_bytes()).unwrap()
    }

    fn null() -> ObjectId {
        gix::hash::Kind::Sha1.null()
    }

    #[derive(Default)]
    struct Stargate {
        refs: Vec<(&'static str, u8)>,
        gone: Vec<u8>,
    }

    impl Knowledge for Stargate {
        fn local(&self, name: &BStr) -> Option<ObjectId> {
            self.refs
                .iter()
                .find(|(known, _)| name == *known)
                .map(|(_, commit)| id(*commit))
        }
        fn exists(&self, id_: ObjectId) -> bool {
            !self.gone.iter().any(|gone| id(*gone) == id_)
        }
        fn fast_forward(&self, old: ObjectId, new: ObjectId) -> bool {
            let (old, new) = (old.as_slice()[0], new.as_slice()[0]);
            let known = !self.gone.contains(&old) && !self.gone.contains(&new);
            known && old >> 4 == new >> 4 && old <= new
        }
    }

    fn update(name: &str, old: u8, new: u8) -> RefUpdate {
        let id = |byte| if byte == 0 { null() } else { id(byte) };
        RefUpdate {
            old: id(old),
            new: id(new),
            name: name.into(),
        }
    }

    fn remote(refs: &[(&str, u8)]) -> BTreeMap<BString, ObjectId> {
        refs.iter()
            .map(|(name, commit)| (BString::from(*name), id(*commit)))
            .collect()
    }

    fn rules() -> Rules {
        Rules {
            refs: RefPatterns::default(),
            force: false,
            deletes: true,
        }
    }

    fn planned(backlog: &[RefUpdate], stargate: &Stargate, on_remote: &[(&str, u8)], rules: &Rules) -> Plan {
        plan(backlog, stargate, &remote(on_remote), rules, null())
    }

    /// The only group's commands as `(name, old, new)`, zero for absent; or its hold.
    fn commands(plan: &Plan) -> Result<Vec<(String, u8, u8)>, Hold> {
        let [group] = &plan.groups[..] else {
            panic!("one group, not {:#?}", plan.groups);
        };
        let byte = |id: ObjectId| id.as_slice()[0];
        match &group.hold {
            Some(hold) => Err(hold.clone()),
            None => Ok(group
                .commands()
                .into_iter()
                .map(|c| (c.name.to_string(), byte(c.old), byte(c.new)))
                .collect()),
        }
    }

    fn command(name: &str, old: u8, new: u8) -> (String, u8, u8) {
        (name.into(), old, new)
    }

    #[test]
    fn ledger_index_and_watermark_are_created_together() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x11), (INDEX, 0x21)],
            ..Default::default()
        };
        let backlog = [update(LEDGER, 0, 0x11), update(INDEX, 0, 0x21)];
        let plan = planned(&backlog, &stargate, &[], &rules());
        let expected = [
            command(LEDGER, 0, 0x11),
            command(INDEX, 0, 0x21),
            command("refs/kv-mirror/main", 0, 0x11),
        ];
        assert_eq!(commands(&plan).unwrap(), expected);
        assert_eq!(plan.groups[0].entries, [0, 1]);
    }

    #[test]
    fn the_last_of_many_entries_covers_all() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x13)],
            ..Default::default()
        };
        let backlog = [
            update(LEDGER, 0x10, 0x11),
            update(LEDGER, 0x11, 0x12),
            update(LEDGER, 0x12, 0x13),
        ];
        let plan = planned(
            &backlog,
            &stargate,
            &[(LEDGER, 0x10), ("refs/kv-mirror/main", 0x10)],
            &rules(),
        );
        let expected = [command(LEDGER, 0x10, 0x13), command("refs/kv-mirror/main", 0x10, 0x13)];
        assert_eq!(commands(&plan).unwrap(), expected);
        assert_eq!(plan.groups[0].entries, [0, 1, 2]);
    }

    #[test]
    fn entries_out_of_order_do_not_hold_the_mirror_back() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x13)],
            ..Default::default()
        };
        let backlog = [update(LEDGER, 0x12, 0x13), update(LEDGER, 0x11, 0x12)];
        let plan = planned(&backlog, &stargate, &[(LEDGER, 0x11)], &rules());
        assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x11, 0x13));
    }

    #[test]
    fn a_journal_ahead_of_the_refs_wins() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x11)],
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &[(LEDGER, 0x11)], &rules());
        assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x11, 0x12));
    }

    #[test]
    fn what_a_power_cut_took_stays_on_the_mirror() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x11)],
            gone: vec![0x12],
        };
        let on_remote = [(LEDGER, 0x12)];
        let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &on_remote, &rules());
        assert_eq!(commands(&plan), Ok(vec![]));
    }

    #[test]
    fn an_entry_for_the_index_brings_the_ledger_along() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x12), (INDEX, 0x22)],
            ..Default::default()
        };
        let on_remote = [(LEDGER, 0x11), (INDEX, 0x21), ("refs/kv-mirror/main", 0x11)];
        let plan = planned(&[update(INDEX, 0x21, 0x22)], &stargate, &on_remote, &rules());
        let expected = [
            command(LEDGER, 0x11, 0x12),
            command(INDEX, 0x21, 0x22),
            command("refs/kv-mirror/main", 0x11, 0x12),
        ];
        assert_eq!(commands(&plan).unwrap(), expected);
    }

    #[test]
    fn a_missing_watermark_is_set_though_the_refs_are_there() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x11)],
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0x10, 0x11)], &stargate, &[(LEDGER, 0x11)], &rules());
        assert_eq!(commands(&plan).unwrap(), [command("refs/kv-mirror/main", 0, 0x11)]);
    }

    #[test]
    fn what_the_mirror_has_beyond_the_stargate_is_diverged() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x12)],
            ..Default::default()
        };
        for remote in [0x13, 0x31] {
            let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &[(LEDGER, remote)], &rules());
            assert!(matches!(commands(&plan), Err(Hold::Diverged { .. })), "{remote:x}");
        }
    }

    #[test]
    fn a_forced_update_is_carried_when_it_is_journaled_and_allowed() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x31)],
            ..Default::default()
        };
        let backlog = [update(LEDGER, 0x12, 0x31)];
        let forced = Rules { force: true, ..rules() };
        let on_remote = [(LEDGER, 0x11)];
        assert!(matches!(
            commands(&planned(&backlog, &stargate, &on_remote, &rules())),
            Err(Hold::Diverged { .. })
        ));
        let plan = planned(&backlog, &stargate, &on_remote, &forced);
        assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x11, 0x31));
        // Somebody else's commit is not what the journal replaced.
        let plan = planned(&backlog, &stargate, &[(LEDGER, 0x41)], &forced);
        assert!(matches!(commands(&plan), Err(Hold::Diverged { .. })));
    }

    #[test]
    fn a_journaled_deletion_takes_the_watermark_along() {
        let plan = planned(
            &[update(LEDGER, 0x12, 0)],
            &Stargate::default(),
            &[(LEDGER, 0x11), ("refs/kv-mirror/main", 0x11)],
            &rules(),
        );
        let expected = [command(LEDGER, 0x11, 0), command("refs/kv-mirror/main", 0x11, 0)];
        assert_eq!(commands(&plan).unwrap(), expected);
    }

    #[test]
    fn a_deletion_of_what_the_journal_does_not_know_is_diverged() {
        let plan = planned(
            &[update(LEDGER, 0x12, 0)],
            &Stargate::default(),
            &[(LEDGER, 0x41)],
            &rules(),
        );
        assert!(matches!(commands(&plan), Err(Hold::Diverged { .. })));
    }

    #[test]
    fn deletions_are_skipped_where_they_are_not_wanted() {
        let kept = Rules {
            deletes: false,
            ..rules()
        };
        let backlog = [update(LEDGER, 0x11, 0x12), update(LEDGER, 0x12, 0)];
        let plan = planned(&backlog, &Stargate::default(), &[(LEDGER, 0x11)], &kept);
        assert_eq!(plan.skipped, [1]);
        assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x11, 0x12));
    }

    #[test]
    fn delete_and_create_again_replaces_what_was_deleted() {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x31)],
            ..Default::default()
        };
        let backlog = [update(LEDGER, 0x12, 0), update(LEDGER, 0, 0x31)];
        let plan = planned(&backlog, &stargate, &[(LEDGER, 0x12)], &rules());
        assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x12, 0x31));
    }

    #[test]
    fn watermarks_and_unmatched_refs_are_skipped() {
        let all = Rules {
            refs: RefPatterns::new(["refs/*", "!refs/x/*"]).unwrap(),
            ..rules()
        };
        let backlog = [update("refs/kv-mirror/main", 0, 0x11), update("refs/x/y", 0, 0x11)];
        let plan = planned(&backlog, &Stargate::default(), &[], &all);
        assert_eq!((plan.skipped, plan.groups), (vec![0, 1], vec![]));
    }

    #[test]
    fn a_ref_outside_the_namespaces_stands_alone() {
        let heads = Rules {
            refs: RefPatterns::new(["refs/heads/*"]).unwrap(),
            ..rules()
        };
        let stargate = Stargate {
            refs: vec![("refs/heads/a", 0x11), ("refs/heads/b", 0x21)],
            ..Default::default()
        };
        let backlog = [update("refs/heads/b", 0, 0x21), update("refs/heads/a", 0, 0x11)];
        let plan = planned(&backlog, &stargate, &[], &heads);
        let labels: Vec<_> = plan.groups.iter().map(|group| group.label().to_string()).collect();
        assert_eq!(labels, ["refs/heads/a", "refs/heads/b"]);
        assert!(plan.groups.iter().all(|group| group.watermark.is_none()));
    }

    #[test]
    fn an_object_that_is_gone_is_named() {
        let stargate = Stargate {
            gone: vec![0x11],
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0, 0x11)], &stargate, &[], &rules());
        let gone = Hold::Gone {
            name: LEDGER.into(),
            id: id(0x11),
        };
        assert_eq!(commands(&plan), Err(gone));
    }
}
