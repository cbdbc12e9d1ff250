//! A repository on a server over HTTP, in git's smart protocol (gitprotocol-http).
//!
//! The first request carries the credentials, so that a push costs a GET and a POST, or only the POST if the state of the
//! remote is remembered. Reading refs after that is one POST to a server that is recent enough to answer it. Redirects of a GET are followed, without credentials if they lead to another origin; a redirect of a
//! POST is refused. Every answer and every silence has a limit.
//!
//! A large pack is sent in chunks while it is made, without its length in advance. Its length is sent if `http.postBuffer` is
//! set to more than its default of 1 MiB, as for git with a server that needs one, and after the first failure of such a push.
//!
//! # Limitations
//! - Basic is the only way to authenticate, unless [`Credentials`] or `http.extraHeader` give another `Authorization`.
//! - Of the `http.*` of git configuration, `extraHeader`, `proxy`, `sslCAInfo`, `sslCert`, `sslKey` and `userAgent` are
//!   read. `sslVerify` cannot be switched off. An [`HttpClient`] of an application gets `extraHeader` only. Of `postBuffer`,
//!   it counts whether it is larger than the default.
pub(crate) mod authentication;
mod exchange;
mod failure;
mod forge;

use std::sync::Arc;

use bstr::{BStr, BString};
use git_push::{
    Advertisement, Capabilities, Command, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic,
    advertisement, report_status, request,
};

use self::authentication::Authentication;
use self::exchange::Exchange;
use crate::answers::PushAnswer;
use crate::credentials::Credentials;
use crate::fetch::Wanted;
use crate::forge::{Forge, TokenEnd};
#[cfg(feature = "http")]
use crate::git_credentials::GitCredentials;
use crate::head::{self, Head};
use crate::http_client::HttpClient;
use crate::http_config::HttpConfig;
use crate::reading::{Reading, RefsAnswer};
use crate::received::{MAX_PACK, ReceivedPack};
use crate::redact::Shown;
use crate::secrets::Secrets;
use crate::service::Service;
use crate::settings::Settings;
use crate::transport::{TokenUse, Transport};
#[cfg(feature = "http")]
use crate::ureq_client::UreqClient;
use crate::url::HttpUrl;
use crate::workflows;

/// Default of `http.postBuffer`, in bytes (git-config).
const POST_BUFFER: i64 = 1 << 20;

/// Commands of protocol 2.
const FETCH: &str = "fetch";
const LS_REFS: &str = "ls-refs";

/// A connection to a repository on a server. Its methods block.
pub struct Http {
    url: gix::Url,
    exchange: Exchange,
    /// Capabilities of the server for readers in protocol 2, once it has sent or shown them. Forgotten after any error.
    protocol_2: Option<Capabilities>,
    /// Capabilities of protocol 2 that are tried without asking, after an advertisement for pushes.
    likely: Option<Capabilities>,
    /// True if all requests must have a length.
    needs_length: bool,
}

