//! Settings of a connection besides the URL.
use std::{ffi::OsString, path::PathBuf, time::Duration};
#[cfg(feature = "http")]
use std::{fmt, fs::File, io, io::Read, sync::Arc};

use git_push::{Error, ErrorKind};
use gix::config::file::Metadata;
#[cfg(feature = "http")]
use gix::config::file::SectionRef;
#[cfg(feature = "http")]
use secrecy::ExposeSecret;
use secrecy::SecretString;
#[cfg(feature = "http")]
use ureq::tls::Certificate;

#[cfg(feature = "ssh")]
use super::stream::SshSettings;
use super::{Location, token};
#[cfg(feature = "http")]
use super::{credentials, credentials::Identity, helpers::Helpers, http::HttpUrl, http::Options, netrc};

/// Time limit of connecting, name lookup and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of silence, in which a server neither sends nor takes anything. A push as a whole has no limit.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Credentials, trust roots, proxies, time limits, and git configuration for what depends on the URL.
#[derive(Debug, Clone)]
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
    #[cfg(feature = "ssh")]
    /// The ssh program.
    pub ssh: SshSettings,
    #[cfg(feature = "http")]
    netrc: Option<PathBuf>,
    #[cfg(feature = "http")]
    proxies: Proxies,
    #[cfg(feature = "http")]
    git: GitConfig,
}

#[cfg(feature = "http")]
/// Git configuration, as far as it is trusted: not that of somebody else's repository. It may hold secrets.
#[derive(Clone, Default)]
pub(super) struct GitConfig(Arc<gix::config::File>);

#[cfg(feature = "http")]
/// URLs of proxies; they may hold a password.
#[derive(Debug, Clone, Default)]
struct Proxies {
    https: Option<SecretString>,
    http: Option<SecretString>,
    /// Hosts, separated by commas, that are reached directly.
    not_for: String,
}

impl Settings {
    /// Reads `GITHUB_PAT` (else the file that `GITHUB_PAT_FILE` names), `SSL_CERT_FILE`, `NETRC` (else `.netrc` of `HOME`),
    /// `GIT_SSH_COMMAND`, `GIT_SSH`, `GIT_SSH_VARIANT`, `HTTPS_PROXY`, `ALL_PROXY`, `http_proxy` and `NO_PROXY` (those of a
    /// proxy also in lower case, as curl does; `HTTP_PROXY` in upper case is not read, for a CGI's client can set it).
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when the token cannot be one, or its file cannot be read or is empty.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let text = |names: &[&str]| {
            let set = |name: &&str| variable(name)?.into_string().ok().filter(|value| !value.is_empty());
            names.iter().find_map(set)
        };
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let secret = |names: &[&str]| text(names).map(SecretString::from);
        Ok(Settings {
            token: token::token(&variable)?,
            ca_file: given("SSL_CERT_FILE").map(PathBuf::from),
            user_agent: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            #[cfg(feature = "ssh")]
            ssh: SshSettings {
                command: given("GIT_SSH_COMMAND"),
                program: given("GIT_SSH"),
                variant: text(&["GIT_SSH_VARIANT"]),
            },
            #[cfg(feature = "http")]
            netrc: given("NETRC").map(PathBuf::from).or_else(|| {
                let (home, name) = match cfg!(windows) {
                    true => (given("USERPROFILE"), "_netrc"),
                    false => (given("HOME"), ".netrc"),
                };
                home.map(|home| PathBuf::from(home).join(name))
            }),
            #[cfg(feature = "http")]
            git: GitConfig::default(),
            #[cfg(feature = "http")]
            proxies: Proxies {
                https: secret(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                http: secret(&["http_proxy", "all_proxy", "ALL_PROXY"]),
                not_for: text(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
            },
        })
    }

    /// Sets [`Settings::user_agent`].
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Overrides the environment with the git configuration of `repository`: `http.*`,
    /// `credential.*`, `core.sshCommand`, `ssh.variant`, `stargate.insecureHttp`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when a value cannot be understood.
    pub fn with_git_config(self, repository: &gix::Repository) -> Result<Self, Error> {
        self.with_git(repository.config_snapshot().plumbing().clone())
    }

    /// The same with the configuration of the system and of the user, where there is no repository.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when it cannot be read, or a value cannot be understood.
    pub fn with_user_config(self) -> Result<Self, Error> {
        self.with_git(user_config()?)
    }

    /// Returns true if there are credentials for `location`, or a helper that may have them.
    pub fn has_credentials_for(&self, location: &Location) -> bool {
        match location {
            #[cfg(feature = "http")]
            // What is wrong with settings is told when they are used.
            Location::Http(url) => {
                self.token.is_some() || url.user().is_some() || self.has_configured_credentials(url).unwrap_or(true)
            }
            #[cfg(not(feature = "http"))]
            Location::Http(_) => self.token.is_some(),
            // ssh has its own keys, git:// knows nobody, a folder asks for nothing.
            Location::Ssh(_) | Location::Git(_) | Location::Path(_) => true,
        }
    }

    #[cfg(feature = "http")]
    /// What git configuration says about `url`.
    pub(super) fn options(&self, url: &gix::Url) -> Result<Options, Error> {
        Options::new(&self.git, url)
    }

    #[cfg(feature = "http")]
    /// The user and the password that `.netrc` has for `url`.
    pub(super) fn netrc_identity(&self, url: &gix::Url) -> Result<Option<Identity>, Error> {
        let Some(path) = &self.netrc else { return Ok(None) };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(netrc::MAX_BYTES).read_to_string(&mut text));
        let text = SecretString::from(text);
        match read {
            Ok(_) => Ok(netrc::find(
                text.expose_secret(),
                url.host().unwrap_or_default(),
                url.user(),
            )),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => {
                let what = format!("cannot read passwords from {}: {error}", path.display());
                Err(Error::new(ErrorKind::Misconfigured, what).with_hint("let the user that this runs as read it"))
            }
        }
    }

