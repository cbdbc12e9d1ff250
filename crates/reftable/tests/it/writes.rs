//! Transactions of this crate, read by git.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::{Kind, ObjectId};
use git_reftable::{Committer, Error, Expected, LogLine, Transaction, Update, Value, WriteError};

use crate::git::{Commands, Repo, as_git_prints, git, refs};

pub const NO_WAIT: Duration = Duration::ZERO;
pub const LONG: Duration = Duration::from_secs(60);

pub fn update(name: &str, expected: Expected, new: Option<Value>) -> Update {
    Update {
        name: name.into(),
        expected,
        new,
        log: None,
    }
}

pub fn set(name: &str, id: ObjectId) -> Update {
    update(name, Expected::Any, Some(Value::Id(id)))
}

pub fn delete(name: &str) -> Update {
    update(name, Expected::Any, None)
}

pub fn write(repo: &Repo, updates: impl IntoIterator<Item = Update>) -> Result<(), WriteError> {
    Transaction::prepare(repo.path(), repo.hash, updates, NO_WAIT)?.commit()
}

/// Git lists what the reader lists, and finds no fault.
pub fn assert_as_git(repo: &Repo) {
    assert_eq!(as_git_prints(&repo.stack()), repo.for_each_ref());
    assert_silent(repo);
}

fn assert_silent(repo: &Repo) {
    for args in [&["refs", "verify"][..], &["fsck", "--no-dangling", "--no-progress"]] {
        assert_eq!(git(repo.path(), args, b""), "", "{args:?}");
    }
}

pub fn files(repo: &Repo) -> Vec<String> {
    let entries = fs::read_dir(repo.folder()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files that belong to the current state of the stack.
fn listed(repo: &Repo) -> Vec<String> {
    let mut names = repo.tables();
    names.push("tables.list".into());
    names.sort();
    names
}

#[test]
fn git_reads_what_a_transaction_wrote() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let objects = repo.objects();
        let (one, two) = (objects.commits[0], objects.commits[1]);
        let (tag, peeled) = objects.tags[0];
        let tag = Value::Peeled { id: tag, peeled };
        write(
            &repo,
            [
                set("refs/heads/main", one),
                set("refs/heads/gone", one),
                update("refs/tags/v1", Expected::Absent, Some(tag.clone())),
                update(
                    "refs/remotes/origin/HEAD",
                    Expected::Absent,
                    Some(Value::Symbolic("refs/heads/main".into())),
                ),
            ],
        )
        .unwrap();
        write(
            &repo,
            [
                update("refs/heads/main", Expected::Id(one), Some(Value::Id(two))),
                update("refs/heads/gone", Expected::Id(one), None),
                update("refs/heads/gone/below", Expected::Absent, Some(Value::Id(two))),
                update(
                    "HEAD",
                    Expected::Symbolic("refs/heads/main".into()),
                    Some(Value::Symbolic("refs/heads/gone/below".into())),
                ),
                update(
                    "refs/remotes/origin/HEAD",
                    Expected::Symbolic("refs/heads/main".into()),
                    None,
                ),
            ],
        )
        .unwrap();
        assert_as_git(&repo);
        let refs = refs(&repo.stack());
        let expected = [
            ("HEAD", Value::Symbolic("refs/heads/gone/below".into())),
            ("refs/heads/gone/below", Value::Id(two)),
            ("refs/heads/main", Value::Id(two)),
            ("refs/tags/v1", tag),
        ];
        assert_eq!(refs, expected.map(|(name, value)| (name.into(), value)).into());
        assert_eq!(
            repo.git(["rev-parse", "refs/tags/v1^{}"]).trim_ascii(),
            peeled.to_string().as_bytes()
        );
        assert_eq!(files(&repo), listed(&repo), "nothing is left over");
    }
}

#[test]
fn many_refs_in_one_transaction_have_an_index_that_git_uses() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let id = repo.objects().commits[0];
        let names: Vec<_> = (0..3000).map(|n| format!("refs/remotes/origin/topic/{n}")).collect();
        let logged = names.iter().map(|name| Update {
            log: Some(line(0, "update by push")),
            ..set(name, id)
        });
        write(&repo, logged).unwrap();
        assert_as_git(&repo);
        for name in names.iter().step_by(499) {
            let found = repo.git(["for-each-ref", "--format=%(objectname)", name]);
            assert_eq!(found.trim_ascii(), id.to_string().as_bytes());
            let log = repo.git(["reflog", "show", "--format=%gs", name]);
            assert_eq!(log, "update by push\n", "the logs have several blocks and an index");
        }
        repo.git(["pack-refs", "--all"]);
        assert_as_git(&repo);
    }
}

fn line(offset_minutes: i16, message: &str) -> LogLine {
    LogLine {
        committer: Committer {
            name: "A U Thor".into(),
            email: "a@example.com".into(),
            seconds: 1_700_000_000,
            offset_minutes,
        },
        message: message.into(),
    }
}

