//! The append-only rule: a file below a guarded path, once there, stays what it is and where it is. Corrections are new
//! files.
//!
//! ```text
//!   commits: history (which ones are new) ---> range (each against each parent, and the ends)
//!                                                |
//!                                                v
//!   trees:   lookup (the guarded entries) ---> compare (what became of the old files) ---> renames (where to)
//! ```
//!
//! The rule over two trees: a file (also a symbolic link or a submodule) that the old one has below a guarded path, the new
//! one has at the same path, with the same content, mode and type. What is added there, and all that is elsewhere, is
//! free. Subtrees of equal ids are never read.
//!
//! The rule over commits ([`check()`]): each new commit keeps it against *each of its parents*. So deleting a file and
//! adding it again does not pass; a merge may bring in what the other side added, and whatever any parent has must be the
//! same in it. Nothing excuses a merge: one that brings in a change of an old file from a history that was accepted once
//! is reported; rebased onto that history, the same work passes.
//!
//! Where the clone lacks history that has to be seen, there is an [`Error`], never a verdict.
//!
//! # Limitations
//!
//! A file that was renamed and edited in one commit is told as deleted. Replacement refs (git-replace) and grafts are not
//! looked at by this rule: it reads whatever objects it is given.
mod compare;
mod error;
mod history;
mod lookup;
mod names;
mod objects;
mod paths;
mod range;
mod renames;
mod schema;
mod violation;

pub use error::Error;
pub use names::{OddName, odd_names};
pub use paths::{DEFAULT_PATH, InvalidPath, Paths};
pub use range::{Added, Findings, Range, Relation, check, lost};
pub use schema::{Malformed, malformed};
pub use violation::{Letter, MAX_LISTED, Violation};

/// What corrects an event, as every report of a violation says.
pub const RULE: &str = "files are only ever added there; corrections are new events";
