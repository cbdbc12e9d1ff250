//! A repository on a server, over a connection that stays open: through the system's `ssh` program or the ssh client in
//! this crate, or as `git://` (gitprotocol-pack, *Transports*).
//!
//! A push is one connection: the server sends its advertisement, receives commands and pack, and sends its report. If the
//! state of the remote is remembered, the advertisement is skipped. Reading refs is a connection of its own, in protocol 2
//! if the server supports it, else from the whole advertisement. Every answer and every silence has a limit.
//!
//! # Limitations
//! - `remote.<name>.uploadpack` and `core.gitProxy` are not read.
//! - `git://` has neither authentication nor encryption: use it only if everybody on the network may write.
#[cfg(feature = "ssh-builtin")]
mod builtin;
#[cfg(feature = "ssh-builtin")]
mod builtin_channel;
mod channel;
#[cfg(feature = "ssh")]
mod child;
#[cfg(feature = "daemon")]
mod daemon;
#[cfg(feature = "ssh")]
mod ext;
#[cfg(feature = "ssh")]
mod key_file;
#[cfg(feature = "ssh-builtin")]
mod known_hosts;
#[cfg(feature = "ssh")]
mod program;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(feature = "ssh")]
mod ssh_client;
#[cfg(feature = "ssh")]
mod ssh_failure;
#[cfg(feature = "ssh")]
mod target;
#[cfg(any(feature = "daemon", feature = "ssh-builtin"))]
mod tcp;

use std::{io, io::Read, io::Write, time::Duration};

use bstr::{BStr, BString};
use git_push::pkt_line::{self, Line};
use git_push::{Advertisement, Connection, Error, ErrorKind, Pack, Remedy, RemoteRef, Report, Request, Traffic};
use gix::url::Scheme;

use self::channel::{Channel, Dial, PIECE};
#[cfg(feature = "daemon")]
use self::daemon::Daemon;
use crate::answers::PushAnswer;
use crate::fetch::Wanted;
use crate::forge::Forge;
use crate::head::{self, Head};
use crate::reading::{Reading, RefsAnswer};
use crate::received::ReceivedPack;
use crate::redact::Shown;
use crate::service::Service;
use crate::settings::Settings;
use crate::transport::Transport;

/// A connection to a repository on a server. Its methods block.
pub struct Stream {
    dial: Box<dyn Dial>,
    shown: String,
    idle_timeout: Duration,
    /// A server that has sent its advertisement and waits for commands.
    waiting: Option<Box<dyn Channel>>,
    traffic: Traffic,
}

/// End of an answer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    Closed,
}

/// Runs `program` on the server of an ssh URL, with the path of the URL and these words, through the client that the settings
/// choose. Returns what it prints, up to `limit` bytes. This blocks.
///
/// # Errors
/// The URL is not usable, ssh cannot be started, or the program fails.
#[cfg(feature = "ssh")]
pub fn output_of(
    url: &gix::Url,
    settings: &Settings,
    program: &str,
    words: &str,
    limit: u64,
) -> Result<Vec<u8>, Error> {
    let started = ssh_client::run(url, settings, program, &format!(" {words}"));
    let printed = started.and_then(|channel| printed(channel, program, limit));
    printed.map_err(|error| located(&Shown(url).to_string(), error))
}

/// Returns what a program prints, up to `limit` bytes.
#[cfg(feature = "ssh")]
fn printed(mut channel: Box<dyn Channel>, program: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut printed = Vec::new();
    let read = (&mut channel).take(limit + 1).read_to_end(&mut printed);
    if let Err(error) = read {
        let what = format!("{program} did not answer: {error}");
        let words = channel.last_words();
        return Err(words.unwrap_or_else(|| Error::new(ErrorKind::Transient, what)));
    }
    if printed.len() as u64 > limit {
        let what = format!("{program} printed more than {limit} bytes");
        return Err(Error::new(ErrorKind::Rejected, what));
    }
    match channel.last_words() {
        Some(error) if printed.is_empty() => Err(error),
        _ => Ok(printed),
    }
}

