//! The interface to HTTP: requests, answers, and the trait that exchanges them.
//!
//! Implement [`HttpClient`] to send requests with the HTTP stack of an application, and pass it to
//! [`Http::new()`](crate::http::Http::new). With the feature `http`, [`UreqClient`](crate::ureq_client::UreqClient) is the
//! default.
use std::{
    fmt,
    io::{self, Read},
    time::Duration,
};

use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// The longest delay of a `Retry-After` that is obeyed.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// A client of HTTP. It manages connections, TLS, proxies and time limits itself.
pub trait HttpClient: Send + Sync {
    /// Sends `request`, and returns the answer of any status once its header has arrived. This blocks.
    ///
    /// The client sends the headers of the request, adds `Host`, `User-Agent`, and, if there is a body, `Content-Length` or
    /// `Transfer-Encoding: chunked`, and follows no redirect. If it asks for a compressed answer, it decompresses the body.
    ///
    /// If the reader of the body fails, the client must close the connection without the end of the body. If the server
    /// answers before the end of the body, the client may stop reading it and return the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] if the network or the server fails, [`ErrorKind::Misconfigured`] if a retry cannot help.
    /// The text of the error says why, and contains no secrets. A push whose body was read to its end becomes
    /// [`ErrorKind::Uncertain`] in the caller.
    fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error>;

    /// Returns true if the client sends bodies of unknown length, in chunks. By default all bodies have a length.
    fn takes_streams(&self) -> bool {
        false
    }
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
}

impl Method {
    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
        }
    }
}

/// A request of HTTP.
#[derive(Debug)]
#[non_exhaustive]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: Method,
    /// The absolute URL, without user info. Its query may contain a secret.
    pub url: String,
    /// Headers in the order in which they are sent.
    pub headers: Vec<Header>,
    /// The body, except of a `GET`.
    pub body: Option<RequestBody<'a>>,
    /// Limit of the answer's body in bytes, as received and as decompressed. The caller checks the latter, too.
    pub max_answer: Option<u64>,
}

/// The body of a request.
pub struct RequestBody<'a> {
    /// Length in bytes. `None` if it is not known, which a client that
    /// [`takes_streams()`](HttpClient::takes_streams()) allows.
    pub length: Option<u64>,
    /// The bytes. The reader fails if the caller asks to stop.
    pub reader: &'a mut (dyn Read + Send),
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) => write!(f, "RequestBody({length} bytes)"),
            None => f.write_str("RequestBody(chunks)"),
        }
    }
}

/// A header of a request. `Debug` does not show its value.
#[derive(Debug, Clone)]
pub struct Header {
    name: String,
    value: SecretString,
}

/// The text is not a valid HTTP header (RFC 9110, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid HTTP header")]
pub struct BadHeader;

impl Header {
    /// Creates a header.
    ///
    /// # Errors
    /// The name is not a token, or the value has a control character other than a tab.
    pub fn new(name: &str, value: impl Into<SecretString>) -> Result<Self, BadHeader> {
        let value = value.into();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_visible = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        let valid = !name.is_empty() && name.bytes().all(is_token) && value.expose_secret().bytes().all(is_visible);
        let name = name.to_ascii_lowercase();
        valid.then_some(Header { name, value }).ok_or(BadHeader)
    }

    /// Returns the name in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value, which may be secret.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.expose_secret()
    }
}

/// An answer of HTTP.
#[non_exhaustive]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names and values of the headers. A value that is not UTF-8 may be left out.
    pub headers: Vec<(String, String)>,
    /// The body. An error of the client, such as a time limit, can be an [`Error`] inside of the [`io::Error`].
    pub body: Box<dyn Read + Send>,
}

impl HttpResponse {
    /// Creates an answer.
    #[must_use]
    pub fn new(status: u16, headers: Vec<(String, String)>, body: Box<dyn Read + Send>) -> Self {
        HttpResponse { status, headers, body }
    }

    /// Returns the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.headers, name)
    }

    /// Returns the `Content-Type` without parameters.
    #[must_use]
    pub fn mime_type(&self) -> Option<&str> {
        let value = self.header("Content-Type")?;
        Some(value.split(';').next().unwrap_or_default().trim())
    }

    /// Returns the delay that the server asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("Retry-After")?, Timestamp::now())
    }

    /// Returns the time of the server.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        let date = jiff::fmt::rfc2822::parse(self.header("Date")?).ok()?;
        Some(date.timestamp())
    }
}

/// Returns the value of the first header of this name, in any case.
pub(crate) fn header_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({})", self.status)
    }
}

/// Returns the delay of a `Retry-After`: seconds, or a date after `now` (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let delay = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

/// Returns the error of an incomplete body: the client's error if it contains one, else an error by its kind.
pub(crate) fn body_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::new(ErrorKind::Transient, connection_failure(&error)),
    }
}

/// Cause of an error: there was no connection, so nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("there was no connection")]
pub(crate) struct NoConnection;

/// Returns a sentence about a connection that failed.
pub(crate) fn connection_failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused: nothing listens there".into(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "the server closed the connection before its answer was complete".into(),
        _ => format!("the connection failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_capped() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        let cases = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn headers_are_tokens_and_visible_text() {
        let header = Header::new("X-One", "a\tb ü").expect("a header");
        assert_eq!((header.name(), header.value()), ("x-one", "a\tb ü"));
        assert!(!format!("{header:?}").contains("a\tb"));
        for (name, value) in [("", "x"), ("a b", "x"), ("a:", "x"), ("a", "x\n"), ("a", "\u{7f}")] {
            assert_eq!(Header::new(name, value).err(), Some(BadHeader), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn an_error_of_the_client_comes_out_of_the_body() {
        let inner = Error::new(ErrorKind::Misconfigured, "no");
        let error = body_error(io::Error::other(inner));
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Misconfigured, "no")
        );
        let error = body_error(io::ErrorKind::ConnectionReset.into());
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
}
