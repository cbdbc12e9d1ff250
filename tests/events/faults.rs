//! Failures are temporary or reported. Nothing is lost or overwritten.
use std::fs;

use serde_json::Value;

use crate::{REPOSITORY, TOKEN, World, all_bytes, feeds};
use support::{feeds::event, git};

fn events(numbers: std::ops::Range<u32>) -> Vec<Value> {
    numbers.map(|number| event("f", number)).collect()
}

#[test]
fn a_remote_that_is_down_gets_everything_when_it_is_back() {
    let (mut world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[]);
    run.until("following");
    feeds.post("f", event("f", 0));
    run.until("Pushed 1 event(s)");
    world.mirror.stop();
    for number in 1..30 {
        feeds.post("f", event("f", number));
    }
    run.until("not pushed");
    world.mirror.start_again();
    // The push is retried although no new event arrives.
    world.wait_for(&events(0..30), &[&run]);
    world.assert_has_exactly(&events(0..30));
    assert_eq!(run.terminate().0, 0);
}

#[test]
fn a_token_that_is_revoked_is_told_and_a_new_one_is_taken_under_way() {
    let (world, feeds) = (World::new(), feeds());
    let file = world.context("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let context = world.context("context").display().to_string();
    let (relay, remote, path) = (feeds.url(), world.mirror.url(REPOSITORY), file.display().to_string());
    let variables = [
        ("CONTEXT_REPO_PATH", context.as_str()),
        ("RELAY_URL", &relay),
        ("FEED_IDS", "f"),
        ("GITHUB_PAT_FILE", &path),
        ("GITHUB_REPO_URL", &remote),
        ("COMMIT_BATCH_SIZE", "1"),
        ("PUSHES_PER_MINUTE", "0"),
    ];
    let run = support::running::Running::start(&["events", "run"], &variables);
    run.until("following");
    feeds.post("f", event("f", 0));
    run.until("Pushed 1 event(s)");
    world.mirror.set_token("another");
    feeds.post("f", event("f", 1));
    run.until("refuses the credentials");
    fs::remove_file(&file).expect("it is there");
    feeds.post("f", event("f", 2));
    run.until("which GITHUB_PAT_FILE names, cannot be read");
    fs::write(&file, "another\n").expect("a file");
    feeds.post("f", event("f", 3));
    world.wait_for(&events(0..4), &[&run]);
    world.assert_has_exactly(&events(0..4));
    let (code, said) = run.terminate();
    assert_eq!(code, 0);
    assert!(!said.contains(TOKEN) && !said.contains("another\n"), "{said}");
}

#[test]
fn a_branch_that_was_deleted_is_made_again_with_everything() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[]);
    run.until("following");
    events(0..5).into_iter().for_each(|event| feeds.post("f", event));
    world.wait_for(&events(0..5), &[&run]);
    world.mirror.git(REPOSITORY, &["update-ref", "-d", "refs/heads/main"]);
    feeds.post("f", event("f", 5));
    world.wait_for(&events(0..6), &[&run]);
    world.assert_has_exactly(&events(0..6));
}

/// A clone of the remote for another person.
fn clone(world: &World) -> std::path::PathBuf {
    let path = world.context("somebody");
    let source = world.mirror.path(REPOSITORY).display().to_string();
    git::git(
        world.folder.path(),
        &["clone", "-q", "-b", "main", &source, &path.display().to_string()],
    );
    path
}

#[test]
fn what_somebody_else_pushes_stays() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[]);
    run.until("following");
    feeds.post("f", event("f", 0));
    run.until("Pushed 1 event(s)");
    let somebody = clone(&world);
    for round in 1..4 {
        fs::write(somebody.join("policy/policy.json"), format!("{{\"round\": {round}}}\n")).expect("a file");
        git::git(&somebody, &["commit", "-q", "-a", "-m", "A policy"]);
        git::git(&somebody, &["pull", "-q", "--rebase"]);
        git::git(&somebody, &["push", "-q"]);
        feeds.post("f", event("f", round));
        world.wait_for(&events(0..round + 1), &[&run]);
        git::git(&somebody, &["pull", "-q", "--rebase"]);
    }
    world.assert_has_exactly(&events(0..4));
    assert_eq!(world.file("policy/policy.json"), "{\"round\": 3}");
    assert_eq!(git::git(&world.context("context"), &["status", "--porcelain"]), "");
}

