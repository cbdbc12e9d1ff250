//! Keys and host keys for ssh, through OpenSSH's client and through the built-in one, against a real `sshd`.
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use git_push::{Connection, Error, ErrorKind};
use git_push_transport::{Settings, SshClient, stream::output_of};
use support::{
    git::{self, git, git_with_input},
    processes::program,
    pushing::{command, open, pushed, source},
    sshd::Server,
};

use crate::stream::{CLIENTS, refused, with_client};

const NAME: &str = "o/it's r.git";

fn reaches(server: &Server, settings: &Settings) -> Result<(), Error> {
    open(&server.url(NAME), settings).read_refs(&["refs/".into()]).map(drop)
}

/// Asserts that it is a wrong setting, said with these words, and with what to do.
fn assert_wrong_setting(error: &Error, words: &str, help: &str) {
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains(words), "{words}: {error}");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(help), "{help}: {hint}");
}

#[test]
fn every_kind_of_key_authenticates() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    for (name, kind) in [
        ("p256", ["-t", "ecdsa", "-b", "256"]),
        ("p384", ["-t", "ecdsa", "-b", "384"]),
        ("p521", ["-t", "ecdsa", "-b", "521"]),
        ("rsa", ["-t", "rsa", "-b", "2048"]),
    ] {
        let key = server.admit(name, &kind, "");
        for client in CLIENTS {
            let mut settings = with_client(*client, &server);
            settings.ssh.key = Some(key.clone());
            reaches(&server, &settings).unwrap_or_else(|error| panic!("{name}, {client:?}: {error}"));
        }
    }
}

#[test]
fn every_kind_of_host_key_is_checked() {
    for kind in [["-t", "ecdsa", "-b", "256"], ["-t", "rsa", "-b", "2048"]] {
        let server = Server::ssh_with_host_key(true, &kind);
        server.create(NAME, "sha1");
        for client in CLIENTS {
            let settings = with_client(*client, &server);
            reaches(&server, &settings).unwrap_or_else(|error| panic!("{kind:?}, {client:?}: {error}"));
        }
    }
}

#[test]
fn a_key_that_cannot_be_used_is_a_wrong_setting() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    };
    let open_to_all = server.admit("open", &["-t", "ed25519"], "");
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o640)).expect("permissions");
    let encrypted = server.admit("encrypted", &["-t", "ed25519", "-a", "1"], "open sesame");
    let cases = [
        (
            folder.path().join("none"),
            "none cannot be read: No such file",
            "correct stargate.sshKey",
        ),
        (open_to_all, "can be read by other users", "chmod 600"),
        (server.key("user.pub"), "is a public key", "without .pub"),
        (file("text", "a secret"), "is not a private key", "ssh-keygen"),
        (
            encrypted,
            "is encrypted, and there is no passphrase",
            "stargate.sshPassphraseFile",
        ),
    ];
    for (key, words, help) in &cases {
        for client in CLIENTS {
            let mut settings = with_client(*client, &server);
            settings.ssh.key = Some(key.clone());
            assert_wrong_setting(&refused(&server, &settings), words, help);
        }
    }
}

