//! URLs of repositories over HTTP, which may be shown.
use std::{fmt, net::IpAddr};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};
use gix::url::Scheme;
#[cfg(feature = "smart-http")]
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::redact::redacted;

/// The URL of a repository over http or https, without user info. `Display` and `Debug` leave out the query, too.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    url: gix::Url,
    /// The whole URL as it is sent, without a trailing slash.
    text: String,
    /// The URL without query and fragment.
    shown: String,
}

#[cfg(feature = "smart-http")]
/// Reason why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRedirect {
    #[error("the server redirects to a location that is not an http or https URL")]
    NoUrl,
    #[error("the server redirects from https to plain http ({0})")]
    Downgrade(String),
    #[error("the server redirects to {0}, which is not a Git repository; it may be a login page")]
    Elsewhere(String),
}

impl HttpUrl {
    /// Takes a URL without its user info; `None` unless it is http or https.
    #[must_use]
    pub fn new(url: &gix::Url) -> Option<Self> {
        let mut url = url.clone();
        if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
            return None;
        }
        url.set_user(None);
        url.set_password(None);
        let text = |url: &gix::Url| Some(url.to_bstring().to_str().ok()?.trim_end_matches('/').to_owned());
        Some(HttpUrl {
            text: text(&url)?,
            shown: text(&redacted(&url))?,
            url,
        })
    }
}

#[cfg(feature = "smart-http")]
impl HttpUrl {
    /// Returns true for https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme == Scheme::Https
    }

    /// Returns the host, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// Returns true if the host is this machine, so that a connection to it does not cross a network.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Fails if secrets sent to this URL would cross a network in the clear, unless `insecure_http` allows that.
    pub(crate) fn check_secrecy(&self, insecure_http: bool) -> Result<(), InTheClear> {
        if self.is_https() || self.is_loopback() || insecure_http {
            Ok(())
        } else {
            Err(InTheClear)
        }
    }

    /// Returns true if scheme, host and port are the same. Credentials belong to one origin (RFC 6454, section 5).
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        let origin = |url: &Self| {
            (
                url.is_https(),
                url.host().to_ascii_lowercase(),
                url.url.port_or_default(),
            )
        };
        origin(self) == origin(other)
    }

    /// Returns the URL of the advertisement of `service` (gitprotocol-http, *Discovering References*).
    pub(crate) fn advertisement(&self, service: &str) -> String {
        let separator = if self.text.contains('?') { '&' } else { '?' };
        format!("{}/info/refs{separator}service={service}", self.text)
    }

    /// Returns the URL of requests to `service` (gitprotocol-http, *Smart Service git-receive-pack*).
    pub(crate) fn service(&self, service: &str) -> String {
        format!("{}/{service}", self.text)
    }

    /// Returns the URL of `path` below this one. `path` is encoded already.
    pub(crate) fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    /// Returns scheme, host and port, and the path without query and fragment.
    pub(crate) fn origin_and_path(&self) -> (&str, &str) {
        let authority = self.text.find("://").map_or(0, |at| at + 3);
        let start = self.text[authority..].find(['/', '?', '#']);
        let (origin, path) = self.text.split_at(start.map_or(self.text.len(), |at| authority + at));
        (origin, path.split(['?', '#']).next().unwrap_or_default())
    }

    /// Returns the repository that a redirect of the advertisement leads to (RFC 9110, section 10.2.2).
    pub(crate) fn redirected(&self, location: &str) -> Result<Self, BadRedirect> {
        let target = self.resolved(location).ok_or(BadRedirect::NoUrl)?;
        if self.is_https() && !target.is_https() {
            return Err(BadRedirect::Downgrade(target.to_string()));
        }
        let target = target.to_string();
        let Some(repository) = target.strip_suffix("/info/refs") else {
            return Err(BadRedirect::Elsewhere(target));
        };
        let url = gix::url::parse(repository).map_err(|_| BadRedirect::NoUrl)?;
        HttpUrl::new(&url).ok_or(BadRedirect::NoUrl)
    }

    /// Resolves the `Location` of an answer to a request below this repository.
    pub(crate) fn resolved(&self, location: &str) -> Option<Self> {
        let scheme = self.url.scheme.as_str();
        let (origin, _) = self.origin_and_path();
        let absolute = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{origin}{location}")
        } else if location.contains("://") {
            location.to_owned()
        } else {
            format!("{}/info/{location}", self.text)
        };
        HttpUrl::new(&gix::url::parse(absolute.as_str()).ok()?)
    }
}

