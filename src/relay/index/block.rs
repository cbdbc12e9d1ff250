//! PURE: blocks of a table.
//!
//! A block has [`BLOCK`] bytes: a checksum, its level, the number of its entries, and the entries in the order of their
//! keys. An entry is the length of the key in 2 bytes, the key, and the value. The checksum is the CRC-32 of the name
//! of the table, the number of the block, and all other bytes of the block. So a block that is damaged, or in another
//! place, is not accepted.
use std::io;

use ulid::Ulid;

use super::key::{MAX_KEY, VALUE, Value};

/// Length of a block in bytes.
pub const BLOCK: usize = 4096;
/// Length of the header before the entries.
const HEAD: usize = 8;
// A block has at least one entry.
const _: () = assert!(HEAD + 2 + MAX_KEY + VALUE <= BLOCK);

/// Place of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Name of the table.
    pub table: Ulid,
    /// Number of the block.
    pub number: u32,
}

/// A block whose checksum is right.
#[derive(Debug)]
pub struct Block(Vec<u8>);

/// Block to which entries are added.
#[derive(Debug)]
pub struct NewBlock {
    bytes: Vec<u8>,
    count: u16,
}

impl NewBlock {
    /// Creates an empty block. Level 0 has the entries of the table, the levels above have blocks.
    pub fn new(level: u8) -> Self {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.resize(HEAD, 0);
        bytes[4] = level;
        NewBlock { bytes, count: 0 }
    }

    /// Adds an entry; returns false if there is no room for it.
    pub fn add(&mut self, key: &[u8], value: &Value) -> bool {
        if self.bytes.len() + 2 + key.len() + VALUE > BLOCK {
            return false;
        }
        self.bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
        true
    }

    /// Key of the first entry.
    pub fn first(&self) -> &[u8] {
        let length = usize::from(u16::from_be_bytes([self.bytes[HEAD], self.bytes[HEAD + 1]]));
        &self.bytes[HEAD + 2..HEAD + 2 + length]
    }

    /// Returns the bytes of the block at this place.
    pub fn seal(mut self, id: BlockId) -> Vec<u8> {
        self.bytes[6..HEAD].copy_from_slice(&self.count.to_be_bytes());
        self.bytes.resize(BLOCK, 0);
        let sum = checksum(&self.bytes, id);
        self.bytes[..4].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

impl Block {
    /// Checks the block at this place.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData): the block is damaged.
    pub fn check(bytes: Vec<u8>, id: BlockId) -> io::Result<Self> {
        if bytes.len() == BLOCK && bytes[..4] == checksum(&bytes, id).to_be_bytes() {
            Ok(Block(bytes))
        } else {
            let why = format!("block {} of the table {} is damaged", id.number, id.table);
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
    }

    /// Level of the block.
    pub fn level(&self) -> u8 {
        self.0[4]
    }

    /// Offset of the first entry.
    pub fn start(&self) -> usize {
        HEAD
    }

    /// Returns the entry at an offset, and the offset of the next one. `entry` is the number of the entry.
    pub fn entry(&self, entry: u16, offset: usize) -> Option<(&[u8], &Value, usize)> {
        if entry >= u16::from_be_bytes([self.0[6], self.0[7]]) {
            return None;
        }
        let length = self.0.get(offset..offset + 2)?;
        let key = offset + 2;
        let value = key + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let end = value + VALUE;
        Some((self.0.get(key..value)?, self.0.get(value..end)?.try_into().ok()?, end))
    }
}

fn checksum(bytes: &[u8], id: BlockId) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&id.table.to_bytes());
    sum.update(&id.number.to_be_bytes());
    sum.update(&bytes[4..]);
    sum.finalize()
}
