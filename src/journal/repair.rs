//! Repairs of damaged lines, as they are reported.
use std::fmt;

use ulid::Ulid;

use super::{FOLDER, QUARANTINE};

/// Repair that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The last line was a complete entry and got its line feed.
    Completed,
    /// The last line was incomplete. It was moved to quarantine.
    Quarantined {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// Number of bytes.
        length: u64,
    },
    /// Another line was corrupt. It was copied to quarantine and overwritten with spaces.
    Blanked {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// Number of bytes.
        length: u64,
    },
    /// An entry's id was not credible. Its line was copied to quarantine and overwritten with spaces.
    Renewed {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// The entry's id.
        id: Ulid,
        /// Id of the new entry with the same update. `None` if the entry was settled.
        renewed: Option<Ulid>,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Completed => write!(f, "added the missing line feed after the last entry"),
            Repair::Quarantined { name, length } => {
                write!(
                    f,
                    "moved {length} bytes of an incomplete entry to {FOLDER}/{QUARANTINE}/{name}"
                )
            }
            Repair::Blanked { name, length } => {
                write!(f, "moved {length} corrupt bytes to {FOLDER}/{QUARANTINE}/{name}")
            }
            Repair::Renewed { name, id, renewed } => {
                write!(
                    f,
                    "moved the entry {id}, whose id is not credible, to {FOLDER}/{QUARANTINE}/{name}"
                )?;
                match renewed {
                    Some(renewed) => write!(f, "; its update is now the entry {renewed}"),
                    None => write!(f, "; it was settled already"),
                }
            }
        }
    }
}
