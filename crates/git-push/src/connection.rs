//! Connections to a remote, and the values that go over them.
use std::{
    fs::File,
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bstr::BString;

use super::{Advertisement, Command, Error, ErrorKind, RemoteRef, Report, pipe::PipeReader};

/// A remote that can be pushed to, over any transport. Implement it to bring your own.
///
/// A connection sends the request as it is, and returns the server's answer. Its methods block.
pub trait Connection {
    /// Reads the refs and capabilities of `git-receive-pack`.
    ///
    /// # Errors
    /// The advertisement is incomplete.
    fn advertisement(&mut self) -> Result<Advertisement, Error>;

    /// Prepares for a push of `commands` from `repository`, before its pack is made: for example, gets credentials that allow
    /// this push. By default there is nothing to prepare.
    ///
    /// # Errors
    /// The push cannot be made. Nothing was sent.
    fn prepare(
        &mut self,
        _repository: &gix::Repository,
        _advertisement: &Advertisement,
        _commands: &[Command],
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Remembers a flag that becomes true when the caller asks to stop. It is set before each [`send()`](Connection::send()).
    /// A connection need not look at it while it waits for an answer, which is the default.
    fn watch(&mut self, _interrupt: &Arc<AtomicBool>) {}

    /// Sends `request` and the pack, if there is one. Returns the server's report.
    ///
    /// # Errors
    /// [`ErrorKind::Uncertain`] when the answer was lost after the request may have arrived, and [`Pack::failure()`] when the
    /// pack stopped before its end.
    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error>;

    /// Returns true if [`send()`](Connection::send()) takes packs of unknown length, which are made while they are sent.
    /// By default every pack has a [`length()`](Pack::length()).
    fn takes_streams(&self) -> bool {
        false
    }

    /// Returns true if the remote may be one that does not take thin packs. After a push that it could not unpack, a
    /// self-contained pack is sent then. By default any remote may be one.
    fn may_refuse_thin(&self) -> bool {
        true
    }

    /// Returns true if [`send()`](Connection::send()) takes a pack, which is the default. Otherwise the connection makes it from the
    /// repository that it was [prepared](Connection::prepare()) with. It is asked after that.
    fn takes_packs(&self) -> bool {
        true
    }

    /// Returns true if [`send()`](Connection::send()) changes nothing on this connection, and reports what a push would do. False
    /// by default. It is asked after [`advertisement()`](Connection::advertisement()).
    fn rehearses(&self) -> bool {
        false
    }

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
    /// Commits of a shallow clone whose parents it lacks.
    pub shallow: Vec<gix::ObjectId>,
    /// A signed certificate, which replaces the commands on the wire.
    pub certificate: Option<BString>,
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
            shallow: Vec::new(),
            certificate: None,
        }
    }

    /// Adds push options. They are sent if the capabilities contain `push-options`.
    #[must_use]
    pub fn with_push_options(mut self, push_options: Vec<BString>) -> Self {
        self.push_options = push_options;
        self
    }

    /// Adds the commits of a shallow clone whose parents it lacks (gitprotocol-pack, *shallow*).
    #[must_use]
    pub fn with_shallow(mut self, shallow: Vec<gix::ObjectId>) -> Self {
        self.shallow = shallow;
        self
    }

    /// Adds a signed certificate (gitprotocol-pack, *Push Certificate*).
    #[must_use]
    pub fn with_certificate(mut self, certificate: BString) -> Self {
        self.certificate = Some(certificate);
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
#[non_exhaustive]
pub struct SpooledPack {
    /// The bytes.
    pub file: File,
    /// Length of the pack in bytes.
    pub bytes: u64,
    /// Number of objects in the pack.
    pub objects: u32,
    thin: bool,
}

impl SpooledPack {
    pub(super) fn new(file: File, bytes: u64, objects: u32, thin: bool) -> Self {
        SpooledPack {
            file,
            bytes,
            objects,
            thin,
        }
    }

    /// Returns true if the pack may have deltas of objects that are not in it.
    #[must_use]
    pub fn is_thin(&self) -> bool {
        self.thin
    }
}

impl From<SpooledPack> for Pack {
    fn from(pack: SpooledPack) -> Self {
        Pack::new(pack.file, pack.bytes, pack.objects).with_thin_bases(pack.thin)
    }
}

/// A pack to be sent: complete, or made while it is read. A connection that [`takes_streams()`](Connection::takes_streams())
/// reads it to its end, or drops it.
#[derive(Debug)]
pub struct Pack {
    body: Body,
    length: Option<u64>,
    objects: u32,
    thin: bool,
    interrupt: Arc<AtomicBool>,
    sent: SentBytes,
}

#[derive(Debug)]
enum Body {
    File(File),
    Memory(Cursor<Vec<u8>>),
    Stream(PipeReader),
}

/// Number of bytes of a pack that were read in order to be sent.
#[derive(Debug, Clone, Default)]
pub struct SentBytes(Arc<Sent>);

#[derive(Debug, Default)]
struct Sent {
    bytes: AtomicU64,
    is_complete: AtomicBool,
}

impl SentBytes {
    /// Returns the number of bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Returns true if the whole pack was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_complete.load(Ordering::Relaxed)
    }
}

impl Pack {
    /// Wraps a file that contains a pack of `bytes` bytes from its current position on.
    pub fn new(file: File, bytes: u64, objects: u32) -> Self {
        Pack::with_body(Body::File(file), Some(bytes), objects)
    }

    /// Wraps a complete pack.
    pub(super) fn in_memory(bytes: Vec<u8>, objects: u32) -> Self {
        let length = bytes.len() as u64;
        Pack::with_body(Body::Memory(Cursor::new(bytes)), Some(length), objects)
    }

    /// Wraps a pack that is being made.
    pub(super) fn streamed(reader: PipeReader, objects: u32) -> Self {
        Pack::with_body(Body::Stream(reader), None, objects)
    }

    fn with_body(body: Body, length: Option<u64>, objects: u32) -> Self {
        Pack {
            body,
            length,
            objects,
            thin: false,
            interrupt: Arc::default(),
            sent: SentBytes::default(),
        }
    }

    /// Returns the length in bytes, or `None` while the pack is being made.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns the number of objects in the pack.
    #[must_use]
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// Returns the number of bytes that were read. It continues to count.
    #[must_use]
    pub fn sent(&self) -> SentBytes {
        self.sent.clone()
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

    /// Returns true if the caller asked to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Returns the error of a connection whose reading failed on this side: the caller asked to stop, or the pack
    /// cannot be completed. [`Push::send()`](super::Push::send()) then reports the cause. `None` if all was read, or
    /// can be.
    ///
    /// The connection must end the request so that the server gets no complete pack, and not wait for an answer.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let is_broken = matches!(&self.body, Body::Stream(reader) if reader.is_broken());
        if self.sent.is_complete() {
            None
        } else if self.is_interrupted() {
            Some(Error::interrupted())
        } else if is_broken {
            let what = "the pack could not be completed; nothing was changed on the remote";
            Some(Error::new(ErrorKind::Transient, what))
        } else {
            None
        }
    }

    fn is_at_end(&self) -> bool {
        match &self.body {
            Body::Stream(reader) => reader.is_at_end(),
            Body::File(_) | Body::Memory(_) => self.length == Some(self.sent.bytes()),
        }
    }
}

/// Reads the pack, and fails when the caller asked to stop, or when the pack cannot be made.
impl Read for Pack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The server may have everything now, so it is too late to stop.
        if self.sent.is_complete() {
            return Ok(0);
        }
        if self.is_interrupted() {
            // Not `io::ErrorKind::Interrupted`: readers retry after that.
            return Err(io::Error::other("interrupted"));
        }
        let left = self.length.map_or(u64::MAX, |length| length - self.sent.bytes());
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..most];
        let read = match &mut self.body {
            Body::File(file) => file.read(buffer),
            Body::Memory(bytes) => bytes.read(buffer),
            Body::Stream(reader) => reader.read(buffer),
        }?;
        self.sent.0.bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.sent.0.is_complete.store(self.is_at_end(), Ordering::Relaxed);
        Ok(read)
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
