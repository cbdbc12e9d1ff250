//! A repository on a server over HTTP, in git's smart protocol (gitprotocol-http).
//!
//! Credentials go along with the first request, so that a push costs a GET and a POST, or the POST alone when what the
//! remote has is remembered. Redirects of a GET are followed, without the credentials when they lead to another origin;
//! a redirected POST is refused. Every answer has a limit, every silence too.
//!
//! # Limitations
//! - One way to authenticate (Basic), unless `http.extraHeader` has another one.
//! - Of the `http.*` of git configuration, `extraHeader`, `proxy`, `sslCAInfo`, `sslCert`, `sslKey` and `userAgent` are
//!   looked at. `sslVerify` cannot be switched off.
//! - A server that answers before it has read the whole push and then closes the connection is not heard: the push
//!   ends as a lost connection, without what the server said.
mod agent;
mod client;
mod failure;
mod forge;
mod options;
mod url_match;

use bstr::{BStr, BString};
use git_push::{Advertisement, Capabilities, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic};
use gix::ObjectId;

use self::client::Client;
use super::credentials::Credentials;
use super::fetch::Extent;
use super::forge::Forge;
use super::head::{self, Head};
use super::reading::{Reading, asked_for};
use super::received::{MAX_PACK, ReceivedPack};
use super::service::Service;
use super::settings::Settings;
use super::upload_pack::{self, LsRefs};

pub use super::url::HttpUrl;
pub(super) use agent::agent;
pub(super) use client::retry_after_of;
pub use failure::MAX_RETRY_AFTER;
pub(super) use options::Options;

/// A repository on a server.
pub struct Http {
    client: Client,
    /// What the server offers to readers in protocol 2, once it said so; forgotten after any error.
    protocol_2: Option<Capabilities>,
}

