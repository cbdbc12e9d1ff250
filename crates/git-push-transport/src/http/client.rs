//! Requests and answers of git's smart protocol over HTTP (gitprotocol-http): authenticated, bounded, redirected.
use std::{io, io::Read, time::Duration};

use git_push::{Error, ErrorKind, Traffic};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use ureq::{Body, SendBody};

use super::agent::agent;
use super::failure::{self, Effect, Proof};
use super::{HttpUrl, Options};
use crate::{Settings, credentials::Credentials, service::Service};

/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// The most bytes of a refusal's text that are read, and the most of it that are shown.
const MAX_TEXT_READ: u64 = 4096;
const MAX_TEXT_SHOWN: usize = 200;

/// A server that is asked about one repository. Connections and TLS sessions are kept between requests.
pub(super) struct Client {
    agent: ureq::Agent,
    settings: Settings,
    configured: HttpUrl,
    /// Where the last redirect led, else what is configured.
    base: HttpUrl,
    credentials: Credentials,
    options: Options,
    traffic: Traffic,
}

/// An answer of status 200 in git's protocol, whose body is still to be read. It borrows nothing, so that the client can be
/// asked meanwhile.
pub(super) struct Answer {
    body: Body,
    effect: Effect,
    settings: Settings,
}

impl Client {
    /// A client for the repository at `url`. Nothing is sent yet.
    pub(super) fn new(
        url: HttpUrl,
        mut credentials: Credentials,
        options: Options,
        settings: Settings,
    ) -> Result<Self, Error> {
        let proxy = settings.proxy(&url, &options)?;
        let password = proxy
            .as_ref()
            .and_then(|proxy| Some((proxy.username()?, proxy.password()?)));
        if let Some((user, password)) = password {
            credentials.hide(user, password);
        }
        let agent = agent(&url, proxy, &options, &settings)?;
        Ok(Client {
            agent,
            settings,
            base: url.clone(),
            configured: url,
            credentials,
            options,
            traffic: Traffic::default(),
        })
    }

