//! Transactions of this crate that are refused, or that must leave nothing behind.

use std::fs;
use std::time::Duration;

use git_reftable::gix_hash::Kind;
use git_reftable::{Expected, Transaction, Value, WriteError};

use crate::git::{Commands, Repo, list, refs};
use crate::writes::{LONG, NO_WAIT, assert_as_git, delete, files, set, update, write};

#[test]
fn a_ref_that_changed_is_not_overwritten() {
    let repo = Repo::new(Kind::Sha1);
    let (one, two) = (repo.objects().commits[0], repo.objects().commits[1]);
    repo.update(
        Commands::default()
            .set("refs/heads/main", one)
            .point("refs/alias", b"refs/heads/main"),
    );
    let before = (files(&repo), list(&repo.stack()));
    let wrong = [
        ("refs/heads/main", Expected::Absent),
        ("refs/heads/main", Expected::Id(two)),
        ("refs/heads/main", Expected::Symbolic("refs/heads/other".into())),
        ("refs/heads/new", Expected::Id(one)),
        ("refs/heads/new", Expected::Symbolic("refs/heads/main".into())),
        ("refs/alias", Expected::Id(one)),
        ("refs/alias", Expected::Symbolic("refs/heads/other".into())),
    ];
    for (name, expected) in wrong {
        for new in [Some(Value::Id(two)), None] {
            let updates = [set("refs/heads/also", one), update(name, expected.clone(), new)];
            let error = write(&repo, updates).unwrap_err();
            assert!(
                matches!(&error, WriteError::Changed { name: changed } if changed == name),
                "{error}"
            );
        }
    }
    assert_eq!((files(&repo), list(&repo.stack())), before);
}

#[test]
fn a_ref_is_not_created_above_or_below_another() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    write(&repo, [set("refs/heads/a/b", id), set("refs/heads/a.b", id)]).unwrap();
    let before = (files(&repo), list(&repo.stack()));
    for (updates, new, existing) in [
        (vec![set("refs/heads/a", id)], "refs/heads/a", "refs/heads/a/b"),
        (vec![set("refs/heads/a/b/c", id)], "refs/heads/a/b/c", "refs/heads/a/b"),
        (
            vec![set("refs/x/y", id), set("refs/x/y/z", id)],
            "refs/x/y",
            "refs/x/y/z",
        ),
        (
            vec![set("refs/heads/a", id), delete("refs/heads/a.b")],
            "refs/heads/a",
            "refs/heads/a/b",
        ),
    ] {
        let error = write(&repo, updates).unwrap_err();
        assert!(
            matches!(&error, WriteError::Conflict { name, other } if name == new && other == existing),
            "{error}"
        );
    }
    assert_eq!((files(&repo), list(&repo.stack())), before);
    write(&repo, [delete("refs/heads/a/b"), set("refs/heads/a", id)]).unwrap();
    write(&repo, [delete("refs/heads/a"), set("refs/heads/a/b", id)]).unwrap();
    assert_as_git(&repo);
}

#[test]
fn what_git_would_not_accept_is_not_written() {
    let repo = Repo::new(Kind::Sha1);
    let before = files(&repo);
    let id = repo.objects().commits[0];
    for name in [
        "",
        "refs/heads/a..b",
        "refs/heads/",
        "refs/heads/x.lock",
        "main",
        "refs/heads/a\0b",
    ] {
        let symbolic = update("refs/x", Expected::Any, Some(Value::Symbolic(name.into())));
        for wrong in [set(name, id), symbolic] {
            assert!(matches!(write(&repo, [wrong]), Err(WriteError::Name { name: named }) if named == name));
        }
    }
    for id in [Kind::Sha1.null(), Kind::Sha256.empty_tree()] {
        assert!(matches!(write(&repo, [set("refs/x", id)]), Err(WriteError::Id { name, .. }) if name == "refs/x"));
    }
    let twice = [set("refs/x", id), delete("refs/x")];
    assert!(matches!(write(&repo, twice), Err(WriteError::Repeated { name }) if name == "refs/x"));
    let long = format!("refs/{}", "x".repeat(5000));
    assert!(matches!(write(&repo, [set(&long, id)]), Err(WriteError::TooLarge { name }) if name == long));
    assert_eq!(files(&repo), before);
}

#[test]
fn updates_that_change_nothing_write_nothing() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    write(&repo, [set("refs/heads/main", id)]).unwrap();
    let before = files(&repo);
    let same = update("refs/heads/main", Expected::Id(id), Some(Value::Id(id)));
    write(&repo, [same, delete("refs/heads/nowhere")]).unwrap();
    write(&repo, []).unwrap();
    assert_eq!(files(&repo), before);
}

#[test]
fn a_lock_that_is_held_is_an_error_with_its_path() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let path = repo.folder().join("tables.list.lock");
    fs::write(&path, "").unwrap();
    let before = files(&repo);
    let waited = Duration::from_millis(20);
    let error = Transaction::prepare(repo.path(), repo.hash, [set("refs/x", id)], waited).unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert!(matches!(error, WriteError::Locked { path: lock, .. } if lock == path));
    assert_eq!(files(&repo), before, "the lock of another process stays");

    // Git sees ours, and the other way round.
    fs::remove_file(&path).unwrap();
    let ours = Transaction::prepare(repo.path(), repo.hash, [set("refs/x", id)], NO_WAIT).unwrap();
    let git = std::process::Command::new("git")
        .args(["update-ref", "refs/y", &id.to_string()])
        .current_dir(repo.path())
        .output()
        .unwrap();
    assert!(!git.status.success());
    ours.commit().unwrap();
    repo.update(Commands::default().set("refs/y", id));
    assert_as_git(&repo);
}

#[test]
fn a_lock_that_is_released_in_time_is_taken() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let first = Transaction::prepare(repo.path(), repo.hash, [set("refs/x", id)], NO_WAIT).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Transaction::prepare(repo.path(), repo.hash, [set("refs/y", id)], LONG)?.commit());
        first.commit().unwrap();
        second.join().unwrap().unwrap();
    });
    assert_eq!(refs(&repo.stack()).len(), 3, "neither transaction is lost");
    assert_as_git(&repo);
}

#[test]
fn a_transaction_that_is_not_committed_leaves_nothing() {
    let repo = Repo::new(Kind::Sha1);
    let before = (files(&repo), list(&repo.stack()));
    let id = repo.objects().commits[0];
    let transaction = Transaction::prepare(repo.path(), repo.hash, [set("refs/x", id)], NO_WAIT).unwrap();
    assert_eq!(list(&repo.stack()), before.1, "only a commit changes refs");
    drop(transaction);
    assert_eq!((files(&repo), list(&repo.stack())), before);
}
