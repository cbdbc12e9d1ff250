//! Pushes whose refs move one by one while the plan is made.
use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

const CHUNKS: &str = "refs/kv-chunks/main@2";
const PUSHED: [&str; 5] = [LEDGER, INDEX, CHUNKS, "refs/kv-epoch/main", "refs/kv-archive/main@1"];
/// An older entry of the namespace, because of which the worker runs.
const OLDER: &str = "refs/kv-watchlog/main@1";

/// Returns the plan during a push that sets each of these refs from `0x11` to `0x12`, when they are at these ids.
fn during_a_push(refs: &[(&'static str, u8)]) -> Plan {
    let push = refs.iter().map(|(name, _)| update(name, 0x11, 0x12)).collect();
    let stargate = Stargate {
        refs: [refs, &[(OLDER, 0x31)]].concat(),
        in_flight: vec![push],
        ..Default::default()
    };
    planned(&[update(OLDER, 0, 0x31)], &stargate, &[], &rules())
}

#[test]
fn a_ledger_is_held_until_the_chunks_of_its_push_have_moved() {
    let plan = during_a_push(&[(LEDGER, 0x12), (CHUNKS, 0x11)]);
    let (moved, waiting) = (LEDGER.into(), CHUNKS.into());
    assert_eq!(commands(&plan), Err(Hold::Landing { moved, waiting }));
    assert_eq!(plan.groups[0].hold.as_ref().unwrap().outcome(), Outcome::Transient);

    for refs in [
        [(LEDGER, 0x12), (CHUNKS, 0x12)],
        [(LEDGER, 0x11), (CHUNKS, 0x11)],
        // Another push won the race for the ledger. This one will fail there.
        [(LEDGER, 0x21), (CHUNKS, 0x11)],
    ] {
        assert_eq!(commands(&during_a_push(&refs)).unwrap().len(), 4, "{refs:?}");
    }
}

#[test]
fn creations_and_deletions_are_followed_as_well() {
    let old = "refs/kv-chunks/main@1";
    let push = vec![
        update(CHUNKS, 0, 0x21),
        update(old, 0x11, 0),
        update(LEDGER, 0x11, 0x12),
    ];
    let before = [(LEDGER, 0x11), (old, 0x11)];
    let after = [(LEDGER, 0x12), (CHUNKS, 0x21)];
    let ledger_alone = [(LEDGER, 0x12), (old, 0x11)];
    let without_the_deletion = [(LEDGER, 0x12), (CHUNKS, 0x21), (old, 0x11)];
    for (refs, held) in [
        (&before[..], false),
        (&ledger_alone, true),
        (&without_the_deletion, true),
        (&after, false),
    ] {
        let stargate = Stargate {
            refs: refs.to_vec(),
            in_flight: vec![push.clone()],
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0, 0x11)], &stargate, &[], &rules());
        assert_eq!(plan.groups[0].hold.is_some(), held, "{refs:?}");
    }
}

#[test]
fn a_push_to_other_namespaces_and_to_branches_holds_nothing() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12), ("refs/kv/other", 0x11), ("refs/heads/main", 0x11)],
        in_flight: vec![vec![
            update(LEDGER, 0x11, 0x12),
            update("refs/kv/other", 0x11, 0x12),
            update("refs/heads/main", 0x11, 0x12),
        ]],
        ..Default::default()
    };
    let all = Rules {
        refs: RefPatterns::new(["refs/*"]).unwrap(),
        ..rules()
    };
    let backlog = [update(LEDGER, 0, 0x11), update("refs/heads/main", 0, 0x11)];
    let plan = planned(&backlog, &stargate, &[], &all);
    assert!(plan.groups.iter().all(|group| group.hold.is_none()), "{plan:#?}");
}

#[test]
fn intents_that_cannot_be_read_hold_namespaces_but_not_branches() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x12), ("refs/heads/main", 0x12)],
        intents_are_damaged: true,
        ..Default::default()
    };
    let all = Rules {
        refs: RefPatterns::new(["refs/*"]).unwrap(),
        ..rules()
    };
    let backlog = [update(LEDGER, 0x11, 0x12), update("refs/heads/main", 0x11, 0x12)];
    let plan = planned(&backlog, &stargate, &[], &all);
    let outcomes: Vec<_> = plan
        .groups
        .iter()
        .map(|group| group.hold.as_ref().map(Hold::outcome))
        .collect();
    assert_eq!(outcomes, [None, Some(Outcome::Broken)]);
}

