//! Requests of a cycle to the mirror.
use bstr::BString;
use git_push::{Advertisement, Command, Error, RemoteRef, Report};

/// Operations of a cycle on the mirror.
pub trait Mirror {
    /// Returns the remembered state after the last push, if any.
    fn remembered(&mut self) -> Option<Advertisement>;
    /// Remembers the current state, or drops the remembered one.
    fn remember(&mut self, advertisement: Option<Advertisement>);
    /// Starts an attempt: LFS objects that failed in an earlier one are tried again.
    fn start_attempt(&mut self) {}
    /// See [`Connection::advertisement()`](git_push::Connection::advertisement()).
    fn advertisement(&mut self) -> Result<Advertisement, Error>;
    /// Sends these commands in one atomic push.
    fn push(&mut self, advertisement: &Advertisement, commands: Vec<Command>) -> Result<Report, Error>;
    /// See [`Connection::read_refs()`](git_push::Connection::read_refs()).
    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error>;
}
