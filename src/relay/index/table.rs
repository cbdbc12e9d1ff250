//! Table: a file of sorted keys and values, which is written once.
//!
//! It is a tree of [blocks](super::block). The blocks of level 0 have the entries, those of the levels above have the first key
//! and the number of each block below. Blocks are in the order in which they were filled, so the entries of the table follow each
//! other if the higher levels are skipped. Every block is checked when it is read.
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use durable::storage::{Disk, DiskFile, ReadFiles, WriteFiles};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    Record,
    block::{BLOCK, Block, BlockId, NewBlock},
    key::{self, Key, MAX_KEY, VALUE, Value},
};

/// Number of bytes that are written at once.
const BUFFER: usize = 256 << 10;
/// Maximum number of blocks in memory: those of the higher levels of all tables together.
const CACHED: usize = 2048;

/// Description of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the table.
    pub name: Ulid,
    /// Number of blocks.
    pub blocks: u32,
    /// Number of the block of the highest level.
    pub root: u32,
    /// Number of entries.
    pub entries: u64,
    /// Greatest number of an event in it.
    pub last: u64,
    /// Oldest file of the log of which it has events in an order.
    pub oldest_file: Option<u32>,
}

/// A table that is open for reading.
#[derive(Debug)]
pub struct Table {
    about: About,
    file: DiskFile,
    cache: Cache,
}

/// Blocks of the higher levels, shared by the tables of an index.
#[derive(Debug, Clone, Default)]
pub struct Cache(Arc<Mutex<HashMap<BlockId, Arc<Block>>>>);

/// Writer of a table.
#[derive(Debug)]
pub struct Writer {
    file: DiskFile,
    name: Ulid,
    levels: Vec<NewBlock>,
    blocks: u32,
    buffer: Vec<u8>,
    entries: u64,
    last: u64,
    oldest_file: Option<u32>,
}

/// Entries of a table, from a key on.
#[derive(Debug)]
pub struct Entries {
    table: Arc<Table>,
    block: Arc<Block>,
    number: u32,
    entry: u16,
    offset: usize,
}

/// Returns the path of a table in the folder of its index.
pub fn path_of(folder: &Path, name: Ulid) -> PathBuf {
    folder.join(format!("{name}.table"))
}

impl Writer {
    /// Creates the file of a table in the folder of the index.
    ///
    /// # Errors
    /// The disk fails.
    pub fn create(folder: &Path, name: Ulid) -> io::Result<Self> {
        Ok(Writer {
            file: Disk.open_append(&path_of(folder, name))?,
            name,
            levels: vec![NewBlock::new(0)],
            blocks: 0,
            buffer: Vec::with_capacity(BUFFER + BLOCK),
            entries: 0,
            last: 0,
            oldest_file: None,
        })
    }

