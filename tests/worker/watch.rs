//! `watch` as a process: it mirrors pushes as they arrive, over many repositories, and ends on a signal.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    mirror::{Format, Mirror},
    scripted::{Scripted, Step},
    stargate::{Stargate, clean_command, git, start},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// A running `watch`, and its output.
struct Watch {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let mut command = clean_command(PROGRAM);
        command
            .arg("watch")
            .args(arguments)
            .env("GITHUB_PAT", "token")
            .env("STARGATE_LOG", "debug");
        let mut child = start(command.stderr(Stdio::piped()));
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        Watch { child, said }
    }

    /// Reads until a line contains all of `words`.
    fn until(&mut self, words: &[&str]) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.said.read_line(&mut line).expect("a line");
            assert!(read > 0, "watch ended before it said {words:?}");
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Its exit code, once it has ended.
    fn ended(mut self) -> i32 {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut self.said, &mut rest).expect("its last words");
        self.child.wait().expect("it ends").code().expect("an exit code")
    }
}

/// A Stargate in a separate folder, mirrored to `remote`, with a client.
fn stargate(remote: &str) -> (Stargate, std::path::PathBuf) {
    stargate_of("files", remote)
}

fn stargate_of(refs: &str, remote: &str) -> (Stargate, std::path::PathBuf) {
    let stargate = Stargate::of_formats("sha1", refs);
    stargate.install();
    stargate.configure("stargate.remote", remote);
    let client = stargate.client("first");
    (stargate, client)
}

