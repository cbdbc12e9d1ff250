//! Settings of a connection besides the URL, as plain data. The modules that use a setting interpret it.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind};
use secrecy::SecretString;

#[cfg(feature = "smart-http")]
use crate::git_config::interpolated;
use crate::git_config::{GitConfig, is_trusted, not_understood, user_config};
#[cfg(feature = "smart-http")]
use crate::prompt::Prompts;
use crate::token::{self, GithubApp};

/// Time limit of connecting, name lookup and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of silence, in which a server neither sends nor receives anything. A push as a whole has no limit.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Credentials, trust roots, proxies, time limits, and git configuration for settings that depend on the URL. The default has
/// no credentials and no proxy, and reads nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The token that authenticates, unless git configuration has one for the URL.
    pub token: Option<SecretString>,
    /// The file that [`token`](Settings::token) was read from.
    pub token_file: Option<PathBuf>,
    /// A GitHub App that authenticates on GitHub if there is no token.
    pub github_app: Option<GithubApp>,
    /// Folder of relative paths of files with secrets: `$CREDENTIALS_DIRECTORY` of systemd.
    pub credentials_folder: Option<PathBuf>,
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
    /// `stargate.localHooks`: run the hooks of a folder of this machine, which is the default.
    pub local_hooks: bool,
    /// The ssh client and its keys.
    pub ssh: SshSettings,
    /// The `.netrc` file with users and passwords for HTTP.
    pub netrc: Option<PathBuf>,
    /// Proxies for HTTP, unless git configuration has `http.proxy`.
    pub proxies: Proxies,
    /// Ways to ask a person for user and password over HTTP, if nothing else has them. By default nobody is asked.
    #[cfg(feature = "smart-http")]
    pub prompts: Option<Prompts>,
    /// `GIT_ALLOW_PROTOCOL`: names of the only protocols that are allowed, separated by colons.
    pub allowed_protocols: Option<String>,
    /// The URL comes from a person, not from a program: `GIT_PROTOCOL_FROM_USER` is not 0. Some protocols may need it
    /// (git-config, *protocol.allow*).
    pub is_user: bool,
    /// Programs that reach a remote in their own way (gitremote-helpers).
    pub helper: HelperSettings,
    pub(crate) git: GitConfig,
    /// The repository whose configuration this is.
    pub(crate) git_dir: Option<PathBuf>,
    /// The top of its work tree, else the repository itself: where git's programs start.
    pub(crate) top: Option<PathBuf>,
}

/// Settings of remote helpers (gitremote-helpers).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HelperSettings {
    /// `GIT_EXEC_PATH`: the folder of git's programs, in which a helper is looked up first.
    pub exec_path: Option<OsString>,
    /// `PATH`: folders of programs.
    pub path: Option<OsString>,
    /// The name of the remote in git configuration. By default the URL.
    pub remote: Option<BString>,
    /// Verbosity, as in gitremote-helpers: 0 is quiet, 1 the default.
    pub verbosity: u8,
    /// The helper may report its progress.
    pub progress: bool,
    /// A push is only rehearsed, and changes nothing.
    pub dry_run: bool,
}

impl Default for HelperSettings {
    fn default() -> Self {
        HelperSettings {
            exec_path: None,
            path: None,
            remote: None,
            verbosity: 1,
            progress: false,
            dry_run: false,
        }
    }
}

/// The ssh client, its key, and the host keys to trust.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SshSettings {
    /// A command line for the shell: `GIT_SSH_COMMAND`, else `core.sshCommand`.
    pub command: Option<OsString>,
    /// A program, used if there is no command line: `GIT_SSH`, else `ssh`.
    pub program: Option<OsString>,
    /// `GIT_SSH_VARIANT`, else `ssh.variant`. Detected if it is not set.
    pub variant: Option<String>,
    /// `stargate.sshClient`
    pub client: SshClient,
    /// `stargate.sshKey`: the file of the only private key to use. With it, neither an agent nor the configuration of the
    /// user is used.
    pub key: Option<PathBuf>,
    /// `stargate.sshPassphraseFile`: a file with the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
    /// `stargate.sshKnownHosts`: the file of the only host keys to trust.
    pub known_hosts: Option<PathBuf>,
    /// `HOME`, for the default file of host keys of the built-in client.
    pub home: Option<PathBuf>,
    /// `LOGNAME`, else `USER`: the user for the built-in client, if the URL names none.
    pub user: Option<String>,
}

