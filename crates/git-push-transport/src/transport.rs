//! Interface of a connection that reads commits and objects, too.
use bstr::BStr;
use git_push::{Capabilities, Connection, Error};

use crate::fetch::Wanted;
use crate::forge::{Forge, TokenEnd};
use crate::head::Head;

/// Answers of a server that concern the token of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenUse {
    /// It accepted the token at least once.
    pub accepted: bool,
    /// It refused the token in the last answer that depended on it.
    pub refused: bool,
    /// End of the token, if an answer reported it.
    pub ends: Option<jiff::Timestamp>,
    /// The token renews itself, so that its end does not matter.
    pub renews: bool,
    /// The forge reports scopes of the token, and none of them allows a push.
    pub lacks_write_scope: bool,
}

/// A connection that also reads commits, objects and HEAD. Its methods block.
pub trait Transport: Connection + Send {
    /// Fetches `wanted` into the repository `into`.
    ///
    /// # Errors
    /// The commits arrived incomplete or damaged; `into` is unchanged.
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error>;

    /// Reads HEAD, as a reader sees it.
    ///
    /// # Errors
    /// The answer did not arrive whole.
    fn head(&mut self) -> Result<Head, Error>;

    /// Sets HEAD to `branch`, a full name. `forge` is the kind of the server, if it is known.
    ///
    /// # Errors
    /// HEAD cannot be set over this transport, or the server does not change it. [`Error::hint()`] has the permission that a
    /// token needs.
    fn set_head(&mut self, branch: &BStr, forge: Option<Forge>) -> Result<(), Error>;

    /// Returns what the server said about the token. By default nothing: a transport without tokens.
    fn token_use(&mut self) -> TokenUse {
        TokenUse::default()
    }

    /// Asks the forge for the end of the token.
    ///
    /// # Errors
    /// There is no token, or the forge fails.
    fn token_end(&mut self, _: Forge) -> Result<TokenEnd, Error> {
        Ok(TokenEnd::Unknown)
    }

    /// Returns the difference of the clocks in seconds, by the server's last answer; positive if that of this machine is
    /// ahead. `None` if no answer had a time.
    fn clock_ahead(&self) -> Option<i64> {
        None
    }

    /// Returns the capabilities that the server offers to readers, if they are worth remembering.
    fn reading(&self) -> Option<&Capabilities> {
        None
    }

    /// Uses remembered capabilities of the server for readers, until an error.
    fn remember_reading(&mut self, _: Capabilities) {}
}
