//! Repositories whose format is not understood: refused by name everywhere, while the hook continues to journal.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use support::stargate::{Stargate, clean_command, feed, git, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).current_dir(folder);
    feed(command, "")
}

/// A Stargate with reftables and an installed hook, and a client that has pushed a ledger.
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

/// Commands that open no repository.
const WITHOUT_A_REPOSITORY: [&str; 3] = ["completions", "man", "relay"];
/// Commands that keep running. Other tests run them with reftables.
const ELSEWHERE: [&str; 1] = ["watch"];

/// Commands on the Stargate `o/r.git`, in this order, with the exit code and a word of the output. `TIP` is its last commit.
const COMMANDS: &[(&str, i32, &str)] = &[
    ("install --repo o/r.git", 0, "o/r.git"),
    (
        "create --repo o/r.git --remote https://forge.invalid/o/r.git",
        2,
        "--host",
    ),
    ("status --repo o/r.git", 1, "2 pending"),
    ("journal --repo o/r.git list", 0, "refs/kv/main"),
    ("run --repo o/r.git --dry-run", 0, "refs/kv/main"),
    ("run --repo o/r.git", 0, "mirrored"),
    ("wait --repo o/r.git --ns main --oid TIP", 0, "visible"),
    ("sync --repo o/r.git --dry-run", 0, "0 of 2 refs differ"),
    ("doctor --repo o/r.git", 0, "o/r.git"),
    ("journal --repo o/r.git verify", 0, ""),
    ("journal --repo o/r.git repair", 0, ""),
    (
        "journal --repo o/r.git retry 01JBAXF5Z8J8M7R2TK7G9QW3EN",
        3,
        "the journal has no such entry",
    ),
    ("check journal o/r.git/.stargate/mirror-journal.ndjson", 0, ""),
    ("journal --repo o/r.git rotate", 0, ""),
    (
        "check append-only --repo o/r.git --base HEAD~1 --head main",
        0,
        "1 new commit",
    ),
    (
        "push --repo o/r.git mirror.git HEAD~1:refs/heads/older main",
        0,
        "main -> main",
    ),
    ("demo", 0, "refs/kv-mirror/"),
    ("events init o/r.git", 4, REFUSAL),
    ("events run --repo o/r.git --stdin", 4, REFUSAL),
    ("uninstall --repo o/r.git", 0, "Removed "),
];

const REFUSAL: &str = "extensions.refstorage = reftable, which is not supported here";