    /// Adds an entry of an event, whose key is greater than all before it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn add(&mut self, key: &[u8], value: &Value, record: Record) -> io::Result<()> {
        if key.len() > MAX_KEY {
            return Err(io::Error::other(format!("a key has {} bytes", key.len())));
        }
        self.entries += 1;
        self.last = self.last.max(record.seq);
        if key::is_ordered(key) {
            let file = record.place.file;
            self.oldest_file = Some(self.oldest_file.map_or(file, |oldest| oldest.min(file)));
        }
        self.add_to(0, key, value)
    }

    /// Writes the remaining blocks, and makes the table durable but for its name. `None` if it has no entries.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(mut self) -> io::Result<Option<About>> {
        if self.entries == 0 {
            return Ok(None);
        }
        let mut level = 0;
        let root = loop {
            let is_root = level + 1 == self.levels.len();
            let (first, number) = self.end_block(level)?;
            if is_root {
                break number;
            }
            self.add_to(level + 1, &first, &child(number))?;
            level += 1;
        };
        self.flush()?;
        Disk.sync(&self.file)?;
        Ok(Some(About {
            name: self.name,
            blocks: self.blocks,
            root,
            entries: self.entries,
            last: self.last,
            oldest_file: self.oldest_file,
        }))
    }

    fn add_to(&mut self, level: usize, key: &[u8], value: &Value) -> io::Result<()> {
        if level == self.levels.len() {
            self.levels.push(NewBlock::new(level as u8));
        }
        if self.levels[level].add(key, value) {
            return Ok(());
        }
        let (first, number) = self.end_block(level)?;
        self.levels[level].add(key, value);
        self.add_to(level + 1, &first, &child(number))
    }

    /// Writes the block of a level, and begins the next one. Returns its first key and its number.
    fn end_block(&mut self, level: usize) -> io::Result<(Key, u32)> {
        let block = std::mem::replace(&mut self.levels[level], NewBlock::new(level as u8));
        let first = block.first().into();
        let number = self.blocks;
        self.buffer.extend(block.seal(BlockId {
            table: self.name,
            number,
        }));
        let next = self.blocks.checked_add(1);
        self.blocks = next.ok_or_else(|| io::Error::other("a table has too many blocks"))?;
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok((first, number))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.buffer.len() {
            match Disk.append(&self.file, &self.buffer[written..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                bytes => written += bytes,
            }
        }
        self.buffer.clear();
        Ok(())
    }
}

/// Value of a block in the level above.
fn child(number: u32) -> Value {
    let mut value = [0; VALUE];
    value[..4].copy_from_slice(&number.to_be_bytes());
    value
}

