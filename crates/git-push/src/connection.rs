//! Connections to a remote, and the values that go over them.
use std::{
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bstr::BString;

use super::{Advertisement, Command, Error, RemoteRef, Report};

/// A remote that can be pushed to, over any transport. Implement it to bring your own.
///
/// A connection sends the request as it is, and returns the server's answer. Its methods block.
pub trait Connection {
    /// Reads the refs and capabilities of `git-receive-pack`.
    ///
    /// # Errors
    /// The advertisement is incomplete.
    fn advertisement(&mut self) -> Result<Advertisement, Error>;

    /// Sends `request` and the pack, if there is one. Returns the server's report.
    ///
    /// # Errors
    /// [`ErrorKind::Uncertain`](super::ErrorKind::Uncertain) when the answer was lost after the request may have arrived,
    /// and [`Error::interrupted()`] when the pack stopped before its end ([`Pack::is_interrupted()`]).
    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error>;

    /// Reads the refs whose names start with one of `prefixes`, as a reader of the remote sees them.
    ///
    /// # Errors
    /// The answer is incomplete.
    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error>;

    /// Returns the counts so far.
    fn traffic(&self) -> Traffic;
}

/// A request to the server: commands, and the capabilities that they are sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// At least one command.
    pub commands: Vec<Command>,
    /// The object format of the ids.
    pub object_format: gix::hash::Kind,
    /// All commands or none.
    pub atomic: bool,
    /// Capabilities that the server offered and that are used, ready for the wire (`atomic` among them).
    pub capabilities: Vec<BString>,
    /// Push options, one line each.
    pub push_options: Vec<BString>,
}

impl Request {
    /// Creates a request without push options. It is atomic if `capabilities` contain `atomic`.
    ///
    /// [`negotiate()`](super::negotiate()) makes the request of a push, and refuses invalid ones.
    #[must_use]
    pub fn new(commands: Vec<Command>, object_format: gix::hash::Kind, capabilities: Vec<BString>) -> Self {
        Request {
            commands,
            object_format,
            atomic: capabilities.iter().any(|capability| capability == "atomic"),
            capabilities,
            push_options: Vec::new(),
        }
    }

    /// Adds push options. They are sent if the capabilities contain `push-options`.
    #[must_use]
    pub fn with_push_options(mut self, push_options: Vec<BString>) -> Self {
        self.push_options = push_options;
        self
    }

    /// Returns true if the commands are sent with this capability.
    #[must_use]
    pub fn negotiated(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|negotiated| negotiated == capability)
    }
}

/// A complete pack in a temporary file, which is removed on drop. The file's position is at its start.
#[derive(Debug)]
pub struct Pack {
    /// The bytes.
    pub file: File,
    /// Length of the pack in bytes.
    pub bytes: u64,
    /// Number of objects in the pack.
    pub objects: u32,
    thin: bool,
    interrupt: Arc<AtomicBool>,
}

impl Pack {
    /// Wraps a file that contains a pack of `bytes` bytes from its current position on.
    pub fn new(file: File, bytes: u64, objects: u32) -> Self {
        Pack {
            file,
            bytes,
            objects,
            thin: false,
            interrupt: Arc::default(),
        }
    }

    /// Records that the pack may have deltas of objects that are not in it.
    #[must_use]
    pub fn with_thin_bases(mut self, thin: bool) -> Self {
        self.thin = thin;
        self
    }

    /// Returns true if the pack may have deltas of objects that are not in it.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        self.thin
    }

    /// Stops reading when `flag` becomes true.
    #[must_use]
    pub fn interruptible(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupt = flag;
        self
    }

    /// Returns the flag that stops reading, for functions that take one.
    #[must_use]
    pub fn interrupt_flag(&self) -> Arc<AtomicBool> {
        self.interrupt.clone()
    }

    /// Returns true if the caller asked to stop. A connection that has not sent the whole pack then fails with
    /// [`Error::interrupted()`].
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Reads the file, and fails when the caller asked to stop.
impl Read for Pack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_interrupted() {
            // Not `io::ErrorKind::Interrupted`: readers retry after that.
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buffer)
    }
}

/// Counts of the requests and bytes that a connection has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// HTTP requests; 0 over other transports.
    pub http_requests: u64,
    /// Bytes of request bodies, packs included.
    pub bytes_sent: u64,
}
