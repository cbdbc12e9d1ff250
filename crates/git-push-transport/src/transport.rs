//! Interface of a connection that reads commits and objects, too.
use bstr::BStr;
use git_push::{Capabilities, Connection, Error};

use crate::fetch::Wanted;
use crate::forge::Forge;
use crate::head::Head;

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

    /// Returns the capabilities that the server offers to readers, if remembering them saves a request.
    fn reading(&self) -> Option<&Capabilities> {
        None
    }

    /// Uses remembered capabilities of the server for readers, until an error.
    fn remember_reading(&mut self, _: Capabilities) {}
}