    pub(super) fn configured(&self) -> &HttpUrl {
        &self.configured
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn credentials_mut(&mut self) -> &mut Credentials {
        &mut self.credentials
    }

    /// Returns the client for the server of `url`. For the configured server it shares the open connections.
    pub(super) fn agent_for(&self, url: &HttpUrl) -> Result<ureq::Agent, Error> {
        if url.same_origin(&self.configured) {
            return Ok(self.agent.clone());
        }
        let proxy = self.settings.proxy(url, &self.options)?;
        agent(url, proxy, &self.options, &self.settings)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn count_request(&mut self) {
        self.traffic.http_requests += 1;
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Says where an error happened, and takes out of it whatever secret a server may have echoed.
    pub(super) fn located(&self, error: Error) -> Error {
        let what = format!("{}: {error}", self.configured);
        // The cause has the server's words as they came.
        error.reworded(self.scrubbed(&what)).without_source()
    }

    /// `text` of a server, for a person.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        self.credentials.scrub(text)
    }

    /// Asks for the advertisement of `service`, wherever the server redirects to (gitprotocol-http, *Smart Clients*).
    pub(super) fn advertisement(&mut self, service: Service) -> Result<Answer, Error> {
        // A push needs to say who pushes, a reader often does not.
        if service == Service::ReceivePack {
            self.credentials.ask()?;
        }
        let mut visited = vec![self.configured.clone()];
        loop {
            let base = &visited[visited.len() - 1];
            let request = self.request(Method::GET, base.advertisement(service.name()), base, service);
            let request = request.header(header::PRAGMA, "no-cache");
            let response = self.run(request, &mut Outgoing::default(), Effect::None)?;
            if self.is_asked_who_we_are(&response, base)? {
                continue;
            }
            let Some(location) = redirection(&response) else {
                let proof = self.proof(base);
                self.base = base.clone();
                return self.answer(response, content_type(service, "advertisement"), Effect::None, proof);
            };
            let next = base.redirected(&location).map_err(|error| {
                Error::new(ErrorKind::Misconfigured, error.to_string())
                    .with_hint("set the remote's URL to the repository's")
            })?;
            if visited.contains(&next) || visited.len() > MAX_REDIRECTS {
                let what = format!("the server redirects without end, the last time to {next}");
                return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("check the URL"));
            }
            if next.is_https() && !base.is_https() {
                let proxy = self.settings.proxy(&next, &self.options)?;
                self.agent = agent(&next, proxy, &self.options, &self.settings)?;
            }
            visited.push(next);
        }
    }

    /// Sends `head`, and `pack` after it, to `service`.
    pub(super) fn post(
        &mut self,
        service: Service,
        head: Vec<u8>,
        pack: Option<git_push::Pack>,
    ) -> Result<Answer, Error> {
        let base = self.base.clone();
        let effect = match service {
            Service::ReceivePack => Effect::Possible,
            Service::UploadPack => Effect::None,
        };
        if service == Service::ReceivePack {
            self.credentials.ask()?;
        }
        let mut response = self.post_once(service, &base, Outgoing::new(head.clone(), pack), effect)?;
        // A push has asked before, so that there is no pack to send again.
        if self.is_asked_who_we_are(&response, &base)? {
            response = self.post_once(service, &base, Outgoing::new(head, None), effect)?;
        }
        if let Some(location) = redirection(&response) {
            let to = base
                .resolved(&location)
                .map(|url| format!(" to {url}"))
                .unwrap_or_default();
            let what = format!("the server redirects a POST{to}, which is not followed");
            return Err(
                Error::new(ErrorKind::Misconfigured, what).with_hint("set the remote's URL to the repository's")
            );
        }
        let proof = self.proof(&base);
        self.answer(response, content_type(service, "result"), effect, proof)
    }

    fn post_once(
        &mut self,
        service: Service,
        base: &HttpUrl,
        mut body: Outgoing,
        effect: Effect,
    ) -> Result<Response<Body>, Error> {
        let request = self
            .request(Method::POST, base.service(service.name()), base, service)
            .header(header::CONTENT_TYPE, content_type(service, "request"))
            .header(header::ACCEPT, content_type(service, "result"))
            .header(header::CONTENT_LENGTH, body.left);
        self.run(request, &mut body, effect)
    }

    /// Whether the server wants to know who we are, and there is an answer now that there was not before.
    fn is_asked_who_we_are(&mut self, response: &Response<Body>, base: &HttpUrl) -> Result<bool, Error> {
        let asked = response.status() == StatusCode::UNAUTHORIZED && self.proof(base) == Proof::Absent;
        Ok(asked && base.same_origin(&self.configured) && self.credentials.ask()?)
    }

    fn request(&self, method: Method, uri: String, base: &HttpUrl, service: Service) -> ureq::http::request::Builder {
        let mut request = Request::builder().method(method).uri(uri);
        if service == Service::UploadPack {
            request = request.header("Git-Protocol", "version=2");
        }
        let authorization = self.credentials.header().filter(|_| base.same_origin(&self.configured));
        if let Some((name, value)) = authorization.and_then(|value| sensitive((&header::AUTHORIZATION, value))) {
            request = request.header(name, value);
        }
        for (name, value) in self.headers_for(base) {
            request = request.header(name, value);
        }
        request
    }

    /// The headers that are configured, for a request to `url`. They belong to the origin that is configured.
    pub(super) fn headers_for(&self, url: &HttpUrl) -> impl Iterator<Item = (&HeaderName, HeaderValue)> {
        let is_theirs = url.same_origin(&self.configured);
        let headers = self.options.headers.iter().filter(move |_| is_theirs);
        headers.filter_map(|(name, value)| sensitive((name, value)))
    }

    /// Credentials belong to the origin that is configured.
    fn proof(&self, base: &HttpUrl) -> Proof {
        match self.credentials.header() {
            None => Proof::Absent,
            Some(_) if base.same_origin(&self.configured) => Proof::Sent,
            Some(_) => Proof::Withheld,
        }
    }

    /// Runs one exchange up to the header of the answer. What did not get `body` whole cannot have acted upon it.
    fn run(
        &mut self,
        request: ureq::http::request::Builder,
        body: &mut Outgoing,
        effect: Effect,
    ) -> Result<Response<Body>, Error> {
        let whole = body.left;
        self.traffic.http_requests += 1;
        let sent = match whole {
            0 => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            _ => {
                let request = request
                    .body(SendBody::from_reader(&mut *body))
                    .map_err(ureq::Error::from);
                request.and_then(|request| self.agent.run(request))
            }
        };
        self.traffic.bytes_sent += whole - body.left;
        if sent.is_err() && body.is_interrupted() {
            return Err(Error::interrupted());
        }
        let effect = if body.left > 0 { Effect::None } else { effect };
        sent.map_err(|error| failure::lost(&error, effect, &self.settings))
    }

    fn answer(
        &mut self,
        mut response: Response<Body>,
        content_type: String,
        effect: Effect,
        proof: Proof,
    ) -> Result<Answer, Error> {
        let status = response.status();
        match status {
            StatusCode::OK if proof == Proof::Sent => self.credentials.accepted(),
            StatusCode::UNAUTHORIZED if proof == Proof::Sent => self.credentials.refused(),
            _ => {}
        }
        if status != StatusCode::OK {
            let retry_after = retry_after_of(&response);
            // Scrubbed before it is cut: half a secret would not be found.
            let text = self.scrubbed(&text_for_a_person(&mut response));
            let text: String = text.chars().take(MAX_TEXT_SHOWN).collect();
            return Err(failure::refused(status, text.trim_end(), retry_after, effect, proof));
        }
        if response.body().mime_type() != Some(content_type.as_str()) {
            return Err(failure::not_git(response.body().mime_type(), effect));
        }
        Ok(Answer {
            body: response.into_body(),
            effect,
            settings: self.settings.clone(),
        })
    }
}

impl Answer {
    /// Gives the body to `take`, piece by piece, `limit` bytes at most, as sent and as unpacked.
    ///
    /// # Errors
    /// Those of `take`, and whatever keeps the body from arriving whole.
    pub(super) fn read(self, limit: u64, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        // ureq refuses to look for the end of a body that has exactly the size of the limit.
        let limit = limit.saturating_add(1);
        let mut reader = self.body.into_with_config().limit(limit).reader();
        let mut piece = vec![0; 64 << 10];
        let mut left = limit;
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    left = left.saturating_sub(length as u64);
                    if left == 0 {
                        let large = ureq::Error::BodyExceedsLimit(limit);
                        return Err(failure::lost(&large, self.effect, &self.settings));
                    }
                    take(&piece[..length])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure::lost(&error.into(), self.effect, &self.settings)),
            }
        }
    }
}

