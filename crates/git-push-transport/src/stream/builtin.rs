//! The ssh client in this crate, for systems without an ssh program: `russh`, with one private key, and with host keys
//! that are always checked.
//!
//! It is asynchronous inside: each connection has a tokio runtime of its own, which runs on the thread of the caller, and
//! only during the calls of that thread.
//!
//! # Limitations
//! - Neither an agent, nor a password, nor `~/.ssh/config` is used: the URL has host, port and user.
//! - Certificates of users and of hosts, keys on security tokens, and DSA keys are not supported.
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bstr::BString;
use git_push::{Error, ErrorKind};
use russh::client::{self, AuthResult, Config, DisconnectReason, Handle, Handler};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, SshId};
use secrecy::ExposeSecret;
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};

use super::builtin_channel::Session;
use super::channel::{Channel, Dial};
use super::key_file::{self, KeyFile};
use super::known_hosts::{KnownHosts, PORT, Trust};
use super::ssh_failure;
use super::target::Target;
use super::tcp;
use crate::service::Service;
use crate::settings::{Settings, SshSettings};

/// Name of this client in errors.
pub(super) const NAME: &str = "the built-in ssh client";

/// File of host keys that the administrator of the system trusts.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// A repository that is reached through this client.
pub(super) struct Builtin {
    target: Target,
    settings: SshSettings,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// Words of the server at the end of a connection, with which it explains the end.
pub(super) type Farewell = Arc<Mutex<String>>;

/// Decisions during a connection.
pub(super) struct Guard {
    known: KnownHosts,
    /// With the port, for messages.
    host: String,
    farewell: Farewell,
}

/// Failure of a connection.
#[derive(Debug)]
pub(super) enum Failure {
    Protocol(russh::Error),
    Refused(Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Failure::Protocol(error)
    }
}

impl Builtin {
    pub(super) fn new(target: Target, settings: &Settings) -> Self {
        Builtin {
            target,
            settings: settings.ssh.clone(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        }
    }

    fn port(&self) -> u16 {
        self.target.port.unwrap_or(PORT)
    }

    fn user(&self) -> Result<&str, Error> {
        let user = self.target.user.as_deref().or(self.settings.user.as_deref());
        user.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the URL names no user, and there is none in LOGNAME and USER",
            )
            .with_hint("name the user in the URL, as in ssh://git@HOST/PATH")
        })
    }

    fn key(&self) -> Result<PrivateKey, Error> {
        let path = self.settings.key.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Misconfigured, format!("{NAME} needs a private key"))
                .with_hint("set stargate.sshKey to the file of a private key")
        })?;
        let file = KeyFile::read(path)?;
        if !file.is_encrypted {
            return russh::keys::decode_secret_key(file.text.expose_secret(), None)
                .map_err(|error| unusable(path, &error.to_string()));
        }
        let secret = self.settings.passphrase_file.as_deref();
        let secret = secret.ok_or_else(|| key_file::encrypted(path))?;
        let passphrase = key_file::passphrase(secret)?;
        let key = russh::keys::decode_secret_key(file.text.expose_secret(), Some(passphrase.expose_secret()));
        key.map_err(|_| {
            let what = format!(
                "the passphrase in {} does not open the private key {}",
                secret.display(),
                path.display()
            );
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("correct the passphrase; `ssh-keygen -y -f KEY` asks for it and tries it")
        })
    }

    /// Reads the host keys that are trusted.
    fn known_hosts(&self) -> Result<KnownHosts, Error> {
        let files = match &self.settings.known_hosts {
            Some(file) => vec![file.clone()],
            None => default_known_hosts(self.settings.home.as_deref()),
        };
        let mut known = KnownHosts::default();
        for file in &files {
            let content = match fs::read(file) {
                Ok(content) => content,
                Err(error) if self.settings.known_hosts.is_none() && error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                Err(error) => return Err(key_file::unreadable_known_hosts(file, &error)),
            };
            known.add(file, &String::from_utf8_lossy(&content), &self.target.host, self.port());
        }
        Ok(known)
    }

    /// Connects, checks the host key, and authenticates.
    fn connect(&self, runtime: &Runtime, farewell: &Farewell) -> Result<Handle<Guard>, Error> {
        let (user, key, known) = (self.user()?, self.key()?, self.known_hosts()?);
        let config = Arc::new(config(&known));
        let guard = Guard {
            known,
            host: self.host(),
            farewell: farewell.clone(),
        };
        let lost = |error: io::Error| tcp::failed(&error, self.connect_timeout);
        let socket = tcp::connect(&self.target.host, self.port(), self.connect_timeout).map_err(lost)?;
        socket.set_nonblocking(true).map_err(lost)?;
        runtime.block_on(async {
            let socket = TcpStream::from_std(socket).map_err(lost)?;
            let greeted = timeout(self.connect_timeout, client::connect_stream(config, socket, guard)).await;
            let greeted = greeted.map_err(|_| lost(io::ErrorKind::TimedOut.into()))?;
            let mut handle = greeted.map_err(|failure| failed(failure, farewell))?;
            let tried = timeout(self.idle_timeout, authenticate(&mut handle, user, key)).await;
            let tried = tried.map_err(|_| silent(self.idle_timeout))?;
            match tried.map_err(|error| failed(error.into(), farewell))? {
                AuthResult::Success => Ok(handle),
                AuthResult::Failure { .. } if handle.is_closed() => {
                    Err(failed(russh::Error::Disconnect.into(), farewell))
                }
                AuthResult::Failure { .. } => {
                    let words = format!("{user}@{}: Permission denied (publickey)", self.host());
                    Err(ssh_failure::key_refused(NAME, &words))
                }
            }
        })
    }

    /// Returns host and port, as in a file of host keys.
    fn host(&self) -> String {
        match self.port() {
            PORT => self.target.host.clone(),
            port => format!("[{}]:{port}", self.target.host),
        }
    }

    /// Starts a command on the server, and asks for protocol 2 on request.
    fn start(&self, command: BString, protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            let what = format!("{NAME} cannot be started: {error}");
            Error::new(ErrorKind::Transient, what)
        })?;
        let farewell = Farewell::default();
        let handle = self.connect(&runtime, &farewell)?;
        let started = runtime.block_on(async {
            let start = async {
                let channel = handle.channel_open_session().await?;
                if protocol_2 {
                    channel.set_env(false, "GIT_PROTOCOL", "version=2").await?;
                }
                channel.exec(false, Vec::from(command)).await?;
                Ok::<_, russh::Error>(channel)
            };
            timeout(self.idle_timeout, start).await
        });
        let started = started.map_err(|_| silent(self.idle_timeout))?;
        let channel = started.map_err(|error| failed(error.into(), &farewell))?;
        Ok(Box::new(Session::new(
            runtime,
            handle,
            channel,
            farewell,
            self.idle_timeout,
        )))
    }

    /// Starts `program` on the server, with the path and these words.
    pub(super) fn run(&self, program: &str, words: &str) -> Result<Box<dyn Channel>, Error> {
        self.start(self.target.command_of(program.into(), words), false)
    }
}

