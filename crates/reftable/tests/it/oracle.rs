//! Repositories written by git, read here and by git.

use std::fs;

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::Kind;
use git_reftable::{Stack, Value};

use crate::git::{Commands, Refs, Repo, as_git_prints, git, list, refs};

/// The stack lists what git lists, and finds each of them.
fn assert_as_git(repo: &Repo) {
    let stack = repo.stack();
    assert_eq!(as_git_prints(&stack), repo.for_each_ref());
    for record in list(&stack) {
        assert_eq!(stack.find(record.name.as_bstr()).unwrap().as_ref(), Some(&record));
    }
}

/// Thousands of refs in a few transactions, with all kinds of values, tombstones, and rewrites.
fn fill(repo: &Repo, count: usize) -> Refs {
    let values = repo.objects().values();
    let mut expected = refs(&repo.stack());
    let mut commands = Commands::default();
    for n in 0..count {
        let name = BString::from(format!("refs/topic/{}/{n}", n % 7));
        set(&mut commands, &mut expected, name, &values[n % values.len()]);
    }
    repo.update(&std::mem::take(&mut commands));
    for n in 0..count / 10 {
        let name = BString::from(format!("refs/topic/{}/{}", 10 * n % 7, 10 * n));
        commands.delete(name.as_bstr());
        expected.remove(&name);
        let name = BString::from(format!("refs/tags/v{n}"));
        set(&mut commands, &mut expected, name, &values[n % 2 + values.len() - 2]);
    }
    repo.update(&std::mem::take(&mut commands));
    for n in 0..20 {
        let name = BString::from(format!("refs/remotes/{n}/HEAD"));
        let target = if n % 2 == 0 {
            format!("refs/tags/v{n}")
        } else {
            format!("refs/heads/nowhere/{n}")
        };
        commands.point(name.as_bstr(), target.as_bytes());
        expected.insert(name, Value::Symbolic(target.into()));
        let name = BString::from(format!("refs/topic/1/{}", 7 * n + 1));
        set(&mut commands, &mut expected, name, &values[n % 3]);
        repo.update(&std::mem::take(&mut commands));
    }
    expected
}

fn set(commands: &mut Commands, expected: &mut Refs, name: BString, value: &Value) {
    commands.set(name.as_bstr(), value.id().unwrap());
    expected.insert(name, value.clone());
}

#[test]
fn thousands_of_refs_are_as_git_lists_them() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let expected = fill(&repo, 3000);
        assert!(repo.tables().len() > 1, "{hash}: one table is no stack");
        assert_eq!(refs(&repo.stack()), expected, "{hash}");
        assert_as_git(&repo);

        repo.git(["pack-refs", "--all"]);
        assert_eq!(repo.tables().len(), 1, "{hash}");
        assert_eq!(refs(&repo.stack()), expected, "{hash}");
        assert_as_git(&repo);
    }
}

#[test]
fn all_settings_of_the_writer_are_read() {
    let settings = [
        [
            ("reftable.blockSize", "256"),
            ("reftable.restartInterval", "1"),
            ("reftable.indexObjects", "true"),
        ],
        [
            ("reftable.blockSize", "300"),
            ("reftable.restartInterval", "5"),
            ("reftable.indexObjects", "false"),
        ],
        [
            ("reftable.blockSize", "1000"),
            ("reftable.restartInterval", "65535"),
            ("reftable.indexObjects", "true"),
        ],
        [
            ("reftable.blockSize", "65536"),
            ("reftable.restartInterval", "64"),
            ("reftable.indexObjects", "true"),
        ],
        [
            ("reftable.blockSize", "100000"),
            ("reftable.restartInterval", "2"),
            ("reftable.indexObjects", "false"),
        ],
        [
            ("reftable.blockSize", "16777215"),
            ("reftable.restartInterval", "16"),
            ("reftable.indexObjects", "true"),
        ],
    ];
    for (n, settings) in settings.iter().enumerate() {
        let repo = Repo::new(if n % 2 == 0 { Kind::Sha1 } else { Kind::Sha256 });
        for (key, value) in settings {
            repo.config(key, value);
        }
        let expected = fill(&repo, 600);
        assert_eq!(refs(&repo.stack()), expected, "{settings:?}");
        repo.git(["pack-refs", "--all"]);
        let block_size = repo.stack().tables()[0].block_size();
        assert_eq!(block_size.to_string(), settings[0].1);
        assert_as_git(&repo);
    }
}

#[test]
fn a_new_repository_has_a_symbolic_head_and_nothing_else() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let records = list(&repo.stack());
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].name, "HEAD");
        assert_eq!(records[0].value, Value::Symbolic("refs/heads/main".into()));
        assert_eq!(records[0].update_index, 1);
    }
}

