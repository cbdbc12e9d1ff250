//! `git push stargate::<URL>`: git with our remote helper.
use std::{fs, os::unix::fs::symlink, path::Path, process::Output};

use support::{
    git::{self, git},
    mirror::{Format, Mirror},
};

use super::command::{copy, made, refs, stderr};

/// Runs git with the helper in `PATH`.
fn run(folder: &Path, programs: &Path, arguments: &[&str]) -> Output {
    let mut command = git::command(folder);
    let path = std::env::var("PATH").expect("PATH");
    command.env("PATH", format!("{}:{path}", programs.display()));
    command.args(arguments).output().expect("the program git is needed")
}

fn programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = env!("CARGO_BIN_EXE_stargate-mirror");
    symlink(ours, folder.path().join("git-remote-stargate")).expect("a link");
    folder
}

#[test]
fn git_pushes_and_fetches_through_the_helper() {
    let programs = programs();
    let mirror = Mirror::start();
    mirror.create("r.git", Format::Sha1);
    mirror.git("r.git", &["config", "http.receivepack", "true"]);
    let template = made(Format::Sha1);
    copy(&template.path().join("remote.git"), &mirror.path("r.git"));
    mirror.git("r.git", &["config", "http.receivepack", "true"]);
    mirror.hook("r.git", "update", "echo about $1\ntest $1 != refs/heads/declined\n");
    let source = template.path().join("source");
    let url = format!("stargate::{}", mirror.url("r.git"));
    git(&source, &["remote", "add", "far", &url]);
    let pushed = run(
        &source,
        programs.path(),
        &["push", "far", "main", "+side:topic", ":gone", "signed", "main:declined"],
    );
    let said = stderr(&pushed);
    assert_eq!(pushed.status.code(), Some(1), "{said}");
    for line in [
        "main -> main",
        "+ ",
        "[deleted]         gone",
        "[new tag]         signed -> signed",
        "[remote rejected] main -> declined (hook declined)",
        "remote: about refs/heads/main",
    ] {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }
    let there = refs(&mirror.path("r.git"));
    assert!(!there.contains("gone") && !there.contains("declined"), "{there}");
    assert_eq!(
        mirror.git("r.git", &["rev-parse", "main"]),
        git(&source, &["rev-parse", "main"])
    );
    assert_eq!(
        git(&source, &["rev-parse", "far/topic"]),
        git(&source, &["rev-parse", "side"])
    );
    let refused = run(&source, programs.path(), &["push", "far", "main~1:main"]);
    assert!(stderr(&refused).contains("(non-fast-forward)"), "{}", stderr(&refused));

    let again = run(template.path(), programs.path(), &["clone", "-q", &url, "clone"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let clone = template.path().join("clone");
    git(&clone, &["fsck", "--strict"]);
    assert_eq!(
        git(&clone, &["rev-parse", "HEAD"]),
        git(&source, &["rev-parse", "main"])
    );
}

#[test]
fn options_reach_the_server() {
    let programs = programs();
    let template = made(Format::Sha1);
    let (source, remote) = (template.path().join("source"), template.path().join("remote.git"));
    let url = format!("stargate::{}", remote.display());
    let before = refs(&remote);
    for arguments in [
        &["push", "--dry-run", &url, "main"][..],
        &["push", "--force-with-lease=main:side", &url, "side:main"],
        &["push", "--atomic", &url, "main", "light"],
    ] {
        run(&source, programs.path(), arguments);
        assert_eq!(refs(&remote), before, "{arguments:?}");
    }
    let lease = run(
        &source,
        programs.path(),
        &["push", "--force-with-lease=main:main~1", &url, "side:main"],
    );
    assert!(lease.status.success(), "{}", stderr(&lease));
    assert_eq!(
        git(&remote, &["rev-parse", "main"]),
        git(&source, &["rev-parse", "side"])
    );
    fs::remove_dir_all(remote.join("objects")).expect("a folder");
    let broken = run(&source, programs.path(), &["push", &url, "main"]);
    assert!(!broken.status.success() && !stderr(&broken).is_empty());
}