#[test]
fn a_passphrase_comes_from_a_file() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        Some(path)
    };
    let (right, wrong, empty) = (
        file("right", "open sesame\n"),
        file("wrong", "sesame\n"),
        file("empty", "\n"),
    );
    let mut settings = with_client(SshClient::Auto, &server);
    for (name, kind) in [
        ("new", ["-t", "ed25519", "-a", "1"]),
        ("pem", ["-t", "ecdsa", "-m", "PEM"]),
    ] {
        settings.ssh.key = Some(server.admit(name, &kind, "open sesame"));
        settings.ssh.passphrase_file.clone_from(&right);
        if !cfg!(feature = "ssh-builtin") {
            let error = refused(&server, &settings);
            assert_wrong_setting(&error, "does not take the passphrase", "ssh-builtin");
            continue;
        }
        if name == "new" {
            reaches(&server, &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        settings.ssh.passphrase_file.clone_from(&wrong);
        assert_wrong_setting(
            &refused(&server, &settings),
            "does not open the private key",
            "correct the passphrase",
        );
        settings.ssh.passphrase_file.clone_from(&empty);
        assert_wrong_setting(&refused(&server, &settings), "is empty", "first line");
        settings.ssh.passphrase_file = Some("/nowhere/words".into());
        assert_wrong_setting(
            &refused(&server, &settings),
            "cannot be read",
            "stargate.sshPassphraseFile",
        );
        settings.ssh.client = SshClient::Program;
        let error = refused(&server, &settings);
        assert_wrong_setting(&error, "does not take the passphrase", "stargate.sshClient to builtin");
        settings.ssh.client = SshClient::Auto;
    }
}

/// Reaches the server with these lines of known hosts, through each client.
fn with_known_hosts(server: &Server, file: &Path) -> Vec<Result<(), Error>> {
    let reached = CLIENTS.iter().map(|client| {
        let mut settings = with_client(*client, server);
        settings.ssh.known_hosts = Some(file.to_owned());
        reaches(server, &settings)
    });
    reached.collect()
}

#[test]
fn hosts_may_be_hashed_and_files_have_odd_names() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(r#"known "hosts" of 100% \x"#);
    fs::write(&file, server.known_host()).expect("a file of hosts");
    let mut keygen = Command::new(program("ssh-keygen"));
    assert!(
        keygen
            .args(["-q", "-H", "-f"])
            .arg(&file)
            .status()
            .expect("ssh-keygen")
            .success()
    );
    let hashed = fs::read_to_string(&file).expect("a file of hosts");
    assert!(hashed.starts_with("|1|"), "{hashed}");
    for reached in with_known_hosts(&server, &file) {
        reached.expect("a known host");
    }
}

#[test]
fn a_revoked_host_key_and_an_authority_are_refused() {
    let server = Server::ssh(true);
    server.create(NAME, "sha1");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("known");
    let known = server.known_host();
    for (lines, help) in [
        (format!("{known}@revoked {known}"), "ask the operator of the server"),
        (format!("@cert-authority {known}"), "compare the server's host key"),
    ] {
        fs::write(&file, &lines).expect("a file of hosts");
        for reached in with_known_hosts(&server, &file) {
            let error = reached.expect_err("not trusted");
            assert_wrong_setting(&error, "does not trust the server's host key", help);
        }
    }
    let missing = folder.path().join("missing");
    for reached in with_known_hosts(&server, &missing) {
        let error = reached.expect_err("no file");
        assert_wrong_setting(&error, "missing cannot be read", "stargate.sshKnownHosts");
    }
}

#[test]
fn paths_with_special_characters_reach_the_server_unchanged() {
    let server = Server::ssh(true);
    let (folder, commits) = source("sha1");
    let create = vec![command("refs/heads/main", None, Some(&commits[0]), &commits[0])];
    for name in [
        "a b.git",
        "it's.git",
        "100%.git",
        "a\"$HOME`b`.git",
        "a%20b.git",
        "tab\\n!.git",
    ] {
        for client in CLIENTS {
            let path = server.create(name, "sha1");
            // As in git, a space may be encoded, and need not be.
            let encoded = name.replace('%', "%25");
            let prefix = server.url("");
            let settings = with_client(*client, &server);
            let mut remote = open(&format!("{prefix}{encoded}"), &settings);
            let report = pushed(&mut remote, folder.path(), create.clone(), true);
            let report = report.unwrap_or_else(|error| panic!("{name}, {client:?}: {error}"));
            assert!(report.all_accepted(), "{name}: {report:?}");
            assert_eq!(git(&path, &["rev-parse", "main"]), commits[0], "{name}");
            fs::remove_dir_all(&path).expect("removed");
        }
    }
}

#[test]
fn a_program_on_the_server_gets_the_path_and_its_answer_is_read() {
    let server = Server::ssh(true);
    let path = server.create(NAME, "sha1");
    let url = server.url(NAME);
    let url = gix::url::parse(url.as_str()).expect("a URL");
    for client in CLIENTS {
        let settings = with_client(*client, &server);
        let run = |program: &str, limit| output_of(&url, &settings, program, "upload", limit);
        let printed = run("echo", 1 << 10).expect("an answer");
        assert_eq!(
            String::from_utf8_lossy(&printed),
            format!("{} upload\n", path.display()),
            "{client:?}"
        );
        let error = run("echo", 3).expect_err("too long");
        assert!(error.to_string().contains("echo printed more than 3 bytes"), "{error}");
        let error = run("git-no-such-program", 1 << 10).expect_err("no program");
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{client:?}: {error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[test]
fn a_large_pack_and_a_talkative_server_do_not_block_each_other() {
    let server = Server::ssh(true);
    let (folder, _) = source("sha1");
    let words = (0..400_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761)));
    let blob = git_with_input(
        folder.path(),
        &["hash-object", "-w", "--stdin"],
        words.collect::<String>().as_bytes(),
    );
    let tree = git_with_input(
        folder.path(),
        &["mktree"],
        format!("100644 blob {blob}\tlarge\n").as_bytes(),
    );
    let large = git(folder.path(), &["commit-tree", "-m", "large", &tree]);
    for client in CLIENTS {
        let path = server.create(NAME, "sha1");
        git::hook(
            &path,
            "pre-receive",
            "i=0; while [ $i -lt 3000 ]; do echo word $i >&2; i=$((i+1)); done",
        );
        let create = vec![command("refs/heads/large", None, Some(&large), &large)];
        let mut remote = open(&server.url(NAME), &with_client(*client, &server));
        let report = pushed(&mut remote, folder.path(), create, true).expect("a report");
        assert!(report.all_accepted(), "{report:?}");
        assert!(remote.traffic().bytes_sent > 1_000_000, "{:?}", remote.traffic());
        assert_eq!(git(&path, &["rev-parse", "large"]), large);
        fs::remove_dir_all(&path).expect("removed");
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = silent.local_addr().expect("its address").port();
    let server = Server::ssh(true);
    for client in CLIENTS {
        let mut settings = with_client(*client, &server);
        settings.idle_timeout = Duration::from_secs(1);
        settings.connect_timeout = Duration::from_secs(1);
        let url = format!("ssh://127.0.0.1:{port}/r.git");
        let error = open(&url, &settings).advertisement().expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("1s"), "{error}");
    }
}