#[test]
fn a_chain_of_tags_is_peeled_to_its_end() {
    let repo = Repo::new(Kind::Sha1);
    let &(id, peeled) = repo.objects().tags.last().unwrap();
    repo.update(Commands::default().set("refs/tags/nested", id));
    let record = repo.stack().find("refs/tags/nested").unwrap().unwrap();
    assert_eq!(record.value, Value::Peeled { id, peeled });
    assert_eq!(record.value.id(), Some(id));
}

#[test]
fn tables_of_logs_only_hold_no_refs() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let objects = repo.objects();
        // A large table, so that git leaves the small one alone.
        for id in &objects.commits[..2] {
            let mut commands = Commands::default();
            for n in 0..500 {
                commands.set(format!("refs/heads/{n}").as_str(), *id);
            }
            repo.update(commands.set("refs/heads/main", *id));
        }
        repo.git(["pack-refs", "--all"]);
        repo.git(["reflog", "delete", "refs/heads/main@{1}"]);
        let newest = fs::read(repo.folder().join(repo.tables().last().unwrap())).unwrap();
        let first_block = if hash == Kind::Sha1 { 24 } else { 28 };
        assert_eq!(newest[first_block], b'g', "{hash}: git wrote a table of logs only");
        assert_eq!(refs(&repo.stack()).len(), 502);
        assert_as_git(&repo);
    }
}

#[test]
fn prefixes_and_starts_select() {
    let repo = Repo::new(Kind::Sha1);
    let expected = fill(&repo, 1000);
    let stack = repo.stack();
    for prefix in [
        "",
        "refs/",
        "refs/topic/3",
        "refs/tags/v1",
        "HEAD",
        "refs/tags/v1000",
        "s",
        "refs/topic/9/",
        "A",
    ] {
        let names: Vec<_> = stack
            .iter_prefix(prefix)
            .unwrap()
            .map(|record| record.unwrap().name)
            .collect();
        let selected: Vec<_> = expected
            .keys()
            .filter(|name| name.starts_with(prefix.as_bytes()))
            .cloned()
            .collect();
        assert_eq!(names, selected, "prefix {prefix:?}");
        let names: Vec<_> = stack
            .iter_from(prefix)
            .unwrap()
            .map(|record| record.unwrap().name)
            .collect();
        let selected: Vec<_> = expected
            .keys()
            .filter(|name| name.as_slice() >= prefix.as_bytes())
            .cloned()
            .collect();
        assert_eq!(names, selected, "from {prefix:?}");
    }
}

#[test]
fn names_that_do_not_exist_are_not_found() {
    let repo = Repo::new(Kind::Sha1);
    let expected = fill(&repo, 1000);
    let stack = repo.stack();
    for name in expected.keys() {
        let mut longer = name.clone();
        longer.push(b'!');
        let mut shorter = name.clone();
        shorter.pop();
        for absent in [longer, shorter] {
            let found = stack.find(absent.as_bstr()).unwrap();
            assert_eq!(
                found.map(|record| record.value),
                expected.get(&absent).cloned(),
                "{absent}"
            );
        }
    }
    assert_eq!(stack.find("").unwrap(), None);
    assert_eq!(stack.find("refs/topic/0/0").unwrap(), None, "deleted");
}

#[test]
fn a_later_transaction_has_a_greater_update_index() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let mut last = 0;
    for n in 0..12 {
        let name = format!("refs/heads/{n}");
        repo.update(Commands::default().set(name.as_str(), id));
        let index = repo.stack().find(name.as_str()).unwrap().unwrap().update_index;
        assert!(index > last, "{name}: {index} after {last}");
        last = index;
    }
    let before: Vec<_> = list(&repo.stack());
    repo.git(["pack-refs", "--all"]);
    assert_eq!(list(&repo.stack()), before, "compaction keeps the numbers");
}

#[test]
fn a_linked_worktree_has_a_stack_of_its_own() {
    let repo = Repo::new(Kind::Sha1);
    repo.update(Commands::default().set("refs/heads/main", repo.objects().commits[2]));
    let tree = repo.path().join("tree");
    repo.git(["worktree", "add", "-q", "-b", "other", tree.to_str().unwrap(), "main"]);
    git(&tree, &["update-ref", "refs/worktree/mine", "HEAD"], b"");
    let stack = Stack::open(repo.path().join("worktrees/tree"), Kind::Sha1).unwrap();
    let own = refs(&stack);
    assert_eq!(
        own["HEAD".as_bytes().as_bstr()],
        Value::Symbolic("refs/heads/other".into())
    );
    assert_eq!(
        own["refs/worktree/mine".as_bytes().as_bstr()],
        Value::Id(repo.objects().commits[2])
    );
    let shared = refs(&repo.stack());
    assert_eq!(
        shared["HEAD".as_bytes().as_bstr()],
        Value::Symbolic("refs/heads/main".into())
    );
    assert!(!shared.contains_key("refs/worktree/mine".as_bytes().as_bstr()));
}
