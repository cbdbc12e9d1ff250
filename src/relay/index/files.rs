//! Files of an index: writing frozen entries to tables, and merging tables.
//!
//! The tables are in the order of their events. If a table has fewer than [`RATIO`] times as many entries as the next
//! one, both are merged. So there are few tables, and an entry is written about once for each of them. Tables with
//! [`MAX_ENTRIES`] entries are no longer merged.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use durable::storage::{Disk, Folders, Names, remove_existing};
use ulid::Ulid;

use super::{
    Frozen, Index, Record, key,
    manifest::{MANIFEST, Manifest, Mark, checksum},
    merged::{Merged, Source},
    table::{Cache, Table, Writer, path_of},
};
use crate::journal::log::LogReader;

/// Number of removed log files at which a table is written again without their events.
const REMOVED_FILES: u32 = 2;
/// Name of the folder of the index, in the data folder.
pub const FOLDER: &str = "index";
/// Least ratio of the entries of a table to those of the next one.
const RATIO: u64 = 4;
/// Maximum number of entries of a merged table: about a gigabyte.
const MAX_ENTRIES: u64 = 20_000_000;

/// Files of an index.
#[derive(Debug)]
pub struct IndexFiles {
    folder: PathBuf,
    log: LogReader<Disk>,
    manifest: Option<Manifest>,
    tables: Vec<Arc<Table>>,
    cache: Cache,
    /// True if a table is damaged: the next start rebuilds the index.
    damaged: Arc<AtomicBool>,
}

impl IndexFiles {
    /// Opens the index in the data folder `data`, of a log with these segments. Returns its content, and its marks, oldest first.
    ///
    /// # Errors
    /// The index is damaged, or does not belong to the log.
    pub fn open(data: &Path, log: LogReader<Disk>, segments: &[Ulid]) -> io::Result<Option<(Self, Index, Vec<Mark>)>> {
        let mut files = IndexFiles::of(data, log);
        let Some(manifest) = Manifest::read(&files.folder)? else {
            return Ok(None);
        };
        let (removed, marks) = manifest.marks(segments, &files.log)?;
        for about in &manifest.tables {
            let table = Table::open(&files.folder, about.clone(), files.cache.clone())?;
            files.tables.push(Arc::new(table));
        }
        let mut index = Index::default();
        manifest.feeds().for_each(|feed| index.push_feed(feed));
        index.skip_to(manifest.last);
        index.use_tables(files.tables.clone(), false);
        index.remove_before(marks[0].file, removed);
        files.manifest = Some(manifest);
        files.remove_others()?;
        Ok(Some((files, index, marks)))
    }

    /// Creates an empty index, and removes the one that is there.
    ///
    /// # Errors
    /// The disk fails.
    pub fn create(data: &Path, log: LogReader<Disk>) -> io::Result<Self> {
        let files = IndexFiles::of(data, log);
        Disk.create_dir(&files.folder)?;
        remove_existing(&Disk, &files.folder.join(MANIFEST))?;
        files.remove_others()?;
        Ok(files)
    }

    fn of(data: &Path, log: LogReader<Disk>) -> Self {
        IndexFiles {
            folder: data.join(FOLDER),
            log,
            manifest: None,
            tables: Vec::new(),
            cache: Cache::default(),
            damaged: Arc::default(),
        }
    }

