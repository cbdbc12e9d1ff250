//! The append-only guard of `pre-receive`, with real pushes.
#![cfg(unix)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::stargate::{SOME_ID, Stargate, ZERO, feed, git, stderr, try_git};

const REJECTED: &str = "remote: stargate: push rejected, and no ref was updated: append-only rule for events/: existing \
                        files must not be changed, moved or deleted; write corrections as new events";

/// A Stargate whose `main` has two events, and the client that pushed them.
fn guarded() -> (Stargate, PathBuf) {
    let stargate = Stargate::with_hook();
    stargate.configure("stargate.appendOnly", "events/");
    let client = stargate.client("first");
    write(&client, "events/f/a.json", "a");
    write(&client, "events/f/b.json", "b");
    write(&client, "notes.txt", "n");
    commit(&client, "events");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    (stargate, client)
}

fn write(client: &Path, path: &str, content: &str) {
    let path = client.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, content).expect("a file");
}

fn commit(client: &Path, message: &str) -> String {
    git(client, ["add", "-A"]);
    git(client, ["commit", "-q", "--allow-empty", "-m", message]);
    git(client, ["rev-parse", "HEAD"])
}

fn tip(stargate: &Stargate, name: &str) -> String {
    let output = try_git(&stargate.git_dir, ["rev-parse", "-q", "--verify", name]);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A push that is accepted.
fn accepted(client: &Path, arguments: &[&str]) {
    git(client, [&["push", "-q", "origin"], arguments].concat());
}

/// A push that the guard rejects, for exactly these reasons. No ref moves and nothing is recorded.
fn rejected(stargate: &Stargate, client: &Path, arguments: &[&str], reasons: &[&str]) {
    let refs = || git(&stargate.git_dir, ["for-each-ref"]);
    let (before, recorded) = (refs(), stargate.recorded());
    let output = try_git(client, [&["push", "-q", "origin"], arguments].concat());
    let told = stderr(&output);
    assert!(
        !output.status.success() && told.contains("(pre-receive hook declined)"),
        "{told}"
    );
    let mut lines = told.lines().map(str::trim_end).skip_while(|line| *line != REJECTED);
    assert_eq!(lines.next(), Some(REJECTED), "{told}");
    let found: Vec<_> = lines
        .map_while(|line| line.strip_prefix("remote: stargate:   "))
        .collect();
    assert_eq!(found, reasons, "{told}");
    assert_eq!(refs(), before);
    assert_eq!(stargate.recorded(), recorded);
    assert_eq!(stargate.intents(), [""; 0]);
    assert!(
        stargate.log().contains("rejected a push by the append-only rule: "),
        "{}",
        stargate.log()
    );
}

fn line(name: &str, what: &str, commit: &str) -> String {
    format!("{name}: {what}  {}", &commit[..10])
}

#[test]
fn additions_and_everything_elsewhere_are_free() {
    let (stargate, client) = guarded();
    write(&client, "events/f/c.json", "c");
    write(&client, "notes.txt", "other");
    let head = commit(&client, "more");
    accepted(&client, &["HEAD:main"]);
    assert_eq!(tip(&stargate, "main"), head);
    // The objects in quarantine were loose before; now they are a pack.
    for number in 0..200 {
        write(&client, &format!("events/g/{number}.json"), &number.to_string());
    }
    let head = commit(&client, "many");
    accepted(&client, &["HEAD:main"]);
    assert_eq!(tip(&stargate, "main"), head);
}

#[test]
fn a_change_of_an_old_file_rejects_the_whole_push() {
    let (stargate, client) = guarded();
    write(&client, "events/f/a.json", "other");
    git(&client, ["mv", "events/f/b.json", "b.json"]);
    let head = commit(&client, "changed");
    let reasons = [
        line("refs/heads/main", "M  events/f/a.json", &head),
        line("refs/heads/main", "R  events/f/b.json -> b.json", &head),
    ];
    let reasons = reasons.each_ref().map(String::as_str);
    rejected(&stargate, &client, &["HEAD:main"], &reasons);
    rejected(
        &stargate,
        &client,
        &["HEAD:main", "HEAD:refs/kv/main", "HEAD~1:refs/tags/t"],
        &[
            reasons[0],
            reasons[1],
            &line("refs/kv/main", "M  events/f/a.json", &head),
            &line("refs/kv/main", "R  events/f/b.json -> b.json", &head),
        ],
    );
    // A later correction does not undo the violation.
    git(&client, ["revert", "--no-edit", "HEAD"]);
    let revert = git(&client, ["rev-parse", "HEAD"]);
    let revert = line("refs/heads/main", "M  events/f/a.json", &revert);
    let output = try_git(&client, ["push", "-q", "origin", "HEAD:main"]);
    assert!(
        stderr(&output).contains(&revert) && stderr(&output).contains(reasons[1]),
        "{}",
        stderr(&output)
    );
    // Other refs are not guarded.
    accepted(&client, &["HEAD:refs/tags/t", "HEAD:refs/other/x"]);
}

#[test]
fn a_forced_push_may_rewrite_commits_and_lose_no_file() {
    let (stargate, client) = guarded();
    write(&client, "events/f/c.json", "c");
    commit(&client, "c");
    accepted(&client, &["HEAD:main"]);
    let old = git(&client, ["rev-parse", "HEAD~1"]);
    rejected(
        &stargate,
        &client,
        &["+HEAD~1:main"],
        &[&line("refs/heads/main", "D  events/f/c.json", &old)],
    );
    // The same file in another commit.
    git(&client, ["commit", "-q", "--amend", "-m", "said better"]);
    accepted(&client, &["+HEAD:main"]);
    // An unrelated history.
    git(&client, ["checkout", "-q", "--orphan", "other"]);
    let other = commit(&client, "all at once");
    accepted(&client, &["+HEAD:main"]);
    assert_eq!(tip(&stargate, "main"), other);
    git(&client, ["rm", "-q", "events/f/a.json"]);
    git(&client, ["commit", "-q", "--amend", "-m", "one less"]);
    let other = git(&client, ["rev-parse", "HEAD"]);
    rejected(
        &stargate,
        &client,
        &["+HEAD:main"],
        &[&line("refs/heads/main", "D  events/f/a.json", &other)],
    );
}

#[test]
fn a_branch_goes_when_the_branch_of_head_has_all_its_events() {
    let (stargate, client) = guarded();
    stargate.configure("receive.denyDeleteCurrent", "ignore");
    git(&client, ["checkout", "-q", "-b", "topic"]);
    write(&client, "events/f/c.json", "c");
    let topic = commit(&client, "c");
    accepted(&client, &["topic"]);
    git(&stargate.git_dir, ["pack-refs", "--all"]);
    rejected(
        &stargate,
        &client,
        &[":topic"],
        &[&line("refs/heads/topic", "D  events/f/c.json", &topic)],
    );
    accepted(&client, &["topic:main"]);
    accepted(&client, &[":topic"]);
    assert_eq!(tip(&stargate, "topic"), "");
    let reasons = ["a", "b", "c"].map(|name| line("refs/heads/main", &format!("D  events/f/{name}.json"), &topic));
    rejected(&stargate, &client, &[":main"], &reasons.each_ref().map(String::as_str));
}

#[test]
fn a_new_branch_is_judged_by_what_is_new_in_it() {
    let (stargate, client) = guarded();
    // It branches off from an old commit of main, and lacks later files of main: no violation.
    write(&client, "events/f/c.json", "c");
    commit(&client, "c");
    accepted(&client, &["HEAD:main"]);
    git(&stargate.git_dir, ["pack-refs", "--all"]);
    accepted(&client, &["HEAD~1:refs/heads/old"]);
    // It has nothing in common with main.
    git(&client, ["checkout", "-q", "--orphan", "pages"]);
    git(&client, ["rm", "-q", "-r", "-f", "."]);
    write(&client, "index.html", "x");
    commit(&client, "pages");
    accepted(&client, &["pages", "pages:refs/kv/pages"]);
    // A change to a file that main has.
    git(&client, ["checkout", "-q", "-f", "main"]);
    write(&client, "events/f/c.json", "other");
    let bad = commit(&client, "bad");
    let reason = line("refs/heads/bad", "M  events/f/c.json", &bad);
    rejected(&stargate, &client, &["HEAD:refs/heads/bad"], &[&reason]);
    // A change to a file that the branch itself has added.
    git(&client, ["checkout", "-q", "pages"]);
    write(&client, "events/x", "1");
    commit(&client, "x");
    write(&client, "events/x", "2");
    let bad = commit(&client, "y");
    rejected(
        &stargate,
        &client,
        &["pages:other"],
        &[&line("refs/heads/other", "M  events/x", &bad)],
    );
}

#[test]
fn the_first_push_of_all_is_judged_by_its_own_history() {
    let stargate = Stargate::with_hook();
    stargate.configure("stargate.appendOnly", "events/");
    let client = stargate.client("first");
    write(&client, "events/a", "1");
    let good = commit(&client, "one");
    write(&client, "events/a", "2");
    let bad = commit(&client, "two");
    rejected(
        &stargate,
        &client,
        &["HEAD:main"],
        &[&line("refs/heads/main", "M  events/a", &bad)],
    );
    accepted(&client, &["HEAD~1:refs/heads/main"]);
    assert_eq!(tip(&stargate, "main"), good);
}

#[test]
fn of_many_violations_ten_are_told() {
    let (stargate, client) = guarded();
    for number in 10..60 {
        write(&client, &format!("events/g/{number}"), &number.to_string());
    }
    commit(&client, "many");
    accepted(&client, &["HEAD:main"]);
    git(&client, ["rm", "-q", "-r", "events/g"]);
    let head = commit(&client, "gone");
    let mut reasons: Vec<_> = (10..20)
        .map(|number| line("refs/heads/main", &format!("D  events/g/{number}"), &head))
        .collect();
    reasons.push("and 40 more".into());
    let reasons: Vec<_> = reasons.iter().map(String::as_str).collect();
    rejected(&stargate, &client, &["HEAD:main"], &reasons);
}

#[test]
fn a_setting_that_is_no_path_closes_the_gate() {
    let (stargate, client) = guarded();
    stargate.configure("stargate.appendOnly", "../events");
    write(&client, "events/f/c.json", "c");
    commit(&client, "c");
    let output = try_git(&client, ["push", "-q", "origin", "HEAD:main"]);
    let told = stderr(&output);
    assert!(!output.status.success());
    assert!(
        told.contains("setting is invalid, so the append-only rule cannot be checked"),
        "{told}"
    );
    assert!(
        told.contains("configuration: stargate.appendOnly = ../events: "),
        "{told}"
    );
    // A ref that is not guarded is accepted.
    accepted(&client, &["HEAD:refs/tags/t"]);
}

#[test]
fn what_cannot_be_read_closes_the_gate() {
    let (stargate, _) = guarded();
    let input = format!("{ZERO} {SOME_ID} refs/heads/x\n");
    let output = stargate.run_pre_receive(input);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    let why = format!("  refs/heads/x: cannot check the append-only rule: the object {SOME_ID} is not in");
    assert!(told.contains(&why), "{told}");
    // A ledger that is not a commit has no files to keep.
    let blob = feed(
        {
            let mut command = support::stargate::git_command(&stargate.git_dir);
            command.args(["hash-object", "-w", "--stdin"]);
            command
        },
        "x",
    );
    let blob = String::from_utf8_lossy(&blob.stdout).trim_end().to_owned();
    let output = stargate.run_pre_receive(format!("{ZERO} {blob} refs/kv/x\n"));
    assert!(
        stderr(&output).contains(&format!("{blob} is not a commit")),
        "{}",
        stderr(&output)
    );
    assert!(
        stargate
            .run_pre_receive(format!("{blob} {ZERO} refs/kv/x\n"))
            .status
            .success()
    );
}

#[test]
fn a_push_to_a_symbolic_ref_is_judged_as_a_change_of_what_it_stands_for() {
    let (stargate, client) = guarded();
    stargate.configure("receive.denyDeleteCurrent", "ignore");
    // Symbolic refs that lead to a guarded branch: from another branch, from a ref that is not guarded, and from a
    // chain.
    for (alias, of) in [
        ("refs/heads/alias", "refs/heads/main"),
        ("refs/other/latest", "refs/heads/main"),
        ("refs/other/chain", "refs/other/latest"),
    ] {
        git(&stargate.git_dir, ["symbolic-ref", alias, of]);
    }
    write(&client, "events/f/c.json", "c");
    let good = commit(&client, "more");
    accepted(&client, &["HEAD:refs/other/chain"]);
    assert_eq!(tip(&stargate, "main"), good);
    write(&client, "events/f/a.json", "other");
    let bad = commit(&client, "changed");
    for alias in ["refs/heads/alias", "refs/other/latest", "refs/other/chain"] {
        let name = format!("{alias} -> refs/heads/main");
        let change = line(&name, "M  events/f/a.json", &bad);
        rejected(&stargate, &client, &[&format!("HEAD:{alias}")], &[&change]);
        // git would delete the branch, and leave the symbolic ref.
        let lost = ["a", "b", "c"].map(|file| line(&name, &format!("D  events/f/{file}.json"), &good));
        rejected(
            &stargate,
            &client,
            &[&format!(":{alias}")],
            &lost.each_ref().map(String::as_str),
        );
    }
    // HEAD may lead through a symbolic ref, too: commits are new if its branch does not have them.
    git(&stargate.git_dir, ["symbolic-ref", "HEAD", "refs/heads/alias"]);
    accepted(&client, &["HEAD~1:refs/heads/next"]);
    rejected(
        &stargate,
        &client,
        &["HEAD:refs/heads/new"],
        &[&line("refs/heads/new", "M  events/f/a.json", &bad)],
    );
}

#[test]
fn a_ref_that_cannot_be_read_closes_the_gate() {
    let (stargate, client) = guarded();
    let head = git(&client, ["rev-parse", "HEAD"]);
    let said = |name: &str| {
        let output = stargate.run_pre_receive(format!("{ZERO} {head} {name}\n"));
        (output.status.success(), stderr(&output))
    };
    assert_eq!(said("refs/other/x"), (true, String::new()));
    let path = stargate.git_dir.join("refs/other/x");
    write(&stargate.git_dir, "refs/other/x", "");
    let (accepted, told) = said("refs/other/x");
    let why = "  refs/other/x: cannot check the append-only rule: ./refs/other/x contains neither an object id nor";
    assert!(!accepted && told.contains(why), "{told}");
    fs::remove_file(path).expect("a file");
    // A damaged list of refs is unknown as a whole.
    let packed = stargate.git_dir.join("packed-refs");
    fs::write(&packed, "half a line").expect("a file");
    let (accepted, told) = said("refs/other/x");
    assert!(!accepted && told.contains("packed-refs has an invalid line"), "{told}");
    fs::remove_file(&packed).expect("a file");
    // The setting of a repository with reftables, without the tables.
    write(&stargate.git_dir, "HEAD", "ref: refs/heads/.invalid\n");
    let (accepted, told) = said("refs/other/x");
    assert!(!accepted && told.contains("cannot read the reftables of"), "{told}");
}

#[test]
fn a_configuration_that_cannot_be_read_closes_the_gate_where_it_may_guard_something() {
    let (stargate, client) = guarded();
    let head = git(&client, ["rev-parse", "HEAD"]);
    let path = stargate.git_dir.join("config");
    let config = fs::read_to_string(&path).expect("a configuration");
    let said = |config: &str| {
        fs::write(&path, format!("{config}[half\n")).expect("a configuration");
        let output = stargate.run_pre_receive(format!("{ZERO} {head} refs/heads/x\n"));
        (output.status.success(), stderr(&output))
    };
    let (accepted, told) = said(&config);
    assert!(
        !accepted && told.contains("git's configuration cannot be read"),
        "{told}"
    );
    let (accepted, told) = said("[core]\n\tbare = true\n");
    assert!(accepted, "{told}");
}

#[test]
fn a_sha256_repository_with_objects_elsewhere_is_guarded() {
    let pool = Stargate::of_format("sha256");
    let client = pool.client("first");
    write(&client, "events/a", "1");
    commit(&client, "one");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    // A fork that borrows all objects.
    let fork = Stargate::of_format("sha256");
    let borrowed = pool.git_dir.join("objects").display().to_string();
    fs::write(fork.git_dir.join("objects/info/alternates"), borrowed + "\n").unwrap();
    git(&fork.git_dir, ["update-ref", "refs/heads/main", &tip(&pool, "main")]);
    fork.install();
    fork.configure("stargate.appendOnly", "events");
    git(
        &client,
        ["remote", "set-url", "origin", &fork.git_dir.display().to_string()],
    );
    write(&client, "events/b", "2");
    commit(&client, "two");
    accepted(&client, &["HEAD:main"]);
    write(&client, "events/a", "3");
    let bad = commit(&client, "three");
    rejected(
        &fork,
        &client,
        &["HEAD:main"],
        &[&line("refs/heads/main", "M  events/a", &bad)],
    );
}

/// The calls on files that `pre-receive` makes for one branch that is not mirrored.
fn calls(stargate: &Stargate, input: &str) -> Vec<String> {
    let trace = stargate.folder().join("trace");
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=%file",
        "-o",
        trace.to_str().unwrap(),
    ];
    let output = feed(stargate.named_behind("pre-receive", &strace), input);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(trace).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, call)| call.to_owned())
        .collect()
}

#[test]
fn without_the_setting_nothing_is_opened_for_it() {
    let (stargate, _) = guarded();
    let head = tip(&stargate, "main");
    let input = format!("{head} {head} refs/heads/main\n");
    let looks = |calls: &[String]| {
        calls
            .iter()
            .any(|call| call.contains("objects") || call.contains("HEAD\""))
    };
    assert!(looks(&calls(&stargate, &input)), "the trace shows what is opened");
    git(&stargate.git_dir, ["config", "--unset-all", "stargate.appendOnly"]);
    let without = calls(&stargate, &input);
    assert!(!looks(&without) && without.len() > 3, "{without:?}");
}