    #[cfg(feature = "http")]
    /// The programs to ask for user and password of `url`.
    pub(super) fn helpers(&self, url: &gix::Url) -> Result<Option<Helpers>, Error> {
        let configured = Helpers::configured(url, &self.git.0, is_trusted, self.idle_timeout);
        configured.map_err(|_| not_understood("credential.*"))
    }

    #[cfg(feature = "http")]
    /// The proxy on the way to `url`. There is none to this machine: what it carries must not leave it.
    pub(super) fn proxy(&self, url: &HttpUrl, options: &Options) -> Result<Option<ureq::Proxy>, Error> {
        let by_scheme = if url.is_https() {
            &self.proxies.https
        } else {
            &self.proxies.http
        };
        let proxy = options.proxy.as_ref().or(by_scheme.as_ref());
        let proxy = proxy.map(ExposeSecret::expose_secret).filter(|proxy| !proxy.is_empty());
        let direct = credentials::is_loopback(url.host()) || is_listed(url.host(), &self.proxies.not_for);
        let (Some(proxy), false) = (proxy, direct) else {
            return Ok(None);
        };
        let refused = |_| {
            Error::new(ErrorKind::Misconfigured, "the URL of the proxy is not understood")
                .with_hint("look at http.proxy in git configuration, HTTPS_PROXY and http_proxy")
        };
        ureq::Proxy::new(proxy).map(Some).map_err(refused)
    }

    #[cfg(feature = "http")]
    /// The certificates that a server's is checked against: those of the configured file, else the system's, else,
    /// on a server that has none, Mozilla's as they were when this was built.
    pub(super) fn trust_roots(&self, options: &Options) -> Result<Vec<Certificate<'static>>, Error> {
        let own = |certificates: &[rustls::pki_types::CertificateDer<'_>]| {
            certificates
                .iter()
                .map(|der| Certificate::from_der(der).to_owned())
                .collect()
        };
        let Some(file) = options.ca_file.as_ref().or(self.ca_file.as_ref()) else {
            let system = rustls_native_certs::load_native_certs().certs;
            let embedded = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            return Ok(if system.is_empty() { own(embedded) } else { own(&system) });
        };
        let loaded = rustls_native_certs::load_certs_from_paths(Some(file), None);
        if loaded.certs.is_empty() {
            let why = loaded
                .errors
                .first()
                .map(|error| format!(": {error}"))
                .unwrap_or_default();
            let what = format!("no certificate could be read from {}{why}", file.display());
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("SSL_CERT_FILE or http.sslCAInfo must name a file of certificates in PEM format"));
        }
        Ok(own(&loaded.certs))
    }

    fn with_git(mut self, file: gix::config::File) -> Result<Self, Error> {
        let text = |key: &str| {
            let value = file.string_filter(key, is_trusted);
            let value = value.map(|value| gix::path::from_bstring(value).map(PathBuf::into_os_string));
            value.transpose().map_err(|_| not_understood(key))
        };
        #[cfg(feature = "ssh")]
        {
            self.ssh.command = self.ssh.command.or(text("core.sshCommand")?);
            let variant = text("ssh.variant")?.and_then(|variant| variant.into_string().ok());
            self.ssh.variant = self.ssh.variant.or(variant);
        }
        #[cfg(feature = "http")]
        {
            self.git = GitConfig::new(file);
        }
        Ok(self)
    }

    #[cfg(feature = "http")]
    fn has_configured_credentials(&self, url: &gix::Url) -> Result<bool, Error> {
        let options = self.options(url)?;
        Ok(options.authorization.is_some()
            || options.client_certificate.is_some()
            || self.netrc_identity(url)?.is_some()
            || self.helpers(url)?.is_some())
    }
}

