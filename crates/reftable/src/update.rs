//! Updates of refs, and the checks against the refs that exist.

use std::collections::BTreeMap;
use std::ops::Bound;

use bstr::{BStr, BString, ByteSlice};
use gix_hash::{Kind, ObjectId};

use crate::error::Error;
use crate::log::{LogLine, LogRecord};
use crate::record::{Entry, Value};
use crate::stack::Stack;
use crate::write_error::WriteError;

/// A change of one ref. A symbolic ref is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The full name.
    pub name: BString,
    /// The value that the ref must have before.
    pub expected: Expected,
    /// The new value, `None` to delete the ref.
    ///
    /// Git peels an annotated tag by the table alone: give [`Value::Peeled`] for one.
    pub new: Option<Value>,
    /// A line for the reflog of the ref. It is written if the new value is an id.
    pub log: Option<LogLine>,
}

/// The value that a ref must have, or else nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any value, or none.
    Any,
    /// The ref does not exist.
    Absent,
    /// The ref has this id.
    Id(ObjectId),
    /// The ref is a symbolic ref to this name.
    Symbolic(BString),
}

/// The records of one transaction, each in the order of names.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub entries: Vec<Entry>,
    pub logs: Vec<LogRecord>,
}

/// Updates by name.
#[derive(Debug, Default)]
pub(crate) struct Updates(BTreeMap<BString, Update>);

impl Updates {
    /// Makes the checks that do not need the existing refs: names, ids, and that no ref occurs twice.
    pub(crate) fn new(updates: impl IntoIterator<Item = Update>, hash: Kind) -> Result<Self, WriteError> {
        let mut by_name = BTreeMap::new();
        for update in updates {
            check_name(&update.name)?;
            if let Some(value) = &update.new {
                check_value(&update.name, value, hash)?;
            }
            if let Some(before) = by_name.insert(update.name.clone(), update) {
                return Err(WriteError::Repeated { name: before.name });
            }
        }
        Ok(Self(by_name))
    }

    /// Returns the records that change `stack`, after all checks. Updates that change nothing have none.
    pub(crate) fn records(&self, stack: &Stack, update_index: u64) -> Result<Records, WriteError> {
        let mut records = Records::default();
        for (name, update) in &self.0 {
            let current = stack.find(name.as_bstr())?.map(|record| record.value);
            if !update.expected.allows(current.as_ref()) {
                return Err(WriteError::Changed { name: name.clone() });
            }
            if update.new == current {
                continue;
            }
            if current.is_none()
                && let Some(other) = self.conflict(stack, name.as_ref())?
            {
                let name = name.clone();
                return Err(WriteError::Conflict { name, other });
            }
            records.logs.extend(update.log_record(current.as_ref(), update_index));
            records.entries.push(Entry {
                name: name.clone(),
                value: update.new.clone(),
                update_index,
            });
        }
        Ok(records)
    }

    /// Returns a ref above or below `name` that exists after the updates: `a` and `a/b` exclude each other.
    fn conflict(&self, stack: &Stack, name: &BStr) -> Result<Option<BString>, Error> {
        for at in name.find_iter("/") {
            if self.exists_afterwards(stack, name[..at].as_bstr())? {
                return Ok(Some(name[..at].into()));
            }
        }
        let folder = BString::from([name.as_bytes(), b"/"].concat());
        let updates = self.0.range((Bound::Included(folder.clone()), Bound::Unbounded));
        let mut below = updates.take_while(|(name, _)| name.starts_with(&folder));
        if let Some((other, _)) = below.find(|(_, update)| update.new.is_some()) {
            return Ok(Some(other.clone()));
        }
        for record in stack.iter_prefix(folder.as_bstr())? {
            let record = record?;
            if !self.0.contains_key(&record.name) {
                return Ok(Some(record.name));
            }
        }
        Ok(None)
    }

    fn exists_afterwards(&self, stack: &Stack, name: &BStr) -> Result<bool, Error> {
        match self.0.get(name) {
            Some(update) => Ok(update.new.is_some()),
            None => Ok(stack.find(name)?.is_some()),
        }
    }
}

impl Update {
    fn log_record(&self, current: Option<&Value>, update_index: u64) -> Option<LogRecord> {
        let new = self.new.as_ref()?.id()?;
        let line = self.log.clone()?;
        let old = current.and_then(Value::id);
        Some(LogRecord {
            name: self.name.clone(),
            update_index,
            old: old.unwrap_or(new.kind().null()),
            new,
            line,
        })
    }
}

impl Expected {
    fn allows(&self, current: Option<&Value>) -> bool {
        match (self, current) {
            (Self::Any, _) | (Self::Absent, None) => true,
            (Self::Id(id), Some(value)) => value.id() == Some(*id),
            (Self::Symbolic(target), Some(Value::Symbolic(current))) => target == current,
            (Self::Absent | Self::Symbolic(_), Some(_)) | (Self::Id(_) | Self::Symbolic(_), None) => false,
        }
    }
}

fn check_name(name: &BString) -> Result<(), WriteError> {
    match gix_validate::reference::name(name.as_bstr()) {
        Ok(_) => Ok(()),
        Err(_) => Err(WriteError::Name { name: name.clone() }),
    }
}

fn check_value(name: &BString, value: &Value, hash: Kind) -> Result<(), WriteError> {
    let fits = |id: &ObjectId| id.kind() == hash && !id.is_null();
    let possible = match value {
        Value::Id(id) => fits(id),
        Value::Peeled { id, peeled } => fits(id) && fits(peeled),
        Value::Symbolic(target) => return check_name(target),
    };
    if possible {
        Ok(())
    } else {
        let name = name.clone();
        Err(WriteError::Id { name, expected: hash })
    }
}
