//! One test for each rule of the plan.
mod branches;
mod landing;
mod namespaces;
mod order;

use super::*;
use crate::{mirror::Outcome, refs::Unreadable};

const LEDGER: &str = "refs/kv/main";
const INDEX: &str = "refs/kv-index/main";

/// Commits named by bytes: `0x12` descends from `0x11`, and `0x11` from `0x10`. Different high digits are separate
/// histories.
fn id(name: u8) -> ObjectId {
    ObjectId::from_hex(format!("{name:02x}").repeat(20).as_bytes()).unwrap()
}

fn null() -> ObjectId {
    gix::hash::Kind::Sha1.null()
}

#[derive(Default)]
struct Stargate {
    refs: Vec<(&'static str, u8)>,
    unreadable: Vec<&'static str>,
    aliases: Vec<(&'static str, &'static str)>,
    gone: Vec<u8>,
    damaged: Vec<u8>,
    settled: Vec<RefUpdate>,
    journal_is_damaged: bool,
    in_flight: Vec<Vec<RefUpdate>>,
    intents_are_damaged: bool,
}

impl Stargate {
    fn question(&self, ids: &[ObjectId]) -> Result<(), Damaged> {
        match self.damaged.iter().find(|damaged| ids.contains(&id(**damaged))) {
            Some(damaged) => Err(Damaged(format!("object {damaged:x} cannot be read"))),
            None => Ok(()),
        }
    }
}

fn unreadable() -> Unreadable {
    Unreadable {
        place: "/r.git/refs/kv/main".into(),
        why: crate::refs::Why::Empty,
    }
}

impl LocalView for Stargate {
    fn local(&self, name: &BStr) -> LocalRef {
        if self.unreadable.iter().any(|unreadable| name == *unreadable) {
            return LocalRef::Unreadable(unreadable());
        }
        let alias = self.aliases.iter().find(|(alias, _)| name == *alias);
        let name = alias.map_or(name, |(_, target)| BStr::new(*target));
        let found = self.refs.iter().find(|(known, _)| name == *known);
        found.map_or(LocalRef::Absent, |(_, commit)| LocalRef::Id(id(*commit)))
    }
    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        let known = self.refs.iter().filter(|(name, _)| patterns.matches((*name).into()));
        let known = known.map(|(name, commit)| (BString::from(*name), id(*commit)));
        let unreadable = self.unreadable.iter().map(|name| ((*name).into(), unreadable()));
        LocalRefs::from(known.collect::<BTreeMap<_, _>>()).with_unreadable(unreadable)
    }
    fn exists(&self, id_: ObjectId) -> Result<bool, Damaged> {
        self.question(&[id_])?;
        Ok(!self.gone.iter().any(|gone| id(*gone) == id_))
    }
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        self.question(&[old, new])?;
        let (old, new) = (old.as_slice()[0], new.as_slice()[0]);
        let known = !self.gone.contains(&old) && !self.gone.contains(&new);
        Ok(known && old >> 4 == new >> 4 && old <= new)
    }
    fn aliases(&self) -> BTreeMap<BString, BString> {
        let aliases = self.aliases.iter();
        aliases
            .map(|(alias, target)| ((*alias).into(), (*target).into()))
            .collect()
    }
    fn settled(&self, name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        if self.journal_is_damaged {
            return Err(Damaged("the journal cannot be read".into()));
        }
        let mut settled = self.settled.clone();
        settled.retain(|update| update.name == name);
        Ok(settled)
    }
    fn pushes_in_flight(&self) -> Result<Vec<Vec<RefUpdate>>, Damaged> {
        if self.intents_are_damaged {
            return Err(Damaged("an intent cannot be read".into()));
        }
        Ok(self.in_flight.clone())
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

/// Returns the commands of the only group as `(name, old, new)`, where zero means absent, or the reason for its hold.
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
    // A commit that someone else pushed to the mirror does not count as replaced by the journal.
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

#[test]
fn a_ref_that_cannot_be_read_holds_its_group_whatever_is_pending() {
    let backlogs = [
        vec![update(LEDGER, 0x11, 0)],
        vec![update(LEDGER, 0x11, 0), update(LEDGER, 0, 0x11)],
        vec![update(LEDGER, 0x11, 0x12)],
        vec![update(INDEX, 0, 0x21)],
    ];
    let forced = Rules { force: true, ..rules() };
    for backlog in backlogs {
        let stargate = Stargate {
            refs: vec![(INDEX, 0x21)],
            unreadable: vec![LEDGER],
            ..Default::default()
        };
        let plan = planned(&backlog, &stargate, &[(LEDGER, 0x11)], &forced);
        let (name, why) = (LEDGER.into(), unreadable());
        let hold = Hold::Unreadable { name, why };
        assert_eq!(hold.outcome(), Outcome::Broken);
        assert_eq!(commands(&plan), Err(hold), "{backlog:?}");
        assert!(plan.skipped.is_empty());
    }
}

#[test]
fn an_object_that_cannot_be_read_is_neither_gone_nor_a_divergence() {
    for (remote, damaged) in [(0x11, 0x12), (0x13, 0x13), (0x21, 0x21)] {
        let stargate = Stargate {
            refs: vec![(LEDGER, 0x12)],
            damaged: vec![damaged],
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &[(LEDGER, remote)], &rules());
        let hold = commands(&plan).unwrap_err();
        assert!(matches!(hold, Hold::Damaged { .. }), "{hold}");
        assert_eq!(hold.outcome(), Outcome::Broken);
    }
}
