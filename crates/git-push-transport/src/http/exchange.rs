//! Requests and answers of git's smart protocol over HTTP (gitprotocol-http): authenticated, bounded, redirected.
use std::{
    io::{self, Read},
    sync::Arc,
};

use git_push::{Error, ErrorKind, Remedy, Traffic};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::authentication::Authentication;
use super::failure::{self, Effect, Proof};
use crate::credentials::{Need, Renewable};
use crate::forge_api::answer;
use crate::http_client::{Header, HttpClient, HttpRequest, HttpResponse, Method, RequestBody, body_error};
use crate::service::Service;
use crate::transport::TokenUse;
use crate::url::HttpUrl;

/// Limit of redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// Limits of a refusal's text: in bytes that are read, and in characters that are shown.
const MAX_TEXT_READ: u64 = 4096;
const MAX_TEXT_SHOWN: usize = 200;

/// Limit of an answer that is not in git's protocol, in bytes.
const MAX_OTHER_ANSWER: u64 = 1 << 20;

const OK: u16 = 200;
const UNAUTHORIZED: u16 = 401;

/// The exchanges with one repository.
pub(super) struct Exchange {
    client: Arc<dyn HttpClient>,
    configured: HttpUrl,
    /// The URL after the last redirect, at first the configured one.
    base: HttpUrl,
    authentication: Authentication,
    /// Headers of every request to the configured origin.
    headers: Vec<Header>,
    traffic: Traffic,
    /// Answers that concern the credentials so far.
    pub(super) token_use: TokenUse,
    /// Difference of the clocks in seconds, by the last answer with a time; positive if that of this machine is ahead.
    pub(super) clock_ahead: Option<i64>,
}

/// An answer of status 200 in git's protocol, whose body is not read yet. It borrows nothing, so that the exchange can be used
/// meanwhile.
pub(super) struct Answer {
    body: Box<dyn Read + Send>,
    effect: Effect,
    limit: u64,
}

impl Exchange {
    /// Prepares exchanges with the repository at `url`. Nothing is sent yet.
    pub(super) fn new(
        url: HttpUrl,
        client: Arc<dyn HttpClient>,
        authentication: Authentication,
        headers: Vec<Header>,
    ) -> Self {
        Exchange {
            client,
            base: url.clone(),
            configured: url,
            authentication,
            headers,
            traffic: Traffic::default(),
            token_use: TokenUse::default(),
            clock_ahead: None,
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Returns the credentials, if they renew themselves.
    pub(super) fn renewable(&mut self) -> Option<&mut dyn Renewable> {
        self.authentication.renewable()
    }

    /// Adds the URL to an error, and removes secrets that a server may have echoed.
    pub(super) fn located(&self, error: Error) -> Error {
        let what = format!("{}: {error}", self.configured);
        // The cause has the server's text unchanged.
        error.reworded(self.scrubbed(&what)).without_source()
    }

    /// Returns `text` of a server without secrets.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        self.authentication.scrub(text)
    }

    /// Returns the configured URL.
    pub(super) fn configured(&self) -> &HttpUrl {
        &self.configured
    }

    /// Returns the `Authorization` of the configured origin, after asking for credentials if there are none yet.
    ///
    /// # Errors
    /// The credentials cannot be read, or are invalid.
    pub(super) fn authorization(&mut self) -> Result<Option<&SecretString>, Error> {
        self.authentication.ask(Need::Demanded)?;
        Ok(self.authentication.header())
    }

    /// Sends one request that is not of git's protocol. The configured headers belong to the configured origin, and are added
    /// if `url` has it.
    ///
    /// # Errors
    /// The URL is not understood, or there is no answer.
    pub(super) fn request(
        &mut self,
        method: Method,
        url: String,
        mut headers: Vec<Header>,
        body: Vec<u8>,
    ) -> Result<HttpResponse, Error> {
        let parsed = gix::url::parse(url.as_str()).ok();
        let origin = parsed.as_ref().and_then(HttpUrl::new);
        let origin =
            origin.ok_or_else(|| Error::new(ErrorKind::Misconfigured, "the URL of the API is not understood"))?;
        if origin.same_origin(&self.configured) {
            headers.extend(self.headers.iter().cloned());
        }
        let mut body = Outgoing::new(body, None);
        self.run(method, url, headers, &mut body, Effect::None, MAX_OTHER_ANSWER)
    }

    /// Asks for the advertisement of `service`, and follows redirects (gitprotocol-http, *Smart Clients*).
    pub(super) fn advertisement(&mut self, service: Service, limit: u64) -> Result<Answer, Error> {
        self.authentication.ask(need_of(service))?;
        let mut visited = vec![self.configured.clone()];
        loop {
            let base = &visited[visited.len() - 1];
            let mut headers = self.headers(base, service);
            headers.push(plain("Pragma", "no-cache"));
            let url = base.advertisement(service.name());
            let response = self.run(Method::Get, url, headers, &mut Outgoing::default(), Effect::None, limit)?;
            if self.is_asked_for_credentials(&response, base)? {
                continue;
            }
            let Some(location) = redirection(&response) else {
                let proof = self.proof(base);
                self.base = base.clone();
                let content_type = content_type(service, "advertisement");
                return self.answer(response, &content_type, Effect::None, proof, limit);
            };
            let next = base.redirected(&location).map_err(|error| {
                Error::new(ErrorKind::Misconfigured, error.to_string())
                    .with_hint("set the remote's URL to the current URL of the repository")
            })?;
            if visited.contains(&next) || visited.len() > MAX_REDIRECTS {
                let what = format!("the server redirects without end, the last time to {next}");
                return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("check the URL"));
            }
            visited.push(next);
        }
    }

