//! Groups of namespaces: refs of every family and epoch, and refs that the mirror cannot have at once.
use proptest::prelude::*;

use super::*;

const CHUNKS: &str = "refs/kv-chunks/main@1";
const NEW_CHUNKS: &str = "refs/kv-chunks/main@2";
const WATERMARK: &str = "refs/kv-mirror/main";
/// Refs of the namespace `main`, the ledger first.
const FAMILY: [&str; 8] = [
    LEDGER,
    INDEX,
    CHUNKS,
    NEW_CHUNKS,
    "refs/kv-epoch/main",
    "refs/kv-archive/main@1",
    "refs/kv-watchlog/main@1",
    "refs/kv-watchlog/main@2",
];
/// Refs of other namespaces, with names that are similar.
const OTHERS: [&str; 4] = [
    "refs/kv-chunks/main/a@1",
    "refs/kv-chunks/main@1@1",
    "refs/kv-chunks/mai@1",
    "refs/kv/main@1",
];

fn mirroring(patterns: &[&str]) -> Rules {
    Rules {
        refs: RefPatterns::new(patterns).unwrap(),
        ..rules()
    }
}

/// Returns the names of the changes of the only group, without the watermark.
fn names(plan: &Plan) -> Vec<String> {
    let [group] = &plan.groups[..] else {
        panic!("one group, not {:#?}", plan.groups);
    };
    group.changes.iter().map(|change| change.name.to_string()).collect()
}

proptest! {
    /// Any subset of a namespace's refs, with entries for any of them, forms one group, and the watermark follows the
    /// ledger.
    #[test]
    fn all_refs_of_a_namespace_are_in_one_group(
        existing in proptest::sample::subsequence(&FAMILY[..], 1..=FAMILY.len()),
        others in proptest::sample::subsequence(&OTHERS[..], 0..=OTHERS.len()),
        pending in 0..FAMILY.len(),
        excluded in proptest::option::of(proptest::sample::select(&FAMILY[1..])),
    ) {
        let pending = existing[pending % existing.len()];
        let refs = existing.iter().chain(&others).map(|name| (*name, 0x12)).collect();
        let stargate = Stargate { refs, ..Default::default() };
        let exclusion = excluded.map(|name| format!("!{name}"));
        let rules = mirroring(&exclusion.iter().map(String::as_str).collect::<Vec<_>>());
        let plan = planned(&[update(pending, 0x11, 0x12)], &stargate, &[(pending, 0x11)], &rules);
        if excluded == Some(pending) {
            prop_assert_eq!((plan.skipped, plan.groups.len()), (vec![0], 0));
            return Ok(());
        }
        let mut found = names(&plan);
        found.sort();
        let mut expected: Vec<_> = existing.iter().filter(|name| Some(**name) != excluded).map(|name| (*name).to_owned()).collect();
        expected.sort();
        prop_assert_eq!(found, expected);
        let watermark = plan.groups[0].watermark.as_ref().map(|change| change.new);
        prop_assert_eq!(watermark, existing.contains(&LEDGER).then(|| id(0x12)));
    }
}

#[test]
fn a_ref_that_the_backlog_alone_has_is_in_the_group() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12)],
        ..Default::default()
    };
    let backlog = [
        update(CHUNKS, 0x21, 0),
        update(NEW_CHUNKS, 0, 0x31),
        update(LEDGER, 0x11, 0x12),
    ];
    let on_remote = [(LEDGER, 0x11), (CHUNKS, 0x21), (WATERMARK, 0x11)];
    let plan = planned(&backlog, &stargate, &on_remote, &rules());
    let expected = [
        command(LEDGER, 0x11, 0x12),
        command(CHUNKS, 0x21, 0),
        command(NEW_CHUNKS, 0, 0x31),
        command(WATERMARK, 0x11, 0x12),
    ];
    assert_eq!(commands(&plan).unwrap(), expected);
    assert_eq!(plan.groups[0].entries, [0, 1, 2]);
}

#[test]
fn chunks_of_an_old_epoch_without_an_entry_stay_on_the_mirror() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12)],
        ..Default::default()
    };
    let on_remote = [(LEDGER, 0x11), (CHUNKS, 0x21)];
    let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &on_remote, &rules());
    assert_eq!(names(&plan), [LEDGER]);
}

#[test]
fn a_missing_object_of_the_chunks_holds_the_ledger() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12), (CHUNKS, 0x21)],
        gone: vec![0x21],
        ..Default::default()
    };
    let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &[(LEDGER, 0x11)], &rules());
    let (name, id) = (CHUNKS.into(), id(0x21));
    assert_eq!(commands(&plan), Err(Hold::Gone { name, id }));
    assert_eq!(plan.groups[0].hold.as_ref().unwrap().outcome(), Outcome::Broken);
}