/// A Stargate whose push continues while the plan reads: each step of the push is made before a given read.
struct Moving {
    stargate: RefCell<Stargate>,
    /// Names of the refs that move, in order, each with the number of the read before it. `None` removes the intent.
    steps: RefCell<Vec<(usize, Option<&'static str>)>>,
    /// Number of the read at which `pre-receive` writes the intent.
    begin: usize,
    reads: RefCell<usize>,
    push: Vec<RefUpdate>,
}

impl Moving {
    fn read<T>(&self, read: impl FnOnce(&Stargate) -> T) -> T {
        let number = self.reads.replace_with(|number| *number + 1);
        let mut stargate = self.stargate.borrow_mut();
        if number >= self.begin && !self.steps.borrow().is_empty() {
            stargate.in_flight = vec![self.push.clone()];
        }
        self.steps.borrow_mut().retain(|(turn, name)| {
            if *turn > number {
                return true;
            }
            match name {
                Some(name) => stargate.refs.push((*name, 0x12)),
                None => stargate.in_flight.clear(),
            }
            false
        });
        read(&stargate)
    }
}

impl LocalView for Moving {
    fn local(&self, name: &BStr) -> LocalRef {
        self.read(|stargate| stargate.local(name))
    }
    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        self.read(|stargate| stargate.list(patterns))
    }
    fn exists(&self, id: ObjectId) -> Result<bool, Damaged> {
        self.read(|stargate| stargate.exists(id))
    }
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        self.read(|stargate| stargate.fast_forward(old, new))
    }
    fn pushes_in_flight(&self) -> Result<Vec<Vec<RefUpdate>>, Damaged> {
        self.read(LocalView::pushes_in_flight)
    }
}

proptest! {
    /// At every stage of a push, the group is held exactly if some of its refs have moved and others have not.
    #[test]
    fn a_group_is_held_while_a_push_has_landed_in_part(
        stands in proptest::collection::vec(proptest::sample::select(vec![0x11, 0x12, 0x13, 0x21]), 1..=PUSHED.len()),
    ) {
        let refs: Vec<_> = PUSHED.into_iter().zip(stands.iter().copied()).collect();
        let plan = during_a_push(&refs);
        let some = |progress: &[u8]| stands.iter().any(|stands| progress.contains(stands));
        let held = some(&[0x12, 0x13]) && some(&[0x11]);
        prop_assert_eq!(plan.groups[0].hold.is_some(), held, "{:?}", plan.groups[0].hold);
    }
}

/// Number of reads of a plan. Later steps of a push have no effect on it.
const READS: usize = 14;

/// Returns the plan if a push begins before the read `begin`, moves two refs before the reads `moves`, and ends before the
/// read `end`.
fn while_a_push_moves(refs: [&'static str; 2], begin: usize, moves: [usize; 2], end: usize) -> Plan {
    let steps = moves.into_iter().zip(refs.map(Some)).chain([(end, None)]);
    let moving = Moving {
        stargate: RefCell::new(Stargate {
            refs: vec![(OLDER, 0x31)],
            ..Default::default()
        }),
        steps: RefCell::new(steps.collect()),
        begin,
        reads: RefCell::new(0),
        push: refs.map(|name| update(name, 0, 0x12)).into(),
    };
    let backlog = [update(OLDER, 0, 0x31)];
    plan(&backlog, &moving, &BTreeMap::new(), &rules(), null())
}

/// In every order of the reads and the steps of a push, its ledger is sent together with its other ref, or not at all.
#[test]
fn a_ledger_never_goes_without_the_other_ref_of_its_push() {
    let (mut sent, mut held) = (0, 0);
    for refs in [[LEDGER, CHUNKS], [CHUNKS, LEDGER], [LEDGER, INDEX], [INDEX, LEDGER]] {
        for begin in 0..READS {
            for first in begin..READS {
                for second in first..READS {
                    for end in second..READS {
                        let plan = while_a_push_moves(refs, begin, [first, second], end);
                        let Ok(commands) = commands(&plan) else {
                            held += 1;
                            continue;
                        };
                        let goes = |name| commands.contains(&command(name, 0, 0x12));
                        sent += usize::from(goes("refs/kv-mirror/main"));
                        assert!(
                            !goes(LEDGER) || refs.into_iter().all(goes),
                            "{refs:?} {begin} {first} {second} {end}: {commands:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(sent > 0 && held > 0, "{sent} {held}");
}
