//! Repositories and commits, written with gix, and git to inspect them.
pub mod random;

use std::path::Path;
use std::process::{Command, Stdio};

use gix::{ObjectId, Repository};

/// Writes a commit.
pub fn commit(repository: &Repository, tree: ObjectId, parents: &[ObjectId], date: u32) -> ObjectId {
    let author = gix::actor::Signature {
        name: "A".into(),
        email: "a@example.com".into(),
        time: gix::date::Time::new(1_700_000_000 + i64::from(date), 0),
    };
    let commit = gix::objs::Commit {
        tree,
        parents: parents.iter().copied().collect(),
        author: author.clone(),
        committer: author,
        encoding: None,
        message: format!("at {date}\n").into(),
        extra_headers: Vec::new(),
    };
    repository.write_object(&commit).unwrap().detach()
}

/// A new bare repository.
pub fn repository(folder: &Path, format: &str) -> Repository {
    git(
        Path::new("."),
        &[
            "init",
            "-q",
            "--bare",
            "--object-format",
            format,
            folder.to_str().unwrap(),
        ],
        None,
    );
    gix::open(folder).unwrap()
}

/// Runs `git`, which must succeed, and returns its standard output.
pub fn git(folder: &Path, arguments: &[&str], stdin: Option<std::fs::File>) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", support::git::GLOBAL_CONFIG)
        .stdin(stdin.map_or(Stdio::null(), Stdio::from))
        .output()
        .unwrap_or_else(|error| panic!("these tests need the program git: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "git {arguments:?} in {}: {stderr}",
        folder.display()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