fn sensitive<'a>((name, value): (&'a HeaderName, &SecretString)) -> Option<(&'a HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// How long the server asks to wait.
pub(crate) fn retry_after_of(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    failure::retry_after(value, Timestamp::now())
}

fn content_type(service: Service, what: &str) -> String {
    format!("application/x-{}-{what}", service.name())
}

/// A request's body on its way.
#[derive(Default)]
struct Outgoing {
    head: io::Cursor<Vec<u8>>,
    pack: Option<git_push::Pack>,
    left: u64,
}

impl Outgoing {
    fn new(head: Vec<u8>, pack: Option<git_push::Pack>) -> Self {
        Outgoing {
            left: head.len() as u64 + pack.as_ref().map_or(0, |pack| pack.bytes),
            head: io::Cursor::new(head),
            pack,
        }
    }
}

impl Outgoing {
    /// Returns true if the caller stopped the push before the whole body was read.
    fn is_interrupted(&self) -> bool {
        self.left > 0 && self.pack.as_ref().is_some_and(git_push::Pack::is_interrupted)
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut read = self.head.read(&mut buffer[..most])?;
        if let (0, Some(pack)) = (read, &mut self.pack) {
            read = pack.read(&mut buffer[..most])?;
        }
        if read == 0 && most > 0 {
            // The length was announced: without this, the rest would be awaited forever.
            return Err(io::Error::other("the spooled pack is shorter than it was"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Where the server says that what was asked for is.
fn redirection(response: &Response<Body>) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    Some(location.to_str().unwrap_or_default().to_owned())
}

/// The first lines of a refusal in plain text; a web page says nothing to a person here.
fn text_for_a_person(response: &mut Response<Body>) -> String {
    if response.body().mime_type() != Some("text/plain") {
        return String::new();
    }
    let mut text = Vec::new();
    // A part of the text, or none, is as good: the status says what matters.
    let _ = response
        .body_mut()
        .as_reader()
        .take(MAX_TEXT_READ)
        .read_to_end(&mut text);
    git_push::cleaned(&text).trim().to_owned()
}
