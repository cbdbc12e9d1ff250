//! A repository on a server over HTTP, in git's smart protocol (gitprotocol-http).
//!
//! Credentials go along with the first request, so that a push costs a GET and a POST, or the POST alone when what the
//! remote has is remembered. Redirects of a GET are followed, without the credentials when they lead to another origin;
//! a redirected POST is refused. Every answer has a limit, every silence too.
//!
//! # Limitations
//! - One way to authenticate (Basic); nothing is asked of `credential.helper`.
//! - A fetch needs a server that speaks protocol 2.
//! - A server that answers before it has read the whole push and then closes the connection is not heard: the push
//!   ends as a lost connection, without what the server said.
mod client;
mod failure;
mod settings;
mod url;

use std::{fs::File, io, io::Write, sync::atomic::AtomicBool};

use bstr::BString;
use gix::ObjectId;

use self::client::{Client, Service};
use super::credentials::Authorization;
use super::upload_pack::{self, LsRefs, PackStream};
use crate::push::{
    self, Advertisement, Capabilities, Connection, Error, Outcome, Pack, RemoteRef, Report, Request, Traffic,
};

pub use failure::MAX_RETRY_AFTER;
pub use settings::{CONNECT_TIMEOUT, IDLE_TIMEOUT, Settings};
pub use url::HttpUrl;

/// The most bytes of a pack that is fetched: the history of about 4 million commits.
const MAX_PACK: u64 = 1 << 30;

/// A repository on a server.
pub struct Http {
    client: Client,
    /// What the server offers to readers in protocol 2, once it said so; forgotten after any error.
    protocol_2: Option<Capabilities>,
}

/// What a reader is told when it asks what there is.
enum Reading {
    Protocol2(Capabilities),
    /// Everything at once, in protocol 0 or 1.
    Older(Advertisement),
}

