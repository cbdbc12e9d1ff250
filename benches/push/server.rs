//! Pushes to a server that starts with a copy of a repository, by this library and by git.
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use bstr::BString;
use git_push::{Connection, Push};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;
use stargate_mirror::worker::RememberedMirror;
use support::mirror::Mirror;

use crate::measure::{Cost, copy, git, git_command, measure};

const TOKEN: &str = "measured";
/// The name of the repository on the server.
const NAME: &str = "r.git";

/// A server that asks for a token.
pub struct Server(Mirror);

impl Server {
    /// Starts a server of which each request takes this many seconds longer.
    pub fn new(delay: Option<&str>) -> Self {
        Server(Mirror::measured(TOKEN, delay))
    }

    /// Puts a fresh copy of `before` on the server.
    pub fn reset(&self, before: &Path) {
        let path = self.0.path(NAME);
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("the last remote goes away");
        }
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        copy(before, &path);
        git(&path, &["config", "http.receivepack", "true"]);
        // A collection in the background would disturb what is measured next.
        git(&path, &["config", "receive.autoGC", "false"]);
    }

    /// Pushes these objects, each to a ref, to a fresh copy of `before`, which is remembered.
    pub fn push_of_ours(&self, source: &Path, before: &Path, wanted: &[(String, String)]) -> Cost {
        self.reset(before);
        self.next_of_ours(source, wanted)
    }

    /// Pushes to the remote as it stands, which is remembered.
    pub fn next_of_ours(&self, source: &Path, wanted: &[(String, String)]) -> Cost {
        let folder = tempfile::tempdir().expect("a folder");
        let [memory, list] = ["memory", "wanted"].map(|name| folder.path().join(name));
        self.remember(&memory);
        let lines: String = wanted.iter().map(|(id, name)| format!("{id} {name}\n")).collect();
        std::fs::write(&list, lines).expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("our-push").arg(source).arg(self.0.url(NAME));
        self.measure(command.args([memory, list]).env("GITHUB_PAT", TOKEN))
    }

    /// Runs `git push` with these options of git to a fresh copy of `before`.
    pub fn push_of_git(&self, source: &Path, before: &Path, options: &[&str], refspecs: &[String]) -> Cost {
        self.reset(before);
        self.next_of_git(source, options, refspecs)
    }

    /// Runs `git push` with these options of git to the remote as it stands.
    pub fn next_of_git(&self, source: &Path, options: &[&str], refspecs: &[String]) -> Cost {
        let url = self.0.url(NAME);
        let url = url.replace("://", &format!("://x-access-token:{TOKEN}@"));
        let mut command = git_command(source);
        command.args(options).args(["push", "--atomic", "-q", &url]);
        self.measure(command.args(refspecs))
    }

    /// Runs another program, which pushes these refspecs to the remote as it stands.
    pub fn next_of(&self, program: &Path, source: &Path, refspecs: Vec<String>) -> Cost {
        let mut command = Command::new(program);
        command.arg(source).arg(self.0.url(NAME)).args(refspecs);
        self.measure(command.env("GITHUB_PAT", TOKEN))
    }

    fn measure(&self, push: &mut Command) -> Cost {
        let (requests, received) = (self.0.requests().len(), self.0.received());
        let cost = measure(push, None);
        Cost {
            requests: (self.0.requests().len() - requests) as u64,
            bytes: self.0.received() - received,
            ..cost
        }
    }

    /// Remembers the remote as the worker does after a push.
    fn remember(&self, memory: &Path) {
        let url = self.0.url(NAME);
        let mut remote = open(&url, |name| (name == "GITHUB_PAT").then(|| TOKEN.into()));
        let advertisement = remote.advertisement().expect("an advertisement");
        let remembered = RememberedMirror::new(&url, gix::hash::Kind::Sha1, &advertisement, |_| true);
        let bytes = serde_json::to_vec(&remembered).expect("JSON");
        std::fs::write(memory, bytes).expect("a file");
    }
}

fn open(url: &str, environment: impl Fn(&str) -> Option<OsString>) -> Remote {
    let location = Location::parse(url.into()).expect("a URL");
    Remote::open(location, &Settings::from_environment(environment).expect("a token")).expect("a remote")
}

/// Pushes the objects of the list `wanted`, a line each, as the worker does.
pub fn our_push(source: &Path, url: &str, memory: &Path, wanted: &Path) {
    let repository = gix::open(source).expect("a repository");
    let memory = std::fs::read(memory).expect("what is remembered");
    let memory: RememberedMirror = serde_json::from_slice(&memory).expect("JSON");
    let advertisement = memory.advertisement();
    let wanted = std::fs::read_to_string(wanted).expect("a list");
    let command = |line: &str| {
        let (id, name) = line.split_once(' ').expect("an id and a name");
        let (new, name) = (ObjectId::from_hex(id.as_bytes()).expect("an id"), BString::from(name));
        let old = advertisement.id(name.as_ref()).unwrap_or(new.kind().null());
        git_push::Command { name, old, new }
    };
    let mut remote = open(url, |name| std::env::var_os(name));
    let report = Push::new(&repository, &advertisement)
        .commands(wanted.lines().map(command))
        .atomic(true)
        .send(&mut remote)
        .expect("a report");
    assert!(report.all_accepted(), "{report:?}");
}
