use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bstr::BString;

use crate::error::Error;
use crate::record::{Entry, Record};
use crate::table::Table;
use crate::table_iter::TableIter;

/// The refs of a snapshot in the order of their names, compared by bytes.
///
/// It keeps its tables open independently of the stack, and ends after the first error.
pub struct Iter {
    /// Oldest table first.
    tables: Vec<TableIter>,
    heads: BinaryHeap<Head>,
    prefix: BString,
    done: bool,
}

/// The next entry of a table.
struct Head {
    entry: Entry,
    table: usize,
}

impl Iter {
    /// Begins with the first name that is not less than `start`, and ends with the names that begin with `prefix`.
    pub(crate) fn new(tables: &[Arc<Table>], start: &[u8], prefix: &[u8]) -> Result<Self, Error> {
        let tables = tables
            .iter()
            .map(|table| table.seek(start))
            .collect::<Result<Vec<_>, _>>()?;
        let mut iter = Self {
            heads: BinaryHeap::new(),
            prefix: prefix.into(),
            done: false,
            tables,
        };
        for table in 0..iter.tables.len() {
            iter.refill(table)?;
        }
        Ok(iter)
    }

    fn refill(&mut self, table: usize) -> Result<(), Error> {
        self.heads
            .extend(self.tables[table].next()?.map(|entry| Head { entry, table }));
        Ok(())
    }

    /// Advances all tables past the next name, and returns the entry of the newest one for it.
    fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let Some(newest) = self.heads.pop() else {
            return Ok(None);
        };
        self.refill(newest.table)?;
        while self
            .heads
            .peek()
            .is_some_and(|head| head.entry.name == newest.entry.name)
        {
            if let Some(hidden) = self.heads.pop() {
                self.refill(hidden.table)?;
            }
        }
        Ok(Some(newest.entry))
    }

    fn next_record(&mut self) -> Result<Option<Record>, Error> {
        while let Some(entry) = self.next_entry()? {
            if !entry.name.starts_with(&self.prefix) {
                break;
            }
            if let Some(record) = entry.into_record() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Iterator for Iter {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::iter::FusedIterator for Iter {}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter")
            .field("tables", &self.tables.len())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The greatest head has the least name, and of equal names the newest table.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .entry
            .name
            .cmp(&self.entry.name)
            .then(self.table.cmp(&other.table))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