    /// Sends `head`, and `pack` after it, to `service`. The body of the answer has at most `limit` bytes.
    pub(super) fn post(
        &mut self,
        service: Service,
        head: Vec<u8>,
        pack: Option<git_push::Pack>,
        limit: u64,
    ) -> Result<Answer, Error> {
        let base = self.base.clone();
        let effect = match service {
            Service::ReceivePack => Effect::Possible,
            Service::UploadPack => Effect::None,
        };
        self.authentication.ask(need_of(service))?;
        let (again, has_pack) = (head.clone(), pack.is_some());
        let mut response = self.post_once(service, &base, Outgoing::new(head, pack), effect, limit)?;
        if self.is_asked_for_credentials(&response, &base)? {
            if has_pack {
                // It cannot be read again.
                let what = "the server demands credentials; nothing was changed on the remote";
                return Err(Error::new(ErrorKind::Transient, what).with_remedy(Remedy::Again));
            }
            response = self.post_once(service, &base, Outgoing::new(again, None), effect, limit)?;
        }
        if let Some(location) = redirection(&response) {
            let to = base.resolved(&location).map(|url| format!(" to {url}"));
            let to = to.unwrap_or_default();
            let what = format!("the server redirects a POST{to}, and such redirects are not followed");
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("set the remote's URL to the current URL of the repository"));
        }
        let proof = self.proof(&base);
        self.answer(response, &content_type(service, "result"), effect, proof, limit)
    }

    fn post_once(
        &mut self,
        service: Service,
        base: &HttpUrl,
        mut body: Outgoing,
        effect: Effect,
        limit: u64,
    ) -> Result<HttpResponse, Error> {
        let mut headers = self.headers(base, service);
        headers.push(plain("Content-Type", &content_type(service, "request")));
        headers.push(plain("Accept", &content_type(service, "result")));
        let url = base.service(service.name());
        self.run(Method::Post, url, headers, &mut body, effect, limit)
    }

    /// Returns true if the server asks for credentials that were not sent, or refuses some that renew themselves, and there are
    /// others now.
    fn is_asked_for_credentials(&mut self, response: &HttpResponse, base: &HttpUrl) -> Result<bool, Error> {
        if response.status != UNAUTHORIZED || !base.same_origin(&self.configured) {
            return Ok(false);
        }
        match self.proof(base) {
            Proof::Absent => self.authentication.ask(Need::Demanded),
            Proof::Sent => self.authentication.renew(),
            Proof::Withheld => Ok(false),
        }
    }

    /// Returns the headers of a request. Credentials and configured headers belong to the configured origin.
    fn headers(&self, base: &HttpUrl, service: Service) -> Vec<Header> {
        let mut headers = Vec::new();
        if service == Service::UploadPack {
            headers.push(plain("Git-Protocol", "version=2"));
        }
        if base.same_origin(&self.configured) {
            let value = self.authentication.header().map(|value| value.expose_secret());
            headers.extend(value.and_then(|value| Header::new("Authorization", value).ok()));
            headers.extend(self.headers.iter().cloned());
        }
        headers
    }

    fn proof(&self, base: &HttpUrl) -> Proof {
        match self.authentication.header() {
            None => Proof::Absent,
            Some(_) if base.same_origin(&self.configured) => Proof::Sent,
            Some(_) => Proof::Withheld,
        }
    }

    /// Runs one exchange up to the header of the answer. A server that did not get the whole body cannot have acted on it.
    fn run(
        &mut self,
        method: Method,
        url: String,
        headers: Vec<Header>,
        body: &mut Outgoing,
        effect: Effect,
        limit: u64,
    ) -> Result<HttpResponse, Error> {
        let length = body.length();
        self.traffic.http_requests += 1;
        let request = HttpRequest {
            method,
            url,
            headers,
            body: (length != Some(0)).then_some(RequestBody { length, reader: body }),
            max_answer: Some(limit),
        };
        let sent = self.client.send(request);
        self.traffic.bytes_sent += body.read;
        match sent {
            Ok(response) => {
                let ahead = response
                    .date()
                    .map(|date| Timestamp::now().as_second() - date.as_second());
                self.clock_ahead = ahead.or(self.clock_ahead);
                Ok(response)
            }
            Err(error) if body.is_complete() => Err(effect.of(error)),
            Err(error) => Err(body.failure().unwrap_or_else(|| body.lost(error))),
        }
    }

    /// Records what an answer says about the credentials.
    fn judged(&mut self, status: u16, response: &HttpResponse) {
        match status {
            OK => self.authentication.accepted(),
            UNAUTHORIZED => self.authentication.refused(),
            _ => return,
        }
        self.token_use.accepted |= status == OK;
        self.token_use.refused = status == UNAUTHORIZED;
        self.token_use.ends = answer::token_ends(response).or(self.token_use.ends);
    }

    /// Returns true if packs of unknown length can be sent.
    pub(super) fn takes_streams(&self) -> bool {
        self.client.takes_streams()
    }

    fn answer(
        &mut self,
        response: HttpResponse,
        content_type: &str,
        effect: Effect,
        proof: Proof,
        limit: u64,
    ) -> Result<Answer, Error> {
        let status = response.status;
        if proof == Proof::Sent {
            self.judged(status, &response);
        }
        if status != OK {
            let retry_after = response.retry_after();
            // Secrets are removed before the text is cut, because half a secret would not be found.
            let text = self.scrubbed(&text_for_a_person(response));
            let text: String = text.chars().take(MAX_TEXT_SHOWN).collect();
            return Err(failure::refused(status, text.trim_end(), retry_after, effect, proof));
        }
        if response.mime_type() != Some(content_type) {
            return Err(failure::not_git(response.mime_type(), effect));
        }
        Ok(Answer {
            body: response.body,
            effect,
            limit,
        })
    }
}

