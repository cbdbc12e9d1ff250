//! Refs and capabilities of a remote, as values. Connections create them, so their fields cover the whole protocol.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

/// Refs and capabilities of a remote, as it sends them before a push (gitprotocol-pack, *Reference Discovery*).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Names and ids. Annotated tags stand for themselves; `name^{}` lines are not kept.
    pub refs: BTreeMap<BString, ObjectId>,
    /// Ids of `.have` lines: objects that the remote has, under no name.
    pub haves: Vec<ObjectId>,
    /// Ids of `shallow` lines: commits whose parents the remote does not have.
    pub shallow: Vec<ObjectId>,
    /// Capabilities that the server offers.
    pub capabilities: Capabilities,
}

impl Advertisement {
    /// Returns the refs as a list.
    #[must_use]
    pub fn into_refs(self) -> Vec<RemoteRef> {
        let refs = self.refs.into_iter();
        refs.map(|(name, id)| RemoteRef { name, id }).collect()
    }

    /// Returns the id of the remote's ref of this name.
    #[must_use]
    pub fn id(&self, name: &BStr) -> Option<ObjectId> {
        self.refs.get(name.as_bytes()).copied()
    }
}

/// Capabilities of a server (gitprotocol-capabilities): names with an optional value, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Pairs in the server's order. A capability may come several times.
    pub list: Vec<(BString, Option<BString>)>,
}

impl Capabilities {
    /// Returns true if the server offers the capability of this name.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        self.list.iter().any(|(offered, _)| offered == name)
    }

    /// Returns the first value of the capability of this name.
    #[must_use]
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
    /// The id.
    pub id: ObjectId,
}
