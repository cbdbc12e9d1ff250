//! List of all refs that match patterns.
use std::{collections::BTreeMap, fs, path::Path};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use gix::ObjectId;

use super::{
    LocalRef, Refs, Unreadable, Why,
    loose::{self, Loose},
};
use crate::ref_pattern::RefPatterns;

/// Refs of a repository that match patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRefs {
    refs: BTreeMap<BString, ObjectId>,
    unreadable: Vec<(Scope, Unreadable)>,
    aliases: BTreeMap<BString, BString>,
}

/// Refs that an unreadable file or folder may contain.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
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

    /// Returns the unreadable files and folders, with the name of the ref if only one is concerned.
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

    fn fails(&mut self, scope: Scope, unreadable: Unreadable) {
        self.unreadable.push((scope, unreadable));
    }
}

impl Refs {
    /// Lists the current values of all refs that match `patterns`.
    pub fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        let mut found = LocalRefs::default();
        self.walk(patterns, &mut found);
        self.add_packed(patterns, &mut found);
        found
    }

    /// Reads the loose refs, and resolves symbolic ones.
    fn walk(&self, patterns: &RefPatterns, found: &mut LocalRefs) {
        let mut folders = vec![BString::from("refs/")];
        while let Some(name) = folders.pop() {
            let folder = loose::path(&self.folder, name.as_bstr());
            if let Err(unreadable) = self.walk_one(&folder, &name, patterns, &mut folders, found) {
                found.fails(Scope::Below(name), unreadable);
            }
        }
    }

    /// Reads the loose refs of one folder. `name` is its name with a slash at the end.
    fn walk_one(
        &self,
        folder: &Path,
        name: &BString,
        patterns: &RefPatterns,
        folders: &mut Vec<BString>,
        found: &mut LocalRefs,
    ) -> Result<(), Unreadable> {
        let system = |error| Unreadable::system(folder, &error);
        let entries = match fs::read_dir(folder) {
            // git has just removed it, as it does with empty folders.
            Err(error) if loose::is_absence(&error) && name != "refs/" => return Ok(()),
            entries => entries.map_err(system)?,
        };
        for entry in entries {
            let entry = entry.map_err(system)?;
            let mut below = name.clone();
            below.push_str(Vec::from_os_str_lossy(&entry.file_name()));
            let kind = entry.file_type().map_err(system)?;
            if kind.is_dir() {
                below.push_byte(b'/');
                folders.extend(is_wanted(patterns, below.as_bstr()).then_some(below));
            } else if kind.is_symlink() && entry.path().is_dir() {
                below.push_byte(b'/');
                let link = Unreadable::new(&entry.path(), Why::NoFile);
                is_wanted(patterns, below.as_bstr()).then(|| found.fails(Scope::Below(below), link));
            } else if patterns.matches(below.as_bstr()) && gix::validate::reference::name(below.as_bstr()).is_ok() {
                self.add_loose(&entry.path(), below, found);
            }
        }
        Ok(())
    }

    fn add_loose(&self, path: &Path, name: BString, found: &mut LocalRefs) {
        let read = match loose::read(path, self.format) {
            Ok(Some(Loose::Id(id))) => LocalRef::Id(id),
            Ok(Some(Loose::Symbolic(_))) => {
                let (read, target) = self.resolve(name.as_bstr());
                found.aliases.insert(name.clone(), target);
                read
            }
            // It has just been deleted or packed.
            Ok(None) => LocalRef::Absent,
            Err(unreadable) => LocalRef::Unreadable(unreadable),
        };
        match read {
            LocalRef::Id(id) => drop(found.refs.insert(name, id)),
            LocalRef::Absent => {}
            LocalRef::Unreadable(unreadable) => found.fails(Scope::One(name), unreadable),
        }
    }

    /// Adds the packed refs, except those that are loose or may be.
    fn add_packed(&self, patterns: &RefPatterns, found: &mut LocalRefs) {
        let packed = match self.packed() {
            Ok(packed) => packed,
            Err(unreadable) => return found.fails(Scope::Unknown, unreadable),
        };
        let is_open = |found: &LocalRefs, name: &BString| {
            patterns.matches(name.as_bstr())
                && !found.aliases.contains_key(name)
                && found.get(name.as_bstr()) == LocalRef::Absent
        };
        let named: Vec<_> = packed.named.iter().filter(|(name, _)| is_open(found, name)).collect();
        for (name, line) in named {
            found.fails(Scope::One(name.clone()), self.damaged(*line));
        }
        let intact: Vec<_> = packed.refs.iter().filter(|(name, _)| is_open(found, name)).collect();
        found
            .refs
            .extend(intact.into_iter().map(|(name, id)| (name.clone(), *id)));
        if let Some(line) = packed.nameless {
            found.fails(Scope::Unknown, self.damaged(line));
        }
    }
}

/// Returns true if a ref below this folder (with a slash at the end) can match the patterns.
fn is_wanted(patterns: &RefPatterns, folder: &BStr) -> bool {
    let mut prefixes = patterns.prefixes();
    prefixes.any(|prefix| prefix.starts_with(folder) || folder.starts_with(prefix))
}