#[test]
fn chunks_that_cannot_be_read_hold_the_ledger() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12)],
        unreadable: vec![CHUNKS],
        ..Default::default()
    };
    let backlog = [update(LEDGER, 0x11, 0x12)];
    let plan = planned(&backlog, &stargate, &[(LEDGER, 0x11)], &rules());
    assert!(matches!(commands(&plan), Err(Hold::Unreadable { .. })));
    // Chunks that are not mirrored hold nothing.
    let plan = planned(&backlog, &stargate, &[(LEDGER, 0x11)], &mirroring(&["refs/kv/*"]));
    assert_eq!(names(&plan), [LEDGER]);
}

/// A Stargate that accepts a push of new chunks and the ledger while its refs are listed.
struct Pushed(std::cell::Cell<bool>);

impl LocalView for Pushed {
    fn local(&self, name: &BStr) -> LocalRef {
        let pushed = self.0.get();
        match (name.to_str(), pushed) {
            (Ok(LEDGER), false) => LocalRef::Id(id(0x11)),
            (Ok(LEDGER), true) => LocalRef::Id(id(0x12)),
            (Ok(NEW_CHUNKS), true) => LocalRef::Id(id(0x21)),
            _ => LocalRef::Absent,
        }
    }
    fn list(&self, _: &RefPatterns) -> LocalRefs {
        self.0.set(true);
        LocalRefs::default()
    }
    fn exists(&self, _: ObjectId) -> Result<bool, Damaged> {
        Ok(true)
    }
    fn fast_forward(&self, _: ObjectId, _: ObjectId) -> Result<bool, Damaged> {
        Ok(true)
    }
}

#[test]
fn a_push_while_the_refs_are_read_does_not_move_the_ledger_before_its_chunks() {
    let pushed = Pushed(false.into());
    let backlog = [update(LEDGER, 0x10, 0x11)];
    let plan = plan(&backlog, &pushed, &remote(&[(LEDGER, 0x10)]), &rules(), null());
    let expected = [command(LEDGER, 0x10, 0x11), command(WATERMARK, 0, 0x11)];
    assert_eq!(commands(&plan).unwrap(), expected);
}

#[test]
fn a_ref_above_or_below_a_ref_of_the_mirror_is_held_with_both_names() {
    for (created, existing) in [
        ("refs/kv/a/b", "refs/kv/a"),
        ("refs/kv/a", "refs/kv/a/b"),
        ("refs/kv/a", "refs/kv/a/b/c"),
        // The watermark of a namespace that no longer exists.
        ("refs/kv/a/b", "refs/kv-mirror/a"),
    ] {
        let stargate = Stargate {
            refs: vec![(created, 0x11)],
            ..Default::default()
        };
        let plan = planned(&[update(created, 0, 0x11)], &stargate, &[(existing, 0x21)], &rules());
        let hold = commands(&plan).unwrap_err();
        assert_eq!(hold.outcome(), Outcome::Diverged);
        assert!(
            hold.to_string().contains(&format!("the mirror has {existing}")),
            "{hold}"
        );
    }
    // A name with a common beginning is no conflict, and neither is a folder of another family.
    let stargate = Stargate {
        refs: vec![("refs/kv/a", 0x11)],
        ..Default::default()
    };
    let on_remote = [
        ("refs/kv/ab", 0x21),
        ("refs/kv-chunks/a/b@1", 0x21),
        ("refs/kv/a-b/c", 0x21),
    ];
    assert!(
        commands(&planned(
            &[update("refs/kv/a", 0, 0x11)],
            &stargate,
            &on_remote,
            &rules()
        ))
        .is_ok()
    );
}

#[test]
fn a_ref_whose_place_a_deletion_makes_free_is_not_held() {
    let stargate = Stargate {
        refs: vec![("refs/kv/a/b", 0x21)],
        ..Default::default()
    };
    let backlog = [update("refs/kv/a", 0x11, 0), update("refs/kv/a/b", 0, 0x21)];
    let on_remote = [("refs/kv/a", 0x11), ("refs/kv-mirror/a", 0x11)];
    let plan = planned(&backlog, &stargate, &on_remote, &rules());
    assert_eq!(plan.groups.len(), 2);
    assert!(
        plan.groups.iter().all(|group| group.hold.is_none()),
        "{:#?}",
        plan.groups
    );
    let kept = Rules {
        deletes: false,
        ..rules()
    };
    let plan = planned(&backlog, &stargate, &on_remote, &kept);
    assert!(matches!(commands(&plan), Err(Hold::Conflict { .. })));
}
