//! Builder of tables in all shapes that the format allows but git does not write.

use git_reftable::gix_hash::Kind;
use git_reftable::{Record, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Padded to the block size, as git does.
    Padded,
    /// A block size in the header, but no padding.
    Unpadded,
    /// No block size in the header.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    None,
    /// One block, of any size.
    OneBlock,
    /// Levels of blocks of the block size, until a level has at most this many blocks.
    Levels(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub version: u8,
    pub hash: Kind,
    pub block_size: usize,
    pub alignment: Alignment,
    pub restart_interval: usize,
    pub index: Index,
    /// An object block after the refs.
    pub objects: bool,
    /// A log block at the end.
    pub logs: bool,
    pub min_update_index: u64,
}

impl Shape {
    /// A table as git writes it.
    pub fn plain(hash: Kind) -> Self {
        Self {
            version: if hash == Kind::Sha1 { 1 } else { 2 },
            hash,
            block_size: 4096,
            alignment: Alignment::Padded,
            restart_interval: 16,
            index: Index::None,
            objects: false,
            logs: false,
            min_update_index: 1,
        }
    }

    pub fn header_len(&self) -> usize {
        if self.version == 1 { 24 } else { 28 }
    }
}

/// A ref, or a tombstone if there is no value.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: Vec<u8>,
    pub value: Option<Value>,
    pub update_index: u64,
}

impl Line {
    pub fn record(&self) -> Option<Record> {
        let value = self.value.clone()?;
        Some(Record {
            name: self.name.clone().into(),
            value,
            update_index: self.update_index,
        })
    }
}

/// The bytes of a table with `lines`, which are in order.
pub fn build(shape: &Shape, lines: &[Line]) -> Vec<u8> {
    let mut table = Builder {
        shape: *shape,
        bytes: header(shape, lines),
        padding: 0,
        positions: [0; 5],
    };
    let mut entries = lines.iter().map(|line| entry(shape, line));
    let blocks = table.section(b'r', &mut entries);
    table.index(blocks);
    table.objects();
    table.logs();
    table.finish()
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![(value & 0x7f) as u8];
    while value > 0x7f {
        value = (value >> 7) - 1;
        bytes.push(0x80 | (value & 0x7f) as u8);
    }
    bytes.reverse();
    bytes
}

/// Corrects the checksum of the footer.
pub fn seal(table: &mut [u8], footer_len: usize) {
    let end = table.len();
    let checksum = crc32(&table[end - footer_len..end - 4]);
    table[end - 4..].copy_from_slice(&checksum.to_be_bytes());
}

/// Key, type, and body of a record.
type Entry = (Vec<u8>, u8, Vec<u8>);

struct Builder {
    shape: Shape,
    bytes: Vec<u8>,
    /// Bytes that are padded before the next aligned block.
    padding: usize,
    /// As in the footer.
    positions: [u64; 5],
}

impl Builder {
    /// Writes blocks, and returns last key and offset of each.
    fn section(&mut self, kind: u8, entries: &mut dyn Iterator<Item = Entry>) -> Vec<(Vec<u8>, u64)> {
        let mut blocks = Vec::new();
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            self.bytes
                .extend(std::iter::repeat_n(0, std::mem::take(&mut self.padding)));
            let first = self.bytes.len() == self.shape.header_len() && kind != b'i';
            let start = if first { 0 } else { self.bytes.len() };
            let limit = if kind == b'i' && self.shape.index == Index::OneBlock {
                1 << 24
            } else {
                self.shape.block_size
            };
            let mut block = Block::new(
                kind,
                self.shape.restart_interval,
                if first { self.bytes.len() } else { 0 },
            );
            while let Some(entry) = entries.next_if(|entry| block.len_with(entry) <= limit) {
                block.add(entry);
            }
            assert!(block.count > 0, "the block size is too small for a record");
            blocks.push((block.last.clone(), start as u64));
            block.finish(&mut self.bytes);
            if self.shape.alignment == Alignment::Padded {
                self.padding =
                    (self.bytes.len() - start).next_multiple_of(self.shape.block_size) + start - self.bytes.len();
            }
        }
        blocks
    }

    fn index(&mut self, mut blocks: Vec<(Vec<u8>, u64)>) {
        let enough = match self.shape.index {
            Index::None => return,
            Index::OneBlock => 1,
            Index::Levels(enough) => enough,
        };
        if blocks.len() <= enough {
            return;
        }
        while blocks.len() > enough {
            let mut entries = blocks.iter().map(|(key, offset)| (key.clone(), 0, varint(*offset)));
            let level = self.section(b'i', &mut entries);
            self.positions[0] = level[0].1;
            assert!(level.len() < blocks.len(), "the block size is too small for an index");
            blocks = level;
        }
    }

    fn objects(&mut self) {
        if self.shape.objects && self.bytes.len() > self.shape.header_len() {
            let mut entries = [(vec![0xab, 0xcd], 1, varint(0))].into_iter();
            let offset = self.section(b'o', &mut entries)[0].1;
            self.positions[1] = offset << 5 | 2;
        }
    }

    /// A log block holds compressed data, here stored without compression. Its content is not read.
    fn logs(&mut self) {
        if !self.shape.logs {
            return;
        }
        self.padding = 0;
        if self.bytes.len() > self.shape.header_len() {
            self.positions[3] = self.bytes.len() as u64;
        }
        self.bytes.extend([b'g', 0, 0, 20, 0x78, 0x9c]);
        self.bytes.extend([7; 30]);
    }

    fn finish(mut self) -> Vec<u8> {
        let header = self.bytes[..self.shape.header_len()].to_vec();
        self.bytes.extend(header);
        for position in self.positions {
            self.bytes.extend(position.to_be_bytes());
        }
        self.bytes.extend([0; 4]);
        seal(&mut self.bytes, self.shape.header_len() + 44);
        self.bytes
    }
}

