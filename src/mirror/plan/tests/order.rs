//! Order of entries and refs: late hooks, journals ahead of the refs, updates without an entry.
use super::*;

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
        ..Default::default()
    };
    let on_remote = [(LEDGER, 0x12)];
    let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &on_remote, &rules());
    assert_eq!(commands(&plan), Ok(vec![]));
}

/// Returns every order of these updates.
fn orders(updates: &[RefUpdate]) -> Vec<Vec<RefUpdate>> {
    if updates.is_empty() {
        return vec![Vec::new()];
    }
    let first = |index: usize| {
        let mut others = updates.to_vec();
        let update = others.remove(index);
        orders(&others)
            .into_iter()
            .map(move |order| [vec![update.clone()], order].concat())
    };
    (0..updates.len()).flat_map(first).collect()
}

/// Returns the ledger's target for a journal of these updates, the Stargate's current id, and the mirror's. Zero means absent.
fn target(updates: &[RefUpdate], local: u8, on_mirror: u8) -> u8 {
    let stargate = Stargate {
        refs: (local != 0).then_some((LEDGER, local)).into_iter().collect(),
        ..Default::default()
    };
    let all = Rules { force: true, ..rules() };
    let on_mirror: Vec<_> = (on_mirror != 0).then_some((LEDGER, on_mirror)).into_iter().collect();
    let plan = planned(updates, &stargate, &on_mirror, &all);
    plan.groups[0].changes[0].new.as_slice()[0]
}

fn chain(states: &[u8]) -> Vec<RefUpdate> {
    states.windows(2).map(|pair| update(LEDGER, pair[0], pair[1])).collect()
}

proptest::proptest! {
    /// Hooks of consecutive pushes may append in any order.
    #[test]
    fn where_the_ref_is_now_is_the_target_in_any_order(
        states in proptest::collection::vec(proptest::sample::select(vec![0, 0x11, 0x12, 0x31]), 2..6),
    ) {
        let mut states = states;
        states.dedup();
        let updates = chain(&states);
        let local = states[states.len() - 1];
        for order in orders(&updates).iter().filter(|order| !order.is_empty()) {
            proptest::prop_assert_eq!(target(order, local, 0), local, "{:?}", order);
        }
    }

    /// After a power cut the ref may have any of its earlier ids.
    #[test]
    fn a_journal_ahead_of_the_refs_wins_in_any_order(length in 2..6u8, cut in 0..6u8) {
        let states: Vec<u8> = (0..length).map(|step| 0x10 + step).collect();
        let local = states[usize::from(cut.min(length - 1))];
        for order in orders(&chain(&states)) {
            proptest::prop_assert_eq!(target(&order, local, 0x10), 0x10 + length - 1, "{:?}", order);
        }
    }
}

#[test]
fn a_deletion_that_is_appended_before_the_creation_is_carried() {
    let backlog = [update(LEDGER, 0x11, 0), update(LEDGER, 0, 0x11)];
    let on_remote = [(LEDGER, 0x11), ("refs/kv-mirror/main", 0x11)];
    let plan = planned(&backlog, &Stargate::default(), &on_remote, &rules());
    let expected = [command(LEDGER, 0x11, 0), command("refs/kv-mirror/main", 0x11, 0)];
    assert_eq!(commands(&plan).unwrap(), expected);
}

#[test]
fn a_rewind_that_is_appended_before_what_it_rewinds_is_carried() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x11)],
        ..Default::default()
    };
    let forced = Rules { force: true, ..rules() };
    let backlog = [update(LEDGER, 0x12, 0x11), update(LEDGER, 0x11, 0x12)];
    let plan = planned(&backlog, &stargate, &[(LEDGER, 0x12)], &forced);
    assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x12, 0x11));
    // The journal may have an update twice: from its hook and from a comparison.
    let twice = [&backlog[..], &backlog[1..]].concat();
    let plan = planned(&twice, &stargate, &[(LEDGER, 0x12)], &forced);
    assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x12, 0x11));
}

#[test]
fn a_creation_that_is_appended_when_the_deletion_is_settled_creates_nothing() {
    let deleted = [
        vec![update(LEDGER, 0x11, 0)],
        chain(&[0x11, 0x12, 0]),
        chain(&[0, 0x10, 0x20, 0x11, 0]),
        // The updates in between were not journaled.
        [chain(&[0, 0x31]), chain(&[0x11, 0])].concat(),
    ];
    for settled in deleted {
        let stargate = Stargate {
            settled,
            ..Default::default()
        };
        let plan = planned(&[update(LEDGER, 0, 0x11)], &stargate, &[], &rules());
        assert_eq!(commands(&plan), Ok(vec![]));
    }
    // A settled earlier update does not supersede an update that the refs lost in a power cut.
    let stargate = Stargate {
        settled: chain(&[0, 0x11]),
        ..Default::default()
    };
    let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &[(LEDGER, 0x11)], &rules());
    assert_eq!(commands(&plan).unwrap()[0], command(LEDGER, 0x11, 0x12));
}

#[test]
fn an_update_that_is_appended_when_its_rewind_is_settled_is_not_carried() {
    let stargate = Stargate {
        refs: vec![(LEDGER, 0x11)],
        settled: vec![update(LEDGER, 0x12, 0x11)],
        ..Default::default()
    };
    let on_remote = [(LEDGER, 0x11), ("refs/kv-mirror/main", 0x11)];
    let plan = planned(&[update(LEDGER, 0x11, 0x12)], &stargate, &on_remote, &rules());
    assert_eq!(commands(&plan), Ok(vec![]));
}

#[test]
fn after_an_update_that_was_never_journaled_an_earlier_one_is_not_the_end() {
    // The ref was 0x11, then absent, then 0x21, then absent. Only the first and the last update have an entry.
    let backlog = [update(LEDGER, 0, 0x11), update(LEDGER, 0x21, 0)];
    assert_eq!(target(&backlog, 0, 0), 0);
    assert_eq!(target(&backlog, 0, 0x11), 0);
    // The mirror has or had 0x21, so the entries may be one chain, and the last hook was late.
    assert_eq!(target(&backlog, 0, 0x21), 0x11);
    // In this order, the deletion was not the last update.
    let [first, last] = backlog;
    assert_eq!(target(&[last, first], 0, 0), 0x11);
    // Rewound to 0x11, by updates without an entry to 0x11 and 0x31.
    let rewound = [update(LEDGER, 0x11, 0x12), update(LEDGER, 0x31, 0x11)];
    assert_eq!(target(&rewound, 0x11, 0x11), 0x11);
}

#[test]
fn a_journal_that_cannot_be_read_does_not_say_that_no_hook_was_late() {
    let mut stargate = Stargate {
        refs: vec![(LEDGER, 0x11)],
        ..Default::default()
    };
    let backlog = [update(LEDGER, 0x11, 0x12)];
    let planned = |stargate: &Stargate| commands(&planned(&backlog, stargate, &[(LEDGER, 0x11)], &rules()));
    assert!(planned(&stargate).is_ok());
    stargate.journal_is_damaged = true;
    assert_eq!(planned(&stargate).unwrap_err().outcome(), Outcome::Broken);
}