impl Http {
    /// Opens the repository at `url` with the default client and credentials. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not http or https, credentials would cross a network in the clear, or a
    /// setting is invalid.
    #[cfg(feature = "http")]
    pub fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let open = || {
            let credentials = GitCredentials::new(url, settings)?;
            let client = UreqClient::new(url, settings)?;
            let secrets = client.secrets();
            Http::assemble(url, settings, Arc::new(client), Box::new(credentials), secrets)
        };
        open().map_err(|error| at(url, error))
    }

    /// Opens the repository at `url` with an HTTP client and credentials of the application. Of `settings`, only
    /// `http.extraHeader` and `stargate.insecureHttp` of git configuration are used. The user info of `url` is ignored.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The errors of [`Http::open()`].
    pub fn new(
        url: &gix::Url,
        settings: &Settings,
        client: Arc<dyn HttpClient>,
        credentials: Box<dyn Credentials>,
    ) -> Result<Self, Error> {
        let opened = Http::assemble(url, settings, client, credentials, Secrets::default());
        opened.map_err(|error| at(url, error))
    }

    fn assemble(
        url: &gix::Url,
        settings: &Settings,
        client: Arc<dyn HttpClient>,
        credentials: Box<dyn Credentials>,
        mut secrets: Secrets,
    ) -> Result<Self, Error> {
        let shown = HttpUrl::new(url).ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the URL of the remote is not an http or https URL",
            )
        })?;
        let config = HttpConfig::new(&settings.git, url)?;
        secrets.extend(config.secrets());
        let secrecy = shown.check_secrecy(config.insecure_http);
        if !config.headers.is_empty() {
            secrecy.map_err(Error::from)?;
        }
        let authentication = Authentication::new(shown.clone(), secrecy, credentials, secrets)?;
        Ok(Http {
            url: url.clone(),
            exchange: Exchange::new(shown, client, authentication, config.headers),
            protocol_2: None,
            likely: None,
            needs_length: config.post_buffer.is_some_and(|bytes| bytes > POST_BUFFER),
        })
    }

    /// Returns the URL as given.
    pub(crate) fn url(&self) -> &gix::Url {
        &self.url
    }

    fn read_head(&mut self) -> Result<Head, Error> {
        match self.start_reading(FETCH)? {
            Reading::Protocol2(capabilities) => {
                let mut parser = head::Parser::new();
                let (request, limit) = (head::request(&capabilities), advertisement::MAX_BYTES);
                let answer = self.exchange.post(Service::UploadPack, request, None, limit)?;
                answer.read(|piece| Ok(parser.feed(piece)?))?;
                Ok(parser.finish()?)
            }
            Reading::Older(advertisement) => Ok(head::advertised(&advertisement)),
        }
    }

    fn fetch_into(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        let (request, stream) = self.start_reading(FETCH)?.fetch_request(wanted)?;
        let mut received = ReceivedPack::new(stream, into)?;
        let answer = self.exchange.post(Service::UploadPack, request, None, MAX_PACK)?;
        answer.read(|piece| received.feed(piece))?;
        received.store(wanted, into)
    }

    fn refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        if self.protocol_2.is_none()
            && let Some(likely) = self.likely.take()
            // Another server gives no usable answer. The next request shows what it is, or fails as this one.
            && let Ok(refs) = self.refs_by(Reading::Protocol2(likely.clone()), prefixes)
        {
            self.protocol_2 = Some(likely);
            return Ok(refs);
        }
        let reading = self.start_reading(LS_REFS)?;
        self.refs_by(reading, prefixes)
    }

    fn refs_by(&mut self, reading: Reading, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        match reading.refs(prefixes)? {
            RefsAnswer::Complete(refs) => Ok(refs),
            RefsAnswer::Asked { request, mut parser } => {
                let limit = advertisement::MAX_BYTES;
                let answer = self.exchange.post(Service::UploadPack, request, None, limit)?;
                answer.read(|piece| Ok(parser.feed(piece)?))?;
                Ok(parser.finish()?)
            }
        }
    }

    /// Asks the server for the capabilities that it offers to readers, unless it is already known to offer this command
    /// of protocol 2.
    fn start_reading(&mut self, command: &str) -> Result<Reading, Error> {
        if let Some(known) = self.protocol_2.as_ref().filter(|known| known.offers(command)) {
            return Ok(Reading::Protocol2(known.clone()));
        }
        let mut body = Vec::new();
        let answer = self
            .exchange
            .advertisement(Service::UploadPack, advertisement::MAX_BYTES)?;
        answer.read(|piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        let reading = Reading::parse(&body)?;
        if let Reading::Protocol2(capabilities) = &reading {
            self.protocol_2 = Some(capabilities.clone());
        }
        Ok(reading)
    }

    fn receive_pack(&mut self) -> Result<Advertisement, Error> {
        let mut parser = advertisement::Parser::new();
        let answer = self
            .exchange
            .advertisement(Service::ReceivePack, advertisement::MAX_BYTES)?;
        answer.read(|piece| Ok(parser.feed(piece)?))?;
        let advertisement = parser.finish()?;
        self.likely = likely_protocol_2(&advertisement.capabilities);
        Ok(advertisement)
    }

    fn push(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let head = request::head(request);
        let limit = report_status::MAX_BYTES;
        let answer = self.exchange.post(Service::ReceivePack, head, pack, limit)?;
        let exchange = &self.exchange;
        let mut parser = PushAnswer::new(request, |text| exchange.scrubbed(text));
        let read = answer.read(|piece| parser.feed(piece).map(drop));
        parser.finish(|error| read.err().unwrap_or(error))
    }

    fn failed(&mut self, error: Error) -> Error {
        self.protocol_2 = None;
        self.exchange.located(error)
    }
}

