use crate::block::{BLOCK_HEADER, BlockType};
use crate::cursor::push_varint;

/// Bytes of a restart offset.
const RESTART: usize = 3;

/// Bytes of the number of restart points.
const RESTART_COUNT: usize = 2;

/// A record of any type of block, encoded but for the sharing of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub key: Vec<u8>,
    /// The type of the value, 0 to 7.
    pub kind: u8,
    pub body: Vec<u8>,
}

/// A block that records are appended to, in the order of their keys.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    kind: BlockType,
    /// The bytes of the table's header in the first block, else 0.
    skip: usize,
    restart_interval: usize,
    records: Vec<u8>,
    restarts: Vec<usize>,
    count: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn new(kind: BlockType, skip: usize, restart_interval: usize) -> Self {
        Self {
            kind,
            skip,
            restart_interval,
            records: Vec::new(),
            restarts: Vec::new(),
            count: 0,
            last_key: Vec::new(),
        }
    }

    /// Appends the record if the block then has at most `limit` bytes, and returns true in that case.
    pub(crate) fn push(&mut self, record: &RawRecord, limit: usize) -> bool {
        let is_restart = self.count.is_multiple_of(self.restart_interval);
        let shared = if is_restart {
            0
        } else {
            let pairs = record.key.iter().zip(&self.last_key);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let before = self.records.len();
        if is_restart {
            self.restarts.push(self.skip + BLOCK_HEADER + before);
        }
        let suffix = &record.key[shared..];
        push_varint(&mut self.records, shared as u64);
        push_varint(&mut self.records, (suffix.len() as u64) << 3 | u64::from(record.kind));
        self.records.extend(suffix);
        self.records.extend(&record.body);
        if self.len() > limit {
            self.records.truncate(before);
            self.restarts.truncate(self.restarts.len() - usize::from(is_restart));
            return false;
        }
        self.count += 1;
        self.last_key.clone_from(&record.key);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The length that the block states: without padding, uncompressed, with the table's header in the first block.
    fn len(&self) -> usize {
        self.skip + BLOCK_HEADER + self.records.len() + RESTART * self.restarts.len() + RESTART_COUNT
    }

    /// Returns the header of the block, and its content.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![self.kind.to_byte()];
        header.extend(u24(self.len()));
        for restart in &self.restarts {
            self.records.extend(u24(*restart));
        }
        self.records.extend((self.restarts.len() as u16).to_be_bytes());
        (header, self.records)
    }
}

fn u24(value: usize) -> [u8; 3] {
    let [.., a, b, c] = (value as u32).to_be_bytes();
    [a, b, c]
}
