//! Reading and pushing over ssh (the system's `ssh`, a real `sshd`) and `git://` (a real `git daemon`), and through
//! programs that misbehave.
#![cfg(unix)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use bstr::BString;
use git_push::{Connection, Error, ErrorKind, Verdict};
use git_push_transport::{Remote, Settings, SshClient};
use support::{
    git::{self, git},
    pushing::{command, id, open, pushed, repository, source},
    sshd::Server,
};

const NAME: &str = "o/it's r.git";

fn settings(ssh_command: &str) -> Settings {
    let variable = |name: &str| (name == "GIT_SSH_COMMAND").then(|| ssh_command.into());
    Settings::from_environment(variable).expect("settings")
}

fn remote(server: &Server, name: &str) -> Remote {
    open(&server.url(name), &settings(&server.ssh_command()))
}

/// The ssh clients of this build.
pub(super) const CLIENTS: &[SshClient] = if cfg!(feature = "ssh-builtin") {
    &[SshClient::Program, SshClient::Builtin]
} else {
    &[SshClient::Program]
};

/// Settings with which this client reaches the server, and nothing else.
pub(super) fn with_client(client: SshClient, server: &Server) -> Settings {
    let mut settings = Settings::default();
    settings.ssh.client = client;
    settings.ssh.key = Some(server.key("user"));
    settings.ssh.known_hosts = Some(server.known_hosts());
    settings.ssh.user = Some(Server::user());
    settings
}

/// How a repository is reached.
fn ways(server: &Server) -> Vec<Settings> {
    let clients = CLIENTS.iter().map(|client| with_client(*client, server));
    clients.chain([settings(&server.ssh_command())]).collect()
}

fn refs(remote: &mut Remote, prefix: &str) -> Vec<(String, String)> {
    let refs = remote.read_refs(&[BString::from(prefix)]).expect("refs");
    refs.into_iter()
        .map(|found| (found.name.to_string(), found.id.to_string()))
        .collect()
}

/// Creates, updates, reads back, fetches commits, deletes: all operations on a mirror.
fn the_life_of_a_mirror(server: &Server, settings: &Settings, format: &str) {
    let (folder, commits) = source(format);
    let path = server.create(NAME, format);
    let mut remote = open(&server.url(NAME), settings);
    let [one, two, three] = &commits[..] else {
        panic!("three commits")
    };
    let create = ["refs/kv/main", "refs/kv-mirror/main"].map(|name| command(name, None, Some(two), two));
    assert!(
        pushed(&mut remote, folder.path(), create.to_vec(), true)
            .expect("a report")
            .all_accepted()
    );
    assert!(remote.traffic().bytes_sent > 0 && remote.traffic().http_requests == 0);
    let update = command("refs/kv/main", Some(two), Some(three), one);
    assert!(
        pushed(&mut remote, folder.path(), vec![update], true)
            .expect("a report")
            .all_accepted()
    );
    let both = [("refs/kv-mirror/main", two), ("refs/kv/main", three)];
    assert_eq!(
        refs(&mut remote, "refs/kv"),
        both.map(|(name, id)| (name.to_owned(), id.clone()))
    );

    let into = tempfile::tempdir().expect("a folder");
    git(
        into.path(),
        &["init", "--quiet", "--bare", &format!("--object-format={format}"), "."],
    );
    let into = repository(into.path());
    remote.fetch_commits(id(two), &into, &[]).expect("commits");
    remote
        .fetch_commits(id(three), &into, &[id(two)])
        .expect("the next commit");
    assert_eq!(into.rev_walk([id(three)]).all().expect("a walk").count(), 3);
    fetched_whole(&mut remote, format, two, three);

    let delete = ["refs/kv/main", "refs/kv-mirror/main"];
    let delete = delete.map(|name| command(name, Some(if name == "refs/kv/main" { three } else { two }), None, one));
    assert!(
        pushed(&mut remote, folder.path(), delete.to_vec(), true)
            .expect("a report")
            .all_accepted()
    );
    assert_eq!(refs(&mut remote, "refs/"), []);
    git(&path, &["fsck", "--strict", "--full"]);
}

/// Fetches one commit, then the next, with everything that they reach.
fn fetched_whole(remote: &mut Remote, format: &str, first: &str, second: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let format = format!("--object-format={format}");
    git(folder.path(), &["init", "--quiet", "--bare", &format, "."]);
    let into = repository(folder.path());
    remote.fetch(id(first), &into, &[]).expect("everything");
    remote.fetch(id(second), &into, &[id(first)]).expect("what is new");
    git(folder.path(), &["update-ref", "refs/heads/main", second]);
    git(folder.path(), &["fsck", "--strict", "--full"]);
    assert_eq!(git(folder.path(), &["show", "main:file"]), "three");
    assert_eq!(git(folder.path(), &["show", "main~1:file"]), "two");
    let marks = std::fs::read_dir(folder.path().join("objects/pack"))
        .expect("packs")
        .flatten();
    assert_eq!(
        marks
            .filter(|file| file.path().extension().is_some_and(|end| end == "keep"))
            .count(),
        0
    );
}

