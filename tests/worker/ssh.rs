//! A key and host keys of a Stargate, for its mirror behind a real `sshd`.
use std::{fs, path::Path, process::Command};

use serde_json::Value;
use support::{
    scripted::{Scripted, Step, answer},
    sshd::Server,
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// The ssh clients of this build.
const CLIENTS: &[&str] = if cfg!(feature = "ssh-builtin") {
    &["program", "builtin"]
} else {
    &["program"]
};

/// A Stargate with one pushed commit, whose mirror is behind `server`.
fn stargate(server: &Server, client: &str) -> Stargate {
    let stargate = Stargate::with_hook();
    for (key, value) in [
        ("stargate.remote", server.url("o/r.git")),
        ("stargate.attempts", "1".into()),
        ("stargate.sshClient", client.into()),
        ("stargate.sshKey", server.key("user").display().to_string()),
        ("stargate.sshKnownHosts", server.known_hosts().display().to_string()),
    ] {
        stargate.configure(key, &value);
    }
    let pusher = stargate.client("first");
    git(&pusher, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    stargate
}

/// Returns the exit code, standard output and standard error.
fn run(mut command: Command, arguments: &[&str], git_dir: &Path) -> (i32, String, String) {
    command.args(arguments).arg("--repo").arg(git_dir);
    command.env("USER", Server::user());
    let output = feed(command, "");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("an exit code"), printed, stderr(&output))
}

/// Returns verdict, finding and hint of `doctor` about the mirror.
fn doctor(git_dir: &Path) -> [String; 3] {
    let (_, printed, _) = run(clean_command(PROGRAM), &["doctor", "--json"], git_dir);
    let diagnosis: Value = serde_json::from_str(&printed).expect("JSON");
    let checks = diagnosis["checks"].as_array().expect("a list");
    let mirror = checks.iter().find(|check| check["check"] == "mirror").expect("a check");
    ["verdict", "found", "hint"].map(|key| mirror[key].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_push_reaches_the_mirror_with_the_key_of_the_stargate() {
    for client in CLIENTS {
        let server = Server::ssh(true);
        let mirror = server.create("o/r.git", "sha1");
        let stargate = stargate(&server, client);
        let [verdict, found, _] = doctor(&stargate.git_dir);
        assert_eq!(verdict, "ok", "{client}: {found}");
        let (exit, printed, said) = run(clean_command(PROGRAM), &["run"], &stargate.git_dir);
        assert_eq!(exit, 0, "{client}: {printed}{said}");
        let there = git(&stargate.git_dir, ["rev-parse", "refs/kv/main"]);
        for name in ["refs/kv/main", "refs/kv-mirror/main"] {
            assert_eq!(git(&mirror, ["rev-parse", name]), there, "{client}: {name}");
        }
    }
}

#[test]
fn a_mirror_has_a_key_of_its_own_and_wait_and_lfs_use_it() {
    for client in CLIENTS {
        let server = Server::ssh(true);
        server.create("o/r.git", "sha1");
        let lfs = Scripted::serve([Step::Reply(|request| {
            let asked: Value = serde_json::from_slice(&request.body).expect("a batch request");
            let body = format!("{{\"objects\":{}}}", asked["objects"]);
            answer("200 OK", &[], body.as_bytes())
        })]);
        let granted = format!(
            "{{\"href\":\"{}\",\"header\":{{\"X-Granted\":\"yes\"}}}}",
            lfs.url("lfs")
        );
        server.add_program("git-lfs-authenticate", &format!("echo '{granted}'"));
        let stargate = Stargate::with_hook();
        for (key, value) in [
            ("remote", server.url("o/r.git")),
            ("sshClient", (*client).into()),
            ("sshKey", server.key("user").display().to_string()),
            ("sshKnownHosts", server.known_hosts().display().to_string()),
        ] {
            stargate.configure(&format!("stargate.far.{key}"), &value);
        }
        let pusher = stargate.client("first");
        let oid = "a".repeat(64);
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n");
        fs::write(pusher.join("big"), pointer).expect("a pointer");
        git(&pusher, ["add", "big"]);
        git(&pusher, ["commit", "-q", "-m", "big"]);
        git(&pusher, ["push", "-q", "--no-verify", "origin", "HEAD:refs/kv/main"]);
        fs::create_dir_all(stargate.git_dir.join("lfs/objects")).expect("a folder");
        let (exit, printed, said) = run(clean_command(PROGRAM), &["run"], &stargate.git_dir);
        assert_eq!(exit, 0, "{client}: {printed}{said}");
        assert_eq!(lfs.received()[0].field("X-Granted"), Some("yes"), "{client}");
        let commit = git(&pusher, ["rev-parse", "HEAD"]);
        for remote in [None, Some("far"), Some(server.url("o/r.git").as_str())] {
            let mut arguments = vec!["wait", "--timeout", "20s", "--oid", &commit];
            arguments.extend(remote.iter().flat_map(|remote| ["--remote", remote]));
            let (exit, printed, said) = run(clean_command(PROGRAM), &arguments, &stargate.git_dir);
            assert_eq!(exit, 0, "{client}: {remote:?}: {printed}{said}");
        }
    }
}

#[test]
fn a_wrong_setting_exits_with_4_and_doctor_finds_it() {
    let server = Server::ssh(true);
    server.create("o/r.git", "sha1");
    for client in CLIENTS {
        let stargate = stargate(&server, client);
        let user = server.key("user").display().to_string();
        let host = server.key("host").display().to_string();
        let known_hosts = server.known_hosts().display().to_string();
        for (key, value, right, words, help) in [
            (
                "sshKey",
                "/nowhere/key",
                &user,
                "/nowhere/key cannot be read",
                "correct stargate.sshKey",
            ),
            (
                "sshKey",
                "key",
                &user,
                "stargate.sshKey is not an absolute path: key",
                "git config stargate.sshKey",
            ),
            (
                "sshKey",
                &host,
                &user,
                "Permission denied (publickey)",
                "add the public key",
            ),
            (
                "sshKnownHosts",
                "/dev/null",
                &known_hosts,
                "Host key verification failed",
                "compare the server's host key",
            ),
            (
                "sshClient",
                "telnet",
                &(*client).to_owned(),
                "stargate.sshClient in git configuration is invalid",
                "auto, program or builtin",
            ),
        ] {
            let key = format!("stargate.{key}");
            stargate.configure(&key, value);
            let (exit, printed, said) = run(clean_command(PROGRAM), &["run"], &stargate.git_dir);
            let said = printed + &said;
            assert_eq!(exit, 4, "{client}: {key}={value}: {said}");
            assert!(said.contains(words), "{client}: {words}: {said}");
            let [verdict, found, hint] = doctor(&stargate.git_dir);
            assert_eq!(verdict, "problem", "{client}: {found}");
            assert!(found.contains(words), "{client}: {words}: {found}");
            assert!(hint.contains(help), "{client}: {help}: {hint}");
            stargate.configure(&key, right);
        }
    }
}

#[test]
fn a_key_in_an_agent_is_not_used_beside_the_key_of_the_stargate() {
    let server = Server::ssh(true);
    server.create("o/r.git", "sha1");
    for client in CLIENTS {
        let stargate = stargate(&server, client);
        stargate.configure("stargate.sshKey", &server.key("host").display().to_string());
        let mut agent = clean_command("ssh-agent");
        // The agent ends with the command.
        agent
            .args(["sh", "-c", r#"ssh-add -q "$0" && "$@""#])
            .arg(server.key("user"))
            .arg(PROGRAM);
        let (exit, printed, said) = run(agent, &["run"], &stargate.git_dir);
        assert_eq!(exit, 4, "{client}: {printed}{said}");
        let said = printed + &said;
        assert!(said.contains("Permission denied (publickey)"), "{client}: {said}");
    }
}
