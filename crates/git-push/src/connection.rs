//! What the engine asks of a connection to a remote.
use std::{collections::BTreeMap, fs::File};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::{Command, Error, Report};

/// A remote that can be pushed to, over whatever transport.
///
/// A connection holds no opinion: it sends what it is given, and says what came back.
pub trait Connection {
    /// Asks for refs and capabilities of `git-receive-pack`.
    ///
    /// # Errors
    /// Whatever kept the advertisement from arriving whole.
    fn advertisement(&mut self) -> Result<Advertisement, Error>;

    /// Sends `request` and, when there is one, the pack; gives the server's report.
    ///
    /// # Errors
    /// [`ErrorKind::Uncertain`](super::ErrorKind::Uncertain) when the answer was lost after the request may have arrived.
    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error>;

    /// Reads the refs whose names start with one of `prefixes`, as a reader of the remote sees them.
    ///
    /// # Errors
    /// Whatever kept the answer from arriving whole.
    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error>;

    /// What has been sent so far.
    fn traffic(&self) -> Traffic;
}

/// What a remote says before it is pushed to (gitprotocol-pack, *Reference Discovery*).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Names and ids. Annotated tags stand for themselves; `name^{}` lines are not kept.
    pub refs: BTreeMap<BString, ObjectId>,
    /// Ids of `.have` lines: objects that the remote has, under no name.
    pub haves: Vec<ObjectId>,
    /// Ids of `shallow` lines: commits whose parents the remote does not have.
    pub shallow: Vec<ObjectId>,
    /// What the server offers.
    pub capabilities: Capabilities,
}

impl Advertisement {
    /// The refs, one by one.
    pub fn into_refs(self) -> Vec<RemoteRef> {
        let refs = self.refs.into_iter();
        refs.map(|(name, id)| RemoteRef { name, id }).collect()
    }

    /// What the remote's ref of this name is.
    pub fn id(&self, name: &BStr) -> Option<ObjectId> {
        self.refs.get(name.as_bytes()).copied()
    }
}

/// What a server offers (gitprotocol-capabilities): names with an optional value, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Pairs in the server's order; a capability may come several times.
    pub list: Vec<(BString, Option<BString>)>,
}

impl Capabilities {
    /// Whether the server offers the capability of this name.
    pub fn offers(&self, name: &str) -> bool {
        self.list.iter().any(|(offered, _)| offered == name)
    }

    /// The first value that the capability of this name comes with.
    pub fn value(&self, name: &str) -> Option<&BStr> {
        let (_, value) = self
            .list
            .iter()
            .find(|(offered, value)| offered == name && value.is_some())?;
        value.as_ref().map(|value| value.as_bstr())
    }
}

/// A ref as a remote has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    /// The full name.
    pub name: BString,
    /// What it is.
    pub id: ObjectId,
}

/// What is asked of the server: commands and the capabilities that they are sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Whether the commands are sent with this capability.
    pub fn negotiated(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|negotiated| negotiated == capability)
    }
}

/// A complete pack in a spool file that goes away with it. The file's position is at its start.
#[derive(Debug)]
pub struct Pack {
    /// The bytes.
    pub file: File,
    /// How many they are.
    pub bytes: u64,
    /// How many objects they hold.
    pub objects: u32,
}

/// What a connection has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// HTTP requests; 0 over other transports.
    pub http_requests: u64,
    /// Bytes of request bodies, packs included.
    pub bytes_sent: u64,
}