#[test]
fn a_mirror_lives_over_ssh_in_protocol_2() {
    let server = Server::ssh(true);
    for settings in ways(&server) {
        the_life_of_a_mirror(&server, &settings, "sha1");
    }
}

#[test]
fn a_mirror_lives_over_ssh_where_the_server_knows_protocol_0_only() {
    let server = Server::ssh(false);
    for settings in ways(&server) {
        the_life_of_a_mirror(&server, &settings, "sha256");
    }
}

#[test]
fn a_mirror_lives_behind_git_daemon() {
    let server = Server::daemon();
    the_life_of_a_mirror(&server, &settings(""), "sha1");
}

#[test]
fn what_is_remembered_is_pushed_to_without_a_look_before() {
    for server in [Server::ssh(true), Server::daemon()] {
        let (folder, commits) = source("sha1");
        server.create(NAME, "sha1");
        let advertisement = remote(&server, NAME).advertisement().expect("an advertisement");
        let mut remote = remote(&server, NAME);
        let repository = repository(folder.path());
        let create = vec![command("refs/kv/main", None, Some(&commits[0]), &commits[0])];
        let push = |remote: &mut Remote, commands| {
            git_push::Push::new(&repository, &advertisement)
                .commands(commands)
                .send(remote)
        };
        assert!(push(&mut remote, create.clone()).expect("a report").all_accepted());
        // The old id is stale by now.
        let report = push(&mut remote, create).expect("a report");
        assert!(
            matches!(report.verdict("refs/kv/main".into()), Some(Verdict::Rejected(_))),
            "{report:?}"
        );
    }
}

#[test]
fn a_hook_that_declines_is_heard_over_ssh_and_git() {
    let (ssh, daemon) = (Server::ssh(true), Server::daemon());
    let ways = ways(&ssh).into_iter().map(|settings| (&ssh, settings));
    for (server, settings) in ways.chain([(&daemon, settings(""))]) {
        let (folder, commits) = source("sha1");
        git::hook(&server.create(NAME, "sha1"), "update", "[ $1 != refs/kv/bad ]");
        let both = ["refs/kv/bad", "refs/kv/good"].map(|name| command(name, None, Some(&commits[0]), &commits[0]));
        let mut remote = open(&server.url(NAME), &settings);
        let report = pushed(&mut remote, folder.path(), both.to_vec(), true).expect("a report");
        for (name, expected) in [
            ("refs/kv/bad", "hook declined"),
            ("refs/kv/good", "atomic push failure"),
        ] {
            assert_eq!(
                report.verdict(name.into()),
                Some(&Verdict::Rejected(expected.into())),
                "{name}"
            );
        }
    }
}

#[test]
fn a_repository_that_is_not_there_is_told_in_the_servers_words() {
    let server = Server::ssh(true);
    for settings in ways(&server) {
        let mut remote = open(&server.url("o/nothing.git"), &settings);
        let error = remote.advertisement().expect_err("no such repository");
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("ssh://127.0.0.1:") && text.contains("does not appear to be a git repository"),
            "{text}"
        );
        assert!(text.contains("(exit status: 128)"), "{text}");
    }

    let server = Server::daemon();
    let error = remote(&server, "o/nothing.git")
        .advertisement()
        .expect_err("no such repository");
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(
        error.to_string().contains("access denied or repository not exported"),
        "{error}"
    );
}

/// Pushes and reads refs with these settings. Both must fail with the same error, which is returned.
pub(super) fn refused(server: &Server, settings: &Settings) -> Error {
    let read = open(&server.url(NAME), settings).read_refs(&["refs/".into()]);
    let pushed = open(&server.url(NAME), settings).advertisement();
    let (read, pushed) = (read.expect_err("a look"), pushed.expect_err("a push"));
    assert_eq!(read.kind(), pushed.kind());
    pushed
}

#[test]
fn a_key_that_is_refused_is_a_wrong_setting() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let mut ways: Vec<_> = CLIENTS.iter().map(|client| with_client(*client, &server)).collect();
    ways.iter_mut().for_each(|way| way.ssh.key = Some(server.key("host")));
    ways.push(settings(&server.ssh_command_with_key("host")));
    for settings in ways {
        let error = refused(&server, &settings);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        let text = error.to_string();
        assert!(text.contains("was refused by the server: "), "{error}");
        assert!(text.contains("Permission denied (publickey)"), "{error}");
        assert!(error.hint().expect("a hint").contains("public key"), "{error:?}");
    }
}

#[test]
fn a_host_key_that_is_unknown_or_another_one_is_a_wrong_setting() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let known = folder.path().join("known");
    let imposter_of = Server::ssh(true).known_host();
    let (_, imposter) = imposter_of.split_once(' ').expect("a host and a key");
    let imposter = format!("[127.0.0.1]:{} {imposter}", server.port());
    for (hosts, help) in [
        ("", "compare the server's host key"),
        (&imposter, "ask the operator of the server"),
    ] {
        std::fs::write(&known, hosts).expect("a file of hosts");
        let mut ways: Vec<_> = CLIENTS.iter().map(|client| with_client(*client, &server)).collect();
        ways.iter_mut()
            .for_each(|way| way.ssh.known_hosts = Some(known.clone()));
        ways.push(settings(&server.ssh_command_with_known_hosts(&known)));
        for settings in ways {
            let error = refused(&server, &settings);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
            let text = error.to_string();
            assert!(text.contains("does not trust the server's host key: "), "{error}");
            assert!(text.contains("Host key verification failed"), "{error}");
            let hint = error.hint().expect("a hint");
            assert!(hint.contains(help) && hint.contains("known_hosts"), "{error:?}");
        }
    }
}

