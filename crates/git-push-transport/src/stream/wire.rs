//! The protocol over an open [`Channel`]: one service that was started, its answers, and the limits of both.
use std::{io, io::Read, io::Write, time::Duration};

use bstr::BString;
use git_push::pkt_line::{self, Line};
use git_push::{Advertisement, Error, ErrorKind, Pack, Remedy, RemoteRef, Report, Request, Traffic};

use super::channel::{Channel, PIECE};
use crate::answers::PushAnswer;
use crate::fetch::Wanted;
use crate::head::{self, Head};
use crate::reading::{Reading, RefsAnswer};
use crate::received::ReceivedPack;

/// What all connections to a repository share.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) idle_timeout: Duration,
    pub(super) traffic: Traffic,
}

/// End of an answer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    Closed,
}

impl Wire {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Wire {
            idle_timeout,
            traffic: Traffic::default(),
        }
    }

    /// Fetches from `git-upload-pack`, see [`Transport::fetch()`](crate::transport::Transport::fetch()).
    pub(super) fn fetch(
        &self,
        mut channel: Box<dyn Channel>,
        wanted: Wanted<'_>,
        into: &gix::Repository,
    ) -> Result<(), Error> {
        let reading = self.reading(&mut *channel)?;
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

    /// Reads refs from `git-upload-pack`.
    pub(super) fn refs(&self, mut channel: Box<dyn Channel>, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        let reading = self.reading(&mut *channel)?;
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

    /// Reads HEAD from `git-upload-pack`.
    pub(super) fn head(&self, mut channel: Box<dyn Channel>) -> Result<Head, Error> {
        let reading = self.reading(&mut *channel)?;
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

    /// Reads the first answer of `git-upload-pack`. It then waits for a request.
    fn reading(&self, channel: &mut dyn Channel) -> Result<Reading, Error> {
        let mut lines = pkt_line::Reader::new(git_push::advertisement::MAX_BYTES);
        let mut body = Vec::new();
        let end = self.read(channel, ErrorKind::Transient, |piece| {
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
        Reading::parse(&body).map_err(|error| ended(channel, &end, error, ErrorKind::Transient))
    }

    /// Reads the advertisement of `git-receive-pack`. It then waits for commands.
    pub(super) fn advertisement(&self, channel: &mut dyn Channel) -> Result<Advertisement, Error> {
        let mut parser = git_push::advertisement::Parser::new();
        let end = self.read(channel, ErrorKind::Transient, |piece| {
            parser.feed(piece)?;
            Ok(parser.has_ended())
        })?;
        let advertisement = parser.finish();
        advertisement.map_err(|error| ended(channel, &end, error.into(), ErrorKind::Transient))
    }

    /// Sends a push to `git-receive-pack`, which has sent its advertisement.
    pub(super) fn push(
        &mut self,
        mut channel: Box<dyn Channel>,
        request: &Request,
        mut pack: Option<Pack>,
    ) -> Result<Report, Error> {
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

/// Ends a connection without a request (gitprotocol-pack, *Reference Discovery*).
pub(super) fn dismiss(mut channel: Box<dyn Channel>) {
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

pub(super) fn located(shown: &str, error: Error) -> Error {
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
