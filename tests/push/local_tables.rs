//! Pushes to a repository in a folder whose refs are in reftables.
use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use git_push::Verdict;
use gix::ObjectId;

use crate::{
    history::git,
    local::{Pair, reason, tables_pair},
};

impl Pair {
    fn tables(&self) -> Vec<String> {
        let list = fs::read_to_string(self.mirror.join("reftable/tables.list")).unwrap();
        list.lines().map(str::to_owned).collect()
    }

    fn lock(&self) -> PathBuf {
        self.mirror.join("reftable/tables.list.lock")
    }

    /// Git lists the same refs, and finds no fault.
    fn assert_as_git(&self) {
        let ours: String = self.refs().iter().map(|(name, id)| format!("{id} {name}\n")).collect();
        let format = "--format=%(objectname) %(refname)";
        assert_eq!(git(&self.mirror, &["for-each-ref", format], None), ours);
        for check in [
            &["refs", "verify"][..],
            &["fsck", "--strict", "--no-dangling", "--no-progress"],
        ] {
            assert_eq!(git(&self.mirror, check, None), "", "{check:?}");
        }
    }
}

#[test]
fn all_commands_of_a_push_are_one_table() {
    for format in ["sha1", "sha256"] {
        let pair = tables_pair(format);
        let ([one, two, three], null) = (pair.commits, pair.null());
        for (atomic, commands) in [
            (
                true,
                vec![
                    ("refs/kv/main", null, one),
                    ("refs/kv/old", null, two),
                    ("refs/kv/x", null, two),
                ],
            ),
            (true, vec![("refs/kv/main", one, three), ("refs/kv/old", two, null)]),
            (
                false,
                vec![
                    ("refs/kv/main", three, two),
                    ("refs/kv/new", null, two),
                    ("refs/kv/x", two, null),
                ],
            ),
        ] {
            let before = pair.tables().len();
            let verdicts = pair.push(atomic, &commands);
            assert_eq!(verdicts, vec![Verdict::Accepted; commands.len()], "{commands:?}");
            assert_eq!(pair.tables().len(), before + 1, "{commands:?}");
            pair.assert_as_git();
        }
        assert_eq!(
            pair.refs(),
            [("refs/kv/main".to_owned(), two), ("refs/kv/new".to_owned(), two)]
        );
        assert!(!pair.lock().exists());
    }
}

#[test]
fn a_lock_that_is_held_moves_nothing() {
    let pair = tables_pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    pair.create("refs/kv/main", one);
    fs::write(pair.lock(), "").unwrap();
    let before = pair.tables();
    let verdicts = pair.push(true, &[("refs/kv/a", null, two), ("refs/kv/main", one, two)]);
    assert!(
        verdicts
            .iter()
            .all(|verdict| reason(verdict).contains("tables.list.lock")),
        "{verdicts:?}"
    );
    assert_eq!(pair.tables(), before);
    assert!(pair.lock().exists(), "it belongs to another process");
}

#[test]
fn the_lock_of_a_killed_push_is_removed_once_it_is_old() {
    let pair = tables_pair("sha1");
    let (one, null) = (pair.commits[0], pair.null());
    let killed = pair.mirror.join("objects/tmp_objdir-stargate-killed");
    fs::create_dir(&killed).unwrap();
    fs::write(killed.join("alive"), "").unwrap();
    fs::write(killed.join("record"), format!("{one} refs/kv/main\n")).unwrap();
    fs::write(pair.lock(), "").unwrap();
    let push = || pair.push(true, &[("refs/kv/main", null, one)]);
    assert!(reason(&push()[0]).contains("tables.list.lock"), "it may belong to git");

    let lock = fs::File::options().write(true).open(pair.lock()).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    assert_eq!(push(), [Verdict::Accepted]);
    assert!(!killed.exists());
    pair.assert_as_git();
}