impl Stream {
    /// Opens the repository at `url`. Nothing is started yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is neither ssh nor git, or a part of it cannot be used safely.
    pub fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let shown = Shown(url).to_string();
        let dial: Result<Box<dyn Dial>, Error> = match url.scheme {
            #[cfg(feature = "ssh")]
            Scheme::Ssh => ssh_client::dial(url, settings),
            #[cfg(feature = "daemon")]
            Scheme::Git => Daemon::new(url, settings).map(|daemon| Box::new(daemon) as _),
            _ => Err(Error::new(ErrorKind::Misconfigured, "neither an ssh nor a git URL")),
        };
        Ok(Stream {
            dial: dial.map_err(|error| located(&shown, error))?,
            shown,
            idle_timeout: settings.idle_timeout,
            waiting: None,
            traffic: Traffic::default(),
        })
    }

    /// Opens a folder of this machine that `receive_pack`, a command line for the shell, serves. Nothing is started yet.
    #[cfg(feature = "ssh")]
    pub fn of_folder(path: &std::path::Path, receive_pack: &std::ffi::OsStr, settings: &Settings) -> Self {
        let folder = program::Folder {
            path: path.into(),
            receive_pack: receive_pack.into(),
            idle_timeout: settings.idle_timeout,
        };
        Stream {
            dial: Box::new(folder),
            shown: path.display().to_string(),
            idle_timeout: settings.idle_timeout,
            waiting: None,
            traffic: Traffic::default(),
        }
    }

    /// Opens the repository to which `command` connects (git-remote-ext). Nothing is started yet.
    #[cfg(feature = "ssh")]
    pub fn of_command(command: &BStr, settings: &Settings) -> Self {
        let ext = ext::Ext {
            command: command.to_owned(),
            idle_timeout: settings.idle_timeout,
        };
        Stream {
            dial: Box::new(ext),
            shown: format!("ext::{}", git_push::cleaned(command)),
            idle_timeout: settings.idle_timeout,
            waiting: None,
            traffic: Traffic::default(),
        }
    }

    fn fetch_into(&self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        let (reading, mut channel) = self.start_reading()?;
        let (request, stream) = reading.fetch_request(wanted)?;
        let mut received = ReceivedPack::new(stream, into)?;
        self.ask(&mut *channel, &request)?;
        let end = self.read(&mut *channel, ErrorKind::Transient, |piece| {
            received.feed(piece)?;
            Ok(received.has_ended())
        })?;
        let stored = received.store(wanted, into);
        stored.map_err(|error| ended(&mut *channel, &end, error, ErrorKind::Transient))
    }

    fn refs(&self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let (reading, mut channel) = self.start_reading()?;
        let refs = match reading.refs(prefixes)? {
            RefsAnswer::Complete(refs) => refs,
            RefsAnswer::Asked { request, mut parser } => {
                self.ask(&mut *channel, &request)?;
                let end = self.read(&mut *channel, ErrorKind::Transient, |piece| {
                    parser.feed(piece)?;
                    Ok(parser.has_ended())
                })?;
                let refs = parser.finish();
                refs.map_err(|error| ended(&mut *channel, &end, error.into(), ErrorKind::Transient))?
            }
        };
        dismiss(channel);
        Ok(refs)
    }

    fn read_head(&self) -> Result<Head, Error> {
        let (reading, mut channel) = self.start_reading()?;
        let head = match reading {
            Reading::Protocol2(capabilities) => {
                let mut parser = head::Parser::new();
                self.ask(&mut *channel, &head::request(&capabilities))?;
                let end = self.read(&mut *channel, ErrorKind::Transient, |piece| {
                    parser.feed(piece)?;
                    Ok(parser.has_ended())
                })?;
                let head = parser.finish();
                head.map_err(|error| ended(&mut *channel, &end, error.into(), ErrorKind::Transient))?
            }
            Reading::Older(advertisement) => head::advertised(&advertisement),
        };
        dismiss(channel);
        Ok(head)
    }

    /// Starts `git-upload-pack`, and reads its first answer. It then waits for a request.
    fn start_reading(&self) -> Result<(Reading, Box<dyn Channel>), Error> {
        let mut channel = self.dial.dial(Service::UploadPack, true)?;
        let mut lines = pkt_line::Reader::new(git_push::advertisement::MAX_BYTES);
        let mut body = Vec::new();
        let end = self.read(&mut *channel, ErrorKind::Transient, |piece| {
            lines.feed(piece);
            body.extend_from_slice(piece);
            // Either form ends with a flush-pkt, or with an `ERR` line.
            while let Some(line) = lines.next()? {
                match line {
                    Line::Flush => return Ok(true),
                    Line::Data(line) if line.starts_with(b"ERR ") => return Ok(true),
                    _ => {}
                }
            }
            Ok(false)
        })?;
        let understood =
            Reading::parse(&body).map_err(|error| ended(&mut *channel, &end, error, ErrorKind::Transient))?;
        Ok((understood, channel))
    }

    /// Starts `git-receive-pack`, and reads its advertisement. It then waits for commands.
    fn receive_pack(&self) -> Result<(Advertisement, Box<dyn Channel>), Error> {
        let mut channel = self.dial.dial(Service::ReceivePack, false)?;
        let mut parser = git_push::advertisement::Parser::new();
        let end = self.read(&mut *channel, ErrorKind::Transient, |piece| {
            parser.feed(piece)?;
            Ok(parser.has_ended())
        })?;
        let advertisement = parser.finish();
        let advertisement =
            advertisement.map_err(|error| ended(&mut *channel, &end, error.into(), ErrorKind::Transient))?;
        Ok((advertisement, channel))
    }

    fn push(&mut self, request: &Request, mut pack: Option<Pack>) -> Result<Report, Error> {
        let mut channel = match self.waiting.take() {
            Some(channel) => channel,
            None => self.receive_pack()?.1,
        };
        let sent = self.send_whole(&mut *channel, &git_push::request::head(request), pack.as_mut());
        // The server waits for the rest of the pack, and gets none: the connection is closed.
        if sent.is_err()
            && let Some(error) = pack.as_ref().and_then(Pack::failure)
        {
            return Err(error);
        }
        drop(pack);
        // A request that was not sent completely cannot have been carried out.
        let kind = match sent {
            Ok(()) => ErrorKind::Uncertain,
            Err(_) => ErrorKind::Transient,
        };
        let mut parser = PushAnswer::new(request, str::to_owned);
        // A server that refuses early says why, and stops reading.
        let read = match &sent {
            Err(error) if is_silence(error) => Ok(End::Closed),
            _ => self.read(&mut *channel, kind, |piece| parser.feed(piece)),
        };
        parser.finish(|error| match (sent, read) {
            (Err(error), _) => {
                let error = self.broken(&mut *channel, &error, ErrorKind::Transient);
                error.with_remedy(Remedy::SmallerPack)
            }
            (Ok(()), Err(error)) => error,
            (Ok(()), Ok(end)) => ended(&mut *channel, &end, error, kind),
        })
    }

    fn send_whole(&mut self, channel: &mut dyn Channel, head: &[u8], pack: Option<&mut Pack>) -> io::Result<()> {
        channel.write_all(head)?;
        self.traffic.bytes_sent += head.len() as u64;
        if let Some(pack) = pack {
            copy(pack, channel, &mut self.traffic.bytes_sent)?;
        }
        channel.flush()
    }

    fn ask(&self, channel: &mut dyn Channel, request: &[u8]) -> Result<(), Error> {
        let written = channel.write_all(request).and_then(|()| channel.flush());
        written.map_err(|error| self.broken(channel, &error, ErrorKind::Transient))
    }

    /// Passes the answer to `take`, piece by piece, until it returns true or the other side closes.
    fn read(
        &self,
        channel: &mut dyn Channel,
        kind: ErrorKind,
        mut take: impl FnMut(&[u8]) -> Result<bool, Error>,
    ) -> Result<End, Error> {
        let mut piece = vec![0; PIECE];
        loop {
            match channel.read(&mut piece) {
                Ok(0) => return Ok(End::Closed),
                Ok(length) if take(&piece[..length])? => return Ok(End::Complete),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(channel, &error, kind)),
            }
        }
    }

    fn broken(&self, channel: &mut dyn Channel, error: &io::Error, kind: ErrorKind) -> Error {
        if is_silence(error) {
            return failure(kind, format!("the server was silent for {:?}", self.idle_timeout));
        }
        let why = match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                "the server closed the connection before everything was sent".to_owned()
            }
            _ => format!("the connection failed: {error}"),
        };
        ended(channel, &End::Closed, failure(kind, why), kind)
    }
}