fn push(client: &Path) -> String {
    git(client, ["commit", "-q", "--allow-empty", "-m", "more"]);
    git(client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    git(client, ["rev-parse", "HEAD"])
}

/// Waits for the commit.
fn wait(commit: &str, remote: &str) {
    wait_for(&["--oid", commit], remote);
}

fn wait_for(fence: &[&str], remote: &str) {
    let mut command = clean_command(PROGRAM);
    command.arg("wait").args(fence);
    command.args(["--remote", remote, "--timeout", "60s"]);
    let output = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        .wait_with_output()
        .expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pushes_arrive_as_they_come_and_sigterm_ends_it() {
    for refs in ["files", "reftable"] {
        assert_pushes_arrive_as_they_come(refs);
    }
}

fn assert_pushes_arrive_as_they_come(refs: &str) {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let (stargate, client) = stargate_of(refs, &mirror.url("o/r.git"));
    let watch = Watch::start(&["--repo", &stargate.git_dir.display().to_string()]);
    // The first push creates the journal, the others append to it.
    for _ in 0..3 {
        let commit = push(&client);
        wait(&commit, &mirror.url("o/r.git"));
    }
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn refs_in_files_that_move_without_an_entry_are_noticed() {
    assert_moves_without_an_entry_are_noticed("files");
}

#[test]
fn refs_in_reftables_that_move_without_an_entry_are_noticed() {
    assert_moves_without_an_entry_are_noticed("reftable");
}

fn assert_moves_without_an_entry_are_noticed(refs: &str) {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let url = mirror.url("o/r.git");
    let (stargate, client) = stargate_of(refs, &url);
    let watch = Watch::start(&["--repo", &stargate.git_dir.display().to_string()]);
    let first = push(&client);
    wait(&first, &url);

    // Somebody moves the ref on the server.
    let tree = format!("{first}^{{tree}}");
    let second = git(&stargate.git_dir, ["commit-tree", "-m", "by hand", "-p", &first, &tree]);
    git(&stargate.git_dir, ["update-ref", "refs/kv/main", &second]);
    wait(&second, &url);

    // A push into a new folder of refs, whose post-receive never runs.
    git(&stargate.git_dir, ["pack-refs", "--all"]);
    std::fs::remove_file(stargate.git_dir.join("hooks/post-receive")).expect("a hook");
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/deep/er"]);
    wait_for(&["--ns", "deep/er", "--oid", &first], &url);
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);

    let lines = stargate.lines();
    let sources = |name: &str, id: &str| {
        let of_move = lines.iter().filter(|line| line["ref"] == name && line["new_oid"] == id);
        let sources = of_move.map(|line| line["source"].as_str().expect("a source"));
        sources.collect::<Vec<_>>()
    };
    assert!(sources("refs/kv/main", &first).contains(&"post-receive"), "{lines:?}");
    assert_eq!(sources("refs/kv/main", &second), ["reconcile"]);
    assert_eq!(sources("refs/kv/deep/er", &first), ["reconcile"]);
    assert!(lines.iter().all(|line| line["status"] == "done"), "{lines:?}");
}

#[test]
fn a_repository_that_hangs_does_not_hold_the_others() {
    let silent = Scripted::serve(vec![Step::Silence; 4]);
    let (hanging, client) = stargate(&silent.url("o/r.git"));
    push(&client);
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let (stargate, client) = stargate(&mirror.url("o/r.git"));
    let repositories = [
        hanging.git_dir.display().to_string(),
        stargate.git_dir.display().to_string(),
    ];
    let watch = Watch::start(&["--repo", &repositories[0], "--repo", &repositories[1]]);
    let commit = push(&client);
    wait(&commit, &mirror.url("o/r.git"));
    // A push in flight is abandoned within the grace.
    watch.signal(Signal::INT);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn a_root_is_walked_and_a_new_repository_is_noticed() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let root = tempfile::tempdir().expect("a folder");
    let mut watch = Watch::start(&["--root", &root.path().display().to_string()]);
    let (stargate, client) = stargate(&mirror.url("o/r.git"));
    let commit = push(&client);
    // It appears complete.
    std::fs::rename(&stargate.git_dir, root.path().join("new.git")).expect("a move");
    watch.signal(Signal::HUP);
    watch.until(&["reading repositories and settings again"]);
    wait(&commit, &mirror.url("o/r.git"));
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn a_repository_that_is_refused_is_told_and_the_others_go_on() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let (refused, _) = stargate(&mirror.url("o/other.git"));
    for setting in [["core.repositoryFormatVersion", "1"], ["extensions.madeUp", "x"]] {
        git(
            refused.folder(),
            [&["config", "-f", "o/r.git/config"][..], &setting].concat(),
        );
    }
    let (stargate, client) = stargate(&mirror.url("o/r.git"));
    let repositories = [&refused, &stargate].map(|one| one.git_dir.display().to_string());
    let mut watch = Watch::start(&["--repo", &repositories[0], "--repo", &repositories[1]]);
    watch.until(&["no cycle", "extensions.madeUp = x", "update stargate-mirror"]);
    let commit = push(&client);
    wait(&commit, &mirror.url("o/r.git"));
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn an_empty_root_says_so_and_a_repository_without_a_journal_is_noticed() {
    let mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let root = tempfile::tempdir().expect("a folder");
    let mut watch = Watch::start(&["--root", &root.path().display().to_string()]);
    watch.until(&["no repository below", &root.path().display().to_string()]);
    let stargate = Stargate::bare();
    stargate.configure("stargate.remote", &mirror.url("o/r.git"));
    let commit = push(&stargate.client("first"));
    std::fs::rename(&stargate.git_dir, root.path().join("new.git")).expect("a move");
    watch.signal(Signal::HUP);
    wait(&commit, &mirror.url("o/r.git"));
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn what_is_missing_for_a_push_is_told_once() {
    let stargate = Stargate::with_hook();
    push(&stargate.client("first"));
    let mut watch = Watch::start(&["--repo", &stargate.git_dir.display().to_string()]);
    let mut told = 0;
    for cycle in 0..3 {
        if cycle > 0 {
            watch.signal(Signal::HUP);
        }
        let mut line = String::new();
        while !line.contains("outcome=local-only") {
            line.clear();
            assert!(watch.said.read_line(&mut line).expect("a line") > 0);
            told += usize::from(line.contains("stargate.remote"));
        }
    }
    assert_eq!(told, 1);
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

/// Makes the backoff of the failed groups long.
fn rest_for_long(stargate: &Stargate) {
    let path = stargate.git_dir.join(".stargate/worker.json");
    let mut memory: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("the memory")).expect("JSON");
    let troubles = memory["troubles"].as_object_mut().expect("groups that have failed");
    assert!(!troubles.is_empty());
    for trouble in troubles.values_mut() {
        trouble["next_try"] = (jiff::Timestamp::now().as_second() + 800).into();
    }
    std::fs::write(&path, memory.to_string()).expect("a file");
}

#[test]
fn a_start_and_sighup_try_at_once_what_has_failed_before() {
    let mut mirror = Mirror::start();
    mirror.create("o/r.git", Format::Sha1);
    let (stargate, client) = stargate(&mirror.url("o/r.git"));
    stargate.configure("stargate.initialDelay", "1ms");
    mirror.stop();
    let first = push(&client);
    let repo = stargate.git_dir.display().to_string();
    let mut run = clean_command(PROGRAM);
    run.args(["run", "--repo", &repo]).env("GITHUB_PAT", "token");
    let failed = start(run.stdout(Stdio::null()).stderr(Stdio::null()))
        .wait()
        .expect("it ends");
    assert_eq!(failed.code(), Some(1));
    rest_for_long(&stargate);
    mirror.start_again();
    let mut watch = Watch::start(&["--repo", &repo]);
    wait(&first, &mirror.url("o/r.git"));
    watch.until(&["cycle", "outcome=mirrored"]);

    mirror.stop();
    let second = push(&client);
    // A cycle may have compared the refs before the push was recorded.
    watch.until(&["cycle", "outcome=incomplete", "pending=1"]);
    rest_for_long(&stargate);
    mirror.start_again();
    watch.signal(Signal::HUP);
    wait(&second, &mirror.url("o/r.git"));
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
}

#[test]
fn a_mirror_that_the_environment_names_is_not_that_of_all_below_a_root() {
    let stargate = Stargate::with_hook();
    push(&stargate.client("secret"));
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    let mirror = stargate.folder().join("mirror.git");
    let mut command = clean_command(PROGRAM);
    command
        .args(["watch", "--root"])
        .arg(stargate.folder().join("o"))
        .env("GITHUB_REPO_URL", &mirror);
    let mut child = start(command.stderr(Stdio::piped()));
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut watch = Watch { child, said };
    watch.until(&["local-only", "GITHUB_REPO_URL"]);
    watch.signal(Signal::TERM);
    assert_eq!(watch.ended(), 0);
    assert_eq!(git(&mirror, ["for-each-ref"]), "");
}

#[test]
fn a_token_is_read_anew_from_its_file() {
    let mirror = Mirror::with_token("right");
    mirror.create("o/r.git", Format::Sha1);
    let (stargate, client) = stargate(&mirror.url("o/r.git"));
    let token = stargate.folder().join("token");
    std::fs::write(&token, "wrong\n").expect("a file");
    let mut command = clean_command(PROGRAM);
    command
        .arg("watch")
        .arg("--repo")
        .arg(&stargate.git_dir)
        .env("GITHUB_PAT_FILE", &token);
    let mut child = start(command.stderr(Stdio::piped()));
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut watch = Watch { child, said };
    push(&client);
    watch.until(&["outcome=misconfigured"]);
    std::fs::write(&token, "right\n").expect("a file");
    // A new entry ends the group's wait. Each cycle reads the token again.
    let commit = push(&client);
    let mut command = clean_command(PROGRAM);
    command.args([
        "wait",
        "--oid",
        &commit,
        "--remote",
        &mirror.url("o/r.git"),
        "--timeout",
        "60s",
    ]);
    let output = start(command.env("GITHUB_PAT", "right").stdout(Stdio::null()))
        .wait_with_output()
        .expect("it ends");
    assert!(output.status.success());
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let stargate = Stargate::bare();
    let mut command = clean_command(PROGRAM);
    command
        .arg("watch")
        .arg("--repo")
        .arg(&stargate.git_dir)
        .env("NOTIFY_SOCKET", &path);
    let mut child = start(command.stderr(Stdio::piped()));
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let watch = Watch { child, said };
    let told = || {
        let mut buffer = [0; 256];
        let read = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..read]).trim().to_owned()
    };
    assert_eq!(told(), "READY=1");
    watch.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(watch.ended(), 0);
}
