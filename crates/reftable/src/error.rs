use std::io;
use std::path::PathBuf;

use gix_hash::Kind;

/// A failure to read a stack of reftables.
///
/// No variant means "there are no refs": that case is an empty iteration, or a look-up that returns `None`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder `reftable` does not exist.
    ///
    /// The repository does not store its refs as reftables, or it is damaged.
    #[error("the folder {} does not exist: check extensions.refStorage of the repository", .folder.display())]
    NoFolder {
        /// The folder that was looked for.
        folder: PathBuf,
    },
    /// The folder `reftable` exists, but it has no `tables.list`.
    ///
    /// `git init` leaves a list with at least one table, the one with `HEAD`. Without a list nothing is known about the
    /// refs. An existing list without a name is an empty stack, not an error.
    #[error("{} does not exist: the refs of this repository are unknown, restore the file", .path.display())]
    NoList {
        /// The path of the missing file.
        path: PathBuf,
    },
    /// `tables.list` is invalid.
    #[error("line {line} of tables.list {fault}")]
    List {
        /// The number of the line, starting at 1.
        line: usize,
        /// The reason.
        fault: ListFault,
    },
    /// `tables.list` names a table that does not exist, and the list does not change.
    #[error("tables.list names {table}, which does not exist: refs are lost, restore the table")]
    MissingTable {
        /// The name of the table.
        table: String,
    },
    /// Tables vanished again and again while they were opened, each time with a new `tables.list`.
    #[error(
        "the tables changed {attempts} times while they were opened, and {table} vanished last: other processes write \
         too often; retry later"
    )]
    Busy {
        /// The number of times that `tables.list` was read.
        attempts: usize,
        /// The table that was missing last.
        table: String,
    },
    /// The operating system failed to read.
    #[error("cannot read {what}")]
    Io {
        /// The file, and the part of it.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The bytes of a table violate the format.
    #[error("table {table} is damaged at offset {offset}: {damage}")]
    Damaged {
        /// The name of the table.
        table: String,
        /// The position in bytes from the start of the table: of the field, record, or block at fault.
        offset: u64,
        /// The violation.
        damage: Damage,
    },
    /// A table has an unknown version of the format.
    #[error("table {table} has version {version} of the format, but only versions 1 and 2 are supported")]
    Version {
        /// The name of the table.
        table: String,
        /// The version that the table states.
        version: u8,
    },
    /// The ids of a table have a different hash than those of the repository.
    #[error("table {table} has {found} ids, but the repository has {expected} ids")]
    Hash {
        /// The name of the table.
        table: String,
        /// The hash of the table.
        found: Kind,
        /// The hash that the stack was opened with.
        expected: Kind,
    },
}

impl Error {
    /// Returns true if the same call can succeed later, without a repair.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                )
            }
            _ => false,
        }
    }
}

/// A violation in `tables.list`, completing "line 3 of tables.list …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListFault {
    /// The last line has no newline: the file is truncated.
    #[error("does not end with a newline: the file is truncated")]
    Unfinished,
    /// The name is a path, or has control characters, or is not UTF-8.
    #[error("is not the name of a file")]
    Name,
    /// The name occurs twice.
    #[error("repeats a name")]
    Repeated,
    /// The file is larger than any list of tables.
    #[error("lies beyond the limit of {} bytes", crate::list::MAX_LIST)]
    TooLong,
}

/// A violation of the reftable format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file is shorter than a header and a footer.
    #[error("the file is too short for a header and a footer")]
    TooShort,
    /// The header does not begin with `REFT`.
    #[error("the header does not begin with REFT")]
    Magic,
    /// The hash in the header is not known.
    #[error("the hash is neither sha1 nor s256")]
    UnknownHash,
    /// The CRC-32 of the footer does not match.
    #[error("the checksum of the footer does not match")]
    Checksum,
    /// The footer does not repeat the header.
    #[error("the footer does not repeat the header")]
    Footer,
    /// A position in the footer is outside of the file, or the sections are out of order.
    #[error("the positions of the sections are impossible")]
    Positions,
    /// The type of a block is not known.
    #[error("the type of the block is not known")]
    UnknownBlock,
    /// A block of this type cannot be here.
    #[error("a block of another type belongs here")]
    MisplacedBlock,
    /// The refs end before the place where the footer says that they end.
    #[error("the refs end too early")]
    EarlyEnd,
    /// A block ends beyond the end of its file, or is too short to hold a record.
    #[error("the length of the block is impossible")]
    BlockLength,
    /// The list of restart points is empty, too long, or names a position that is not the start of a full record.
    #[error("the restart points of the block are wrong")]
    Restarts,
    /// A record ends beyond the end of its block.
    #[error("the record is cut off by the end of the block")]
    CutRecord,
    /// An integer does not fit into 64 bits.
    #[error("an integer is too large")]
    Overflow,
    /// The type of a record is not known.
    #[error("the type of the record is not known")]
    UnknownRecord,
    /// A key is empty, too long, has a NUL byte, or shares more bytes than the key before it has.
    #[error("the name is impossible")]
    Key,
    /// The target of a symbolic ref is empty or has a NUL byte.
    #[error("the target of the symbolic ref is impossible")]
    Target,
    /// The keys are not strictly ascending.
    #[error("the names are out of order")]
    Order,
    /// An index record points to itself or forwards, or to a block that does not end with its key.
    #[error("the index points to the wrong block")]
    Index,
}

/// A violation and its position in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub offset: u64,
    pub damage: Damage,
}

impl Fault {
    pub(crate) fn in_table(self, table: &str) -> Error {
        Error::Damaged {
            table: table.into(),
            offset: self.offset,
            damage: self.damage,
        }
    }
}
