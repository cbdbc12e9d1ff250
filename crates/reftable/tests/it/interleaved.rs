//! Random transactions of this crate and of git in one repository, compared with a model after each one.

use std::time::Duration;

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::Kind;
use git_reftable::{Committer, Expected, LogLine, Transaction, Update, Value, WriteError};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::git::{Commands, Refs, Repo, refs};
use crate::writes::assert_as_git;

/// A branch that always exists.
const MAIN: &str = "refs/heads/main";

#[derive(Debug, Clone)]
struct Step {
    by: Writer,
    changes: Vec<(Index, Change)>,
}

#[derive(Debug, Clone)]
enum Writer {
    Ours { logs: bool, careful: bool },
    Git,
    GitThatPacks,
}

#[derive(Debug, Clone)]
enum Change {
    Set(Index),
    /// To [`MAIN`], because `git fsck` reports symbolic refs that dangle.
    Point,
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        5 => any::<Index>().prop_map(Change::Set),
        1 => Just(Change::Point),
        3 => Just(Change::Delete),
    ];
    let by = prop_oneof![
        6 => any::<(bool, bool)>().prop_map(|(logs, careful)| Writer::Ours { logs, careful }),
        3 => Just(Writer::Git),
        1 => Just(Writer::GitThatPacks),
    ];
    let few = prop::collection::vec((any::<Index>(), change.clone()), 1..6);
    let many = prop::collection::vec((any::<Index>(), change), 20..90);
    let step = (by, prop_oneof![3 => few, 1 => many]).prop_map(|(by, changes)| Step { by, changes });
    prop::collection::vec(step, 1..12)
}

/// Names; some are folders of others.
fn names() -> Vec<BString> {
    let many = (0..90).map(|n| format!("refs/remotes/origin/some/common/beginning/{n}").into());
    let odd = [
        "refs/heads/a",
        "refs/heads/a/b",
        "refs/heads/a/b/c",
        "refs/heads/a-b",
        "refs/heads/a.b",
        "refs/x",
        "refs/tags/v1",
        "refs/tags/v1/below",
        "refs/heads/\u{e9}\u{1f980}",
    ];
    let long = BString::from(format!("refs/remotes/{}", "long".repeat(60)));
    many.chain(odd.map(BString::from)).chain([long]).collect()
}

/// One update for each name. A branch is a commit.
fn updates(step: &Step, names: &[BString], values: &[Value]) -> Vec<(BString, Option<Value>)> {
    let mut updates = std::collections::BTreeMap::new();
    for (name, change) in &step.changes {
        let name = name.get(names);
        let value = match change {
            Change::Set(value) if name.starts_with(b"refs/heads/") => Some(values[value.index(6)].clone()),
            Change::Set(value) => Some(value.get(values).clone()),
            Change::Point => Some(Value::Symbolic(MAIN.into())),
            Change::Delete => None,
        };
        updates.insert(name.clone(), value);
    }
    updates.into_iter().collect()
}

fn after(model: &Refs, updates: &[(BString, Option<Value>)]) -> Refs {
    let mut refs = model.clone();
    for (name, value) in updates {
        match value {
            Some(value) => refs.insert(name.clone(), value.clone()),
            None => refs.remove(name),
        };
    }
    refs
}

fn is_below(name: &BString, other: &BString) -> bool {
    name.strip_prefix(other.as_slice())
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// True if a ref is in the place of a folder of others.
fn conflicts<'a>(names: impl Iterator<Item = &'a BString> + Clone) -> bool {
    names
        .clone()
        .any(|name| names.clone().any(|other| is_below(name, other)))
}

fn update(model: &Refs, (name, new): (BString, Option<Value>), logs: bool, careful: bool) -> Update {
    let expected = match model.get(&name) {
        _ if !careful => Expected::Any,
        None => Expected::Absent,
        Some(Value::Symbolic(target)) => Expected::Symbolic(target.clone()),
        Some(value) => Expected::Id(value.id().unwrap()),
    };
    let committer = Committer {
        name: "A".into(),
        email: "a@example.com".into(),
        seconds: 1_700_000_000,
        offset_minutes: 60,
    };
    let message = format!("update {name}").into();
    Update {
        name,
        expected,
        new,
        log: logs.then_some(LogLine { committer, message }),
    }
}

fn by_us(repo: &Repo, model: &mut Refs, updates: Vec<(BString, Option<Value>)>, logs: bool, careful: bool) {
    let expected = after(model, &updates);
    let ours = updates.into_iter().map(|pair| update(model, pair, logs, careful));
    let written = Transaction::prepare(repo.path(), repo.hash, ours, Duration::ZERO).and_then(Transaction::commit);
    if conflicts(expected.keys()) {
        assert!(matches!(written, Err(WriteError::Conflict { .. })), "{written:?}");
    } else {
        written.unwrap();
        *model = expected;
    }
}

fn by_git(repo: &Repo, model: &mut Refs, updates: Vec<(BString, Option<Value>)>) {
    let expected = after(model, &updates);
    // git also refuses to delete a ref and to create one below it in the same transaction.
    if conflicts(expected.keys()) || conflicts(model.keys().chain(updates.iter().map(|(name, _)| name))) {
        return;
    }
    let mut commands = Commands::default();
    for (name, value) in &updates {
        match value {
            Some(Value::Symbolic(target)) => drop(commands.point(name.as_bstr(), target)),
            Some(value) => drop(commands.set(name.as_bstr(), value.id().unwrap())),
            None if model.contains_key(name) => drop(commands.delete(name.as_bstr())),
            None => {}
        }
    }
    repo.update(&commands);
    *model = expected;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn both_writers_and_both_readers_agree(steps in steps(), sha256 in any::<bool>()) {
        let repo = Repo::new(if sha256 { Kind::Sha256 } else { Kind::Sha1 });
        let (names, values) = (names(), repo.objects().values());
        repo.update(Commands::default().set(MAIN, repo.objects().commits[0]));
        let mut model = refs(&repo.stack());
        for step in &steps {
            let updates = updates(step, &names, &values);
            match step.by {
                Writer::Ours { logs, careful } => by_us(&repo, &mut model, updates, logs, careful),
                Writer::Git => by_git(&repo, &mut model, updates),
                Writer::GitThatPacks => {
                    by_git(&repo, &mut model, updates);
                    repo.git(["pack-refs", "--all"]);
                }
            }
            prop_assert_eq!(&refs(&repo.stack()), &model);
            assert_as_git(&repo);
        }
    }
}
