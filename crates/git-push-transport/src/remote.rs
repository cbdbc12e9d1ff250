//! A remote at any location, over the transport of its URL.
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use bstr::{BStr, BString};
use git_push::{Advertisement, Capabilities, Command, Connection, Error, Pack, RemoteRef, Report, Request, Traffic};
use gix::ObjectId;

use crate::fetch::{Extent, Wanted};
use crate::forge::{Forge, TokenEnd};
#[cfg(feature = "http")]
use crate::git_credentials::GitCredentials;
use crate::head::Head;
#[cfg(feature = "smart-http")]
use crate::http::Http;
#[cfg(feature = "local")]
use crate::local::Local;
use crate::location::Location;
use crate::protocol_allow;
use crate::settings::Settings;
#[cfg(feature = "ssh")]
use crate::stream::HelperRemote;
#[cfg(any(feature = "daemon", feature = "ssh"))]
use crate::stream::Stream;
use crate::transport::{TokenUse, Transport};
#[cfg(feature = "http")]
use crate::ureq_client::UreqClient;

/// A connection to a remote at any location. Its methods block.
pub struct Remote {
    location: Location,
    transport: Box<dyn Transport>,
}

impl Remote {
    /// Opens the remote at `location`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if it cannot be reached with these settings, or the
    /// feature of its transport is not enabled.
    pub fn open(location: Location, settings: &Settings) -> Result<Self, Error> {
        protocol_allow::check(&location, settings)?;
        let transport: Box<dyn Transport> = match &location {
            #[cfg(feature = "http")]
            Location::Http(url) => Box::new(Http::open(url, settings)?),
            #[cfg(feature = "ssh")]
            Location::Ssh(url) => Box::new(Stream::open(url, settings)?),
            #[cfg(feature = "daemon")]
            Location::Git(url) => Box::new(Stream::open(url, settings)?),
            #[cfg(feature = "ssh")]
            Location::Path(path) if settings.receive_pack.is_some() => {
                let program = settings.receive_pack.clone().unwrap_or_default();
                Box::new(Stream::of_folder(path, &program, settings))
            }
            #[cfg(feature = "ssh")]
            Location::Ext(command) => Box::new(Stream::of_command(command.as_ref(), settings)),
            #[cfg(feature = "ssh")]
            Location::Helper(address) => Box::new(HelperRemote::open(address, settings)?),
            #[cfg(feature = "local")]
            Location::Path(path) => Box::new(Local::open(path)?.with_hooks(settings.local_hooks)),
            #[cfg(not(all(feature = "daemon", feature = "http", feature = "local", feature = "ssh")))]
            left_out => {
                let what = format!("{left_out}: this program was built without the transport to such a remote");
                let hint = "build git-push-transport with its feature: daemon, http, local or ssh";
                return Err(Error::new(git_push::ErrorKind::Misconfigured, what).with_hint(hint));
            }
        };
        Ok(Remote { location, transport })
    }

    /// Returns true if there are credentials for `location`, a helper that may have some, or no need for any. Invalid
    /// settings count as credentials: [`Remote::open()`] reports them.
    #[must_use]
    pub fn has_credentials(location: &Location, settings: &Settings) -> bool {
        match location {
            #[cfg(feature = "http")]
            Location::Http(url) => GitCredentials::may_exist(url, settings).unwrap_or(true),
            #[cfg(not(feature = "http"))]
            Location::Http(_) => settings.token.is_some(),
            // ssh and helpers have credentials of their own, git:// and folders need none.
            Location::Ssh(_) | Location::Git(_) | Location::Path(_) | Location::Ext(_) | Location::Helper(_) => true,
        }
    }

    /// Returns the file with the token, or with the key of the GitHub App, if one is used for `location`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if the settings of the token are invalid.
    pub fn secret_file(location: &Location, settings: &Settings) -> Result<Option<PathBuf>, Error> {
        match location {
            #[cfg(feature = "http")]
            Location::Http(url) => GitCredentials::secret_file(url, settings),
            _ => Ok(None),
        }
    }

