//! Symbolic refs, and refs outside the namespaces.
use super::*;

const MAIN: &str = "refs/heads/main";
const MASTER: &str = "refs/heads/master";

fn branches() -> Rules {
    Rules {
        refs: RefPatterns::new(["refs/heads/*", "refs/kv/*"]).unwrap(),
        ..rules()
    }
}

#[test]
fn a_symbolic_ref_goes_where_its_target_goes_and_a_push_to_either_moves_both() {
    let stargate = Stargate {
        refs: vec![(MAIN, 0x12)],
        aliases: vec![(MASTER, MAIN)],
        ..Default::default()
    };
    for name in [MAIN, MASTER] {
        let backlog = [update(name, 0x11, 0x12)];
        let plan = planned(&backlog, &stargate, &[(MAIN, 0x11), (MASTER, 0x11)], &branches());
        let expected = [command(MAIN, 0x11, 0x12), command(MASTER, 0x11, 0x12)];
        assert_eq!(commands(&plan).unwrap(), expected);
        assert_eq!(plan.groups[0].label(), MAIN);
    }
    let rewritten = [update(MAIN, 0x21, 0x12)];
    let on_remote = [(MAIN, 0x21), (MASTER, 0x21)];
    assert!(commands(&planned(&rewritten, &stargate, &on_remote, &branches())).is_err());
    let forced = Rules {
        force: true,
        ..branches()
    };
    let expected = [command(MAIN, 0x21, 0x12), command(MASTER, 0x21, 0x12)];
    assert_eq!(
        commands(&planned(&rewritten, &stargate, &on_remote, &forced)).unwrap(),
        expected
    );
}

#[test]
fn a_dangling_symbolic_ref_goes_by_a_journaled_deletion_only() {
    let stargate = Stargate {
        aliases: vec![(MASTER, MAIN)],
        ..Default::default()
    };
    let on_remote = [(MAIN, 0x11), (MASTER, 0x11)];
    let plan = planned(&[update(MAIN, 0x11, 0)], &stargate, &on_remote, &branches());
    assert_eq!(
        commands(&plan).unwrap(),
        [command(MAIN, 0x11, 0), command(MASTER, 0x11, 0)]
    );
    let kept = Rules {
        deletes: false,
        ..branches()
    };
    let plan = planned(&[update(MAIN, 0x11, 0)], &stargate, &on_remote, &kept);
    assert_eq!((plan.groups.len(), plan.skipped), (0, vec![0]));
}

#[test]
fn a_ledger_that_is_symbolic_has_its_own_watermark_in_the_group_of_its_target() {
    let stargate = Stargate {
        refs: vec![("refs/kv/v1", 0x12)],
        aliases: vec![("refs/kv/latest", "refs/kv/v1")],
        ..Default::default()
    };
    let plan = planned(
        &[update("refs/kv/v1", 0x11, 0x12)],
        &stargate,
        &[("refs/kv/v1", 0x11)],
        &rules(),
    );
    let expected = [
        command("refs/kv/v1", 0x11, 0x12),
        command("refs/kv/latest", 0, 0x12),
        command("refs/kv-mirror/latest", 0, 0x12),
        command("refs/kv-mirror/v1", 0, 0x12),
    ];
    assert_eq!(commands(&plan).unwrap(), expected);
}

#[test]
fn refs_outside_the_namespaces_that_are_held_keep_their_names() {
    let stargate = Stargate {
        refs: vec![(MAIN, 0x12), (MASTER, 0x12)],
        ..Default::default()
    };
    let backlog = [update(MAIN, 0x11, 0x12), update(MASTER, 0x11, 0x12)];
    let plan = planned(&backlog, &stargate, &[(MAIN, 0x21), (MASTER, 0x21)], &branches());
    let labels: Vec<_> = plan.groups.iter().map(Group::label).collect();
    assert_eq!(labels, [MAIN, MASTER]);
    assert!(plan.groups.iter().all(|group| group.hold.is_some()));
}
