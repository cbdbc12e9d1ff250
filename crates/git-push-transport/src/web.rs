//! A service over HTTP that is asked with GET, such as a relay of events: the same TLS, trust roots, proxies and time limits as
//! for a mirror, and a bearer token (RFC 6750) instead of a user. A redirect is not followed; what the server says in words
//! is not repeated, for it may echo the token.
use std::io::{self, Read};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};
use ureq::http::{HeaderValue, Request, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::credentials::may_travel;
use super::http::{HttpUrl, agent, lost, retry_after_of};
use super::settings::Settings;
use super::url::encoded;

/// A service, which may be shown: neither token nor user info are. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Web {
    base: HttpUrl,
    bearer: Option<SecretString>,
    agent: Agent,
    settings: Settings,
}

/// An answer of status 200, whose body is still to be read. Reading ends with an error when the server is silent for
/// [`Settings::idle_timeout`], and with [`io::ErrorKind::FileTooLarge`] beyond its limit.
pub struct Reply {
    body: Box<dyn Read + Send>,
    left: u64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// Names below the service's URL, in any characters.
    pub path: &'a [&'a str],
    /// Members of the query, in any characters.
    pub query: &'a [(&'a str, &'a str)],
    /// The type of the answer.
    pub accept: &'a str,
    /// `Last-Event-ID`; left out where it cannot be a header.
    pub last_event_id: Option<&'a str>,
    /// The most bytes of the answer that are read; no limit where it is `None`.
    pub limit: Option<u64>,
}

impl Web {
    /// The service at `base`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when `base` is not the URL of one, when the token cannot be sent there, or a setting is not
    /// usable.
    pub fn open(base: &str, bearer: Option<SecretString>, settings: Settings) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
        let parsed = gix::url::parse(base.as_bytes().as_bstr()).map_err(|_| refused("it is no URL"))?;
        let url = HttpUrl::new(&parsed).ok_or_else(|| refused("it is no URL of http or https"))?;
        if parsed.user().is_some() || parsed.password().is_some() || base.contains(['?', '#']) {
            return Err(refused("it has a user, a password or a query in it"));
        }
        let options = settings.options(&parsed)?;
        if let Some(token) = &bearer {
            let in_the_clear = "the token for it would cross the network in the clear: use its https URL";
            may_travel(&parsed, &options).map_err(|_| refused(in_the_clear))?;
            HeaderValue::from_str(token.expose_secret())
                .map_err(|_| refused("the token for it has a control character in it"))?;
        }
        let agent = agent(&url, settings.proxy(&url, &options)?, &options, &settings)?;
        Ok(Web {
            base: url,
            bearer,
            agent,
            settings,
        })
    }

    /// Its URL.
    pub fn url(&self) -> &HttpUrl {
        &self.base
    }

    /// Asks; `None` when there is no such thing (status 404 or 410).
    ///
    /// # Errors
    /// There is no answer, or one of another status than 200. [`Error::kind()`] says whether asking again helps.
    pub fn get(&self, question: &Question<'_>) -> Result<Option<Reply>, Error> {
        let url = self.address(question);
        let located = |error: Error| at(&self.base.below(&relative(question.path)), error);
        let request = self.request(&url, question).map_err(located)?;
        let sent = self.agent.run(request);
        let response = sent.map_err(|error| located(lost(&error, &self.settings)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            _ => return Err(located(self.refused(&response))),
        }
        Ok(Some(Reply {
            // The limit is ours: ureq's would end a stream of years.
            body: Box::new(response.into_body().into_with_config().limit(u64::MAX).reader()),
            left: question.limit.unwrap_or(u64::MAX),
        }))
    }

    /// Why an answer could not be read to its end.
    pub fn lost(&self, error: io::Error) -> Error {
        let error = match error.kind() {
            io::ErrorKind::FileTooLarge => Error::new(ErrorKind::Rejected, "its answer is too large"),
            _ => lost(&error.into(), &self.settings),
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

    fn request(&self, url: &str, question: &Question<'_>) -> Result<Request<()>, Error> {
        let mut request = Request::get(url)
            .header(header::ACCEPT, question.accept)
            // A stream that is compressed comes in blocks.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CACHE_CONTROL, "no-store");
        if let Some(token) = &self.bearer {
            let value = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::from_str(&value).map_err(no_request)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let last = question.last_event_id.map(|id| HeaderValue::from_bytes(id.as_bytes()));
        if let Some(Ok(id)) = last {
            request = request.header("Last-Event-ID", id);
        }
        request.body(()).map_err(no_request)
    }

    fn refused(&self, response: &Response<Body>) -> Error {
        let status = response.status();
        let what = |meaning: &str| format!("{meaning} (HTTP {})", status.as_u16());
        let misconfigured =
            |meaning: &str, hint: &str| Error::new(ErrorKind::Misconfigured, what(meaning)).with_hint(hint);
        let error = match status.as_u16() {
            401 if self.bearer.is_none() => misconfigured("it asks for a token, and there is none", "set its token"),
            401 | 403 => misconfigured(
                "it refuses the token",
                "check that the token is valid and allows reading",
            ),
            407 => misconfigured(
                "the proxy asks for credentials",
                "put user and password into the URL of the proxy",
            ),
            300..=399 => misconfigured(
                "it redirects, which is not followed",
                "give the URL that it redirects to",
            ),
            408 | 425 | 429 | 500.. => Error::new(ErrorKind::Transient, what("it asks us to come again, or failed")),
            _ => Error::new(ErrorKind::Rejected, what("it gives an answer that is not understood")),
        };
        match retry_after_of(response) {
            Some(delay) => error.with_retry_after(delay),
            None => error,
        }
    }
}

impl Read for Reply {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

fn no_request<E>(_: E) -> Error {
    Error::new(ErrorKind::Misconfigured, "no request can be made of what is asked")
}

fn at(place: &str, error: Error) -> Error {
    let what = format!("{place}: {error}");
    error.reworded(what)
}

fn relative(path: &[&str]) -> String {
    let encoded: Vec<_> = path.iter().map(|name| encoded(name)).collect();
    encoded.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(base: &str, token: Option<&str>) -> Result<Web, Error> {
        let settings = Settings::from_environment(|_| None).expect("settings");
        Web::open(base, token.map(SecretString::from), settings)
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
    fn what_is_no_service_is_refused_and_not_shown() {
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
