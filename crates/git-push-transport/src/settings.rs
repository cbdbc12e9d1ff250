//! Settings of a connection besides the URL, as plain data. The modules that use a setting interpret it.
use std::{ffi::OsString, path::PathBuf, time::Duration};

use git_push::Error;
use secrecy::SecretString;

use crate::git_config::{GitConfig, is_trusted, not_understood, user_config};
use crate::token;

/// Time limit of connecting, name lookup and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of silence, in which a server neither sends nor receives anything. A push as a whole has no limit.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Credentials, trust roots, proxies, time limits, and git configuration for settings that depend on the URL. The default has
/// no credentials and no proxy, and reads nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The token that authenticates.
    pub token: Option<SecretString>,
    /// A file with the certificates (PEM) to trust instead of those of the system, unless git configuration names one.
    pub ca_file: Option<PathBuf>,
    /// The `User-Agent` of HTTP requests, unless git configuration has `http.userAgent`. By default name and version of
    /// this crate. Some servers expect that it starts with `git/`.
    pub user_agent: Option<String>,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// The program that receives the push, as a command line for the shell of the server: by default `git-receive-pack`. A
    /// folder of this machine is then served by it, and not written directly. Ignored over HTTP and `git://`.
    pub receive_pack: Option<OsString>,
    /// The ssh program.
    pub ssh: SshSettings,
    /// The `.netrc` file with users and passwords for HTTP.
    pub netrc: Option<PathBuf>,
    /// Proxies for HTTP, unless git configuration has `http.proxy`.
    pub proxies: Proxies,
    pub(crate) git: GitConfig,
}

/// The ssh program, and the kind of arguments that it takes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SshSettings {
    /// A command line for the shell: `GIT_SSH_COMMAND`, else `core.sshCommand`.
    pub command: Option<OsString>,
    /// A program, used if there is no command line: `GIT_SSH`, else `ssh`.
    pub program: Option<OsString>,
    /// `GIT_SSH_VARIANT`, else `ssh.variant`. Detected if it is not set.
    pub variant: Option<String>,
}

/// URLs of proxies. They may contain a password.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Proxies {
    /// Proxy for https URLs.
    pub https: Option<SecretString>,
    /// Proxy for http URLs.
    pub http: Option<SecretString>,
    /// Hosts and domains, separated by commas, that are reached directly; `*` for all.
    pub not_for: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            token: None,
            ca_file: None,
            user_agent: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            receive_pack: None,
            ssh: SshSettings::default(),
            netrc: None,
            proxies: Proxies::default(),
            git: GitConfig::default(),
        }
    }
}

impl Settings {
    /// Reads `GITHUB_PAT` (else the file that `GITHUB_PAT_FILE` names), `SSL_CERT_FILE`, `NETRC` (else `.netrc` in `HOME`),
    /// `GIT_SSH_COMMAND`, `GIT_SSH`, `GIT_SSH_VARIANT`, `HTTPS_PROXY`, `ALL_PROXY`, `http_proxy` and `NO_PROXY`. Names of
    /// proxy variables may also be in lower case, as in curl. `HTTP_PROXY` in upper case is not read, because the client of a
    /// CGI program can set it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if the token is invalid, or its file is empty or
    /// cannot be read.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |names: &[&str]| names.iter().find_map(|name| given(name)?.into_string().ok());
        let secret = |names: &[&str]| text(names).map(SecretString::from);
        let (home, netrc) = if cfg!(windows) {
            ("USERPROFILE", "_netrc")
        } else {
            ("HOME", ".netrc")
        };
        let in_home = || given(home).map(|home| PathBuf::from(home).join(netrc));
        Ok(Settings {
            token: token::token(&variable)?,
            ca_file: given("SSL_CERT_FILE").map(PathBuf::from),
            ssh: SshSettings {
                command: given("GIT_SSH_COMMAND"),
                program: given("GIT_SSH"),
                variant: text(&["GIT_SSH_VARIANT"]),
            },
            netrc: given("NETRC").map(PathBuf::from).or_else(in_home),
            proxies: Proxies {
                https: secret(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                http: secret(&["http_proxy", "all_proxy", "ALL_PROXY"]),
                not_for: text(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
            },
            ..Settings::default()
        })
    }

    /// Sets [`Settings::user_agent`].
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Adds the git configuration of `repository`: `http.*`, `credential.*`, `stargate.insecureHttp`, and, where the
    /// environment does not set them, `core.sshCommand` and `ssh.variant`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if a value is invalid.
    pub fn with_git_config(self, repository: &gix::Repository) -> Result<Self, Error> {
        self.with_git(repository.config_snapshot().plumbing().clone())
    }

    /// Adds the same from the configuration of the system and of the user, for use without a repository.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if it cannot be read, or a value is invalid.
    pub fn with_user_config(self) -> Result<Self, Error> {
        self.with_git(user_config()?)
    }

    fn with_git(mut self, file: gix::config::File) -> Result<Self, Error> {
        let text = |key: &str| {
            let value = file.string_filter(key, is_trusted);
            let value = value.map(|value| gix::path::from_bstring(value).map(PathBuf::into_os_string));
            value.transpose().map_err(|_| not_understood(key))
        };
        self.ssh.command = self.ssh.command.or(text("core.sshCommand")?);
        let variant = text("ssh.variant")?.and_then(|variant| variant.into_string().ok());
        self.ssh.variant = self.ssh.variant.or(variant);
        self.git = GitConfig::new(file);
        Ok(self)
    }
}
