//! Requests and bytes of a push over HTTP, counted by the server, beside those of `git push`.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    git::{self, git},
    mirror::{Format, Mirror},
};

const TOKEN: &str = "counted";
const FILES: u32 = 10_000;

/// Two equal repositories on a server, and a source with one commit more: 10 new files in a folder of 10,000.
struct Pair {
    mirror: Mirror,
    folder: tempfile::TempDir,
}

/// Cost of one push.
#[derive(Debug)]
struct Cost {
    /// Method and path without the repository, in order.
    requests: Vec<String>,
    /// Bytes of each body.
    bodies: Vec<u64>,
}

impl Pair {
    fn new(mirror: Mirror) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source.git");
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "source.git"]);
        import(&source, &commit("", 0..FILES));
        for name in ["git.git", "our.git"] {
            mirror.create(name, Format::Sha1);
            let there = mirror.path(name).display().to_string();
            git(&source, &["push", "-q", &there, "main"]);
        }
        import(&source, &commit("from refs/heads/main^0\n", FILES..FILES + 10));
        Pair { mirror, folder }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source.git")
    }

    /// Runs a push to the repository `name`.
    fn cost(&self, name: &str, push: &mut Command) -> Cost {
        let before = (self.mirror.requests().len(), self.mirror.bodies().len());
        let output = push.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let main = ["rev-parse", "refs/heads/main"];
        assert_eq!(git(&self.source(), &main), self.mirror.git(name, &main));
        let requests = self.mirror.requests().split_off(before.0);
        let short = |line: String| line.replace(&format!("/{name}"), "");
        let short = |line: String| short(line).rsplit_once(' ').expect("a size").0.to_owned();
        Cost {
            requests: requests.into_iter().map(short).collect(),
            bodies: self.mirror.bodies().split_off(before.1),
        }
    }

    fn git(&self, options: &[&str], token: Option<&str>) -> Cost {
        let mut push = git::command(&self.source());
        push.args(["push", "--porcelain"]).args(options);
        let url = self.mirror.url("git.git");
        let url = match token {
            Some(token) => url.replace("://", &format!("://x-access-token:{token}@")),
            None => url,
        };
        self.cost("git.git", push.args([url.as_str(), "main"]))
    }

    fn ours(&self, options: &[&str], token: Option<&str>) -> Cost {
        let mut push = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        push.arg("push").args(options).current_dir(self.source()).env_clear();
        push.envs(git::ISOLATED).env("HOME", self.folder.path());
        push.envs(token.map(|token| ("GITHUB_PAT", token)));
        self.cost("our.git", push.args([self.mirror.url("our.git").as_str(), "main"]))
    }
}

impl Cost {
    /// Bytes of the push itself.
    fn pushed(&self) -> u64 {
        let is_push = |request: &&String| request.starts_with("POST /git-receive-pack");
        let place = self
            .requests
            .iter()
            .position(|request| is_push(&request))
            .expect("a push");
        self.bodies[place]
    }
}

/// A commit of a stream for `git fast-import` that adds these files.
fn commit(from: &str, files: std::ops::Range<u32>) -> String {
    let who = "A U Thor <author@example.com> 1700000000 +0000";
    let mut stream = format!("commit refs/heads/main\ncommitter {who}\ndata 7\nchange\n\n{from}");
    for number in files {
        let id = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let content = format!(
            "{{\"event_id\":\"{id:016x}\",\"feed_id\":\"main\",\"value\":{}}}\n",
            id % 100_000
        );
        stream += &format!(
            "M 100644 inline events/{id:016x}.json\ndata {}\n{content}\n",
            content.len()
        );
    }
    stream
}

fn import(repository: &Path, stream: &str) {
    let arguments = ["-c", "fastimport.unpackLimit=100", "fast-import", "--quiet"];
    git::git_with_input(repository, &arguments, stream.as_bytes());
}

const GET: &str = "GET /info/refs?service=git-receive-pack 200";
const PUSH: &str = "POST /git-receive-pack 200";
const LOOK: &str = "POST /git-upload-pack 200";

#[test]
fn a_push_with_known_credentials_takes_three_requests_and_with_porcelain_fewer_than_git() {
    let pair = Pair::new(Mirror::with_token(TOKEN));
    let theirs = pair.git(&[], Some(TOKEN));
    assert_eq!(theirs.requests.len(), 3, "git is refused first: {theirs:?}");
    let ours = pair.ours(&["--porcelain"], Some(TOKEN));
    assert_eq!(ours.requests, [GET, PUSH]);

    let pair = Pair::new(Mirror::with_token(TOKEN));
    let ours = pair.ours(&[], Some(TOKEN));
    assert_eq!(ours.requests, [GET, PUSH, LOOK]);
    assert!(
        ours.bodies.iter().sum::<u64>() <= theirs.bodies.iter().sum::<u64>(),
        "{ours:?}, git: {theirs:?}"
    );
}

#[test]
fn one_commit_is_no_larger_than_gits_and_takes_no_more_requests_without_credentials() {
    let pair = Pair::new(Mirror::start());
    let (theirs, ours) = (pair.git(&[], None), pair.ours(&["--porcelain"], None));
    assert_eq!(ours.requests, theirs.requests);
    assert_eq!(ours.requests, [GET, PUSH]);
    assert!(ours.pushed() <= theirs.pushed(), "{ours:?}, git: {theirs:?}");
}

#[test]
fn lines_for_scripts_come_after_a_look_if_it_is_asked_for() {
    let pair = Pair::new(Mirror::start());
    git(&pair.source(), &["config", "stargate.verify", "true"]);
    assert_eq!(pair.ours(&["--porcelain"], None).requests, [GET, PUSH, LOOK]);
}

#[test]
fn a_server_without_protocol_2_is_read_as_it_can_be() {
    let pair = Pair::new(Mirror::with_protocol_0());
    let read = "GET /info/refs?service=git-upload-pack 200";
    assert_eq!(pair.ours(&[], None).requests, [GET, PUSH, LOOK, read]);
}

#[test]
fn a_helper_is_asked_before_a_push_and_not_after_a_refusal() {
    let pair = Pair::new(Mirror::with_token(TOKEN));
    let helper = format!("!f() {{ echo username=x-access-token; echo password={TOKEN}; }}; f");
    git(&pair.source(), &["config", "credential.helper", &helper]);
    let theirs = pair.git(&[], None);
    assert_eq!(theirs.requests.len(), 3, "{theirs:?}");
    assert_eq!(
        pair.ours(&["--porcelain"], None).requests,
        [GET, PUSH],
        "a helper is asked before a push"
    );
}
