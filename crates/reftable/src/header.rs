use gix_hash::Kind;

use crate::cursor::big_endian;
use crate::error::{Damage, Fault};

const MAGIC: &[u8] = b"REFT";

/// Bytes of the shortest possible file: a header and a footer in version 1.
pub(crate) const MIN_FILE: u64 = 24 + 68;

/// The bytes from the start of a file that suffice for a header in any version.
pub(crate) const MAX_HEADER: usize = 28;

/// The header of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub version: Version,
    /// In bytes, 0 if blocks are not aligned.
    pub block_size: u32,
    pub min_update_index: u64,
    pub max_update_index: u64,
    pub hash: Kind,
}

/// The versions of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The reason why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged(Fault),
    Version(u8),
}

impl Version {
    pub(crate) fn header_len(self) -> usize {
        match self {
            Self::One => 24,
            Self::Two => 28,
        }
    }

    pub(crate) fn footer_len(self) -> usize {
        self.header_len() + 44
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

impl Header {
    /// Parses the first [`MAX_HEADER`] bytes of a file.
    pub(crate) fn parse(bytes: &[u8; MAX_HEADER]) -> Result<Self, HeaderFault> {
        let damaged = |offset, damage| HeaderFault::Damaged(Fault { offset, damage });
        if !bytes.starts_with(MAGIC) {
            return Err(damaged(0, Damage::Magic));
        }
        let (version, hash) = match bytes[4] {
            1 => (Version::One, Kind::Sha1),
            2 => (
                Version::Two,
                hash(&bytes[24..28]).ok_or(damaged(24, Damage::UnknownHash))?,
            ),
            other => return Err(HeaderFault::Version(other)),
        };
        Ok(Self {
            version,
            block_size: big_endian(&bytes[5..8]) as u32,
            min_update_index: big_endian(&bytes[8..16]),
            max_update_index: big_endian(&bytes[16..24]),
            hash,
        })
    }
}

impl Header {
    /// Returns the bytes of the header, the inverse of [`parse`](Self::parse).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(self.version.number());
        bytes.extend(&self.block_size.to_be_bytes()[1..]);
        bytes.extend(self.min_update_index.to_be_bytes());
        bytes.extend(self.max_update_index.to_be_bytes());
        if self.version == Version::Two {
            bytes.extend(if self.hash == Kind::Sha1 { b"sha1" } else { b"s256" });
        }
        bytes
    }
}

fn hash(id: &[u8]) -> Option<Kind> {
    match id {
        b"sha1" => Some(Kind::Sha1),
        b"s256" => Some(Kind::Sha256),
        _ => None,
    }
}

/// The sections of a table, as the footer has them. A position of 0 is a missing section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections {
    pub ref_index: u64,
    pub objects: u64,
    pub object_index: u64,
    pub logs: u64,
    pub log_index: u64,
    /// The position of the footer.
    pub end: u64,
}

impl Sections {
    /// Parses `footer`, which begins at the offset `end` of a file whose first bytes are `start`.
    pub(crate) fn parse(footer: &[u8], start: &[u8; MAX_HEADER], header: &Header, end: u64) -> Result<Self, Fault> {
        let header_len = header.version.header_len();
        let fault = |damage| Fault { offset: end, damage };
        let (content, checksum) = footer.split_at(footer.len() - 4);
        if u64::from(crc32fast::hash(content)) != big_endian(checksum) {
            return Err(fault(Damage::Checksum));
        }
        if content[..header_len] != start[..header_len] {
            return Err(fault(Damage::Footer));
        }
        let position = |n: usize| big_endian(&content[header_len + 8 * n..][..8]);
        let sections = Self {
            ref_index: position(0),
            objects: position(1) >> 5,
            object_index: position(2),
            logs: position(3),
            log_index: position(4),
            end,
        };
        if sections.are_possible(header_len as u64) {
            Ok(sections)
        } else {
            Err(fault(Damage::Positions))
        }
    }

    /// Returns the footer of the table with this header, for a table without object blocks.
    pub(crate) fn encode(&self, header: &Header) -> Vec<u8> {
        let mut bytes = header.encode();
        for position in [self.ref_index, 0, 0, self.logs, self.log_index] {
            bytes.extend(position.to_be_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// Existing sections follow each other between header and footer.
    fn are_possible(&self, header_len: u64) -> bool {
        let mut before = header_len - 1;
        [
            self.ref_index,
            self.objects,
            self.object_index,
            self.logs,
            self.log_index,
        ]
        .into_iter()
        .all(|position| {
            let fits = position == 0 || (before < position && position < self.end);
            before = before.max(position);
            fits
        })
    }

    /// Returns true if the footer names no section at all.
    pub(crate) fn none(&self) -> bool {
        [
            self.ref_index,
            self.objects,
            self.object_index,
            self.logs,
            self.log_index,
        ] == [0; 5]
    }
}
