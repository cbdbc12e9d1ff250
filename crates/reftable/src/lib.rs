//! A reader and writer of git's reftable ref storage, `git init --ref-format=reftable`.
//!
//! ```text
//!   tables.list --list--> names --stack--> open tables (a snapshot)
//!                                              |
//!   find, iter <--merge-- table_iter <--table--+-- header, block, record, cursor
//!                                              |
//!                                            source: bytes at an offset
//!
//!   updates --update, against a snapshot--> records --encode, block_builder, log--> bytes of a table
//!                                                                                     |
//!                        tables.list <--transaction, under the lock--  table file  <--+
//! ```
//!
//! - [`Stack`] opens all tables of a repository and answers look-ups and iterations from this snapshot.
//! - [`Transaction`] changes refs: it appends one table.
//! - [`Table`] is one table, over any [`Source`] of bytes. It is read block by block.
//! - [`mod@format`] describes the format and the checks.
//!
//! # Example
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let git_dir = tempfile::tempdir()?;
//! # std::fs::create_dir(git_dir.path().join("reftable"))?;
//! # std::fs::write(git_dir.path().join("reftable/tables.list"), "")?;
//! use git_reftable::{Stack, Value};
//!
//! let stack = Stack::open(git_dir.path(), gix_hash::Kind::Sha1)?;
//! for record in stack.iter_prefix("refs/heads/")? {
//!     let record = record?;
//!     match record.value {
//!         Value::Id(id) => println!("{id} {}", record.name),
//!         Value::Peeled { id, peeled } => println!("{id} {} -> {peeled}", record.name),
//!         Value::Symbolic(target) => println!("{} is {target}", record.name),
//!     }
//! }
//! assert_eq!(stack.find("refs/heads/nowhere")?, None);
//! # Ok(())
//! # }
//! ```
//!
//! # Absences
//!
//! Only [`Transaction`] writes, locks, or deletes. Object blocks and log blocks are not read. Symbolic refs are not
//! followed, objects are not looked up, names are validated only before they are written. The caller reads
//! `extensions.refStorage` and the hash in the configuration.
//!
//! # Limitations
//!
//! Nothing here compacts. Git does, at its next write and in `git pack-refs`, so the number of tables grows only while git
//! does not write. A deleted ref keeps its reflog, unlike in git, because log blocks are not read. `core.fsync` and
//! `core.sharedRepository` are not read: a transaction always syncs, and new files have the permissions of `tables.list`.
//!
//! A table has no checksum over its blocks, so some damage cannot be noticed; see [`mod@format`]. On file systems where a
//! deleted file becomes unreadable for processes that have it open, like NFS between machines, a compaction can end an
//! iteration with an [`Error::Io`].

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod block;
mod block_builder;
mod cursor;
mod encode;
mod error;
pub mod format;
mod header;
mod list;
mod lock;
mod log;
mod merge;
mod place;
mod record;
mod source;
mod stack;
mod table;
mod table_iter;
mod transaction;
mod update;
mod write_error;

pub use bstr;
pub use error::{Damage, Error, ListFault};
pub use gix_hash;
pub use log::{Committer, LogLine};
pub use merge::Iter;
pub use place::{FOLDER, HEAD_TARGET, LIST};
pub use record::{Record, Value};
pub use source::{FileSource, Source};
pub use stack::Stack;
pub use table::Table;
pub use transaction::Transaction;
pub use update::{Expected, Update};
pub use write_error::WriteError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
