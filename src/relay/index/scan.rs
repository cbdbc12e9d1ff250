//! Reading the entries that a scan found: from the sorted maps in memory and from the tables, as one sequence.
use std::{io, sync::Arc};

use jiff::Timestamp;

use super::{
    Bounds, Record, Scan, Slice,
    key::{self, Key, Value},
    merged::{Merged, Source},
    table::Table,
};

impl Scan {
    /// Returns true if no table is needed.
    pub fn is_in_memory(&self) -> bool {
        self.tables().next().is_none()
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.older.tables.iter().filter(|table| table.about().last > self.after)
    }

    /// Events with this hash, and true for those that are stored, false for those that were removed.
    ///
    /// # Errors
    /// A table is damaged or cannot be read.
    pub fn records(&self) -> io::Result<Vec<(Record, bool)>> {
        let records = self.entries()?.map(|entry| {
            let record = Record::of(&entry?.1);
            Ok((record, self.older.has(record)))
        });
        records.collect()
    }

    /// Events in the order of arrival, within the bounds.
    ///
    /// # Errors
    /// A table is damaged or cannot be read.
    pub fn arrived(&self, bounds: Bounds) -> io::Result<Slice<()>> {
        bounds.apply(self.stored()?.map(|entry| entry.map(|(_, record)| ((), record))))
    }

    /// Events in the order of time, within the bounds.
    ///
    /// # Errors
    /// A table is damaged or cannot be read.
    pub fn by_time(&self, bounds: Bounds) -> io::Result<Slice<(Timestamp, Arc<str>)>> {
        bounds.apply(self.stored()?.map(|entry| {
            let (key, record) = entry?;
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a key of the index has no time");
            Ok((key::time_of(&key).ok_or_else(damaged)?, record))
        }))
    }

    fn stored(&self) -> io::Result<impl Iterator<Item = io::Result<(Key, Record)>> + '_> {
        let records = self
            .entries()?
            .map(|entry| entry.map(|(key, value)| (key, Record::of(&value))));
        Ok(records.filter(|entry| entry.as_ref().map_or(true, |(_, record)| self.older.has(*record))))
    }

    fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<(Key, Value)>> + '_> {
        let mut sources: Vec<Source<'_>> = vec![Box::new(self.newest.iter().cloned().map(Ok))];
        if let Some(frozen) = &self.older.frozen {
            let entries = frozen.from(&self.from);
            sources.push(Box::new(entries.map(|(key, value)| Ok((key.clone(), *value)))));
        }
        for table in self.tables() {
            sources.push(Box::new(table.entries(&self.from)?));
        }
        let prefix = &self.prefix;
        let entries = Merged::new(sources);
        Ok(entries.take_while(move |entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))))
    }
}