#[test]
fn an_event_that_somebody_edits_by_force_is_told_and_not_overwritten() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[]);
    run.until("following");
    feeds.post("f", event("f", 0));
    run.until("Pushed 1 event(s)");
    let somebody = clone(&world);
    let (path, _) = world.event_files().pop_first().expect("an event");
    fs::write(somebody.join(&path), "{}\n").expect("a file");
    git::git(&somebody, &["commit", "-q", "-a", "--amend", "-m", "Edited"]);
    git::git(&somebody, &["push", "-q", "--force"]);
    feeds.post("f", event("f", 1));
    run.until(&path);
    assert_eq!(world.file(&path), "{}", "it is not for us to overwrite it");
    let (code, _) = run.terminate();
    assert_eq!(code, 0);
    // Both events are still in the context repository.
    let here = git::git(
        &world.context("context"),
        &["ls-tree", "-r", "--name-only", "HEAD", "events/"],
    );
    assert!(here.contains("e-0.json") && here.contains("e-1.json"), "{here}");
}

#[test]
fn a_commit_that_is_completed_later_is_pushed_without_another_one() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[]);
    run.until("following");
    feeds.post("f", event("f", 0));
    run.until("Pushed 1 event(s)");
    // Files are written first, then the index; the branch moves last.
    let lock = world.context("context").join(".git/index.lock");
    fs::write(&lock, "").expect("a lock of git");
    feeds.post("f", event("f", 1));
    run.until("1 event(s) are not committed");
    fs::remove_file(&lock).expect("removed");
    world.wait_for(&events(0..2), &[&run]);
    world.assert_has_exactly(&events(0..2));
    assert_eq!(run.terminate().0, 0);
}

#[test]
fn what_cannot_be_committed_until_somebody_acts_ends_a_run_that_ends_by_itself() {
    let (world, feeds) = (World::new(), feeds());
    feeds.post("f", event("f", 0));
    let (code, said) = world.run("context", &feeds.url(), "f", &["--once"], &[]).wait();
    assert_eq!(code, 0, "{said}");
    git::git(&world.context("context"), &["switch", "--quiet", "-c", "other"]);
    feeds.post("f", event("f", 1));
    let (code, said) = world.run("context", &feeds.url(), "f", &["--once"], &[]).wait();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is on other, but events are committed to main"), "{said}");
    git::git(&world.context("context"), &["switch", "--quiet", "main"]);
    let (code, said) = world.run("context", &feeds.url(), "f", &["--once"], &[]).wait();
    assert_eq!(code, 0, "{said}");
    world.assert_has_exactly(&events(0..2));
}

#[test]
fn what_a_branch_lacks_is_read_again() {
    let (world, feeds) = (World::new(), feeds());
    events(0..3).into_iter().for_each(|event| feeds.post("f", event));
    let once = |variables: &[(&str, &str)]| {
        let (code, said) = world.run("context", &feeds.url(), "f", &["--once"], variables).wait();
        assert_eq!(code, 0, "{said}");
    };
    let alone = [("GITHUB_REPO_URL", ""), ("COMMIT_BATCH_SIZE", "1")];
    once(&alone);
    let context = world.context("context");
    git::git(&context, &["branch", "other", "main~3"]);
    git::git(&context, &["reset", "--quiet", "--hard", "main~2"]);
    once(&[]);
    world.assert_has_exactly(&events(0..3));
    git::git(&context, &["switch", "--quiet", "other"]);
    once(&[("GITHUB_REPO_URL", ""), ("GITHUB_BRANCH", "other")]);
    let files = git::git(&context, &["ls-tree", "-r", "--name-only", "other", "events"]);
    assert_eq!(files.matches(".json").count(), 3, "{files}");
}

#[test]
fn a_context_repository_with_refs_in_reftables_is_refused_before_anything_is_done() {
    let (world, feeds) = (World::new(), feeds());
    let arguments = ["--once", "--bare"];
    let once = || world.run("context", &feeds.url(), "f", &arguments, &[]).wait();
    feeds.post("f", event("f", 0));
    let (code, said) = once();
    assert_eq!(code, 0, "{said}");
    let context = world.context("context");
    git::git(&context, &["refs", "migrate", "--ref-format=reftable"]);
    let before = all_bytes(&context);
    feeds.post("f", event("f", 1));
    let asked = feeds.requests().len();
    let (code, said) = once();
    assert_eq!(code, 4, "{said}");
    for word in [
        "extensions.refstorage = reftable",
        "git refs migrate --ref-format=files",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(all_bytes(&context) == before, "nothing is written");
    assert_eq!(feeds.requests().len(), asked, "the relay is not asked");
    world.assert_has_exactly(&events(0..1));
    git::git(&context, &["refs", "migrate", "--ref-format=files"]);
    let (code, said) = once();
    assert_eq!(code, 0, "{said}");
    world.assert_has_exactly(&events(0..2));
}