struct Block {
    skip: usize,
    restart_interval: usize,
    records: Vec<u8>,
    kind: u8,
    restarts: Vec<usize>,
    last: Vec<u8>,
    count: usize,
}

impl Block {
    fn new(kind: u8, restart_interval: usize, skip: usize) -> Self {
        let (records, restarts, last) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            skip,
            restart_interval,
            records,
            kind,
            restarts,
            last,
            count: 0,
        }
    }

    fn encode(&self, (key, kind, body): &Entry) -> (Vec<u8>, bool) {
        let is_restart = self.count.is_multiple_of(self.restart_interval);
        let shared = if is_restart {
            0
        } else {
            key.iter().zip(&self.last).take_while(|(a, b)| a == b).count()
        };
        let mut record = varint(shared as u64);
        record.extend(varint(((key.len() - shared) as u64) << 3 | u64::from(*kind)));
        record.extend(&key[shared..]);
        record.extend(body);
        (record, shared == 0)
    }

    fn len_with(&self, entry: &Entry) -> usize {
        let (record, is_restart) = self.encode(entry);
        let restarts = self.restarts.len() + usize::from(is_restart);
        self.skip + 4 + self.records.len() + record.len() + 3 * restarts + 2
    }

    fn add(&mut self, entry: Entry) {
        let (record, is_restart) = self.encode(&entry);
        if is_restart {
            self.restarts.push(self.skip + 4 + self.records.len());
        }
        self.records.extend(record);
        self.last = entry.0;
        self.count += 1;
    }

    fn finish(self, bytes: &mut Vec<u8>) {
        let len = self.skip + 4 + self.records.len() + 3 * self.restarts.len() + 2;
        bytes.push(self.kind);
        bytes.extend(&(len as u32).to_be_bytes()[1..]);
        bytes.extend(&self.records);
        for restart in &self.restarts {
            bytes.extend(&(*restart as u32).to_be_bytes()[1..]);
        }
        bytes.extend((self.restarts.len() as u16).to_be_bytes());
    }
}

fn header(shape: &Shape, lines: &[Line]) -> Vec<u8> {
    let block_size = if shape.alignment == Alignment::None {
        0
    } else {
        shape.block_size
    };
    let max = lines
        .iter()
        .map(|line| line.update_index)
        .max()
        .unwrap_or(shape.min_update_index);
    let mut bytes = b"REFT".to_vec();
    bytes.push(shape.version);
    bytes.extend(&(block_size as u32).to_be_bytes()[1..]);
    bytes.extend(shape.min_update_index.to_be_bytes());
    bytes.extend(max.to_be_bytes());
    if shape.version == 2 {
        bytes.extend(if shape.hash == Kind::Sha1 { b"sha1" } else { b"s256" });
    }
    bytes
}

fn entry(shape: &Shape, line: &Line) -> Entry {
    let mut body = varint(line.update_index - shape.min_update_index);
    let kind = match &line.value {
        None => 0,
        Some(Value::Id(id)) => {
            body.extend(id.as_slice());
            1
        }
        Some(Value::Peeled { id, peeled }) => {
            body.extend(id.as_slice());
            body.extend(peeled.as_slice());
            2
        }
        Some(Value::Symbolic(target)) => {
            body.extend(varint(target.len() as u64));
            body.extend(target.as_slice());
            3
        }
    };
    (line.name.clone(), kind, body)
}

/// The checksum of zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}
