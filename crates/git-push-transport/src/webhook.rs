//! Notifications over HTTP: JSON by `POST`. TLS, trust roots and proxies are those for repositories. Redirects are not followed.
//! The URL may contain secrets, so errors name its scheme, host and port only.
use std::fmt;

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::http_client::{Header, HttpClient, HttpRequest, HttpResponse, Method, NoConnection, RequestBody};
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::ureq_client::UreqClient;
use crate::url::HttpUrl;

/// Limit of an answer, which is not read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// A recipient of notifications. Its method blocks. `Debug` does not show the URL.
pub struct Webhook {
    url: SecretString,
    /// Scheme, host and port.
    origin: String,
    client: UreqClient,
}

/// Extent to which a post has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostExtent {
    /// There was no connection, so nothing was sent.
    NotSent,
    /// There was no answer, or the server asks to retry later.
    NotAnswered,
    /// The server does not accept what was posted.
    Refused,
}

/// Failure of a post.
#[derive(Debug)]
pub struct PostError {
    /// Its extent.
    pub extent: PostExtent,
    /// Its cause, without the URL.
    pub error: Error,
}

impl Webhook {
    /// Opens the recipient at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `url` is not http or https, or has a user or a password, or a setting is invalid.
    pub fn open(url: &str, settings: &Settings) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
        let parsed = gix::url::parse(url.as_bytes().as_bstr()).map_err(|_| refused("not a URL"))?;
        let parts = HttpUrl::new(&parsed).ok_or_else(|| refused("not an http or https URL"))?;
        if parsed.user().is_some() || parsed.password().is_some() {
            return Err(refused("the URL contains a user or a password, which are not sent"));
        }
        Ok(Webhook {
            client: UreqClient::new(&parsed, settings)?,
            origin: parts.origin_and_path().0.to_owned(),
            url: url.into(),
        })
    }

    /// Posts JSON, with these additional headers.
    ///
    /// # Errors
    /// There is no answer, or its status is not 2xx. [`Error::kind()`] is [`ErrorKind::Transient`] if a retry can succeed.
    pub fn post_json(&self, json: &str, headers: &[(&str, &str)]) -> Result<(), PostError> {
        let fixed = [("Content-Type", "application/json"), ("Accept", "*/*")];
        let headers = fixed.iter().chain(headers);
        let headers = headers.map(|(name, value)| Header::new(name, *value));
        let not_a_header = |_| {
            let error = Error::new(ErrorKind::Misconfigured, "a header is invalid");
            self.failed(PostExtent::NotSent, error)
        };
        let request = HttpRequest {
            method: Method::Post,
            url: self.url.expose_secret().to_owned(),
            headers: headers.collect::<Result<_, _>>().map_err(not_a_header)?,
            body: Some(RequestBody {
                length: Some(json.len() as u64),
                reader: &mut json.as_bytes(),
            }),
            max_answer: Some(MAX_ANSWER),
        };
        let response = self.client.send(request).map_err(|error| {
            let is_sent = std::error::Error::source(&error).is_none_or(|cause| !cause.is::<NoConnection>());
            let extent = if is_sent {
                PostExtent::NotAnswered
            } else {
                PostExtent::NotSent
            };
            self.failed(extent, error)
        })?;
        match response.status {
            200..=299 => Ok(()),
            408 | 425 | 429 | 503 => Err(self.failed(PostExtent::NotAnswered, refused(&response))),
            _ => Err(self.failed(PostExtent::Refused, refused(&response))),
        }
    }

    fn failed(&self, extent: PostExtent, error: Error) -> PostError {
        PostError {
            extent,
            error: self.located(error),
        }
    }

    /// Returns the error with the origin, and without the URL.
    fn located(&self, error: Error) -> Error {
        let mut secrets = Secrets::default();
        let url = self.url.expose_secret();
        secrets.add(url);
        secrets.add(url.get(self.origin.len()..).unwrap_or_default());
        let what = format!("{}: {}", self.origin, secrets.scrub(&error.to_string()));
        error.reworded(what).without_source()
    }
}

/// Returns the error of an answer that is not 2xx.
fn refused(response: &HttpResponse) -> Error {
    let status = response.status;
    let error = |kind, what: &str| Error::new(kind, format!("{what} (HTTP {status})"));
    let error = match status {
        300..=399 => error(
            ErrorKind::Misconfigured,
            "the server redirects, and redirects are not followed",
        ),
        408 | 425 | 429 | 500.. => error(ErrorKind::Transient, "the server failed, or asks to retry later"),
        _ => error(ErrorKind::Rejected, "the server does not accept it"),
    };
    match response.retry_after() {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_urls_are_refused_and_no_url_is_shown() {
        for url in [
            "",
            "hooks",
            "ftp://host/canary",
            "https://canary@host/",
            "https://me:canary@host",
        ] {
            let error = Webhook::open(url, &Settings::default()).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        // Nothing listens on port 1.
        let webhook = Webhook::open("http://127.0.0.1:1/canary/?key=canary", &Settings::default());
        let webhook = webhook.expect("a recipient");
        assert_eq!(format!("{webhook:?}"), "Webhook(http://127.0.0.1:1)");
        let PostError { extent, error } = webhook.post_json("{}", &[]).expect_err("nothing listens");
        assert_eq!(extent, PostExtent::NotSent);
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(error.to_string().starts_with("http://127.0.0.1:1: "), "{error}");
    }
}