impl Http {
    /// The repository at `url`, with the credentials of its user info or of `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Outcome::Misconfigured`] when the URL is not http or https, credentials would cross a network in the clear, or
    /// a setting is not usable.
    pub fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let shown = HttpUrl::new(url).ok_or_else(|| {
            Error::new(
                Outcome::Misconfigured,
                "the URL of the remote is not an http or https URL",
            )
        })?;
        let here = |error: Error| {
            let located = Error::new(error.outcome(), format!("{shown}: {error}"));
            located.with_hint(error.hint().unwrap_or("check the URL"))
        };
        let authorization = Authorization::new(url, settings.token.as_ref()).map_err(here)?;
        let client = Client::new(shown.clone(), authorization, settings.clone()).map_err(here)?;
        Ok(Http {
            client,
            protocol_2: None,
        })
    }

    /// Fetches the commit `want` and the commits before it, up to those of `haves`, into the repository `into`:
    /// commits only where the server can filter (gitprotocol-v2, *fetch*), else everything that they hold.
    ///
    /// # Errors
    /// Whatever keeps the pack from arriving whole and sound; `into` is then as it was.
    pub fn fetch_commits(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        let fetched = self.fetch(want, into, haves);
        fetched.map_err(|error| self.failed(error))
    }

    /// What the server offers to readers in protocol 2, once it said so.
    pub fn protocol_2(&self) -> Option<&Capabilities> {
        self.protocol_2.as_ref()
    }

    /// Goes by what the server is remembered to offer to readers, until an error.
    pub fn remember_protocol_2(&mut self, offered: Capabilities) {
        self.protocol_2 = Some(offered);
    }

    fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        let Reading::Protocol2(capabilities) = self.reading()? else {
            let what = "the server does not speak version 2 of git's protocol, which fetching commits needs";
            return Err(Error::new(Outcome::Misconfigured, what)
                .with_hint("use a local repository that has the commits, or have the server updated"));
        };
        let request = upload_pack::fetch_request(&capabilities, want, haves);
        let mut spool = tempfile::tempfile_in(into.path()).map_err(|error| local(&error))?;
        let mut stream = PackStream::new(MAX_PACK);
        let answer = self.client.post(Service::UploadPack, request, None)?;
        answer.read(MAX_PACK, |piece| {
            let mut pack = Vec::new();
            stream.feed(piece, &mut pack)?;
            spool.write_all(&pack).map_err(|error| local(&error))
        })?;
        stream.finish()?;
        index(spool, into)?;
        if into.has_object(want) {
            return Ok(());
        }
        Err(Error::new(
            Outcome::Transient,
            format!("the server's pack does not hold {want}, which was asked for"),
        ))
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
                answer.read(push::advertisement::MAX_BYTES, |piece| Ok(parser.feed(piece)?))?;
                parser.finish()?
            }
            Reading::Older(advertisement) => {
                let refs = advertisement.refs.into_iter();
                refs.map(|(name, id)| RemoteRef { name, id }).collect()
            }
        };
        // A prefix is a hint that a server may ignore.
        let asked = |found: &RemoteRef| prefixes.iter().any(|prefix| found.name.starts_with(prefix));
        Ok(refs.into_iter().filter(asked).collect())
    }

    fn reading(&mut self) -> Result<Reading, Error> {
        if let Some(capabilities) = &self.protocol_2 {
            return Ok(Reading::Protocol2(capabilities.clone()));
        }
        let mut body = Vec::new();
        let answer = self.client.advertisement(Service::UploadPack)?;
        answer.read(push::advertisement::MAX_BYTES, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        if let Some(capabilities) = upload_pack::protocol_2(&body)? {
            self.protocol_2 = Some(capabilities.clone());
            return Ok(Reading::Protocol2(capabilities));
        }
        let mut parser = push::advertisement::Parser::new();
        parser.feed(&body)?;
        Ok(Reading::Older(parser.finish()?))
    }

    fn receive_pack(&mut self) -> Result<Advertisement, Error> {
        let mut parser = push::advertisement::Parser::new();
        let answer = self.client.advertisement(Service::ReceivePack)?;
        answer.read(push::advertisement::MAX_BYTES, |piece| Ok(parser.feed(piece)?))?;
        Ok(parser.finish()?)
    }

    fn push(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let mut parser = push::report_status::Parser::new(request);
        let answer = self
            .client
            .post(Service::ReceivePack, push::request::head(request), pack)?;
        let read = answer.read(push::report_status::MAX_BYTES, |piece| Ok(parser.feed(piece)?));
        for line in parser.progress() {
            tracing::info!("remote: {}", self.client.scrubbed(&line));
        }
        match (parser.finish(), read) {
            // The report is what counts, not what happens to the connection after it.
            (Ok(report), _) => Ok(report),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error.into()),
        }
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

/// Checks the pack, and puts it with its index among the packs of `into`.
fn index(mut spool: File, into: &gix::Repository) -> Result<(), Error> {
    io::Seek::rewind(&mut spool).map_err(|error| local(&error))?;
    let directory = into.objects.store_ref().path().join("pack");
    gix_pack::Bundle::write_to_directory(
        &mut io::BufReader::new(spool),
        Some(&directory),
        &mut gix::progress::Discard,
        &AtomicBool::new(false),
        None::<gix::objs::find::Never>,
        into.object_hash(),
        gix_pack::bundle::write::Options {
            thread_limit: Some(1),
            alloc_limit_bytes: usize::try_from(MAX_PACK).ok(),
            ..Default::default()
        },
    )
    .map_err(|error| {
        Error::new(
            Outcome::Transient,
            format!("the server's pack is not sound: {}", push::causes(&error)),
        )
    })?;
    Ok(())
}

fn local(error: &io::Error) -> Error {
    Error::new(
        Outcome::Transient,
        format!("what the server sends cannot be stored here: {error}"),
    )
    .with_hint("look at the free space and the permissions of the temporary directory")
}
