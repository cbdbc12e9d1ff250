//! Servers that do not take thin packs, and do not say so.
use std::fs;

use git_push::{Connection, Push, Report};
use git_push_transport::{Remote, Settings};
use support::{
    git::{self, git},
    pushing::{command, open, repository},
    scripted::{Received, Scripted, Step, answer},
    unthin,
};
use tempfile::TempDir;

/// A repository with two versions of a file that are deltas of each other.
fn source() -> (TempDir, [String; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), &["init", "-q", "--bare", "."]);
    let lines: String = (0..500)
        .map(|line| format!("line {line} of {}\n", line * line))
        .collect();
    let one = git::commit(folder.path(), None, &lines);
    let two = git::commit(folder.path(), Some(&one), &(lines + "one more"));
    (folder, [one, two])
}

fn update(remote: &mut Remote, folder: &TempDir, [one, two]: &[String; 2], thin: bool) -> Report {
    let advertisement = remote.advertisement().expect("an advertisement");
    Push::new(&repository(folder.path()), &advertisement)
        .command(command("refs/heads/main", Some(one), Some(two), one))
        .thin(thin)
        .send(remote)
        .expect("a report")
}

/// Answers 400 to thin packs, which are short.
fn reply(request: &Received) -> Vec<u8> {
    if request.body.len() < 1000 {
        return answer("400 Bad Request", &[], b"");
    }
    let report = b"000eunpack ok\n0017ok refs/heads/main\n0000";
    answer(
        "200 OK",
        &["Content-Type: application/x-git-receive-pack-result"],
        report,
    )
}

#[test]
fn after_400_the_pack_is_sent_once_more_without_thin_bases() {
    let (folder, commits) = source();
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    let refs = format!("{} refs/heads/main\0report-status ofs-delta", commits[0]);
    git_push::pkt_line::data(&mut body, refs.as_bytes());
    git_push::pkt_line::flush(&mut body);
    let advertised = answer(
        "200 OK",
        &["Content-Type: application/x-git-receive-pack-advertisement"],
        &body,
    );
    let steps = [
        Step::Answer(advertised.clone()),
        Step::Reply(reply),
        Step::Reply(reply),
        Step::Answer(advertised),
        Step::Reply(reply),
    ];
    let server = Scripted::serve(steps);
    let mut remote = open(&server.url("o/r.git"), &Settings::default());
    let report = update(&mut remote, &folder, &commits, true);
    assert!(report.all_accepted() && report.has_refused_thin());
    assert_eq!(server.received().len(), 3, "a GET, and two pushes");
    let report = update(&mut remote, &folder, &commits, false);
    assert!(report.all_accepted() && !report.has_refused_thin());
    assert_eq!(server.received().len(), 5, "a GET, and one push");
}

#[test]
fn after_unresolved_deltas_the_pack_is_sent_once_more_without_thin_bases() {
    let (folder, commits) = source();
    let server = tempfile::tempdir().expect("a folder");
    let receiver = server.path().join("r.git");
    git(server.path(), &["init", "-q", "--bare", "r.git"]);
    git(&receiver, &["config", "receive.unpackLimit", "1"]);
    let ssh = unthin::ssh_command(server.path());
    let variable = |name: &str| (name == "GIT_SSH_COMMAND").then(|| ssh.clone().into());
    let settings = Settings::from_environment(variable).expect("settings");
    let mut remote = open(&format!("ssh://host{}", receiver.display()), &settings);
    git(
        folder.path(),
        &[
            "push",
            "-q",
            &receiver.display().to_string(),
            &format!("{}:refs/heads/main", commits[0]),
        ],
    );
    let unpacked = || {
        fs::read_to_string(unthin::log(server.path()))
            .expect("a log")
            .lines()
            .count()
    };
    let report = update(&mut remote, &folder, &commits, true);
    assert!(report.all_accepted() && report.has_refused_thin(), "{report:?}");
    assert_eq!(unpacked(), 2);
    assert_eq!(git(&receiver, &["rev-parse", "main"]), commits[1]);
    git(&receiver, &["fsck", "--strict", "--no-dangling"]);
}