/// Clients for ssh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshClient {
    /// The program. The built-in client, if a passphrase is to be read from a file, or no program is configured and none is
    /// installed.
    #[default]
    Auto,
    /// The program.
    Program,
    /// The client in this crate: the feature `ssh-builtin`.
    Builtin,
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
            token_file: None,
            github_app: None,
            credentials_folder: None,
            ca_file: None,
            user_agent: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            receive_pack: None,
            local_hooks: true,
            ssh: SshSettings::default(),
            netrc: None,
            proxies: Proxies::default(),
            #[cfg(feature = "smart-http")]
            prompts: None,
            allowed_protocols: None,
            is_user: true,
            helper: HelperSettings::default(),
            git: GitConfig::default(),
            git_dir: None,
            top: None,
        }
    }
}

impl Settings {
    /// Reads `GITHUB_PAT` (else the file that `GITHUB_PAT_FILE` names), `STARGATE_GITHUB_APP` with `STARGATE_GITHUB_APP_KEY` or
    /// `STARGATE_GITHUB_APP_KEY_FILE`, `CREDENTIALS_DIRECTORY`, `SSL_CERT_FILE`, `NETRC` (else `.netrc` in `HOME`),
    /// `GIT_SSH_COMMAND`, `GIT_SSH`, `GIT_SSH_VARIANT`, `HTTPS_PROXY`, `ALL_PROXY`, `http_proxy`, `NO_PROXY`, `GIT_ALLOW_PROTOCOL`,
    /// `GIT_PROTOCOL_FROM_USER`, `GIT_EXEC_PATH` and `PATH`. Names of proxy variables may also be in lower case, as in curl. `HTTP_PROXY` in upper case is not read, because the client of a
    /// CGI program can set it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if the token or the App is invalid, or the token's file
    /// is empty or cannot be read, or `GIT_PROTOCOL_FROM_USER` is no boolean.
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
        let token = token::token(&variable)?;
        Ok(Settings {
            token: token.as_ref().map(|token| token.secret.clone()),
            token_file: token.and_then(|token| token.file),
            github_app: token::github_app(&variable)?,
            credentials_folder: given("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            ca_file: given("SSL_CERT_FILE").map(PathBuf::from),
            ssh: SshSettings {
                command: given("GIT_SSH_COMMAND"),
                program: given("GIT_SSH"),
                variant: text(&["GIT_SSH_VARIANT"]),
                home: given(home).map(PathBuf::from),
                user: text(&["LOGNAME", "USER"]),
                ..SshSettings::default()
            },
            netrc: given("NETRC").map(PathBuf::from).or_else(in_home),
            proxies: Proxies {
                https: secret(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                http: secret(&["http_proxy", "all_proxy", "ALL_PROXY"]),
                not_for: text(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
            },
            allowed_protocols: variable("GIT_ALLOW_PROTOCOL").map(|names| names.to_string_lossy().into_owned()),
            is_user: boolean(&variable, "GIT_PROTOCOL_FROM_USER")?.unwrap_or(true),
            helper: HelperSettings {
                exec_path: given("GIT_EXEC_PATH"),
                path: given("PATH"),
                ..HelperSettings::default()
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

    /// Adds the git configuration of `repository`: `http.*`, `credential.*`, `stargate.insecureHttp`, `tokenFile`, `githubApp`,
    /// `githubAppKey`, `forge`, `localHooks`, `sshClient`, `sshKey`, `sshPassphraseFile` and `sshKnownHosts`, and, where the environment does
    /// not set them, `core.sshCommand` and `ssh.variant`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if a value is invalid.
    pub fn with_git_config(mut self, repository: &gix::Repository) -> Result<Self, Error> {
        let absolute = |path: &Path| std::path::absolute(path).ok();
        self.git_dir = absolute(repository.git_dir());
        self.top = absolute(repository.workdir().unwrap_or(repository.git_dir()));
        self.with_git(repository.config_snapshot().plumbing().clone())
    }

    /// Adds the keys of ssh that a section of its own (`[stargate "NAME"]`) has for one of several remotes.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if a value is invalid.
    pub fn with_section(mut self, repository: &gix::Repository, name: &BStr) -> Result<Self, Error> {
        let start = format!("stargate.{name}");
        self.ssh.add(repository.config_snapshot().plumbing(), &start)?;
        Ok(self)
    }

    /// Adds the same from the configuration of the system and of the user, for use without a repository.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if it cannot be read, or a value is invalid.
    pub fn with_user_config(self) -> Result<Self, Error> {
        self.with_git(user_config()?)
    }

    /// Lets a person be asked for user and password, by `GIT_ASKPASS`, `core.askPass` or `SSH_ASKPASS`, else on the terminal
    /// unless `GIT_TERMINAL_PROMPT` is 0. Call it after the git configuration was added.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if `core.askPass` is not a path.
    #[cfg(feature = "smart-http")]
    pub fn with_prompts(mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        const KEY: &str = "core.askPass";
        let configured = self.git.file().string_filter(KEY, is_trusted);
        let configured = configured.map(|path| interpolated(path, KEY)).transpose()?;
        self.prompts = Some(Prompts::new(variable, configured.map(PathBuf::into_os_string)));
        Ok(self)
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
        self.ssh.add(&file, "stargate")?;
        let hooks = file.boolean_filter("stargate.localHooks", is_trusted);
        let hooks = hooks.map_err(|_| not_understood("stargate.localHooks"))?;
        self.local_hooks = hooks.unwrap_or(self.local_hooks);
        self.git = GitConfig::new(file);
        Ok(self)
    }
}

impl SshSettings {
    /// Adds the keys of ssh of a section.
    fn add(&mut self, file: &gix::config::File, section: &str) -> Result<(), Error> {
        if let Some(word) = file.string_filter(format!("{section}.sshClient").as_str(), is_trusted) {
            self.client = client(word.as_bstr())?;
        }
        let home = self.home.clone();
        let path = |name: &str| {
            let key = format!("{section}.{name}");
            let value = file.string_filter(key.as_str(), is_trusted);
            value
                .map(|value| absolute(&key, value.as_bstr(), home.as_deref()))
                .transpose()
        };
        self.key = path("sshKey")?.or(self.key.take());
        self.passphrase_file = path("sshPassphraseFile")?.or(self.passphrase_file.take());
        self.known_hosts = path("sshKnownHosts")?.or(self.known_hosts.take());
        Ok(())
    }
}

/// Returns the boolean in a variable (git-config, *boolean*). As in git, it is false if it is empty.
fn boolean(variable: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<bool>, Error> {
    let Some(value) = variable(name) else {
        return Ok(None);
    };
    let value = value.into_string().ok();
    let value = value.and_then(|value| gix::config::Boolean::try_from(BStr::new(&value)).ok());
    match value {
        Some(value) => Ok(Some(value.is_true())),
        None => {
            let what = format!("the environment variable {name} is not a boolean");
            Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint(format!("set {name} to true or false, or unset it")))
        }
    }
}

fn client(word: &BStr) -> Result<SshClient, Error> {
    match word.to_ascii_lowercase().as_slice() {
        b"auto" => Ok(SshClient::Auto),
        b"program" => Ok(SshClient::Program),
        b"builtin" => Ok(SshClient::Builtin),
        _ => Err(not_understood("stargate.sshClient").with_hint("set it to auto, program or builtin")),
    }
}

/// Returns the path that `key` names. Commands start in different folders, so it must be absolute, or below the home of the
/// user.
fn absolute(key: &str, value: &BStr, home: Option<&Path>) -> Result<PathBuf, Error> {
    let expanded = match (value.strip_prefix(b"~/"), home) {
        (Some(below), Some(home)) => gix::path::from_bstr(below.as_bstr()).map(|below| home.join(below)),
        _ => gix::path::from_bstr(value).map(PathBuf::from),
    };
    match expanded {
        Ok(path) if path.is_absolute() => Ok(path),
        _ => {
            let what = format!("{key} is not an absolute path: {}", git_push::cleaned(value));
            let hint = format!("correct it with `git config {key} /PATH/OF/FILE`");
            Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
        }
    }
}
