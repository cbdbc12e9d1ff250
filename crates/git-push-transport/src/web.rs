//! Requests to a service over HTTP that is not a repository, such as a relay of events. TLS, trust roots, proxies and time
//! limits are those for repositories. A bearer token (RFC 6750) authenticates. Redirects are not followed. Errors do not quote
//! the server, which may echo the token.
use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::http_client::{Header, HttpClient, HttpRequest, HttpResponse, Method, RequestBody, body_error, header_of};
use crate::http_config::HttpConfig;
use crate::settings::Settings;
use crate::ureq_client::UreqClient;
use crate::url::{HttpUrl, encoded};

/// Limit of the answer to a `PUT`, in bytes.
const MAX_PUT_ANSWER: u64 = 64 << 10;

/// A service. Its methods block. Clones share its connections. `Debug` does not show the token.
#[derive(Clone)]
pub struct Web {
    base: HttpUrl,
    bearer: Option<SecretString>,
    client: Arc<UreqClient>,
}

/// An answer of status 200, whose body is not read yet. Reading fails if the server is silent for
/// [`Settings::idle_timeout`], and with [`io::ErrorKind::FileTooLarge`] beyond the limit. This blocks.
pub struct Reply {
    headers: Vec<(String, String)>,
    body: Box<dyn Read + Send>,
    left: u64,
}

/// A request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// Path below the URL of the service, name by name, in any characters.
    pub path: &'a [&'a str],
    /// Names and values of the query, in any characters.
    pub query: &'a [(&'a str, &'a str)],
    /// The content type to accept.
    pub accept: &'a str,
    /// `Last-Event-ID`; left out if it cannot be a header.
    pub last_event_id: Option<&'a str>,
    /// Limit of the answer in bytes; `None` for no limit.
    pub limit: Option<u64>,
}

impl Web {
    /// Opens the service at `base`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `base` is not the URL of a service, the token cannot be sent there, or a setting is
    /// invalid.
    pub fn open(base: &str, bearer: Option<SecretString>, settings: Settings) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
        let parsed = gix::url::parse(base.as_bytes().as_bstr()).map_err(|_| refused("not a URL"))?;
        let url = HttpUrl::new(&parsed).ok_or_else(|| refused("not an http or https URL"))?;
        if parsed.user().is_some() || parsed.password().is_some() || base.contains(['?', '#']) {
            return Err(refused("the URL contains a user, a password or a query"));
        }
        let config = HttpConfig::new(&settings.git, &parsed)?;
        if let Some(token) = &bearer {
            let in_the_clear = "the token would cross the network in the clear: use the https URL";
            url.check_secrecy(config.insecure_http)
                .map_err(|_| refused(in_the_clear))?;
            Header::new("Authorization", token.expose_secret())
                .map_err(|_| refused("the token contains a control character"))?;
        }
        Ok(Web {
            client: Arc::new(UreqClient::new(&parsed, &settings)?),
            base: url,
            bearer,
        })
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &HttpUrl {
        &self.base
    }

    /// Sends a request. Returns `None` if the resource does not exist (status 404 or 410).
    ///
    /// # Errors
    /// There is no answer, or its status is not 200. [`Error::kind()`] says if a retry can succeed.
    pub fn get(&self, question: &Question<'_>) -> Result<Option<Reply>, Error> {
        let located = |error: Error| at(&self.base.below(&relative(question.path)), error);
        let request = HttpRequest {
            method: Method::Get,
            url: self.address(question),
            headers: self.headers(question),
            body: None,
            // The limit is checked here: a stream may have none.
            max_answer: None,
        };
        let response = self.client.send(request).map_err(located)?;
        match response.status {
            200 => {}
            404 | 410 => return Ok(None),
            _ => return Err(located(self.refused(&response))),
        }
        Ok(Some(Reply {
            headers: response.headers,
            body: response.body,
            left: question.limit.unwrap_or(u64::MAX),
        }))
    }

    /// Puts JSON to a resource. It is not an error if the service has no such resource, or does not accept this (status 404, 405,
    /// 410 or 501).
    ///
    /// # Errors
    /// There is no answer, or its status is another one than 2xx. [`Error::kind()`] says if a retry can succeed.
    pub fn put_json(&self, path: &[&str], json: &str) -> Result<(), Error> {
        let question = Question {
            path,
            accept: "application/json",
            ..Question::default()
        };
        let located = |error: Error| at(&self.base.below(&relative(path)), error);
        let mut headers = self.headers(&question);
        headers.extend(Header::new("Content-Type", "application/json"));
        let request = HttpRequest {
            method: Method::Put,
            url: self.address(&question),
            headers,
            body: Some(RequestBody {
                length: Some(json.len() as u64),
                reader: &mut json.as_bytes(),
            }),
            max_answer: Some(MAX_PUT_ANSWER),
        };
        let response = self.client.send(request).map_err(located)?;
        match response.status {
            200..=299 | 404 | 405 | 410 | 501 => Ok(()),
            _ => Err(located(self.refused(&response))),
        }
    }

