use std::ops::Range;

use crate::cursor::{Cursor, big_endian};
use crate::error::{Damage, Fault};
use crate::record::RefBody;

/// The length of the longest name that is read, in bytes.
///
/// The format leaves it to the block size. A bound keeps a damaged block from making every record huge, because records
/// share the beginnings of their names.
const MAX_KEY: usize = u16::MAX as usize;

/// Type and length of a block.
pub(crate) const BLOCK_HEADER: usize = 4;

/// The shortest block beyond its header: a record of three bytes, one restart point, and their number.
const MIN_BODY: usize = 3 + 3 + 2;

/// The types of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockType {
    Refs,
    Index,
    Objects,
    Logs,
}

impl BlockType {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'r' => Some(Self::Refs),
            b'i' => Some(Self::Index),
            b'o' => Some(Self::Objects),
            b'g' => Some(Self::Logs),
            _ => None,
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Refs => b'r',
            Self::Index => b'i',
            Self::Objects => b'o',
            Self::Logs => b'g',
        }
    }
}

/// The place of a block in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: u64,
    /// The bytes before the block's own header: those of the table's header in the first block, else 0.
    pub skip: usize,
    /// Bytes of an object id.
    pub id_len: usize,
}

/// A ref or index block of which every record was checked.
#[derive(Debug)]
pub(crate) struct Block {
    kind: BlockType,
    place: Place,
    bytes: Vec<u8>,
    records: Range<usize>,
    restarts: usize,
    last_key: Vec<u8>,
}

/// The part of a record that follows its key.
#[derive(Debug)]
pub(crate) enum Body {
    Ref(RefBody),
    /// The offset of a block.
    Index(u64),
}

/// A record whose key is not assembled yet.
struct Head<'a> {
    shared: usize,
    suffix: &'a [u8],
    kind: u8,
    body: Cursor<'a>,
}

impl Block {
    /// Checks the bytes of a block, from its offset to its length.
    pub(crate) fn parse(kind: BlockType, place: Place, bytes: Vec<u8>) -> Result<Self, Fault> {
        let fault = |damage| Fault {
            offset: place.offset,
            damage,
        };
        let start = place.skip + BLOCK_HEADER;
        if bytes.len() < start + MIN_BODY {
            return Err(fault(Damage::BlockLength));
        }
        let count_at = bytes.len() - 2;
        let restarts = big_endian(&bytes[count_at..]) as usize;
        let end = count_at
            .checked_sub(3 * restarts)
            .filter(|end| *end > start && restarts > 0);
        let end = end.ok_or(fault(Damage::Restarts))?;
        let mut block = Self {
            kind,
            place,
            bytes,
            records: start..end,
            restarts,
            last_key: Vec::new(),
        };
        block.last_key = block.check_records()?;
        Ok(block)
    }

    pub(crate) fn kind(&self) -> BlockType {
        self.kind
    }

    pub(crate) fn offset(&self) -> u64 {
        self.place.offset
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The first key, which is stored in full.
    pub(crate) fn first_key(&self) -> Result<&[u8], Fault> {
        self.head(self.records.start).map(|head| head.suffix)
    }

    /// The position before the first record.
    pub(crate) fn start(&self) -> Position {
        Position {
            at: self.records.start,
            key: Vec::new(),
        }
    }

    /// The position before the first record whose key is at least `wanted`; at the end if there is none.
    pub(crate) fn seek(&self, wanted: &[u8]) -> Result<Position, Fault> {
        let mut position = Position {
            at: self.restart_before(wanted)?,
            key: Vec::new(),
        };
        while position.at < self.records.end {
            let before = position.at;
            position.next(self)?;
            if position.key.as_slice() >= wanted {
                // A key shares every prefix with itself, so the record can be decoded again from here.
                position.at = before;
                break;
            }
        }
        Ok(position)
    }

    /// The last restart point whose key is not greater than `wanted`, or the first of all.
    fn restart_before(&self, wanted: &[u8]) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.restarts);
        while low < high {
            let middle = low.midpoint(high);
            if self.head(self.restart(middle))?.suffix <= wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(self.restart(low.saturating_sub(1)))
    }

    fn restart(&self, number: usize) -> usize {
        big_endian(&self.bytes[self.records.end + 3 * number..][..3]) as usize
    }

