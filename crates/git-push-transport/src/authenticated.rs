//! Requests to a service beside a repository, such as a server of Git LFS, with the credentials that git would use for its URL.
//!
//! TLS, trust roots, proxies and time limits are those for repositories. Redirects are not followed. Credentials are sent to the
//! service itself only; a request to another URL carries the headers that its caller gives. Errors do not quote the server, which
//! may echo a secret.
use std::{
    fmt,
    io::{self, Read},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind, Traffic};
use secrecy::{ExposeSecret, SecretString};

use crate::credentials::Need;
use crate::git_credentials::GitCredentials;
use crate::http::authentication::Authentication;
use crate::http_client::{Header, HttpClient, HttpRequest, HttpResponse, Method, RequestBody};
use crate::http_config::HttpConfig;
use crate::settings::Settings;
use crate::ureq_client::UreqClient;
use crate::url::HttpUrl;

const UNAUTHORIZED: u16 = 401;

/// A service. Its methods block, and may be called by several threads at once. `Debug` does not show secrets.
pub struct Authenticated {
    url: HttpUrl,
    client: UreqClient,
    authentication: Mutex<Authentication>,
    /// Configured headers of requests to the service.
    headers: Vec<Header>,
    insecure_http: bool,
    requests: AtomicU64,
    bytes_sent: AtomicU64,
}

/// A request to any URL, with all of its headers.
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// The absolute URL. Its query may contain a secret.
    pub url: &'a str,
    /// Names and values of the headers.
    pub headers: &'a [(String, SecretString)],
    /// The body, if there is one.
    pub body: Option<RequestBody<'a>>,
    /// Limit of the answer's body in bytes.
    pub max_answer: u64,
}

impl Authenticated {
    /// Opens the service at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not http or https, credentials would cross a network in the clear, or a setting
    /// is invalid.
    pub fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let shown = HttpUrl::new(url).ok_or_else(not_http)?;
        let config = HttpConfig::new(&settings.git, url)?;
        let client = UreqClient::new(url, settings)?;
        let mut secrets = client.secrets();
        secrets.extend(config.secrets());
        let secrecy = shown.check_secrecy(config.insecure_http);
        if !config.headers.is_empty() {
            secrecy.map_err(Error::from)?;
        }
        let credentials = Box::new(GitCredentials::new(url, settings)?);
        let authentication = Authentication::new(shown.clone(), secrecy, credentials, secrets)?;
        Ok(Authenticated {
            url: shown,
            client,
            authentication: Mutex::new(authentication),
            headers: config.headers,
            insecure_http: config.insecure_http,
            requests: AtomicU64::default(),
            bytes_sent: AtomicU64::default(),
        })
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Returns the requests so far, those to other URLs included.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        traffic.http_requests = self.requests.load(Ordering::Relaxed);
        traffic.bytes_sent = self.bytes_sent.load(Ordering::Relaxed);
        traffic
    }

    /// Returns `text` without the credentials of the service.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        self.authentication().scrub(text)
    }

    /// Posts `body` to `path` below the URL, with the credentials. Asks a helper for some if the server refuses the request
    /// without any. The answer has any status.
    ///
    /// # Errors
    /// The credentials cannot be read, or there is no answer.
    pub fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        max_answer: u64,
    ) -> Result<HttpResponse, Error> {
        loop {
            let authorization = self.authentication().header().cloned();
            let response = self.post_once(path, headers, body, max_answer, authorization.as_ref())?;
            let mut authentication = self.authentication();
            if response.status != UNAUTHORIZED {
                if authorization.is_some() && (200..300).contains(&response.status) {
                    authentication.accepted();
                }
                return Ok(response);
            }
            if authorization.is_some() {
                authentication.refused();
                return Ok(response);
            }
            if !authentication.ask(Need::Demanded)? {
                return Ok(response);
            }
        }
    }

    fn post_once(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        max_answer: u64,
        authorization: Option<&SecretString>,
    ) -> Result<HttpResponse, Error> {
        let mut all = self.headers.clone();
        all.extend(authorization.and_then(|value| Header::new("Authorization", value.clone()).ok()));
        all.extend(
            headers
                .iter()
                .filter_map(|(name, value)| Header::new(name, *value).ok()),
        );
        let mut reader = body;
        self.exchange(HttpRequest {
            method: Method::Post,
            url: self.url.below(path),
            headers: all,
            body: Some(RequestBody {
                length: Some(body.len() as u64),
                reader: &mut reader,
            }),
            max_answer: Some(max_answer),
        })
    }

    /// Sends a request to any URL. The credentials of the service are not added. The answer has any status.
    ///
    /// # Errors
    /// The URL or a header is invalid, headers would cross a network in the clear, or there is no answer.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<HttpResponse, Error> {
        let url = shown_url(outgoing.url).ok_or_else(not_http)?;
        if !outgoing.headers.is_empty() {
            url.check_secrecy(self.insecure_http).map_err(Error::from)?;
        }
        let header = |(name, value): &(String, SecretString)| {
            Header::new(name, value.expose_secret())
                .map_err(|_| Error::new(ErrorKind::Rejected, "the server named an invalid HTTP header"))
        };
        self.exchange(HttpRequest {
            method: outgoing.method,
            url: outgoing.url.to_owned(),
            headers: outgoing.headers.iter().map(header).collect::<Result<_, _>>()?,
            body: outgoing.body,
            max_answer: Some(outgoing.max_answer),
        })
    }

    /// Sends a request, and counts it.
    fn exchange(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut counted = request.body.map(|body| {
            let reader = Counted {
                reader: body.reader,
                bytes: &self.bytes_sent,
            };
            (body.length, reader)
        });
        self.client.send(HttpRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: counted.as_mut().map(|(length, reader)| RequestBody {
                length: *length,
                reader,
            }),
            max_answer: request.max_answer,
        })
    }

    fn authentication(&self) -> MutexGuard<'_, Authentication> {
        self.authentication.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, whose bytes are counted.
struct Counted<'a> {
    reader: &'a mut (dyn Read + Send),
    bytes: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Returns a URL without the parts that may be secret; `None` unless it is http or https.
#[must_use]
pub fn shown_url(url: &str) -> Option<HttpUrl> {
    HttpUrl::new(&gix::url::parse(url.as_bytes().as_bstr()).ok()?)
}

/// Returns the delay that the server asks for (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after(response: &HttpResponse) -> Option<std::time::Duration> {
    response.retry_after()
}

fn not_http() -> Error {
    Error::new(ErrorKind::Misconfigured, "not an http or https URL")
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticated({})", self.url)
    }
}