#[cfg(feature = "http")]
impl GitConfig {
    pub(super) fn new(file: gix::config::File) -> Self {
        GitConfig(Arc::new(file))
    }

    /// The sections of this name, in the order in which they count.
    pub(super) fn sections(&self, name: &str) -> impl Iterator<Item = SectionRef<'_>> {
        self.0
            .sections_by_name_and_filter(name, is_trusted)
            .into_iter()
            .flatten()
    }

    /// A value that is false where it is not given.
    pub(super) fn boolean(&self, key: &str) -> Result<bool, Error> {
        let value = self
            .0
            .boolean_filter(key, is_trusted)
            .map_err(|_| not_understood(key))?;
        Ok(value.unwrap_or_default())
    }
}

#[cfg(feature = "http")]
impl fmt::Debug for GitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitConfig")
    }
}

/// Programs are run and secrets are sent as it is configured: not by a repository of somebody else.
fn is_trusted(metadata: &Metadata) -> bool {
    metadata.trust == gix::sec::Trust::Full || metadata.source.kind() != gix::config::source::Kind::Repository
}

#[cfg(feature = "http")]
/// Whether `host` or a domain above it is in `list`, or everything is (`*`).
fn is_listed(host: &str, list: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    list.split([',', ' '])
        .map(|entry| entry.trim_start_matches('.').to_ascii_lowercase())
        .any(|entry| {
            let below = || host.strip_suffix(&entry).is_some_and(|below| below.ends_with('.'));
            !entry.is_empty() && (entry == "*" || host == entry || below())
        })
}

/// git's configuration of the user and of the system, with what `GIT_CONFIG_*` variables add.
///
/// # Errors
/// It cannot be read.
pub(super) fn user_config() -> Result<gix::config::File, Error> {
    let read = gix::config::File::from_globals().and_then(|mut file| {
        file.append(gix::config::File::from_environment_overrides()?)?;
        Ok(file)
    });
    read.map_err(|error| {
        let what = format!("git configuration cannot be read: {}", git_push::causes(&error));
        Error::new(ErrorKind::Misconfigured, what).with_hint("look at it with `git config --list --show-origin`")
    })
}

/// The value of `key` is not what it must be.
pub(super) fn not_understood(key: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("the value of {key} in git configuration is not understood"),
    )
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    fn proxy(environment: &[(&str, &str)], url: &str) -> Option<String> {
        let variable = |name: &str| {
            let (_, value) = environment.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(*value))
        };
        let settings = Settings::from_environment(variable).expect("no token, no error");
        let url = HttpUrl::new(&gix::url::parse(url).expect("a URL")).expect("http or https");
        settings
            .proxy(&url, &Options::default())
            .expect("a proxy")
            .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_proxy_is_that_of_the_scheme_and_never_on_the_way_to_this_machine() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "http://b:2")];
        assert_eq!(proxy(&both, "https://host/r").as_deref(), Some("a:1"));
        assert_eq!(proxy(&both, "http://host/r").as_deref(), Some("b:2"));
        assert_eq!(proxy(&both, "http://127.0.0.1/r"), None);
        assert_eq!(
            proxy(&[("ALL_PROXY", "http://c:3")], "http://host/r").as_deref(),
            Some("c:3")
        );
        assert_eq!(proxy(&[("HTTP_PROXY", "http://c:3")], "http://host/r"), None);
        assert_eq!(proxy(&[("HTTPS_PROXY", "")], "https://host/r"), None);
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        let listed = ["host.example", "a.host.example", "HOST.example"];
        for entry in ["host.example", "other, .host.example", "*"] {
            assert!(listed.iter().all(|host| is_listed(host, entry)), "{entry}");
        }
        for entry in ["", "ost.example", "a.host.example.org", "xhost.example"] {
            assert!(!is_listed("host.example", entry), "{entry}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let variable = |name: &str| (name == "SSL_CERT_FILE").then(|| file.path().into());
        let settings = Settings::from_environment(variable).expect("settings");
        let error = settings.trust_roots(&Options::default()).expect_err("no certificate");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(
            error.to_string().contains(&file.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn there_are_trust_roots_without_any_setting() {
        let settings = Settings::from_environment(|_| None).expect("settings");
        assert!(!settings.trust_roots(&Options::default()).expect("roots").is_empty());
    }
}