    fn head(&self, at: usize) -> Result<Head<'_>, Fault> {
        self.cut_head(at).map_err(|damage| self.fault(at, damage))
    }

    fn cut_head(&self, at: usize) -> Result<Head<'_>, Damage> {
        let mut cursor = Cursor::new(&self.bytes[..self.records.end], at);
        let shared = cursor.length()?;
        let length_and_kind = cursor.varint()?;
        let length = usize::try_from(length_and_kind >> 3).map_err(|_| Damage::CutRecord)?;
        let suffix = cursor.take(length)?;
        Ok(Head {
            shared,
            suffix,
            kind: (length_and_kind & 7) as u8,
            body: cursor,
        })
    }

    fn fault(&self, at: usize, damage: Damage) -> Fault {
        Fault {
            offset: self.place.offset + at as u64,
            damage,
        }
    }

    /// Reads every record, and returns the last key.
    fn check_records(&self) -> Result<Vec<u8>, Fault> {
        let mut key = Vec::new();
        let mut at = self.records.start;
        let mut restart = 0;
        while at < self.records.end {
            let head = self.head(at)?;
            let is_restart = restart < self.restarts && self.restart(restart) == at;
            restart += usize::from(is_restart);
            if restart == 0 || (is_restart && head.shared != 0) {
                return Err(self.fault(at, Damage::Restarts));
            }
            extend_key(&mut key, &head).map_err(|damage| self.fault(at, damage))?;
            at = self.check_body(&head).map_err(|damage| self.fault(at, damage))?;
        }
        if restart == self.restarts {
            Ok(key)
        } else {
            Err(self.fault(self.records.end, Damage::Restarts))
        }
    }

    /// Skips a body, and returns the position after it.
    fn check_body(&self, head: &Head<'_>) -> Result<usize, Damage> {
        let mut cursor = head.body;
        match (self.kind, head.kind) {
            (BlockType::Refs, kind) => RefBody::check(&mut cursor, kind, self.place.id_len)?,
            (BlockType::Index, 0) => {
                let child = cursor.varint()?;
                if child >= self.place.offset {
                    return Err(Damage::Index);
                }
            }
            _ => return Err(Damage::UnknownRecord),
        }
        Ok(cursor.at())
    }

    fn decode_body(&self, head: &mut Head<'_>) -> Result<Body, Damage> {
        match (self.kind, head.kind) {
            (BlockType::Refs, kind) => RefBody::decode(&mut head.body, kind, self.place.id_len).map(Body::Ref),
            (BlockType::Index, 0) => head.body.varint().map(Body::Index),
            _ => Err(Damage::UnknownRecord),
        }
    }
}

/// Turns the key of the previous record into the key of this record.
fn extend_key(key: &mut Vec<u8>, head: &Head<'_>) -> Result<(), Damage> {
    let rest = key.get(head.shared..).ok_or(Damage::Key)?;
    if head.suffix <= rest {
        return Err(if head.suffix.is_empty() && key.is_empty() {
            Damage::Key
        } else {
            Damage::Order
        });
    }
    if head.shared + head.suffix.len() > MAX_KEY || head.suffix.contains(&0) {
        return Err(Damage::Key);
    }
    key.truncate(head.shared);
    key.extend_from_slice(head.suffix);
    Ok(())
}

/// A position between two records of a block.
#[derive(Debug)]
pub(crate) struct Position {
    at: usize,
    /// The key of the previous record, whose beginning the next one shares.
    key: Vec<u8>,
}

impl Position {
    /// The key of the record that [`next`](Self::next) decoded.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Decodes the next record; `None` at the end of the block.
    pub(crate) fn next(&mut self, block: &Block) -> Result<Option<Body>, Fault> {
        if self.at >= block.records.end {
            return Ok(None);
        }
        let mut head = block.head(self.at)?;
        if head.shared > self.key.len() {
            return Err(block.fault(self.at, Damage::Key));
        }
        self.key.truncate(head.shared);
        self.key.extend_from_slice(head.suffix);
        let body = block
            .decode_body(&mut head)
            .map_err(|damage| block.fault(self.at, damage))?;
        self.at = head.body.at();
        Ok(Some(body))
    }
}