#[test]
fn reflogs_and_peeled_tags_are_those_of_git() {
    let pair = tables_pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    pair.create("refs/heads/quiet", one);
    assert_eq!(git(&pair.mirror, &["reflog", "list"], None), "");
    pair.configure("core.logAllRefUpdates", "always");
    pair.create("refs/kv/main", one);
    assert_eq!(pair.push(true, &[("refs/kv/main", one, two)]), [Verdict::Accepted]);
    let log = git(
        &pair.mirror,
        &["reflog", "show", "--format=%H %gs", "refs/kv/main"],
        None,
    );
    assert_eq!(log, format!("{two} push\n{one} push\n"));

    let tag = gix::objs::Tag {
        target: two,
        target_kind: gix::objs::Kind::Commit,
        name: "v1".into(),
        tagger: None,
        message: "v1".into(),
        signature: None,
    };
    let tag: ObjectId = pair.source.write_object(&tag).unwrap().detach();
    assert_eq!(pair.push(true, &[("refs/tags/v1", null, tag)]), [Verdict::Accepted]);
    let peeled = git(
        &pair.mirror,
        &["for-each-ref", "--format=%(*objectname)", "refs/tags"],
        None,
    );
    assert_eq!(peeled, format!("{two}\n"));
}

#[test]
fn a_branch_that_is_checked_out_is_refused() {
    let mut pair = tables_pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    let init = ["init", "-q", "-b", "main", "--ref-format=reftable", "checkout"];
    git(pair.folder.path(), &init, None);
    pair.mirror = pair.folder.path().join("checkout");
    let refused = |verdicts: &[Verdict]| assert_eq!(reason(&verdicts[0]), "branch is currently checked out");
    refused(&pair.push(true, &[("refs/heads/main", null, one)]));
    pair.create("refs/heads/other", one);
    git(&pair.mirror, &["worktree", "add", "-q", "../linked", "other"], None);
    refused(&pair.push(true, &[("refs/heads/other", one, two)]));
    // If a HEAD cannot be read, any branch may be checked out there.
    let list = pair.mirror.join(".git/worktrees/linked/reftable/tables.list");
    fs::write(&list, "nonsense").unwrap();
    let verdicts = pair.push(true, &[("refs/heads/other", one, two)]);
    let said = reason(&verdicts[0]).to_owned();
    assert!(
        said.starts_with("cannot find out which branches are checked out: "),
        "{said}"
    );
    pair.configure("receive.denyCurrentBranch", "ignore");
    assert_eq!(pair.push(true, &[("refs/heads/main", null, one)]), [Verdict::Accepted]);
    let logged = git(
        &pair.mirror,
        &["reflog", "show", "--format=%gs", "refs/heads/main"],
        None,
    );
    assert_eq!(logged, "push\n", "a repository with a work tree has reflogs");
}

#[test]
fn new_tables_are_as_readable_as_git_would_make_them() {
    use std::os::unix::fs::PermissionsExt;

    let pair = tables_pair("sha1");
    pair.configure("core.sharedRepository", "group");
    pair.create("refs/kv/main", pair.commits[0]);
    for name in [pair.tables().pop().unwrap(), "tables.list".to_owned()] {
        let mode = fs::metadata(pair.mirror.join("reftable").join(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o664, "{name}");
    }
}

#[test]
fn many_tables_are_a_warning_that_git_can_end() {
    use git_reftable::{Expected, Transaction, Update, Value};

    let pair = tables_pair("sha1");
    pair.create("refs/kv/main", pair.commits[0]);
    for number in 0..99 - pair.tables().len() {
        let update = Update {
            name: format!("refs/kv/{number}").into(),
            expected: Expected::Absent,
            new: Some(Value::Id(pair.commits[0])),
            log: None,
        };
        let hash = pair.source.object_hash();
        let transaction = Transaction::prepare(&pair.mirror, hash, [update], Duration::ZERO).unwrap();
        transaction.commit().unwrap();
    }
    let push = |name: &str| {
        let refspec = format!("{}:{name}", pair.commits[0]);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_stargate-mirror"))
            .args(["push", "--repo"])
            .args([pair.source.git_dir(), &pair.mirror])
            .arg(&refspec)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = push("refs/kv/hundred");
    assert!(
        said.contains("has 100 reftables") && said.contains("git pack-refs"),
        "{said}"
    );
    git(&pair.mirror, &["pack-refs", "--all"], None);
    assert!(!push("refs/kv/after").contains("reftables"));
    assert!(pair.tables().len() < 5);
    pair.assert_as_git();
}
