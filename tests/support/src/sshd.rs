//! Repositories behind a real `sshd`, and behind a real `git daemon`, on free ports of this machine.
use std::{
    fs,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{
    executable, git,
    processes::{Group, program},
};

/// A server with a folder of repositories; it ends on drop.
pub struct Server {
    folder: TempDir,
    port: u16,
    kind: Kind,
    /// `None` if each connection has a separate process.
    _daemon: Option<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ssh,
    Daemon,
}

impl Server {
    /// An `sshd` that admits the key of [`Server::ssh_command()`]. If `protocol_2` is true, it passes on the client's
    /// request for protocol 2, which Debian's own configuration does not.
    pub fn ssh(protocol_2: bool) -> Self {
        Self::ssh_with_host_key(protocol_2, &["-t", "ed25519"])
    }

    /// The same with a host key of this kind, in options of `ssh-keygen`.
    pub fn ssh_with_host_key(protocol_2: bool, kind: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for sshd");
        generate(&folder.path().join("host"), kind, "");
        generate(&folder.path().join("user"), &["-t", "ed25519"], "");
        fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).expect("a file of keys");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let configuration = ssh_configuration(folder.path(), protocol_2);
        fs::write(folder.path().join("sshd_config"), configuration).expect("a file for sshd");
        let host_key = fs::read_to_string(folder.path().join("host.pub")).expect("a key");
        let known = format!("[127.0.0.1]:{port} {host_key}");
        fs::write(folder.path().join("known_hosts"), known).expect("a file of hosts");
        if rustix::process::geteuid().is_root() {
            // sshd needs this folder for privilege separation.
            fs::create_dir_all("/run/sshd").expect("a folder for sshd");
        }
        // As with inetd, each accepted connection gets an sshd.
        let configuration = folder.path().join("sshd_config");
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let input = OwnedFd::from(connection);
                let output = input.try_clone().expect("a descriptor");
                let mut sshd = Command::new(program("sshd"));
                let started = sshd
                    .args(["-i", "-f"])
                    .arg(&configuration)
                    .stdin(input)
                    .stdout(output)
                    .stderr(Stdio::null())
                    .spawn();
                drop(sshd);
                let mut child = started.expect("sshd starts");
                thread::spawn(move || child.wait());
            }
        });
        Server {
            folder,
            port,
            kind: Kind::Ssh,
            _daemon: None,
        }
    }

    /// A `git daemon` that takes pushes.
    pub fn daemon() -> Self {
        let folder = tempfile::tempdir().expect("a folder for git daemon");
        fs::create_dir(folder.path().join("repositories")).expect("a folder for repositories");
        let port = free_port();
        let mut daemon = git::command(folder.path());
        let base = folder.path().join("repositories");
        daemon
            .args([
                "daemon",
                "--export-all",
                "--enable=receive-pack",
                "--reuseaddr",
                "--listen=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .arg(base)
            .stdin(Stdio::null());
        let mut daemon = Group::start(&mut daemon);
        daemon.wait_until_it_listens(port);
        Server {
            folder,
            port,
            kind: Kind::Daemon,
            _daemon: Some(daemon),
        }
    }

    /// Creates a bare repository, and returns its folder.
    pub fn create(&self, name: &str, format: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder for the repository");
        git::git(
            &path,
            &["init", "--quiet", "--bare", &format!("--object-format={format}"), "."],
        );
        path
    }

    /// The folder of a repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("repositories").join(name)
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        let url = match self.kind {
            Kind::Ssh => format!("ssh://127.0.0.1:{}{}", self.port, self.path(name).display()),
            Kind::Daemon => format!("git://127.0.0.1:{}/{name}", self.port),
        };
        url.replace(' ', "%20")
    }

    /// Adds a program that sessions of the server find by its name, with these lines for the shell.
    pub fn add_program(&self, name: &str, lines: &str) {
        executable::script(&self.folder.path().join("bin").join(name), lines);
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of `GIT_SSH_COMMAND` that this server admits.
    pub fn ssh_command(&self) -> String {
        self.ssh_command_with_key("user")
    }

    /// The same with another key; `host` is a key that is not admitted.
    pub fn ssh_command_with_key(&self, key: &str) -> String {
        self.ssh_command_with(key, &self.folder.path().join("known_hosts"))
    }

    /// The same with another file of host keys.
    pub fn ssh_command_with_known_hosts(&self, known_hosts: &Path) -> String {
        self.ssh_command_with("user", known_hosts)
    }

    /// The line of the server in a file of host keys.
    pub fn known_host(&self) -> String {
        fs::read_to_string(self.folder.path().join("known_hosts")).expect("a file of hosts")
    }

    /// Returns the name of the user that this server admits.
    pub fn user() -> String {
        let id = Command::new("id").arg("-un").output().expect("id runs");
        String::from_utf8_lossy(&id.stdout).trim().to_owned()
    }

    /// The file of a private key: `user`, which is admitted, or `host`, which is not.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file with the host key of this server.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// Creates a key of this kind, in options of `ssh-keygen`, that is admitted.
    pub fn admit(&self, name: &str, kind: &[&str], passphrase: &str) -> PathBuf {
        let key = self.folder.path().join(name);
        generate(&key, kind, passphrase);
        let list = self.folder.path().join("authorized_keys");
        let admitted = fs::read_to_string(&list).expect("a file of keys");
        let public = fs::read_to_string(key.with_extension("pub")).expect("a public key");
        fs::write(&list, admitted + &public).expect("a file of keys");
        key
    }

    fn ssh_command_with(&self, key: &str, known_hosts: &Path) -> String {
        let (at, known_hosts) = (self.folder.path().display(), known_hosts.display());
        format!(
            "ssh -F /dev/null -i {at}/{key} -o IdentitiesOnly=yes -o BatchMode=yes \
             -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
        )
    }
}

/// Generates a private key, and its public key beside it.
fn generate(path: &Path, kind: &[&str], passphrase: &str) {
    let mut keygen = Command::new(program("ssh-keygen"));
    keygen.arg("-q").args(kind).args(["-N", passphrase, "-C", "test", "-f"]);
    assert!(keygen.arg(path).status().expect("ssh-keygen runs").success());
}

fn ssh_configuration(folder: &Path, protocol_2: bool) -> String {
    let at = folder.display();
    let accept = if protocol_2 { "AcceptEnv GIT_PROTOCOL\n" } else { "" };
    let environment: Vec<_> = git::ISOLATED
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let environment = environment.join(" ");
    let path = std::env::var("PATH").unwrap_or_default();
    format!(
        "HostKey {at}/host\nAuthorizedKeysFile {at}/authorized_keys\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         SetEnv {environment} PATH={at}/bin:{path}\n{accept}"
    )
}

/// A port on which nothing listens at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
