//! Interfaces of a connection that stays open, and of a way to open it.
use std::io::{Read, Write};

use git_push::Error;

use crate::service::Service;

/// Limit of one read or write, in bytes.
pub(super) const PIECE: usize = 64 << 10;

/// A way to start a service for one repository on another machine.
pub(super) trait Dial: Send {
    /// Starts `service`, and asks for protocol 2 on request.
    fn dial(&self, service: Service, protocol_2: bool) -> Result<Box<dyn Channel>, Error>;
}

/// Both directions of a service that was started. A silence beyond the limit is [`std::io::ErrorKind::TimedOut`] or
/// [`std::io::ErrorKind::WouldBlock`].
pub(super) trait Channel: Read + Write + Send {
    /// Returns the reason why the service ended, from the program that provides the connection. Call it after the other
    /// side has closed.
    fn last_words(&mut self) -> Option<Error>;
}
