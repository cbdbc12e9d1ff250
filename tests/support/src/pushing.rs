//! Shared parts of the push tests: commits to push, commands, and their results.
use std::path::Path;

use git_push::{Command, Connection, Error, Report, Verdict};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;
use tempfile::TempDir;

use super::git::{self, git};

pub fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).expect("an id")
}

pub fn open(url: &str, settings: &Settings) -> Remote {
    let location = Location::parse(url.into()).expect("a location");
    Remote::open(location, settings).expect("a remote")
}

/// Opens a repository with only its own configuration.
pub fn repository(path: &Path) -> gix::Repository {
    gix::open_opts(path, gix::open::Options::isolated()).expect("a repository")
}

/// A repository with three commits in a row.
pub fn source(format: &str) -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    git(
        folder.path(),
        &["init", "--quiet", "--bare", &format!("--object-format={format}"), "."],
    );
    let mut commits: Vec<String> = Vec::new();
    for content in ["one", "two", "three"] {
        commits.push(git::commit(folder.path(), commits.last().map(String::as_str), content));
    }
    (folder, commits)
}

pub fn command(name: &str, old: Option<&str>, new: Option<&str>, like: &str) -> Command {
    let null = id(like).kind().null();
    Command {
        name: name.into(),
        old: old.map_or(null, id),
        new: new.map_or(null, id),
    }
}

/// Pushes, and returns the result of each command.
pub fn pushed(remote: &mut Remote, from: &Path, commands: Vec<Command>, atomic: bool) -> Result<Report, Error> {
    let advertisement = remote.advertisement()?;
    git_push::Push::new(&repository(from), &advertisement)
        .commands(commands)
        .atomic(atomic)
        .send(remote)
}

pub fn verdict<'a>(report: &'a Report, name: &str) -> &'a Verdict {
    report.verdict(name.into()).expect("a verdict")
}

pub fn reason(report: &Report, name: &str) -> String {
    match verdict(report, name) {
        Verdict::Rejected(reason) => reason.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}
