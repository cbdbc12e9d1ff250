//! Repositories whose format is not understood: refused by name everywhere, while the hook goes on journaling.

use std::{path::Path, process::Output};

use support::stargate::{Stargate, clean_command, feed, git, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).current_dir(folder);
    feed(command, "")
}

/// A Stargate of reftables with the hook in place, and a client that has pushed a ledger.
fn of_reftables() -> Stargate {
    let stargate = Stargate::of_formats("sha1", "reftable");
    stargate.install();
    let client = stargate.client("first");
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    stargate
}

#[test]
fn the_hook_journals_in_a_repository_of_reftables() {
    let stargate = of_reftables();
    assert_eq!(stargate.recorded(), ["refs/kv/main"]);
    assert_eq!(stargate.intents(), [""; 0], "the intent of an accepted push is gone");
    let listed = run(stargate.folder(), &["journal", "--repo", "o/r.git", "list"]);
    assert_eq!(listed.status.code(), Some(0), "{}", stderr(&listed));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("refs/kv/main"));
}

#[test]
fn commands_that_read_refs_by_gix_refuse_a_repository_of_reftables_by_name() {
    let stargate = of_reftables();
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    stargate.configure(
        "stargate.remote",
        &stargate.folder().join("mirror.git").display().to_string(),
    );
    for arguments in [
        &["check", "append-only", "--repo", "o/r.git", "--base", "HEAD"][..],
        &["push", "--repo", "o/r.git", "mirror.git", "refs/kv/main"],
        &["events", "run", "--repo", "o/r.git", "--stdin"],
    ] {
        let refused = run(stargate.folder(), arguments);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(4), "{arguments:?}: {said}");
        for word in [
            "r.git",
            "extensions.refstorage = reftable, which is not supported here",
            "git refs migrate --ref-format=files",
        ] {
            assert!(said.contains(word), "{arguments:?}: {word}: {said}");
        }
    }
    assert_eq!(git(&stargate.folder().join("mirror.git"), ["for-each-ref"]), "");
}

#[test]
fn what_was_journaled_meanwhile_is_carried_once_the_refs_are_files_again() {
    let stargate = of_reftables();
    let mirror = stargate.folder().join("mirror.git");
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    stargate.configure("stargate.remote", &mirror.display().to_string());
    git(&stargate.git_dir, ["refs", "migrate", "--ref-format=files"]);
    let carried = run(stargate.folder(), &["run", "--repo", "o/r.git"]);
    assert_eq!(carried.status.code(), Some(0), "{}", stderr(&carried));
    assert_eq!(
        git(&mirror, ["rev-parse", "refs/kv/main"]),
        git(&stargate.git_dir, ["rev-parse", "refs/kv/main"])
    );
}

#[test]
fn an_extension_that_nobody_knows_is_refused_and_harmless_ones_are_not() {
    let stargate = Stargate::bare();
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    stargate.configure(
        "stargate.remote",
        &stargate.folder().join("mirror.git").display().to_string(),
    );
    // Git itself may know less than this: the file is given.
    let set = |arguments: &[&str]| {
        let words = [&["config", "-f", "o/r.git/config"][..], arguments].concat();
        git(stargate.folder(), words);
    };
    set(&["core.repositoryFormatVersion", "1"]);
    for (key, value) in [
        ("extensions.noop", "true"),
        ("extensions.preciousObjects", "true"),
        ("extensions.relativeWorktrees", "true"),
        ("extensions.refStorage", "files"),
    ] {
        set(&[key, value]);
    }
    let run = || run(stargate.folder(), &["run", "--repo", "o/r.git"]);
    let understood = run();
    assert_eq!(understood.status.code(), Some(0), "{}", stderr(&understood));

    for version in ["1", "0"] {
        set(&["core.repositoryFormatVersion", version]);
        set(&["extensions.relativeWorktrees", "true"]);
        set(&["extensions.madeUp", "a value"]);
        let refused = run();
        assert_eq!(refused.status.code(), Some(4));
        assert!(
            stderr(&refused).contains("extensions.madeUp = a value"),
            "{}",
            stderr(&refused)
        );
        set(&["--unset", "extensions.madeUp"]);
    }
    set(&["core.repositoryFormatVersion", "2"]);
    let refused = run();
    assert_eq!(refused.status.code(), Some(4));
    assert!(
        stderr(&refused).contains("core.repositoryFormatVersion = 2"),
        "{}",
        stderr(&refused)
    );
}