#[test]
fn every_command_works_on_reftables_or_refuses_them_by_name() {
    let help = run(Path::new("."), &["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.split("Commands:\n").nth(1).expect("a list").split("\n\n").next();
    let names = listed
        .expect("an end")
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let tested = |name: &&str| {
        COMMANDS
            .iter()
            .any(|(command, ..)| command.split(' ').next() == Some(*name))
    };
    let others = [&WITHOUT_A_REPOSITORY[..], &ELSEWHERE, &["help"]].concat();
    let missing: Vec<_> = names.filter(|name| !tested(name) && !others.contains(name)).collect();
    assert_eq!(missing, [""; 0], "these need a line in COMMANDS");

    for ids in ["sha1", "sha256"] {
        assert_every_command_works(ids);
    }
}

fn assert_every_command_works(ids: &str) {
    let stargate = Stargate::of_formats(ids, "reftable");
    stargate.install();
    let client = stargate.client("first");
    git(&client, ["commit", "-q", "--allow-empty", "-m", "second"]);
    let names = ["main", "kv/main", "kv-index/main"].map(|name| match name {
        "main" => "HEAD:refs/heads/main".to_owned(),
        name => format!("HEAD:refs/{name}"),
    });
    let push = ["push", "-q", "origin"].map(str::to_owned);
    git(&client, push.into_iter().chain(names));
    let tip = git(&client, ["rev-parse", "HEAD"]);
    git(
        stargate.folder(),
        ["init", "-q", "--bare", "--object-format", ids, "mirror.git"],
    );
    stargate.configure(
        "stargate.remote",
        &stargate.folder().join("mirror.git").display().to_string(),
    );
    for (command, expected, word) in COMMANDS {
        let command = command.replace("TIP", &tip);
        let arguments: Vec<_> = command.split(' ').collect();
        let output = run(stargate.folder(), &arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert_eq!(output.status.code(), Some(*expected), "{ids}: {command}: {said}");
        assert!(said.contains(word), "{ids}: {command}: {said}");
    }
    let mirror = stargate.folder().join("mirror.git");
    for (name, expected) in [
        ("refs/kv-mirror/main", "HEAD"),
        ("refs/heads/main", "HEAD"),
        ("refs/heads/older", "HEAD~1"),
    ] {
        assert_eq!(git(&mirror, ["rev-parse", name]), git(&client, ["rev-parse", expected]));
    }
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
    // An older git may not support this, so the file is named.
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

/// Sets an extension that no program supports.
fn make_unknown(stargate: &Stargate) {
    for setting in [["core.repositoryFormatVersion", "1"], ["extensions.madeUp", "x"]] {
        git(
            stargate.folder(),
            [&["config", "-f", "o/r.git/config"][..], &setting].concat(),
        );
    }
}

/// Settings that nothing understands, and words of the hints.
const UNKNOWN: [([&str; 2], &str); 3] = [
    (["extensions.madeUp", "x"], "update stargate-mirror"),
    (["extensions.refStorage", "other"], "git refs migrate"),
    (["core.repositoryFormatVersion", "2"], "update stargate-mirror"),
];

#[test]
fn every_command_refuses_a_format_that_nobody_knows_and_changes_nothing() {
    for (refs, (setting, hint)) in ["files", "reftable", "files"].into_iter().zip(UNKNOWN) {
        let stargate = Stargate::of_formats("sha1", refs);
        stargate.install();
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        let mirror = stargate.folder().join("mirror.git");
        stargate.configure("stargate.remote", &mirror.display().to_string());
        let client = stargate.client("first");
        git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main", "HEAD:refs/kv/b"]);
        let carried = run(stargate.folder(), &["run", "--repo", "o/r.git"]);
        assert_eq!(carried.status.code(), Some(0), "{}", stderr(&carried));
        // Nothing of the mirror may be taken for superfluous, and nothing that is pending for settled.
        git(&client, ["push", "-q", "origin", ":refs/kv/b"]);
        git(&client, ["push", "-q", "origin", "HEAD:refs/kv/b"]);
        for setting in [["core.repositoryFormatVersion", "1"], setting] {
            git(
                stargate.folder(),
                [&["config", "-f", "o/r.git/config"][..], &setting].concat(),
            );
        }
        let before = (git(&mirror, ["for-each-ref"]), files(&stargate.git_dir));
        let named = setting.join(" = ");
        assert_every_command_refuses(&stargate, &[&named, hint]);
        let after = (git(&mirror, ["for-each-ref"]), files(&stargate.git_dir));
        assert!(after == before, "{named}: something was changed");
    }
}

fn assert_every_command_refuses(stargate: &Stargate, words: &[&str]) {
    let id = "a1".repeat(20);
    for arguments in [
        &["install", "--repo", "o/r.git"][..],
        &["install", "--repo", "o/r.git", "--mirror", "branches"],
        &["run", "--repo", "o/r.git"],
        &["run", "--repo", "o/r.git", "--json"],
        &["run", "--repo", "o/r.git", "--dry-run"],
        &["watch", "--repo", "o/r.git"],
        &["sync", "--repo", "o/r.git", "--dry-run"],
        &["sync", "--repo", "o/r.git", "--repair"],
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
        for word in ["r.git"].iter().chain(words) {
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

/// Every file of a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

#[test]
fn a_mirror_of_reftables_is_pushed_to_compared_and_waited_for() {
    for (ids, storage) in [("sha1", "files"), ("sha256", "reftable")] {
        let stargate = Stargate::of_formats(ids, storage);
        stargate.install();
        git(
            stargate.folder(),
            [
                "init",
                "-q",
                "--bare",
                "--ref-format=reftable",
                "--object-format",
                ids,
                "mirror.git",
            ],
        );
        let mirror = stargate.folder().join("mirror.git");
        stargate.configure("stargate.remote", &mirror.display().to_string());
        let client = stargate.client("first");
        git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
        let tip = git(&client, ["rev-parse", "HEAD"]);
        for arguments in [
            &["run", "--repo", "o/r.git"][..],
            &["run", "--repo", "o/r.git"],
            &["sync", "--repo", "o/r.git", "--repair"],
            &[
                "push",
                "--repo",
                "o/r.git",
                "mirror.git",
                "refs/kv/main:refs/heads/main",
            ],
            &["doctor", "--repo", "o/r.git"],
            &["wait", "--remote", "mirror.git", "--ns", "main", "--oid", &tip],
        ] {
            let output = run(stargate.folder(), arguments);
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
            assert_eq!(output.status.code(), Some(0), "{ids}: {arguments:?}: {said}");
        }
        assert_eq!(stargate.lines()[0]["status"], "done");
        let listed = git(&mirror, ["for-each-ref", "--format=%(refname) %(objectname)"]);
        let names = ["refs/heads/main", "refs/kv-mirror/main", "refs/kv/main"];
        assert_eq!(listed, names.map(|name| format!("{name} {tip}")).join("\n"));
        for check in [
            &["refs", "verify"][..],
            &["fsck", "--strict", "--no-dangling", "--no-progress"],
        ] {
            assert_eq!(git(&mirror, check), "", "{check:?}");
        }
    }
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
