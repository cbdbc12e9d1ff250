//! Answers that come before the whole request was sent: a server that refuses a push need not read all of it.
//!
//! ureq sends a whole request before it reads the answer, and fails when the server does not read all of it. So a
//! [`Connector`] wraps all connections. If a write fails, or the server has refused meanwhile, the rest of the request
//! is dropped, its body ends, and ureq reads the answer. That is possible even after the server has reset the
//! connection, because the answer came before. The connection is not used again.
//!
//! The body and the connection of a request share a variable of the thread, because ureq handles both on one thread.
use std::{
    cell::Cell,
    io,
    io::Read,
    time::{Duration, Instant},
};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::named_tls::Opens;

/// Interval between looks for an answer while a body is sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time limit of one look. It is short, because a look only finds an answer that has already arrived.
const LOOK: Duration = Duration::from_millis(1);
/// Time limit for an answer after a write that failed.
const GRACE: Duration = Duration::from_secs(1);

/// State of the request of this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    No,
    /// With the time of the last look for an answer.
    Body(Instant),
    GivenUp,
}

thread_local! {
    static SENDING: Cell<Sending> = const { Cell::new(Sending::No) };
}

/// The body of a request. It ends when its connection gives up.
pub(super) struct Body<R> {
    reader: R,
    /// Number of bytes that ureq still expects, if their number was announced.
    left: Option<u64>,
}

impl<R: Read> Body<R> {
    /// Wraps the body of the next request of this thread.
    pub(super) fn new(reader: R, length: Option<u64>) -> Self {
        SENDING.set(Sending::Body(Instant::now()));
        Body { reader, left: length }
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match (SENDING.get(), self.left) {
            (Sending::GivenUp, None) => 0,
            // Any bytes: they go nowhere.
            (Sending::GivenUp, Some(left)) => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            (Sending::No | Sending::Body(_), _) => self.reader.read(buffer)?,
        };
        self.left = self.left.map(|left| left.saturating_sub(read as u64));
        Ok(read)
    }
}

impl<R> Drop for Body<R> {
    fn drop(&mut self) {
        SENDING.set(Sending::No);
    }
}

/// Opens connections that give up sending when there is an answer.
#[derive(Debug, Default)]
pub(super) struct Watching(Opens);

impl Watching {
    /// Watches the connections that `opens` opens.
    pub(super) fn new(opens: Opens) -> Self {
        Watching(opens)
    }
}

impl Connector for Watching {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Watched>, Error> {
        let connection = self.0.connect(details)?;
        Ok(connection.map(|connection| Watched {
            connection,
            has_given_up: false,
            lost: None,
            has_input: false,
        }))
    }
}

/// A connection that gives up sending when there is an answer.
#[derive(Debug)]
pub(super) struct Watched {
    connection: Box<dyn Transport>,
    has_given_up: bool,
    /// The error of the write that failed.
    lost: Option<Error>,
    /// True if a look has read bytes that were not awaited yet.
    has_input: bool,
}

impl Watched {
    fn give_up(&mut self, lost: Option<Error>) {
        self.has_given_up = true;
        self.lost = lost;
        SENDING.set(Sending::GivenUp);
    }

    /// Looks for an answer, if that is due. Returns true if the server has refused the request.
    fn is_refused(&mut self, timeout: NextTimeout) -> bool {
        match SENDING.get() {
            Sending::Body(last) if last.elapsed() >= INTERVAL => {}
            _ => return false,
        }
        SENDING.set(Sending::Body(Instant::now()));
        let look = NextTimeout {
            after: LOOK.into(),
            ..timeout
        };
        // If it fails, so does the next write.
        self.has_input |= self.connection.await_input(look).unwrap_or(false);
        let status = self.connection.buffers().input().get(b"HTTP/1.1 ".len());
        // An answer that begins with another digit may be followed by more, or wait for the rest of the body.
        self.has_input && matches!(status, Some(b'3' | b'4' | b'5'))
    }
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.has_given_up {
            return Ok(());
        }
        if self.is_refused(timeout) {
            self.give_up(None);
            return Ok(());
        }
        // A connection to a proxy may be watched, too, below that to the server.
        let state = SENDING.replace(Sending::No);
        let sent = self.connection.transmit_output(amount, timeout);
        SENDING.set(state);
        match sent {
            Err(error) if state != Sending::No => {
                self.give_up(Some(error));
                Ok(())
            }
            sent => sent,
        }
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        if std::mem::take(&mut self.has_input) {
            return Ok(true);
        }
        if self.lost.is_some() {
            timeout.after = GRACE.into();
        }
        let awaited = self.connection.await_input(timeout);
        match (awaited, self.lost.take()) {
            (Ok(false) | Err(_), Some(lost)) => Err(lost),
            (awaited, _) => awaited,
        }
    }

    fn is_open(&mut self) -> bool {
        !self.has_given_up && self.connection.is_open()
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}