impl Http {
    /// The repository at `url`, with the credentials that `settings` and its user info give. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when the URL is not http or https, credentials would cross a network in the clear, or
    /// a setting is not usable.
    pub fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let shown = HttpUrl::new(url).ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "the URL of the remote is not an http or https URL",
            )
        })?;
        let here = |error: Error| {
            let what = format!("{shown}: {error}");
            match error.hint() {
                Some(_) => error.reworded(what),
                None => error.reworded(what).with_hint("check the URL"),
            }
        };
        let open = || {
            let options = settings.options(url)?;
            let credentials = Credentials::find(url, settings, &options)?;
            Client::new(shown.clone(), credentials, options, settings.clone())
        };
        let client = open().map_err(here)?;
        Ok(Http {
            client,
            protocol_2: None,
        })
    }

    /// Fetches the commit `want` and the commits before it, up to those of `haves`, into the repository `into`. All that these
    /// have must be there. [`Extent::Objects`] is stored durably.
    ///
    /// # Errors
    /// The pack did not arrive whole and sound; `into` is unchanged.
    pub fn fetch(
        &mut self,
        want: ObjectId,
        into: &gix::Repository,
        haves: &[ObjectId],
        extent: Extent,
    ) -> Result<(), Error> {
        let fetched = self.fetch_into(want, into, haves, extent);
        fetched.map_err(|error| self.failed(error))
    }

    /// Returns the capabilities that the server offers to readers in protocol 2, once it has sent them.
    pub fn protocol_2(&self) -> Option<&Capabilities> {
        self.protocol_2.as_ref()
    }

    /// Goes by what the server is remembered to offer to readers, until an error.
    pub fn remember_protocol_2(&mut self, offered: Capabilities) {
        self.protocol_2 = Some(offered);
    }

    /// Reads HEAD.
    ///
    /// # Errors
    /// The answer did not arrive whole.
    pub fn head(&mut self) -> Result<Head, Error> {
        self.read_head().map_err(|error| self.failed(error))
    }

    /// Sets the default branch to `branch`, a full name, through the REST API of the forge.
    ///
    /// # Errors
    /// There is no token, or the forge does not change it. [`Error::hint()`] has the permission that a token needs.
    pub fn set_default_branch(&mut self, forge: Forge, branch: &BStr) -> Result<(), Error> {
        let set = self.client.set_default_branch(forge, branch);
        set.map_err(|error| self.client.located(error))
    }

    fn read_head(&mut self) -> Result<Head, Error> {
        match self.reading()? {
            Reading::Protocol2(capabilities) => {
                let mut parser = head::Parser::new();
                let answer = self
                    .client
                    .post(Service::UploadPack, head::request(&capabilities), None)?;
                answer.read(git_push::advertisement::MAX_BYTES, |piece| Ok(parser.feed(piece)?))?;
                Ok(parser.finish()?)
            }
            Reading::Older(advertisement) => Ok(head::advertised(&advertisement)),
        }
    }

    fn fetch_into(
        &mut self,
        want: ObjectId,
        into: &gix::Repository,
        haves: &[ObjectId],
        extent: Extent,
    ) -> Result<(), Error> {
        let (request, stream) = self.reading()?.fetch_request(want, haves, extent)?;
        let mut received = ReceivedPack::new(stream, into)?;
        let answer = self.client.post(Service::UploadPack, request, None)?;
        answer.read(MAX_PACK, |piece| received.feed(piece))?;
        received.store(want, into, extent)
    }

    fn refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let refs = match self.reading()? {
            Reading::Protocol2(capabilities) => {
                let request = upload_pack::ls_refs_request(&capabilities, prefixes);
                let mut parser = LsRefs::new(&capabilities)?;
                let answer = self.client.post(Service::UploadPack, request, None)?;
                answer.read(git_push::advertisement::MAX_BYTES, |piece| Ok(parser.feed(piece)?))?;
                parser.finish()?
            }
            Reading::Older(advertisement) => advertisement.into_refs(),
        };
        Ok(asked_for(refs, prefixes))
    }

    fn reading(&mut self) -> Result<Reading, Error> {
        if let Some(capabilities) = &self.protocol_2 {
            return Ok(Reading::Protocol2(capabilities.clone()));
        }
        let mut body = Vec::new();
        let answer = self.client.advertisement(Service::UploadPack)?;
        answer.read(git_push::advertisement::MAX_BYTES, |piece| {
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
        let mut parser = git_push::advertisement::Parser::new();
        let answer = self.client.advertisement(Service::ReceivePack)?;
        answer.read(git_push::advertisement::MAX_BYTES, |piece| Ok(parser.feed(piece)?))?;
        Ok(parser.finish()?)
    }

    fn push(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let mut parser = git_push::report_status::Parser::new(request);
        let mut words = Vec::new();
        let answer = self
            .client
            .post(Service::ReceivePack, git_push::request::head(request), pack)?;
        let client = &self.client;
        let mut show = |line: String| {
            let line = client.scrubbed(&line);
            tracing::info!("remote: {line}");
            words.push(line);
        };
        let read = answer.read(git_push::report_status::MAX_BYTES, |piece| {
            let fed = parser.feed(piece);
            parser.progress().for_each(&mut show);
            Ok(fed?)
        });
        parser.last_progress().for_each(&mut show);
        let report = match (parser.finish(), read) {
            // The report is what counts, not what happens to the connection after it.
            (Ok(report), _) => Ok(report.map_reasons(|reason| self.client.scrubbed(&git_push::cleaned(reason)))),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error.into()),
        };
        report.map_err(|error: Error| error.with_server_words(words))
    }

    fn failed(&mut self, error: Error) -> Error {
        self.protocol_2 = None;
        self.client.located(error)
    }
}

impl Connection for Http {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.receive_pack().map_err(|error| self.failed(error))
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.push(request, pack).map_err(|error| self.failed(error))
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.refs(prefixes).map_err(|error| self.failed(error))
    }

    fn traffic(&self) -> Traffic {
        self.client.traffic()
    }
}

/// What kept the answer to a question from arriving.
pub(super) fn lost(error: &ureq::Error, settings: &Settings) -> Error {
    failure::lost(error, failure::Effect::None, settings)
}