/// Characters to encode: all but the unreserved ones (RFC 3986, section 2.3).
#[cfg(feature = "smart-http")]
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns `text` percent-encoded, as one name of a path or one word of a query.
#[cfg(feature = "smart-http")]
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Credentials would cross a network in the clear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InTheClear;

impl From<InTheClear> for Error {
    fn from(_: InTheClear) -> Self {
        Error::new(
            ErrorKind::Misconfigured,
            "credentials are not sent over plain http, because others on the network could read them",
        )
        .with_hint("use the https URL of the repository; on a network that you trust, set stargate.insecureHttp")
    }
}

impl fmt::Display for HttpUrl {
    /// Leaves out query and fragment, which may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

#[cfg(all(test, feature = "smart-http"))]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::new(&gix::url::parse(text).expect("a URL")).expect("http or https")
    }

    #[test]
    fn user_info_and_query_are_not_shown() {
        let shown = url("https://me:canary@host:8443/o/r.git/?token=canary#canary");
        assert_eq!(shown.to_string(), "https://host:8443/o/r.git");
        assert_eq!(format!("{shown:?}"), "HttpUrl(https://host:8443/o/r.git)");
    }

    #[test]
    fn secrets_are_sent_in_the_clear_to_this_machine_only_or_if_the_network_is_trusted() {
        for safe in [
            "https://example.com",
            "http://127.0.0.1",
            "http://127.9.9.9:80",
            "http://localhost",
            "http://LOCALHOST:8080",
            "http://[::1]:80",
        ] {
            assert!(url(safe).check_secrecy(false).is_ok(), "{safe}");
        }
        for clear in [
            "http://example.com",
            "http://128.0.0.1",
            "http://[::2]",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(url(clear).check_secrecy(false).is_err(), "{clear}");
            assert!(url(clear).check_secrecy(true).is_ok(), "{clear}");
        }
    }

    #[test]
    fn services_are_below_the_repository() {
        let repository = url("https://host/o/r%20s.git/");
        let expected = "https://host/o/r%20s.git/info/refs?service=git-upload-pack";
        assert_eq!(repository.advertisement("git-upload-pack"), expected);
        assert_eq!(
            repository.service("git-receive-pack"),
            "https://host/o/r%20s.git/git-receive-pack"
        );
        assert_eq!(url("http://[::1]:80/r").service("s"), "http://[::1]:80/r/s");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = url("https://host/a");
        assert!(origin.same_origin(&url("https://HOST:443/b")));
        for other in ["http://host/a", "https://host:444/a", "https://other/a"] {
            assert!(!origin.same_origin(&url(other)), "{other}");
        }
    }

    #[test]
    fn a_redirect_leads_to_another_repository() {
        let base = url("http://host:81/o/r.git");
        let cases = [
            (
                "/new/r.git/info/refs?service=git-receive-pack",
                "http://host:81/new/r.git",
            ),
            ("https://other/r.git/info/refs", "https://other/r.git"),
            ("//other/r.git/info/refs", "http://other/r.git"),
            ("https://me:canary@other/r.git/info/refs", "https://other/r.git"),
            ("refs?service=git-receive-pack", "http://host:81/o/r.git"),
        ];
        for (location, expected) in cases {
            assert_eq!(base.redirected(location).expect(location).to_string(), expected);
        }
    }

    #[test]
    fn a_redirect_to_plain_http_or_to_a_page_is_refused() {
        let base = url("https://host/o/r.git");
        let downgrade = base
            .redirected("http://host/o/r.git/info/refs")
            .expect_err("plain http");
        assert!(matches!(downgrade, BadRedirect::Downgrade(_)), "{downgrade}");
        let page = base.redirected("/login?next=canary").expect_err("a page");
        assert!(matches!(page, BadRedirect::Elsewhere(_)), "{page}");
        assert!(page.to_string().contains("https://host/login,"), "{page}");
        assert_eq!(base.redirected("ftp://host/info/refs"), Err(BadRedirect::NoUrl));
    }
}
