//! Random sequences of ref operations by git, compared with a model.

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::Kind;
use git_reftable::{Stack, Value};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::git::{Commands, Refs, Repo, as_git_prints, refs};

#[derive(Debug, Clone)]
enum Step {
    Transaction(Vec<(Index, Change)>),
    PackRefs,
    AutoPackRefs,
    ExpireLogs,
    BlockSize(u32),
    RestartInterval(u16),
    IndexObjects(bool),
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index),
    Point(Index),
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        5 => any::<Index>().prop_map(Change::Set),
        1 => any::<Index>().prop_map(Change::Point),
        2 => Just(Change::Delete),
    ];
    let step = prop_oneof![
        8 => prop::collection::vec((any::<Index>(), change), 1..60).prop_map(Step::Transaction),
        1 => Just(Step::PackRefs),
        1 => Just(Step::AutoPackRefs),
        1 => Just(Step::ExpireLogs),
        1 => prop_oneof![400_u32..900, Just(4096), Just(70_000)].prop_map(Step::BlockSize),
        1 => prop_oneof![1_u16..30, Just(u16::MAX)].prop_map(Step::RestartInterval),
        1 => any::<bool>().prop_map(Step::IndexObjects),
    ];
    prop::collection::vec(step, 1..14)
}

/// Names; none is a folder of another one.
fn names() -> Vec<BString> {
    let heads = (0..60).map(|n| format!("refs/heads/some/common/beginning/{n}").into());
    let tags = (0..30).map(|n| format!("refs/tags/v{}.{}", n / 7, n).into());
    let odd = [
        "refs/heads/\u{e9}\u{1f980}",
        "refs/x",
        "refs/heads/a",
        "refs/heads/a.b",
        "refs/heads/a-b",
    ];
    let bytes = BString::from(b"refs/heads/\xff\xfe".to_vec());
    let long = BString::from(format!("refs/heads/{}", "long".repeat(60)));
    heads
        .chain(tags)
        .chain(odd.map(BString::from))
        .chain([bytes, long])
        .collect()
}

/// Applies the step to the repository and to the model.
fn take(step: &Step, repo: &Repo, model: &mut Refs, names: &[BString]) {
    match step {
        Step::Transaction(changes) => transaction(changes, repo, model, names),
        Step::PackRefs => drop(repo.git(["pack-refs", "--all"])),
        Step::AutoPackRefs => drop(repo.git(["pack-refs", "--auto"])),
        Step::ExpireLogs => drop(repo.git(["reflog", "expire", "--expire=all", "--all"])),
        Step::BlockSize(size) => repo.config("reftable.blockSize", &size.to_string()),
        Step::RestartInterval(interval) => repo.config("reftable.restartInterval", &interval.to_string()),
        Step::IndexObjects(index) => repo.config("reftable.indexObjects", &index.to_string()),
    }
}

fn transaction(changes: &[(Index, Change)], repo: &Repo, model: &mut Refs, names: &[BString]) {
    let values = repo.objects().values();
    let mut commands = Commands::default();
    let mut changed = std::collections::BTreeSet::new();
    for (name, change) in changes {
        let name = name.get(names);
        if !changed.insert(name) {
            continue;
        }
        match change {
            Change::Set(value) => {
                // A branch is a commit.
                let value = if name.starts_with(b"refs/heads/") {
                    &values[value.index(6)]
                } else {
                    value.get(&values)
                };
                commands.set(name.as_bstr(), value.id().unwrap());
                model.insert(name.clone(), value.clone());
            }
            Change::Point(target) => {
                let target = target.get(names);
                if target != name {
                    commands.point(name.as_bstr(), target);
                    model.insert(name.clone(), Value::Symbolic(target.clone()));
                }
            }
            Change::Delete => {
                if model.remove(name).is_some() {
                    commands.delete(name.as_bstr());
                }
            }
        }
    }
    repo.update(&commands);
}

fn assert_is(stack: &Stack, model: &Refs, names: &[BString]) {
    let refs = refs(stack);
    let differ = |(name, value): &(&BString, &Value)| model.get(*name) != Some(*value);
    assert_eq!(
        refs.iter().filter(differ).collect::<Vec<_>>(),
        [],
        "of {} refs",
        model.len()
    );
    assert_eq!(refs.len(), model.len());
    for name in names {
        let found = stack.find(name.as_bstr()).unwrap().map(|record| record.value);
        assert_eq!(found.as_ref(), model.get(name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_stack_is_what_git_made_of_it(steps in steps(), sha256 in any::<bool>()) {
        let repo = Repo::new(if sha256 { Kind::Sha256 } else { Kind::Sha1 });
        let names = names();
        let mut model = refs(&repo.stack());
        let mut kept = repo.stack();
        for step in &steps {
            let before = model.clone();
            take(step, &repo, &mut model, &names);
            assert_is(&kept, &before, &names);
            kept.refresh().unwrap();
            assert_is(&kept, &model, &names);
            assert_is(&repo.stack(), &model, &names);
        }
        prop_assert_eq!(as_git_prints(&kept), repo.for_each_ref());
    }
}
