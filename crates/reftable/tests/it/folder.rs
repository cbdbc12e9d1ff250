//! Lists and tables that are missing, empty, or foreign, and snapshots.

use std::fs;

use git_reftable::gix_hash::Kind;
use git_reftable::{Damage, Error, ListFault, Stack};

use crate::git::{Commands, Repo, list, refs};

fn error(repo: &Repo) -> Error {
    Stack::open(repo.path(), repo.hash).unwrap_err()
}

#[test]
fn a_missing_folder_a_missing_list_and_an_empty_list_differ() {
    let repo = Repo::new(Kind::Sha1);
    let list_path = repo.folder().join("tables.list");
    fs::write(&list_path, "").unwrap();
    assert_eq!(list(&repo.stack()), [], "a list without a name is an empty stack");

    fs::remove_file(&list_path).unwrap();
    assert!(matches!(error(&repo), Error::NoList { path } if path == list_path));

    fs::remove_dir_all(repo.folder()).unwrap();
    assert!(matches!(error(&repo), Error::NoFolder { folder } if folder == repo.folder()));

    fs::write(repo.folder(), "").unwrap();
    assert!(
        matches!(error(&repo), Error::Io { .. }),
        "a file in the place of the folder"
    );
}

#[test]
fn a_repository_with_files_as_refs_has_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    crate::git::git(dir.path(), &["init", "-q", "--bare", "--ref-format=files", "."], b"");
    assert!(matches!(
        Stack::open(dir.path(), Kind::Sha1),
        Err(Error::NoFolder { .. })
    ));
}

#[test]
fn a_listed_table_that_does_not_exist_is_named() {
    let repo = Repo::new(Kind::Sha1);
    let name = repo.tables().remove(0);
    fs::remove_file(repo.folder().join(&name)).unwrap();
    let error = error(&repo);
    assert!(matches!(&error, Error::MissingTable { table } if *table == name));
    assert!(!error.is_transient());
    assert_eq!(
        error.to_string(),
        format!("tables.list names {name}, which does not exist: refs are lost, restore the table")
    );
}

#[test]
fn a_truncated_list_is_an_error() {
    let repo = Repo::new(Kind::Sha1);
    let path = repo.folder().join("tables.list");
    let whole = fs::read(&path).unwrap();
    for len in 1..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(
            matches!(
                error(&repo),
                Error::List {
                    line: 1,
                    fault: ListFault::Unfinished
                }
            ),
            "{len} bytes"
        );
    }
}

#[test]
fn a_truncated_table_is_damaged() {
    let repo = Repo::new(Kind::Sha256);
    let name = repo.tables().remove(0);
    let path = repo.folder().join(&name);
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        match error(&repo) {
            Error::Damaged { table, damage, .. } => {
                assert_eq!(table, name);
                assert!(
                    matches!(damage, Damage::TooShort | Damage::Checksum),
                    "{len} bytes: {damage}"
                );
            }
            other => panic!("{len} bytes: {other}"),
        }
    }
}

#[test]
fn a_table_of_the_other_hash_is_refused() {
    for (hash, other) in [(Kind::Sha1, Kind::Sha256), (Kind::Sha256, Kind::Sha1)] {
        let repo = Repo::new(hash);
        match Stack::open(repo.path(), other) {
            Err(Error::Hash { table, found, expected }) => {
                assert_eq!((table, found, expected), (repo.tables().remove(0), hash, other));
            }
            result => panic!("{result:?}"),
        }
    }
}

#[test]
fn a_version_of_the_future_is_refused_by_its_number() {
    let repo = Repo::new(Kind::Sha1);
    let path = repo.folder().join(repo.tables().remove(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] = 3;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(error(&repo), Error::Version { version: 3, .. }));
}

#[test]
fn an_unlisted_table_does_not_count() {
    let repo = Repo::new(Kind::Sha1);
    let before = list(&repo.stack());
    fs::write(
        repo.folder().join("0x000000000009-0x000000000009-00000000.ref"),
        "not a table",
    )
    .unwrap();
    assert_eq!(list(&repo.stack()), before);
}

#[test]
fn a_snapshot_stays_until_it_is_refreshed() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let mut commands = Commands::default();
    for n in 0..500 {
        commands.set(format!("refs/heads/{n}").as_str(), id);
    }
    repo.update(&commands);
    let mut stack = repo.stack();
    let before = refs(&stack);
    let mut half_read = stack.iter().unwrap();
    let first: Vec<_> = half_read.by_ref().take(100).map(Result::unwrap).collect();
    assert!(!stack.refresh().unwrap(), "nothing has changed");

    repo.update(Commands::default().delete("refs/heads/7").set("refs/heads/new", id));
    repo.git(["pack-refs", "--all"]);
    assert_eq!(repo.tables().len(), 1);
    for table in stack.tables() {
        assert!(
            !repo.folder().join(table.name()).exists(),
            "git deletes what it compacts"
        );
    }
    assert_eq!(refs(&stack), before);
    assert!(stack.find("refs/heads/7").unwrap().is_some());

    assert!(stack.refresh().unwrap());
    assert_eq!(refs(&stack).len(), before.len());
    assert_eq!(stack.find("refs/heads/7").unwrap(), None);
    assert!(stack.find("refs/heads/new").unwrap().is_some());

    let rest = half_read.map(Result::unwrap);
    assert_eq!(
        first
            .into_iter()
            .chain(rest)
            .map(|record| record.name)
            .collect::<Vec<_>>(),
        before.into_keys().collect::<Vec<_>>()
    );
}

#[test]
fn a_refresh_that_fails_keeps_the_snapshot() {
    let repo = Repo::new(Kind::Sha1);
    let mut stack = repo.stack();
    let before = list(&stack);
    fs::write(repo.folder().join("tables.list"), "nowhere.ref\n").unwrap();
    assert!(matches!(stack.refresh(), Err(Error::MissingTable { .. })));
    assert_eq!(list(&stack), before);
}
