//! Refs in reftables (git's `Documentation/technical/reftable`), read by the crate `git_reftable`.
use std::{
    cell::RefCell,
    error::Error,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use git_reftable::{FOLDER, Stack};
use gix::hash::Kind;

use super::{LocalRef, LocalRefs, Unreadable, Value, Why, list::Scope, loose, resolve};
use crate::ref_pattern::RefPatterns;

/// Refs of one repository, in reftables.
#[derive(Debug)]
pub(super) struct Tables {
    /// The common git directory.
    folder: PathBuf,
    format: Kind,
    /// The last snapshot. Tables that are still listed stay open for the next one.
    stack: RefCell<Option<Stack>>,
}

impl Tables {
    pub(super) fn new(folder: &Path, format: Kind) -> Self {
        Tables {
            folder: folder.to_owned(),
            format,
            stack: RefCell::default(),
        }
    }

    /// Reads a ref, and also returns the end of its chain of symbolic refs: `name` itself unless it is symbolic.
    pub(super) fn follow(&self, name: &BStr) -> (LocalRef, BString) {
        match self.with_snapshot(|stack| self.resolve(stack, name)) {
            Ok(followed) => followed,
            Err(unreadable) => (LocalRef::Unreadable(unreadable), name.to_owned()),
        }
    }

    /// Lists the current values of all refs that match `patterns`.
    pub(super) fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        let mut found = LocalRefs::default();
        let listed = self.with_snapshot(|stack| self.add_all(stack, patterns, &mut found));
        if let Err(unreadable) = listed.and_then(|listed| listed) {
            found.fails(Scope::Unknown, unreadable);
        }
        found
    }

    /// Reads from a snapshot of the tables as they are now.
    fn with_snapshot<T>(&self, read: impl FnOnce(&Stack) -> T) -> Result<T, Unreadable> {
        let mut last = self.stack.borrow_mut();
        let stack = match &mut *last {
            Some(stack) => {
                stack.refresh().map_err(|error| self.unreadable(&error))?;
                stack
            }
            None => {
                let opened = Stack::open_folder(self.folder.join(FOLDER), self.format);
                last.insert(opened.map_err(|error| self.unreadable(&error))?)
            }
        };
        Ok(read(stack))
    }

    fn add_all(&self, stack: &Stack, patterns: &RefPatterns, found: &mut LocalRefs) -> Result<(), Unreadable> {
        let failed = |error| self.unreadable(&error);
        for prefix in patterns.prefixes() {
            for record in stack.iter_prefix(prefix).map_err(failed)? {
                let record = record.map_err(failed)?;
                if patterns.matches(record.name.as_bstr()) {
                    self.add(stack, record, found);
                }
            }
        }
        Ok(())
    }

    fn add(&self, stack: &Stack, record: git_reftable::Record, found: &mut LocalRefs) {
        let name = record.name.as_bstr();
        if gix::validate::reference::name(name).is_err() {
            // No ref can have such a name.
            return;
        }
        match self.value(name, record.value) {
            Ok(Value::Id(id)) => found.add(record.name, LocalRef::Id(id)),
            Ok(Value::Symbolic(_)) => {
                let (read, target) = self.resolve(stack, name);
                found.add_alias(record.name, target, read);
            }
            Err(unreadable) => found.add(record.name, LocalRef::Unreadable(unreadable)),
        }
    }

    fn resolve(&self, stack: &Stack, name: &BStr) -> (LocalRef, BString) {
        resolve(&self.folder, name, |name| self.step(stack, name))
    }

    /// Reads one ref without following symbolic refs.
    fn step(&self, stack: &Stack, name: &BStr) -> Result<Option<Value>, Unreadable> {
        if gix::validate::reference::name(name).is_err() {
            // No ref can have such a name.
            return Ok(None);
        }
        match stack.find(name) {
            Ok(record) => record.map(|record| self.value(name, record.value)).transpose(),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Refuses a null id and an impossible target, which git never writes.
    fn value(&self, name: &BStr, value: git_reftable::Value) -> Result<Value, Unreadable> {
        let value = match value {
            git_reftable::Value::Id(id) | git_reftable::Value::Peeled { id, .. } => Value::Id(id),
            git_reftable::Value::Symbolic(target) => Value::Symbolic(target),
        };
        let is_possible = match &value {
            Value::Id(id) => !id.is_null(),
            Value::Symbolic(target) => gix::validate::reference::name(target.as_bstr()).is_ok(),
        };
        if is_possible {
            Ok(value)
        } else {
            Err(Unreadable::new(&loose::path(&self.folder, name), Why::NoId))
        }
    }

    fn unreadable(&self, error: &git_reftable::Error) -> Unreadable {
        let mut reason = error.to_string();
        if let Some(cause) = error.source() {
            reason = format!("{reason}: {cause}");
        }
        Unreadable::new(&self.folder.join(FOLDER), Why::Tables(reason))
    }
}