    /// Returns the proxy to `location` as host and port, if one is used.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](git_push::ErrorKind::Misconfigured) if a setting of the proxy is invalid.
    pub fn proxy(location: &Location, settings: &Settings) -> Result<Option<String>, Error> {
        match location {
            #[cfg(feature = "http")]
            Location::Http(url) => UreqClient::proxy(url, settings),
            _ => Ok(None),
        }
    }

    /// Returns the difference of the clocks in seconds, by the server's last answer over HTTP; positive if that of this
    /// machine is ahead. `None` if no answer had a time.
    #[must_use]
    pub fn clock_ahead(&self) -> Option<i64> {
        self.transport.clock_ahead()
    }

    /// Returns what the server said about the token so far.
    pub fn token_use(&mut self) -> TokenUse {
        self.transport.token_use()
    }

    /// Asks a server of this kind for the end of the token. That of a token that renews itself is unknown. This blocks.
    ///
    /// # Errors
    /// There is no token, or the server fails.
    pub fn token_end(&mut self, forge: Forge) -> Result<TokenEnd, Error> {
        self.transport.token_end(forge)
    }

    /// Returns the location.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Makes the commit `want` and the commits before it, up to those of `haves`, readable in `into`, a temporary
    /// repository of the same object format. Objects of a folder are not copied, but borrowed (gitrepository-layout,
    /// *objects/info/alternates*). This blocks.
    ///
    /// # Errors
    /// The commits could not be fetched completely.
    pub fn fetch_commits(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        let wanted = Wanted {
            commit: want,
            haves,
            extent: Extent::Commits,
        };
        self.transport.fetch(wanted, into)
    }

    /// Fetches the commit `want` with everything that it reaches into the repository `into`, durably. The repository must have
    /// everything that `haves` reach. This blocks.
    ///
    /// # Errors
    /// The objects could not be fetched completely; `into` is unchanged.
    pub fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        let wanted = Wanted {
            commit: want,
            haves,
            extent: Extent::Objects,
        };
        self.transport.fetch(wanted, into)
    }

    /// Reads HEAD, as a reader sees it. This blocks.
    ///
    /// # Errors
    /// The answer is incomplete.
    pub fn head(&mut self) -> Result<Head, Error> {
        self.transport.head()
    }

    /// Sets HEAD to `branch`, a full name: in a folder directly, on a server through the REST API of `forge`. This blocks.
    ///
    /// # Errors
    /// The server is not a known forge, it is reached over ssh or `git://`, or it does not change HEAD.
    pub fn set_head(&mut self, branch: &BStr, forge: Option<Forge>) -> Result<(), Error> {
        self.transport.set_head(branch, forge)
    }

    /// Returns the capabilities that an HTTP server offers to readers, once it has sent them. Other servers send them on
    /// each connection.
    #[must_use]
    pub fn reading(&self) -> Option<&Capabilities> {
        self.transport.reading()
    }

    /// Uses remembered capabilities of the server for readers, until an error.
    pub fn remember_reading(&mut self, offered: Capabilities) {
        self.transport.remember_reading(offered);
    }
}

#[cfg(feature = "smart-http")]
impl From<Http> for Remote {
    /// Wraps a connection, for example one over an HTTP client of the application.
    fn from(http: Http) -> Self {
        Remote {
            location: Location::Http(http.url().clone()),
            transport: Box::new(http),
        }
    }
}

impl Connection for Remote {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.transport.advertisement()
    }

    fn prepare(
        &mut self,
        repository: &gix::Repository,
        advertisement: &Advertisement,
        commands: &[Command],
    ) -> Result<(), Error> {
        self.transport.prepare(repository, advertisement, commands)
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.transport.send(request, pack)
    }

    fn takes_streams(&self) -> bool {
        self.transport.takes_streams()
    }

    fn watch(&mut self, interrupt: &Arc<AtomicBool>) {
        self.transport.watch(interrupt);
    }

    fn may_refuse_thin(&self) -> bool {
        self.transport.may_refuse_thin()
    }

    fn takes_packs(&self) -> bool {
        self.transport.takes_packs()
    }

    fn rehearses(&self) -> bool {
        self.transport.rehearses()
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.transport.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        self.transport.traffic()
    }
}