impl Connection for Stream {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.waiting.take().into_iter().for_each(dismiss);
        let (advertisement, channel) = self.receive_pack().map_err(|error| located(&self.shown, error))?;
        self.waiting = Some(channel);
        Ok(advertisement)
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.push(request, pack).map_err(|error| located(&self.shown, error))
    }

    fn takes_streams(&self) -> bool {
        true
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.refs(prefixes).map_err(|error| located(&self.shown, error))
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl Transport for Stream {
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        self.fetch_into(wanted, into)
            .map_err(|error| located(&self.shown, error))
    }

    fn head(&mut self) -> Result<Head, Error> {
        self.read_head().map_err(|error| located(&self.shown, error))
    }

    fn set_head(&mut self, _: &BStr, _: Option<Forge>) -> Result<(), Error> {
        let what = "git cannot set HEAD over ssh or git://";
        Err(Error::new(ErrorKind::Misconfigured, what))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.waiting.take().into_iter().for_each(dismiss);
    }
}

/// Ends a connection without a request (gitprotocol-pack, *Reference Discovery*).
fn dismiss(mut channel: Box<dyn Channel>) {
    // The server may have gone already.
    let _ = channel.write_all(b"0000").and_then(|()| channel.flush());
}

/// Returns the error of an incomplete answer. If the other side closed, the carrier of the connection may report why.
fn ended(channel: &mut dyn Channel, end: &End, error: Error, kind: ErrorKind) -> Error {
    match (end, error.kind()) {
        // The server's own words say more.
        (_, ErrorKind::Rejected) | (End::Complete, _) => error,
        (End::Closed, _) => match channel.last_words() {
            Some(words) if kind == ErrorKind::Uncertain => failure(kind, words.to_string()),
            Some(words) => words,
            None => error,
        },
    }
}

fn failure(kind: ErrorKind, what: String) -> Error {
    match kind {
        ErrorKind::Uncertain => {
            Error::new(kind, what).with_hint("the push may have been carried out: read the refs back before a retry")
        }
        _ => Error::new(kind, what),
    }
}

fn located(shown: &str, error: Error) -> Error {
    let what = format!("{shown}: {error}");
    error.reworded(what)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Copies a pack, and adds its bytes to `sent`.
fn copy(pack: &mut Pack, channel: &mut dyn Channel, sent: &mut u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = pack.read(&mut piece)?;
        if length > 0 {
            channel.write_all(&piece[..length])?;
            *sent += length as u64;
        } else if pack.sent().is_complete() {
            return Ok(());
        } else {
            return Err(io::Error::other("the spooled pack is shorter than it was"));
        }
    }
}
