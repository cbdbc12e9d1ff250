//! Refs in files: loose ones, and those of `packed-refs`.
use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use durable::storage::{Disk, Look, Names};

use super::{
    LocalRef, LocalRefs, Unreadable, Value, Why,
    list::Scope,
    loose,
    packed::{Found, Packed},
    resolve,
};
use crate::ref_pattern::RefPatterns;

/// Refs of one repository, in files.
#[derive(Debug)]
pub(super) struct Files {
    /// Folder with `refs/` and `packed-refs`.
    folder: PathBuf,
    format: gix::hash::Kind,
    /// Last content of `packed-refs`, with the metadata of that file.
    packed: RefCell<Option<(Look, Rc<Packed>)>>,
}

impl Files {
    pub(super) fn new(folder: &Path, format: gix::hash::Kind) -> Self {
        Files {
            folder: folder.to_owned(),
            format,
            packed: RefCell::default(),
        }
    }

    /// Reads a ref, and also returns the end of its chain of symbolic refs: `name` itself unless it is symbolic.
    pub(super) fn resolve(&self, name: &BStr) -> (LocalRef, BString) {
        resolve(&self.folder, name, |name| self.step(name))
    }

    /// Reads one ref without following symbolic refs.
    fn step(&self, name: &BStr) -> Result<Option<Value>, Unreadable> {
        if gix::validate::reference::name(name).is_err() {
            // No ref can have such a name.
            return Ok(None);
        }
        if let Some(loose) = loose::read(&loose::path(&self.folder, name), self.format)? {
            return Ok(Some(loose));
        }
        match self.packed()?.find(name) {
            Found::Id(id) => Ok(Some(Value::Id(id))),
            Found::Nothing => Ok(None),
            Found::Damaged(line) => Err(self.damaged(line)),
        }
    }

    fn packed_path(&self) -> PathBuf {
        self.folder.join("packed-refs")
    }

    fn damaged(&self, line: usize) -> Unreadable {
        Unreadable::new(&self.packed_path(), Why::Line(line))
    }

    /// Returns the current content of `packed-refs`. Reads it again if the file has changed.
    fn packed(&self) -> Result<Rc<Packed>, Unreadable> {
        let path = self.packed_path();
        let look = Disk.look(&path).map_err(|error| Unreadable::system(&path, &error))?;
        let Some(look) = look else {
            return Ok(Rc::default());
        };
        if let Some((seen, packed)) = &*self.packed.borrow()
            && *seen == look
        {
            return Ok(packed.clone());
        }
        let packed = Rc::new(Packed::read(&path, self.format)?);
        // The metadata of a symbolic link does not show changes of its target.
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        *self.packed.borrow_mut() = is_file.then(|| (look, packed.clone()));
        Ok(packed)
    }

    /// Lists the current values of all refs that match `patterns`.
    pub(super) fn list(&self, patterns: &RefPatterns) -> LocalRefs {
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
                folders.extend(patterns.may_match_below(below.as_bstr()).then_some(below));
            } else if kind.is_symlink() && entry.path().is_dir() {
                below.push_byte(b'/');
                let link = Unreadable::new(&entry.path(), Why::NoFile);
                patterns
                    .may_match_below(below.as_bstr())
                    .then(|| found.fails(Scope::Below(below), link));
            } else if patterns.matches(below.as_bstr()) && gix::validate::reference::name(below.as_bstr()).is_ok() {
                self.add_loose(&entry.path(), below, found);
            }
        }
        Ok(())
    }

    fn add_loose(&self, path: &Path, name: BString, found: &mut LocalRefs) {
        match loose::read(path, self.format) {
            Ok(Some(Value::Id(id))) => found.add(name, LocalRef::Id(id)),
            Ok(Some(Value::Symbolic(_))) => {
                let (read, target) = self.resolve(name.as_bstr());
                found.add_alias(name, target, read);
            }
            // It has just been deleted or packed.
            Ok(None) => {}
            Err(unreadable) => found.add(name, LocalRef::Unreadable(unreadable)),
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
                && !found.aliases().contains_key(name)
                && found.get(name.as_bstr()) == LocalRef::Absent
        };
        let named: Vec<_> = packed.named.iter().filter(|(name, _)| is_open(found, name)).collect();
        for (name, line) in named {
            found.fails(Scope::One(name.clone()), self.damaged(*line));
        }
        let intact: Vec<_> = packed.refs.iter().filter(|(name, _)| is_open(found, name)).collect();
        for (name, id) in intact {
            found.add(name.clone(), LocalRef::Id(*id));
        }
        if let Some(line) = packed.nameless {
            found.fails(Scope::Unknown, self.damaged(line));
        }
    }
}