/// Sets an extension that nothing understands, git included.
fn make_unknown(stargate: &Stargate) {
    for setting in [["core.repositoryFormatVersion", "1"], ["extensions.madeUp", "x"]] {
        git(
            stargate.folder(),
            [&["config", "-f", "o/r.git/config"][..], &setting].concat(),
        );
    }
}

#[test]
fn every_command_refuses_an_extension_that_nobody_knows() {
    let stargate = Stargate::with_hook();
    make_unknown(&stargate);
    let id = "a1".repeat(20);
    for arguments in [
        &["install", "--repo", "o/r.git"][..],
        &["run", "--repo", "o/r.git"],
        &["run", "--repo", "o/r.git", "--json"],
        &["watch", "--repo", "o/r.git"],
        &["sync", "--repo", "o/r.git", "--dry-run"],
        &["sync", "--repo", "o/r.git", "--force", "--yes", "--allow-mass-delete"],
        &["doctor", "--repo", "o/r.git"],
        &["status", "--repo", "o/r.git"],
        &["check", "append-only", "--repo", "o/r.git", "--base", "HEAD"],
        &["push", "--repo", "o/r.git", "mirror.git", "refs/kv/main"],
        &["wait", "--repo", "o/r.git", "--oid", &id, "--remote", "mirror.git"],
        &["events", "run", "--repo", "o/r.git", "--stdin"],
    ] {
        let refused = run(stargate.folder(), arguments);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(4), "{arguments:?}: {said}");
        for word in ["r.git", "extensions.madeUp = x", "update stargate-mirror"] {
            assert!(said.contains(word), "{arguments:?}: {word}: {said}");
        }
    }
}

#[test]
fn one_that_is_refused_does_not_stop_the_others() {
    let refused = Stargate::with_hook();
    let stargate = Stargate::with_hook();
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    let mirror = stargate.folder().join("mirror.git");
    for one in [&refused, &stargate] {
        one.configure("stargate.remote", &mirror.display().to_string());
    }
    git(&stargate.client("first"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    make_unknown(&refused);
    let [first, second] = [&refused, &stargate].map(|one| one.git_dir.display().to_string());
    let both = run(stargate.folder(), &["run", "--repo", &first, "--repo", &second]);
    assert_eq!(both.status.code(), Some(4));
    assert!(stderr(&both).contains("extensions.madeUp = x"), "{}", stderr(&both));
    assert_eq!(
        git(&mirror, ["rev-parse", "refs/kv/main"]),
        git(&stargate.git_dir, ["rev-parse", "refs/kv/main"])
    );
}

#[test]
fn a_mirror_of_reftables_is_not_written_to() {
    let stargate = Stargate::with_hook();
    git(
        stargate.folder(),
        ["init", "-q", "--bare", "--ref-format=reftable", "mirror.git"],
    );
    let mirror = stargate.folder().join("mirror.git");
    stargate.configure("stargate.remote", &mirror.display().to_string());
    git(&stargate.client("first"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    let refused = run(stargate.folder(), &["run", "--repo", "o/r.git"]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("refstorage = reftable"),
        "{}",
        stderr(&refused)
    );
    assert!(!mirror.join("refs/kv").exists());
}

#[test]
fn settings_of_the_work_tree_are_read_where_the_extension_asks_for_it() {
    let stargate = Stargate::bare();
    stargate.configure("extensions.worktreeConfig", "true");
    git(
        &stargate.git_dir,
        ["config", "--worktree", "stargate.attempts", "nonsense"],
    );
    let refused = run(stargate.folder(), &["run", "--repo", "o/r.git"]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("stargate.attempts = nonsense"));
}