#[test]
fn lines_of_reflogs_are_those_of_git() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let (ours, theirs) = (Repo::new(hash), Repo::new(hash));
        let commits = &ours.objects().commits;
        let name = "refs/remotes/origin/main";
        for (n, offset, zone) in [(0, 330, "+0530"), (1, -90, "-0130"), (2, 0, "+0000")] {
            let message = format!("update by push {n}");
            let logged = Update {
                log: Some(line(offset, &message)),
                ..set(name, commits[n])
            };
            write(&ours, [logged]).unwrap();
            let date = format!("GIT_COMMITTER_DATE=1700000000 {zone}");
            let id = commits[n].to_string();
            let person = [
                "GIT_COMMITTER_NAME=A U Thor",
                "GIT_COMMITTER_EMAIL=a@example.com",
                &date,
            ];
            let status = std::process::Command::new("env")
                .args(person)
                .args(["git", "update-ref", "-m", &message, name, &id])
                .current_dir(theirs.path())
                .status();
            assert!(status.unwrap().success());
        }
        let show = |repo: &Repo| {
            let format = "--format=%gd %H %gn %ge %gs";
            repo.git(["reflog", "show", "--date=iso", format, name])
        };
        assert_eq!(show(&ours), show(&theirs));
        assert_eq!(show(&ours).lines().count(), 3);
        assert_eq!(
            ours.git(["rev-parse", "refs/remotes/origin/main@{1}"]),
            format!("{}\n", commits[1])
        );
        assert_as_git(&ours);
        ours.git(["pack-refs", "--all"]);
        assert_eq!(show(&ours), show(&theirs), "git compacts the log");
    }
}

/// The table of a process that died before its rename.
fn stray(repo: &Repo) -> PathBuf {
    let before = files(repo);
    let id = repo.objects().commits[0];
    let killed = Transaction::prepare(repo.path(), repo.hash, [set("refs/stray", id)], NO_WAIT).unwrap();
    std::mem::forget(killed);
    let left: Vec<_> = files(repo).into_iter().filter(|name| !before.contains(name)).collect();
    let [table, lock] = &left[..] else { panic!("{left:?}") };
    assert!(table.ends_with(".ref"));
    assert_eq!(lock, "tables.list.lock");
    repo.folder().join(table)
}

#[test]
fn a_table_that_no_list_names_is_ignored_and_later_deleted_by_git() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let stray = stray(&repo);
        assert_as_git(&repo);
        // The lock stays, as after a killed git.
        let id = repo.objects().commits[0];
        assert!(matches!(
            write(&repo, [set("refs/x", id)]),
            Err(WriteError::Locked { .. })
        ));
        fs::remove_file(repo.folder().join("tables.list.lock")).unwrap();

        write(&repo, [set("refs/x", id)]).unwrap();
        repo.update(Commands::default().set("refs/y", id));
        assert_eq!(repo.stack().find("refs/stray").unwrap(), None);
        assert_as_git(&repo);
        repo.git(["pack-refs", "--all"]);
        assert!(!stray.exists(), "{:?}", files(&repo));
        assert_eq!(files(&repo), listed(&repo));
        assert_as_git(&repo);
    }
}

#[test]
fn git_compacts_the_tables_of_this_crate() {
    let repo = Repo::new(Kind::Sha1);
    let commits = &repo.objects().commits;
    for n in 0..60 {
        let name = format!("refs/heads/{}", n % 23);
        write(&repo, [set(&name, commits[n % commits.len()])]).unwrap();
    }
    let before = repo.tables().len();
    let last = Transaction::prepare(repo.path(), repo.hash, [set("refs/x", commits[0])], NO_WAIT).unwrap();
    assert_eq!(last.table_count(), before + 1);
    drop(last);
    assert!(before > 40, "nothing is compacted here: {before} tables");
    let model = refs(&repo.stack());
    assert_as_git(&repo);

    repo.update(Commands::default().set("refs/heads/by-git", commits[0]));
    assert!(
        repo.tables().len() < 10,
        "git compacts at its next write: {:?}",
        repo.tables()
    );
    let mut expected = model;
    expected.insert("refs/heads/by-git".into(), Value::Id(commits[0]));
    assert_eq!(refs(&repo.stack()), expected);
    assert_as_git(&repo);
    assert_eq!(files(&repo), listed(&repo));
}

#[cfg(unix)]
#[test]
fn new_files_have_the_permissions_of_the_list() {
    use std::os::unix::fs::PermissionsExt;

    let repo = Repo::new(Kind::Sha1);
    let list = repo.folder().join("tables.list");
    for mode in [0o664, 0o640] {
        fs::set_permissions(&list, fs::Permissions::from_mode(mode)).unwrap();
        let name = format!("refs/heads/{mode:o}");
        write(&repo, [set(&name, repo.objects().commits[0])]).unwrap();
        let newest = repo.tables().pop().unwrap();
        for path in [list.clone(), repo.folder().join(newest)] {
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
    }
}

#[test]
fn a_stack_that_cannot_be_read_is_not_written_to() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let list = repo.folder().join("tables.list");
    let whole = fs::read(&list).unwrap();
    fs::write(&list, "nowhere.ref\n").unwrap();
    let error = write(&repo, [set("refs/x", id)]).unwrap_err();
    assert!(matches!(error, WriteError::Read(Error::MissingTable { .. })), "{error}");
    fs::write(&list, "").unwrap();
    let error = Transaction::prepare(repo.path(), Kind::Sha256, [set("refs/x", id)], NO_WAIT).unwrap_err();
    assert!(matches!(error, WriteError::Id { .. }), "{error}");
    fs::remove_file(&list).unwrap();
    let error = write(&repo, [set("refs/x", id)]).unwrap_err();
    assert!(matches!(error, WriteError::Read(Error::NoList { .. })), "{error}");
    assert!(!list.with_extension("list.lock").exists());
    fs::write(&list, whole).unwrap();
    assert_as_git(&repo);
}

#[test]
fn names_need_not_be_utf8() {
    let repo = Repo::new(Kind::Sha1);
    let id = repo.objects().commits[0];
    let name = BString::from(b"refs/heads/\xff\xfe".to_vec());
    let mut odd = set("refs/x", id);
    odd.name.clone_from(&name);
    write(&repo, [odd]).unwrap();
    assert_eq!(repo.stack().find(name.as_bstr()).unwrap().unwrap().value, Value::Id(id));
    assert_as_git(&repo);
}
