//! List of all refs that match patterns.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::{LocalRef, Unreadable};

/// Refs of a repository that match patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRefs {
    refs: BTreeMap<BString, ObjectId>,
    unreadable: Vec<(Scope, Unreadable)>,
    aliases: BTreeMap<BString, BString>,
}

/// Refs that an unreadable file or folder may contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The ref with this name.
    One(BString),
    /// Every ref whose name starts with this folder and its slash.
    Below(BString),
    /// Every ref that is not listed.
    Unknown,
}

impl Scope {
    fn has(&self, name: &BStr) -> bool {
        match self {
            Scope::One(one) => one == name,
            Scope::Below(folder) => name.starts_with(folder),
            Scope::Unknown => true,
        }
    }
}

impl From<BTreeMap<BString, ObjectId>> for LocalRefs {
    /// Returns a list of readable refs.
    fn from(refs: BTreeMap<BString, ObjectId>) -> Self {
        LocalRefs {
            refs,
            ..Default::default()
        }
    }
}

impl LocalRefs {
    /// Returns the list with these refs unreadable.
    pub fn with_unreadable(mut self, refs: impl IntoIterator<Item = (BString, Unreadable)>) -> Self {
        for (name, unreadable) in refs {
            self.refs.remove(&name);
            self.fails(Scope::One(name), unreadable);
        }
        self
    }

    /// Returns the readable refs with their ids.
    pub fn known(&self) -> &BTreeMap<BString, ObjectId> {
        &self.refs
    }

    /// Returns the unreadable files and folders, with the name of the ref if only one is affected.
    pub fn unreadable(&self) -> impl Iterator<Item = (Option<&BStr>, &Unreadable)> {
        self.unreadable.iter().map(|(scope, unreadable)| match scope {
            Scope::One(name) => (Some(name.as_bstr()), unreadable),
            Scope::Below(_) | Scope::Unknown => (None, unreadable),
        })
    }

    /// Returns the symbolic refs with the names of their targets.
    pub fn aliases(&self) -> &BTreeMap<BString, BString> {
        &self.aliases
    }

    /// Returns the readable refs with their ids, and the symbolic refs with the names of their targets.
    pub fn into_parts(self) -> (BTreeMap<BString, ObjectId>, BTreeMap<BString, BString>) {
        (self.refs, self.aliases)
    }

    /// Returns the dangling symbolic refs with the names of their missing targets.
    pub fn dangling(&self) -> impl Iterator<Item = (&BString, &BString)> {
        let mut aliases = self.aliases.iter();
        std::iter::from_fn(move || aliases.find(|(name, _)| self.get(name.as_bstr()) == LocalRef::Absent))
    }

    /// Returns true if there are neither refs nor unreadable files or folders.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.unreadable.is_empty() && self.aliases.is_empty()
    }

    /// Returns the result for the ref with this name, which must match the patterns.
    pub fn get(&self, name: &BStr) -> LocalRef {
        if let Some(id) = self.refs.get(name.as_bytes()) {
            return LocalRef::Id(*id);
        }
        let reason = self.unreadable.iter().find(|(scope, _)| scope.has(name));
        reason.map_or(LocalRef::Absent, |(_, unreadable)| {
            LocalRef::Unreadable(unreadable.clone())
        })
    }

    /// Adds a ref with the result of reading it.
    pub(super) fn add(&mut self, name: BString, read: LocalRef) {
        match read {
            LocalRef::Id(id) => drop(self.refs.insert(name, id)),
            LocalRef::Absent => {}
            LocalRef::Unreadable(unreadable) => self.fails(Scope::One(name), unreadable),
        }
    }

    /// Adds a symbolic ref, which leads to `target`, with the result of reading it.
    pub(super) fn add_alias(&mut self, name: BString, target: BString, read: LocalRef) {
        self.aliases.insert(name.clone(), target);
        self.add(name, read);
    }

    pub(super) fn fails(&mut self, scope: Scope, unreadable: Unreadable) {
        self.unreadable.push((scope, unreadable));
    }
}