impl Connection for Http {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.receive_pack().map_err(|error| self.failed(error))
    }

    /// Extends the permissions of a token that renews itself to those that the push needs.
    fn prepare(
        &mut self,
        repository: &gix::Repository,
        advertisement: &Advertisement,
        commands: &[Command],
    ) -> Result<(), Error> {
        let changed = || workflows::are_changed(repository, advertisement, commands);
        if let Some(renewable) = self.exchange.renewable()
            && changed()
        {
            renewable.permit_workflows();
        }
        Ok(())
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let is_streamed = pack.as_ref().is_some_and(|pack| pack.length().is_none());
        let report = self.push(request, pack).map_err(|error| self.failed(error));
        // The server, or a proxy in front of it, may not understand chunks, whatever the error is.
        self.needs_length |= is_streamed && report.is_err();
        report
    }

    fn takes_streams(&self) -> bool {
        !self.needs_length && self.exchange.takes_streams()
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.refs(prefixes).map_err(|error| self.failed(error))
    }

    fn traffic(&self) -> Traffic {
        self.exchange.traffic()
    }
}

impl Transport for Http {
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        let fetched = self.fetch_into(wanted, into);
        fetched.map_err(|error| self.failed(error))
    }

    fn head(&mut self) -> Result<Head, Error> {
        self.read_head().map_err(|error| self.failed(error))
    }

    /// Sets the default branch through the REST API of the forge.
    fn set_head(&mut self, branch: &BStr, forge: Option<Forge>) -> Result<(), Error> {
        let forge = forge.ok_or_else(|| {
            let what = "this server is not known to be GitHub, GitLab or Gitea";
            Error::new(ErrorKind::Misconfigured, what)
        })?;
        let set = forge::set_default_branch(&mut self.exchange, forge, branch);
        set.map_err(|error| self.exchange.located(error))
    }

    fn token_use(&mut self) -> TokenUse {
        let renews = self.exchange.renewable().is_some();
        TokenUse {
            renews,
            ..self.exchange.token_use
        }
    }

    fn token_end(&mut self, forge: Forge) -> Result<TokenEnd, Error> {
        if self.exchange.renewable().is_some() {
            return Ok(TokenEnd::Unknown);
        }
        forge::token_end(&mut self.exchange, forge).map_err(|error| self.exchange.located(error))
    }

    fn clock_ahead(&self) -> Option<i64> {
        self.exchange.clock_ahead
    }

    fn reading(&self) -> Option<&Capabilities> {
        self.protocol_2.as_ref()
    }

    fn remember_reading(&mut self, offered: Capabilities) {
        self.protocol_2 = Some(offered);
    }
}

/// Returns the capabilities that a server probably offers to readers in protocol 2, given the capabilities that it
/// offers to pushers. A git that names its object format (2.28) also speaks protocol 2 (2.18).
fn likely_protocol_2(offered: &Capabilities) -> Option<Capabilities> {
    let format = offered.value("object-format")?.to_owned();
    Some(Capabilities {
        list: vec![(LS_REFS.into(), None), ("object-format".into(), Some(format))],
    })
}

/// Adds the URL to an error, and a hint if there is none.
fn at(url: &gix::Url, error: Error) -> Error {
    let what = format!("{}: {error}", Shown(url));
    let has_hint = error.hint().is_some();
    let error = error.reworded(what);
    if has_hint {
        error
    } else {
        error.with_hint("check the URL")
    }
}