    /// Returns the error of an answer that could not be read to its end.
    #[must_use]
    pub fn lost(&self, error: io::Error) -> Error {
        let error = if error.kind() == io::ErrorKind::FileTooLarge {
            Error::new(ErrorKind::Rejected, "the answer is too large")
        } else {
            body_error(error)
        };
        at(&self.base.to_string(), error)
    }

    fn address(&self, question: &Question<'_>) -> String {
        let mut url = self.base.below(&relative(question.path));
        for (index, (name, value)) in question.query.iter().enumerate() {
            let before = if index == 0 { '?' } else { '&' };
            url += &format!("{before}{}={}", encoded(name), encoded(value));
        }
        url
    }

    fn headers(&self, question: &Question<'_>) -> Vec<Header> {
        let bearer = self
            .bearer
            .as_ref()
            .map(|token| format!("Bearer {}", token.expose_secret()));
        let headers = [
            ("Accept", Some(question.accept.to_owned())),
            // A compressed stream arrives in blocks.
            ("Accept-Encoding", Some("identity".into())),
            ("Cache-Control", Some("no-store".into())),
            ("Authorization", bearer),
            ("Last-Event-ID", question.last_event_id.map(str::to_owned)),
        ];
        let given = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given
            .filter_map(|(name, value)| Header::new(name, value).ok())
            .collect()
    }

    fn refused(&self, response: &HttpResponse) -> Error {
        let status = response.status;
        let what = |meaning: &str| format!("{meaning} (HTTP {status})");
        let misconfigured =
            |meaning: &str, hint: &str| Error::new(ErrorKind::Misconfigured, what(meaning)).with_hint(hint);
        let error = match status {
            401 if self.bearer.is_none() => {
                misconfigured("the service requires a token, but none is set", "set its token")
            }
            401 | 403 => misconfigured(
                "the service refuses the token",
                "check that the token is valid and allows reading",
            ),
            407 => misconfigured(
                "the proxy asks for credentials",
                "put user and password into the URL of the proxy",
            ),
            300..=399 => misconfigured(
                "the service redirects, and redirects are not followed",
                "set the URL to the one that it redirects to",
            ),
            408 | 425 | 429 | 500.. => {
                Error::new(ErrorKind::Transient, what("the service failed, or asks to retry later"))
            }
            _ => Error::new(ErrorKind::Rejected, what("the service sent an unexpected answer")),
        };
        match response.retry_after() {
            Some(delay) => error.with_retry_after(delay),
            None => error,
        }
    }
}

impl Reply {
    /// Returns the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.headers, name)
    }
}

impl Read for Reply {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

fn at(place: &str, error: Error) -> Error {
    let what = format!("{place}: {error}");
    error.reworded(what)
}

fn relative(path: &[&str]) -> String {
    let encoded: Vec<_> = path.iter().map(|name| encoded(name)).collect();
    encoded.join("/")
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({})", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(base: &str, token: Option<&str>) -> Result<Web, Error> {
        Web::open(base, token.map(SecretString::from), Settings::default())
    }

    #[test]
    fn names_and_values_are_encoded_and_the_base_may_have_a_path() {
        for (base, expected) in [
            (
                "http://127.0.0.1:3000",
                "http://127.0.0.1:3000/feeds/a%20%C3%A9%2Fb/events?after_ts=2026-01-10T12%3A00%3A00%2B01&x=1",
            ),
            (
                "https://host/relay/",
                "https://host/relay/feeds/a%20%C3%A9%2Fb/events?after_ts=2026-01-10T12%3A00%3A00%2B01&x=1",
            ),
        ] {
            let question = Question {
                path: &["feeds", "a é/b", "events"],
                query: &[("after_ts", "2026-01-10T12:00:00+01"), ("x", "1")],
                ..Question::default()
            };
            assert_eq!(open(base, None).expect("a service").address(&question), expected);
        }
    }

    #[test]
    fn other_urls_are_refused_and_not_shown() {
        for base in [
            "",
            "relay",
            "/srv",
            "ftp://host",
            "http://canary@host",
            "http://host/?canary=1",
            "ssh://host/canary",
        ] {
            let error = open(base, None).expect_err(base);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{base}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        let error = open("http://relay.example", Some("canary")).expect_err("in the clear");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(open("http://relay.example", None).is_ok());
        assert!(open("https://relay.example", Some("can\nary")).is_err());
        let shown = format!("{:?}", open("http://127.0.0.1:1", Some("canary")).expect("a service"));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