#[test]
fn a_server_that_is_down_may_come_back() {
    let server = Server::ssh(true);
    let free = TcpListener::bind(("127.0.0.1", 0))
        .expect("a port")
        .local_addr()
        .expect("it")
        .port();
    let ways = ways(&server).into_iter().map(|settings| ("ssh", settings));
    for (scheme, settings) in ways.chain([("git", settings(""))]) {
        let url = format!("{scheme}://127.0.0.1:{free}/r.git");
        let error = open(&url, &settings).advertisement().expect_err("down");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = open("host:r", &settings("/nowhere/ssh"))
        .advertisement()
        .expect_err("no ssh");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(
        error.to_string().contains("the program ssh is not installed"),
        "{error}"
    );
}

/// Pushes with this script in place of ssh, and returns the error.
fn through(script: &str) -> Error {
    let mut settings = settings(&format!("f() {{ {script}\n}}; f"));
    settings.ssh.variant = Some("ssh".into());
    settings.idle_timeout = Duration::from_secs(1);
    let (folder, commits) = source("sha1");
    let create = vec![command("refs/kv/main", None, Some(&commits[0]), &commits[0])];
    pushed(&mut open("host:r", &settings), folder.path(), create, true).expect_err(script)
}

/// A script that advertises an empty repository.
fn advertising(then: &str) -> String {
    let line = format!(
        "{} capabilities^{{}}\\000report-status delete-refs atomic",
        "0".repeat(40)
    );
    format!("printf '%04x{line}0000' $((4 + {})); {then}", line.len() - 3)
}

#[test]
fn a_program_that_misbehaves_has_a_clear_outcome() {
    use ErrorKind::{Misconfigured, Transient, Uncertain};
    let cases = [
        ("exec sleep 600".to_owned(), Transient, "silent for 1s"),
        (
            "echo 'Welcome to this server'; cat >/dev/null".into(),
            Transient,
            "pkt-line",
        ),
        (
            "printf '\\033[31mno such host\\n' >&2; exit 255".into(),
            Transient,
            "could not reach the server: no such host",
        ),
        (
            "echo 'sh: git-receive-pack: not found' >&2; exit 127".into(),
            Misconfigured,
            "git-receive-pack: not found",
        ),
        ("exit 0".into(), Transient, "ends too early"),
        ("kill -9 $$".into(), Transient, "was terminated"),
        (advertising("exec sleep 600"), Uncertain, "silent for 1s"),
        (
            advertising("exec 3<&0; cat <&3 >/dev/null & exec >&-; wait; echo 'connection lost' >&2; exit 255"),
            Uncertain,
            "connection lost",
        ),
        (advertising("exit 0"), Transient, "closed the connection"),
    ];
    for (script, outcome, words) in cases {
        let error = through(&script);
        assert!(error.to_string().contains(words), "{script}: {error}");
        assert_eq!(error.kind(), outcome, "{script}: {error}");
        assert!(error.to_string().starts_with("host:r: "), "{error}");
    }
}

#[test]
fn a_daemon_that_never_answers_is_given_up_after_the_idle_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let mut settings = settings("");
    settings.idle_timeout = Duration::from_secs(1);
    let error = open(&format!("git://127.0.0.1:{port}/r"), &settings)
        .advertisement()
        .expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("silent for 1s"), "{error}");
}

/// One line of what the client sends.
fn pkt_line(stream: &mut impl Read) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let length = usize::from_str_radix(&String::from_utf8_lossy(&length), 16).expect("four digits");
    let mut line = vec![0; length - 4];
    stream.read_exact(&mut line).expect("a line");
    String::from_utf8_lossy(&line).into_owned()
}

#[test]
fn a_daemon_is_asked_for_protocol_2_in_extra_parameters() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let line = pkt_line(&mut stream);
        stream
            .write_all(b"000eversion 2\n000cls-refs\n0000")
            .expect("capabilities");
        let request = pkt_line(&mut stream);
        stream.write_all(b"0000").expect("no refs");
        (line, request)
    });
    let mut remote = open(&format!("git://127.0.0.1:{port}/o/r.git"), &settings(""));
    assert_eq!(remote.read_refs(&["refs/kv/".into()]).expect("no refs"), []);
    let (line, request) = server.join().expect("a server");
    assert!(
        line.contains(&format!(
            "git-upload-pack /o/r.git\0host=127.0.0.1:{port}\0\0version=2\0"
        )),
        "{line:?}"
    );
    assert!(request.starts_with("command=ls-refs\n"), "{request:?}");
}