impl Dial for Builtin {
    fn dial(&self, service: Service, protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        self.start(self.target.command(service), protocol_2)
    }
}

impl Handler for Guard {
    type Error = Failure;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        // Certificates are not asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        let bytes = key.to_bytes().map_err(russh::Error::from)?;
        match refusal(&self.known.check(&bytes), &self.host, key) {
            None => Ok(true),
            Some((words, has_changed)) => {
                let error = ssh_failure::host_key_refused(NAME, &words, has_changed);
                Err(Failure::Refused(error))
            }
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        let words = match reason {
            DisconnectReason::ReceivedDisconnect(info) => info.message,
            DisconnectReason::Error(Failure::Protocol(error)) => error.to_string(),
            DisconnectReason::Error(Failure::Refused(error)) => return Err(Failure::Refused(error)),
        };
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = git_push::cleaned(words.as_bytes());
        Ok(())
    }
}

/// Returns why a host key is not trusted, and true if it was another one.
fn refusal(trust: &Trust, host: &str, key: &PublicKey) -> Option<(String, bool)> {
    let shown = format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256));
    let (why, has_changed) = match trust {
        Trust::Known => return None,
        Trust::Unknown => (format!("this host key of {host} is not known"), false),
        Trust::Changed(place) => (format!("the key of {host} has changed; {place} has another one"), true),
        Trust::Revoked(place) => (format!("{place} revokes this key of {host}"), true),
        Trust::Authority(place) => (
            format!("{place} has a certificate authority for {host}, but {NAME} does not support certificates"),
            false,
        ),
    };
    Some((format!("{why} ({shown}): Host key verification failed"), has_changed))
}

