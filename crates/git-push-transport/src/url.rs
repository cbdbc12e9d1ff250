//! URLs of repositories over HTTP, as they may be shown.
use std::fmt;

use bstr::ByteSlice;
use gix::url::Scheme;

/// The URL of a repository over http or https, without user info: it is safe to show.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    url: gix::Url,
    /// The whole URL as it goes onto the wire, without a slash at its end.
    text: String,
}

#[cfg(feature = "http")]
/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRedirect {
    #[error("the server redirects to something that is not an http or https URL")]
    NoUrl,
    #[error("the server redirects from https to plain http ({0})")]
    Downgrade(String),
    #[error("the server redirects to {0}, which is not a Git repository; it may be a login page")]
    Elsewhere(String),
}

impl HttpUrl {
    /// The URL without its user info; `None` unless it is http or https.
    pub fn new(url: &gix::Url) -> Option<Self> {
        let mut url = url.clone();
        if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
            return None;
        }
        url.set_user(None);
        url.set_password(None);
        let text = url.to_bstring().to_str().ok()?.trim_end_matches('/').to_owned();
        Some(HttpUrl { url, text })
    }
}

#[cfg(feature = "http")]
impl HttpUrl {
    /// Returns true for https.
    pub fn is_https(&self) -> bool {
        self.url.scheme == Scheme::Https
    }

    /// The host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// Whether scheme, host and port are the same: what may see the same credentials (RFC 6454, section 5).
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        let origin = |url: &Self| {
            (
                url.is_https(),
                url.host().to_ascii_lowercase(),
                url.url.port_or_default(),
            )
        };
        origin(self) == origin(other)
    }

    /// Where refs and capabilities of `service` are advertised (gitprotocol-http, *Discovering References*).
    pub(super) fn advertisement(&self, service: &str) -> String {
        let separator = if self.text.contains('?') { '&' } else { '?' };
        format!("{}/info/refs{separator}service={service}", self.text)
    }

    /// Where `service` is asked (gitprotocol-http, *Smart Service git-receive-pack*).
    pub(super) fn service(&self, service: &str) -> String {
        format!("{}/{service}", self.text)
    }

    /// The URL of `path`, which is encoded already, below this.
    pub(crate) fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    /// Scheme, host and port; and the path, without query and fragment.
    pub(crate) fn origin_and_path(&self) -> (&str, &str) {
        let authority = self.text.find("://").map_or(0, |at| at + 3);
        let start = self.text[authority..].find(['/', '?', '#']);
        let (origin, path) = self.text.split_at(start.map_or(self.text.len(), |at| authority + at));
        (origin, path.split(['?', '#']).next().unwrap_or_default())
    }

    /// The repository that a redirect of its advertisement leads to (RFC 9110, section 10.2.2).
    pub(super) fn redirected(&self, location: &str) -> Result<Self, BadRedirect> {
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

    /// What `location` stands for in an answer to a request below this repository.
    pub(super) fn resolved(&self, location: &str) -> Option<Self> {
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

#[cfg(feature = "http")]
/// Percent-encoded, but for what is never reserved (RFC 3986, section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl fmt::Display for HttpUrl {
    /// Without query and fragment: they may hold a token too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.find(['?', '#']).unwrap_or(self.text.len());
        f.write_str(self.text[..end].trim_end_matches('/'))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

#[cfg(test)]
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