impl Table {
    /// Opens a table in the folder of its index.
    ///
    /// # Errors
    /// The file is missing or has another length, or the root of the table is damaged.
    pub fn open(folder: &Path, about: About, cache: Cache) -> io::Result<Self> {
        let file = Disk.open_read(&path_of(folder, about.name))?;
        let (length, expected) = (Disk.length(&file)?, u64::from(about.blocks) * BLOCK as u64);
        if length != expected {
            let why = format!("the table {} has {length} bytes instead of {expected}", about.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let table = Table { about, file, cache };
        table.block(table.about.root)?;
        Ok(table)
    }

    /// Description of the table.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Returns the entries from the first key on that is not less than this one.
    ///
    /// # Errors
    /// A block is damaged or cannot be read.
    pub fn entries(self: &Arc<Self>, from: &[u8]) -> io::Result<Entries> {
        let mut number = self.about.root;
        let mut block = self.block(number)?;
        while block.level() > 0 {
            let (mut at, mut offset, mut below) = (0, block.start(), None);
            while let Some((key, value, next)) = block.entry(at, offset) {
                if below.is_some() && key > from {
                    break;
                }
                below = Some(u32::from_be_bytes([value[0], value[1], value[2], value[3]]));
                (at, offset) = (at + 1, next);
            }
            number = below.unwrap_or(self.about.blocks);
            block = self.block(number)?;
        }
        let (mut entry, mut offset) = (0, block.start());
        while let Some((key, _, next)) = block.entry(entry, offset) {
            if key >= from {
                break;
            }
            (entry, offset) = (entry + 1, next);
        }
        Ok(Entries {
            table: self.clone(),
            block,
            number,
            entry,
            offset,
        })
    }

    fn block(&self, number: u32) -> io::Result<Arc<Block>> {
        let id = BlockId {
            table: self.about.name,
            number,
        };
        if let Some(block) = self.cache.get(id) {
            return Ok(block);
        }
        let (mut bytes, mut read) = (vec![0; BLOCK], 0);
        while read < BLOCK {
            let offset = u64::from(number) * BLOCK as u64 + read as u64;
            match Disk.read_at(&self.file, offset, &mut bytes[read..])? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        let block = Arc::new(Block::check(bytes, id)?);
        if block.level() > 0 {
            self.cache.put(id, block.clone());
        }
        Ok(block)
    }
}

impl Cache {
    fn get(&self, id: BlockId) -> Option<Arc<Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn put(&self, id: BlockId, block: Arc<Block>) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= CACHED {
            // Any one: hashes are random.
            let any = blocks.keys().next().copied();
            any.and_then(|any| blocks.remove(&any));
        }
        blocks.insert(id, block);
    }
}

impl Entries {
    fn advance(&mut self) -> io::Result<Option<(Key, Value)>> {
        loop {
            if let Some((key, value, next)) = self.block.entry(self.entry, self.offset) {
                let entry = (key.into(), *value);
                (self.entry, self.offset) = (self.entry + 1, next);
                return Ok(Some(entry));
            }
            self.number += 1;
            if self.number >= self.table.about.blocks {
                return Ok(None);
            }
            let block = self.table.block(self.number)?;
            if block.level() == 0 {
                (self.entry, self.offset) = (0, block.start());
                self.block = block;
            }
        }
    }
}

impl Iterator for Entries {
    type Item = io::Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::log::Place;

    fn key(number: u32) -> Vec<u8> {
        [&b"k"[..], &number.to_be_bytes(), &vec![7; number as usize % 100]].concat()
    }

    fn value(number: u32) -> Value {
        let mut value = [1; VALUE];
        value[..4].copy_from_slice(&number.to_be_bytes());
        value
    }

    fn table(folder: &Path, numbers: impl Iterator<Item = u32>) -> Option<About> {
        let mut writer = Writer::create(folder, Ulid::from_parts(1, 2)).expect("a file");
        for number in numbers {
            let place = Place {
                file: 0,
                length: 0,
                offset: 0,
            };
            let seq = number.into();
            let added = writer.add(&key(number), &value(number), Record { seq, place });
            added.expect("a disk");
        }
        writer.finish().expect("a disk")
    }

    #[test]
    fn every_key_is_found_and_the_rest_follows_it() {
        for count in [1, 2, 40, 60, 5_000, 20_000] {
            let folder = tempfile::tempdir().expect("a folder");
            // The even numbers are there.
            let about = table(folder.path(), (0..count).map(|number| 2 * number)).expect("entries");
            assert_eq!((about.entries, about.last), (count.into(), 2 * u64::from(count) - 2));
            let table = Arc::new(Table::open(folder.path(), about, Cache::default()).expect("a table"));
            for from in (0..2 * count + 1).step_by(1 + count as usize / 200) {
                let mut entries = table.entries(&key(from)).expect("a disk");
                let expected = from.next_multiple_of(2);
                let found = entries.next().transpose().expect("a disk");
                let expected = (expected < 2 * count).then(|| (key(expected).into(), value(expected)));
                assert_eq!(found, expected, "from {from} of {count}");
            }
            let all = table
                .entries(b"")
                .expect("a disk")
                .map(|entry| entry.expect("a disk").0);
            assert!(all.eq((0..count).map(|number| key(2 * number).into())));
        }
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(table(folder.path(), 0..0), None);
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let about = table(folder.path(), 0..500).expect("entries");
        let path = path_of(folder.path(), about.name);
        let sound = fs::read(&path).expect("a file");
        let read = || {
            let table = Arc::new(Table::open(folder.path(), about.clone(), Cache::default())?);
            table.entries(b"")?.try_for_each(|entry| entry.map(drop))
        };
        read().expect("a sound table");
        let swapped = [&sound[BLOCK..2 * BLOCK], &sound[..BLOCK], &sound[2 * BLOCK..]].concat();
        let mut damaged = vec![
            sound[..sound.len() - 1].to_vec(),
            swapped,
            vec![0; sound.len()],
            Vec::new(),
        ];
        for at in (0..sound.len()).step_by(1013) {
            let mut bytes = sound.clone();
            bytes[at] ^= 16;
            damaged.push(bytes);
        }
        for bytes in damaged {
            fs::write(&path, bytes).expect("a file");
            assert_eq!(read().expect_err("damage").kind(), io::ErrorKind::InvalidData);
        }
    }
}