impl Answer {
    /// Passes the body to `take`, piece by piece.
    ///
    /// # Errors
    /// The errors of `take`; the body is incomplete, or larger than the limit.
    pub(super) fn read(mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut piece = vec![0; 64 << 10];
        let mut left = self.limit;
        loop {
            match self.body.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    let Some(rest) = left.checked_sub(length as u64) else {
                        let what = format!("the server's answer is larger than {} bytes", self.limit);
                        return Err(self.effect.error(ErrorKind::Transient, what));
                    };
                    left = rest;
                    take(&piece[..length])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.effect.of(body_error(error))),
            }
        }
    }
}

/// A push needs credentials, a reader often does not.
fn need_of(service: Service) -> Need {
    match service {
        Service::ReceivePack => Need::Required,
        Service::UploadPack => Need::Optional,
    }
}

/// Creates a header whose name and value are valid.
pub(super) fn plain(name: &str, value: &str) -> Header {
    Header::new(name, value).expect("a header of this module is valid")
}

fn content_type(service: Service, what: &str) -> String {
    format!("application/x-{}-{what}", service.name())
}

/// A request's body while it is read.
#[derive(Default)]
struct Outgoing {
    head: io::Cursor<Vec<u8>>,
    pack: Option<git_push::Pack>,
    /// Number of bytes that were read.
    read: u64,
}

impl Outgoing {
    fn new(head: Vec<u8>, pack: Option<git_push::Pack>) -> Self {
        Outgoing {
            head: io::Cursor::new(head),
            pack,
            read: 0,
        }
    }

    /// Returns the length in bytes, if it is known.
    fn length(&self) -> Option<u64> {
        let pack = self.pack.as_ref().map_or(Some(0), git_push::Pack::length)?;
        Some(self.head.get_ref().len() as u64 + pack)
    }

    /// Returns true if all of it was read.
    fn is_complete(&self) -> bool {
        let is_pack_complete = self.pack.as_ref().is_none_or(|pack| pack.sent().is_complete());
        is_pack_complete && self.head.position() >= self.head.get_ref().len() as u64
    }

    /// Returns the error of this side, if that is the reason why the body was not read to its end.
    fn failure(&self) -> Option<Error> {
        self.pack.as_ref()?.failure()
    }

    /// Returns the error of a connection that was lost before the whole body was read.
    fn lost(&self, error: Error) -> Error {
        let is_in_pack = self.pack.as_ref().is_some_and(|pack| pack.sent().bytes() > 0);
        if is_in_pack && error.kind() == ErrorKind::Transient {
            error.with_remedy(Remedy::SmallerPack)
        } else {
            error
        }
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = self.head.read(buffer)?;
        if let (0, Some(pack)) = (read, &mut self.pack) {
            read = pack.read(buffer)?;
        }
        if read == 0 && !buffer.is_empty() && !self.is_complete() {
            // The length was announced: without an error, the client would wait for the rest.
            return Err(io::Error::other("the spooled pack is shorter than it was"));
        }
        self.read += read as u64;
        Ok(read)
    }
}

/// Returns the `Location` of a redirect.
fn redirection(response: &HttpResponse) -> Option<String> {
    let redirects = matches!(response.status, 301 | 302 | 303 | 307 | 308);
    response.header("Location").filter(|_| redirects).map(str::to_owned)
}

/// Returns the first bytes of a refusal in plain text. A web page is of no use in an error.
fn text_for_a_person(response: HttpResponse) -> String {
    if response.mime_type() != Some("text/plain") {
        return String::new();
    }
    let mut text = Vec::new();
    // The status is what matters, so a part of the text is enough.
    let _ = response.body.take(MAX_TEXT_READ).read_to_end(&mut text);
    git_push::cleaned(&text).trim().to_owned()
}
