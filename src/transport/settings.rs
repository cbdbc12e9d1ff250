//! What a connection over HTTP needs to know besides the URL.
use std::{ffi::OsString, path::PathBuf, time::Duration};

use bstr::ByteSlice;
use secrecy::{ExposeSecret, SecretString};
use ureq::tls::Certificate;

use super::{Location, credentials, http::HttpUrl, stream::SshSettings};
use crate::push::{Error, Outcome};

/// How long connecting may take, name lookup and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may say and take nothing. A push has no limit in all: a big one takes its time.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Credentials, trust roots, proxy and time limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The token that proves who we are.
    pub token: Option<SecretString>,
    /// A file with the certificates (PEM) to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// How ssh is run.
    pub ssh: SshSettings,
    proxies: Proxies,
}

/// URLs of proxies; they may hold a password.
#[derive(Debug, Clone, Default)]
struct Proxies {
    configured: Option<SecretString>,
    https: Option<SecretString>,
    http: Option<SecretString>,
    /// Hosts, separated by commas, that are reached directly.
    not_for: String,
}

impl Settings {
    /// Reads `GITHUB_PAT`, `SSL_CERT_FILE`, `HTTPS_PROXY`, `ALL_PROXY`, `http_proxy` and `NO_PROXY` (those of a proxy
    /// also in lower case, as curl does; `HTTP_PROXY` in upper case is not read, for a CGI's client can set it).
    ///
    /// # Errors
    /// [`Outcome::Misconfigured`] when the token cannot be one.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let text = |names: &[&str]| {
            let set = |name: &&str| variable(name)?.into_string().ok().filter(|value| !value.is_empty());
            names.iter().find_map(set)
        };
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let secret = |names: &[&str]| text(names).map(SecretString::from);
        Ok(Settings {
            token: credentials::token(&variable)?,
            ca_file: given("SSL_CERT_FILE").map(PathBuf::from),
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            ssh: SshSettings {
                command: given("GIT_SSH_COMMAND"),
                program: given("GIT_SSH"),
                variant: text(&["GIT_SSH_VARIANT"]),
            },
            proxies: Proxies {
                configured: None,
                https: secret(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                http: secret(&["http_proxy", "all_proxy", "ALL_PROXY"]),
                not_for: text(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
            },
        })
    }

    /// Lays `http.sslCAInfo` and `http.proxy` of git configuration over what the environment says.
    ///
    /// # Errors
    /// [`Outcome::Misconfigured`] when a value cannot be understood.
    pub fn with_git_config(mut self, repository: &gix::Repository) -> Result<Self, Error> {
        let config = repository.config_snapshot();
        let unreadable = |key: &str| {
            Error::new(
                Outcome::Misconfigured,
                format!("the value of {key} in git configuration is not understood"),
            )
        };
        if let Some(path) = config
            .trusted_path("http.sslCAInfo")
            .map_err(|_| unreadable("http.sslCAInfo"))?
        {
            self.ca_file = Some(path);
        }
        if let Some(proxy) = config.string("http.proxy") {
            let proxy = proxy.to_str().map_err(|_| unreadable("http.proxy"))?;
            self.proxies.configured = Some(proxy.into());
        }
        // A program that somebody else's repository names is not run.
        let command = config
            .trusted_program("core.sshCommand")
            .map_err(|_| unreadable("core.sshCommand"))?;
        self.ssh.command = self.ssh.command.or(command);
        let variant = config.string("ssh.variant").map(|variant| variant.to_string());
        self.ssh.variant = self.ssh.variant.or(variant);
        Ok(self)
    }

    /// Whether there is something to prove who we are at `location`.
    pub fn has_credentials_for(&self, location: &Location) -> bool {
        match location {
            Location::Http(url) => self.token.is_some() || url.user().is_some(),
            // ssh has its own keys, git:// knows nobody, a folder asks for nothing.
            Location::Ssh(_) | Location::Git(_) | Location::Path(_) => true,
        }
    }

    /// The proxy on the way to `url`. There is none to this machine: what it carries must not leave it.
    pub(super) fn proxy(&self, url: &HttpUrl) -> Result<Option<ureq::Proxy>, Error> {
        let by_scheme = if url.is_https() {
            &self.proxies.https
        } else {
            &self.proxies.http
        };
        let proxy = self.proxies.configured.as_ref().or(by_scheme.as_ref());
        let proxy = proxy.map(ExposeSecret::expose_secret).filter(|proxy| !proxy.is_empty());
        let direct = credentials::is_loopback(url.host()) || is_listed(url.host(), &self.proxies.not_for);
        let (Some(proxy), false) = (proxy, direct) else {
            return Ok(None);
        };
        let refused = |_| {
            Error::new(Outcome::Misconfigured, "the URL of the proxy is not understood")
                .with_hint("look at http.proxy in git configuration, HTTPS_PROXY and http_proxy")
        };
        ureq::Proxy::new(proxy).map(Some).map_err(refused)
    }

    /// The certificates that a server's is checked against: those of the configured file, else the system's, else,
    /// on a server that has none, Mozilla's as they were when this was built.
    pub(super) fn trust_roots(&self) -> Result<Vec<Certificate<'static>>, Error> {
        let own = |certificates: &[rustls::pki_types::CertificateDer<'_>]| {
            certificates
                .iter()
                .map(|der| Certificate::from_der(der).to_owned())
                .collect()
        };
        let Some(file) = &self.ca_file else {
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
            return Err(Error::new(Outcome::Misconfigured, what)
                .with_hint("SSL_CERT_FILE or http.sslCAInfo must name a file of certificates in PEM format"));
        }
        Ok(own(&loaded.certs))
    }
}

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

#[cfg(test)]
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
            .proxy(&url)
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
        let error = settings.trust_roots().expect_err("no certificate");
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(
            error.to_string().contains(&file.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn there_are_trust_roots_without_any_setting() {
        let settings = Settings::from_environment(|_| None).expect("settings");
        assert!(!settings.trust_roots().expect("roots").is_empty());
    }
}
