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
mod helper;
#[cfg(feature = "ssh")]
mod helper_answers;
#[cfg(feature = "ssh")]
mod helper_remote;
#[cfg(feature = "ssh")]
mod helper_session;
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
mod wire;

use std::io::Read;

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic};
use gix::url::Scheme;

use self::channel::{Channel, Dial};
#[cfg(feature = "daemon")]
use self::daemon::Daemon;
#[cfg(feature = "ssh")]
pub use self::helper_remote::HelperRemote;
#[cfg(feature = "ssh")]
pub use self::helper_session::WORDS;
use self::wire::{Wire, dismiss, located};
use crate::fetch::Wanted;
use crate::forge::Forge;
use crate::head::Head;
use crate::redact::{Shown, shown_address};
use crate::service::Service;
use crate::settings::Settings;
use crate::transport::Transport;

/// A connection to a repository on a server. Its methods block.
pub struct Stream {
    dial: Box<dyn Dial>,
    shown: String,
    wire: Wire,
    /// A server that has sent its advertisement and waits for commands.
    waiting: Option<Box<dyn Channel>>,
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
        let dial = dial.map_err(|error| located(&shown, error))?;
        Ok(Stream::over(dial, shown, settings))
    }

    /// Opens a folder of this machine that `receive_pack`, a command line for the shell, serves. Nothing is started yet.
    #[cfg(feature = "ssh")]
    pub fn of_folder(path: &std::path::Path, receive_pack: &std::ffi::OsStr, settings: &Settings) -> Self {
        let folder = program::Folder {
            path: path.into(),
            receive_pack: receive_pack.into(),
            idle_timeout: settings.idle_timeout,
        };
        Stream::over(Box::new(folder), path.display().to_string(), settings)
    }

    /// Opens the repository to which `command` connects (git-remote-ext). Nothing is started yet.
    #[cfg(feature = "ssh")]
    pub fn of_command(command: &BStr, settings: &Settings) -> Self {
        let ext = ext::Ext {
            command: command.to_owned(),
            folder: settings.top.clone(),
            idle_timeout: settings.idle_timeout,
        };
        Stream::over(
            Box::new(ext),
            shown_address([&b"ext::"[..], command].concat().as_bstr()),
            settings,
        )
    }

    fn over(dial: Box<dyn Dial>, shown: String, settings: &Settings) -> Self {
        Stream {
            dial,
            shown,
            wire: Wire::new(settings.idle_timeout),
            waiting: None,
        }
    }

    /// Starts `git-upload-pack`.
    fn upload_pack(&self) -> Result<Box<dyn Channel>, Error> {
        self.dial.dial(Service::UploadPack, true)
    }

    /// Starts `git-receive-pack`, and reads its advertisement. It then waits for commands.
    fn receive_pack(&self) -> Result<(Advertisement, Box<dyn Channel>), Error> {
        let mut channel = self.dial.dial(Service::ReceivePack, false)?;
        let advertisement = self.wire.advertisement(&mut *channel)?;
        Ok((advertisement, channel))
    }

    fn push(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let channel = match self.waiting.take() {
            Some(channel) => channel,
            None => self.receive_pack()?.1,
        };
        self.wire.push(channel, request, pack)
    }

    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| located(&self.shown, error))
    }
}

impl Connection for Stream {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.waiting.take().into_iter().for_each(dismiss);
        let (advertisement, channel) = self.located(self.receive_pack())?;
        self.waiting = Some(channel);
        Ok(advertisement)
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let sent = self.push(request, pack);
        self.located(sent)
    }

    fn takes_streams(&self) -> bool {
        true
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let channel = self.upload_pack();
        self.located(channel.and_then(|channel| self.wire.refs(channel, prefixes)))
    }

    fn traffic(&self) -> Traffic {
        self.wire.traffic
    }
}

impl Transport for Stream {
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        let channel = self.upload_pack();
        self.located(channel.and_then(|channel| self.wire.fetch(channel, wanted, into)))
    }

    fn head(&mut self) -> Result<Head, Error> {
        let channel = self.upload_pack();
        self.located(channel.and_then(|channel| self.wire.head(channel)))
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