/// Algorithms without SHA-1. Types of keys that are known for the host come first.
fn config(known: &KnownHosts) -> Config {
    let types: Vec<_> = known.types().map(<[u8]>::to_vec).collect();
    let is_known = |algorithm: &Algorithm| match algorithm {
        Algorithm::Rsa { .. } => types.iter().any(|kind| kind == b"ssh-rsa"),
        other => types.iter().any(|kind| kind == other.as_str().as_bytes()),
    };
    let all = Preferred::DEFAULT.key.iter();
    let mut keys: Vec<_> = all
        .filter(|key| !matches!(key, Algorithm::Rsa { hash: None }))
        .cloned()
        .collect();
    keys.sort_by_key(|key| !is_known(key));
    Config {
        client_id: SshId::Standard(concat!("SSH-2.0-git-push-transport_", env!("CARGO_PKG_VERSION")).into()),
        preferred: Preferred {
            key: keys.into(),
            ..Preferred::DEFAULT
        },
        nodelay: true,
        ..Config::default()
    }
}

async fn authenticate(handle: &mut Handle<Guard>, user: &str, key: PrivateKey) -> Result<AuthResult, russh::Error> {
    let hash = if key.algorithm().is_rsa() {
        Some(
            handle
                .best_supported_rsa_hash()
                .await?
                .flatten()
                .unwrap_or(HashAlg::Sha256),
        )
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    handle.authenticate_publickey(user, key).await
}

/// Returns the error of a connection. The words with which the server ended it come first.
fn failed(failure: Failure, farewell: &Farewell) -> Error {
    let error = match failure {
        Failure::Refused(error) => return error,
        Failure::Protocol(error) => error,
    };
    let farewell = farewell.lock().unwrap_or_else(PoisonError::into_inner);
    let words = if farewell.is_empty() {
        git_push::cleaned(error.to_string().as_bytes())
    } else {
        farewell.clone()
    };
    if matches!(error, russh::Error::NoCommonAlgo { .. }) {
        return Error::new(
            ErrorKind::Misconfigured,
            format!("{NAME} and the server have no algorithm in common: {words}"),
        )
        .with_hint("install OpenSSH's client, and set stargate.sshClient to program; or update the server");
    }
    Error::new(
        ErrorKind::Transient,
        format!("{NAME} could not reach the server: {words}"),
    )
}

fn silent(limit: Duration) -> Error {
    Error::new(ErrorKind::Transient, format!("the server was silent for {limit:?}"))
}

fn unusable(path: &Path, why: &str) -> Error {
    let what = format!("the private key {} cannot be used: {why}", path.display());
    Error::new(ErrorKind::Misconfigured, what).with_hint("use a key of the kind ed25519, ecdsa or rsa")
}

fn default_known_hosts(home: Option<&Path>) -> Vec<PathBuf> {
    let of_user = home.map(|home| home.join(".ssh/known_hosts"));
    of_user.into_iter().chain([SYSTEM_KNOWN_HOSTS.into()]).collect()
}