    /// Its tables, oldest first.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.clone()
    }

    /// Flag that keeps the index from being used again, once the flag is set and the manifest is removed.
    pub fn damaged(&self) -> Damaged {
        Damaged {
            flag: self.damaged.clone(),
            manifest: self.folder.join(MANIFEST),
        }
    }

    /// Writes a table of the entries that were frozen when the log was read up to these marks.
    ///
    /// # Errors
    /// The disk fails. The frozen entries can be written again.
    pub fn fold(&mut self, frozen: &Frozen, mut marks: Vec<Mark>) -> io::Result<()> {
        for mark in &mut marks {
            mark.checksum = self.checksum(mark)?;
        }
        let mut writer = Writer::create(&self.folder, Ulid::generate())?;
        for (key, value) in &frozen.entries.entries {
            writer.add(key, value, Record::of(value))?;
        }
        let mut tables = self.tables.clone();
        if let Some(about) = writer.finish()? {
            tables.push(Arc::new(Table::open(&self.folder, about, self.cache.clone())?));
        }
        let abouts = tables.iter().map(|table| table.about().clone()).collect();
        self.replace(Manifest::new(frozen, marks, abouts), tables)
    }

    /// Merges the newest tables if their sizes require it, and leaves out the events of removed log files, which are
    /// those before this one. Returns true if tables were merged.
    ///
    /// # Errors
    /// The disk fails, or a table is damaged.
    pub fn merge(&mut self, first_file: u32) -> io::Result<bool> {
        let Some(mut manifest) = self.manifest.clone() else {
            return Ok(false);
        };
        let Some((from, to)) = self.to_be_merged(first_file) else {
            return Ok(false);
        };
        let merged = &self.tables[from..to];
        let sources = merged
            .iter()
            .map(|table| Ok(Box::new(table.entries(&[])?) as Source<'_>));
        let mut writer = Writer::create(&self.folder, Ulid::generate())?;
        for entry in Merged::new(sources.collect::<io::Result<Vec<_>>>()?) {
            let (key, value) = entry?;
            let record = Record::of(&value);
            if !key::is_ordered(&key) || record.place.file >= first_file {
                writer.add(&key, &value, record)?;
            }
        }
        let about = writer.finish()?;
        let table = about.map(|about| Table::open(&self.folder, about, self.cache.clone()));
        let mut tables = self.tables.clone();
        tables.splice(from..to, table.transpose()?.map(Arc::new));
        manifest.tables = tables.iter().map(|table| table.about().clone()).collect();
        self.replace(manifest, tables)?;
        Ok(true)
    }

    /// Range of the tables that are to be merged: the newest two, or one that has many removed events.
    fn to_be_merged(&self, first_file: u32) -> Option<(usize, usize)> {
        let count = self.tables.len();
        match &self.tables[..] {
            [.., one, other] if are_to_be_merged(one.about().entries, other.about().entries) => {
                Some((count - 2, count))
            }
            tables => {
                let has_removed = |table: &Arc<Table>| {
                    let oldest = table.about().oldest_file;
                    oldest.is_some_and(|oldest| oldest.saturating_add(REMOVED_FILES) <= first_file)
                };
                tables.iter().position(has_removed).map(|table| (table, table + 1))
            }
        }
    }

    fn replace(&mut self, manifest: Manifest, tables: Vec<Arc<Table>>) -> io::Result<()> {
        if self.damaged.load(Ordering::SeqCst) {
            return Err(io::Error::other("the index is damaged"));
        }
        manifest.write(&self.folder)?;
        (self.manifest, self.tables) = (Some(manifest), tables);
        self.remove_others()
    }

    /// Checksum of a mark. It is not computed again if the index has it.
    fn checksum(&self, mark: &Mark) -> io::Result<u32> {
        let known = self.manifest.iter().flat_map(|manifest| &manifest.files);
        let mut known = known
            .filter(|known| (known.file, known.length) == (mark.file, mark.length))
            .map(|known| known.checksum);
        let known = known.next_back();
        known.map_or_else(|| checksum(&self.log, mark.file, mark.length), Ok)
    }

    /// Removes tables that are not of this index.
    fn remove_others(&self) -> io::Result<()> {
        let used = self
            .tables
            .iter()
            .map(|table| path_of(&self.folder, table.about().name));
        let used: Vec<_> = used.chain([self.folder.join(MANIFEST)]).collect();
        for name in Disk.list(&self.folder)? {
            let path = self.folder.join(name);
            if !used.contains(&path) {
                // A reader may have it open, which keeps it from being removed on Windows: the next start removes it.
                if let Err(error) = Disk.remove(&path) {
                    tracing::debug!(path = %path.display(), %error, "cannot remove an old file of the index");
                }
            }
        }
        Ok(())
    }
}

/// Keeps a damaged index from being used again.
#[derive(Debug, Clone)]
pub struct Damaged {
    flag: Arc<AtomicBool>,
    manifest: PathBuf,
}

impl Damaged {
    /// Records an error of reading. If a table is damaged, the next start rebuilds the index.
    pub fn note(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidData && !self.flag.swap(true, Ordering::SeqCst) {
            tracing::error!("the index is damaged, and will be rebuilt at the next start: {error}");
            if let Err(error) = remove_existing(&Disk, &self.manifest) {
                tracing::error!("cannot remove {}: {error}", self.manifest.display());
            }
        }
    }

    /// Returns true if a table is damaged.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}

fn are_to_be_merged(one: u64, next: u64) -> bool {
    one < RATIO * next && one + next <= MAX_ENTRIES
}
