//! Append-only rule: an existing file below a guarded path must not be changed, moved or deleted. Corrections are new
//! files.
//!
//! ```text
//!   commits: history (which ones are new) ---> range (each against each parent, and the ends)
//!                                                |
//!                                                v
//!   trees:   git_objects (the guarded entries, differences) ---> compare (changes to the old files) ---> renames (new paths)
//! ```
//!
//! Rule for two trees: the new tree has each guarded file of the old tree at the same path, with the same content, mode
//! and type. Symbolic links and submodules count as files. Additions, and all changes outside the guarded paths, are
//! allowed. Subtrees with equal ids are never read.
//!
//! Rule for commits ([`check()`]): each new commit must keep the rule against *each of its parents*. So deleting a file
//! and adding it again is a violation. A merge may bring in additions of the other side, but must keep every file of every
//! parent. There is no exception for merges: one that brings in a change of an old file is reported, even if that change
//! was accepted once. The same work passes when it is rebased onto that history.
//!
//! If the clone lacks history that the check needs, the result is an [`Error`], never a verdict.
//!
//! The signatures of new events ([`badly_signed()`]) are a matter of their files alone. Only this function reaches a crate for
//! cryptography.
//!
//! # Limitations
//!
//! A file that is renamed and edited in one commit is reported as deleted. Replacement refs (git-replace) and grafts are
//! the caller's concern: the rule reads the objects that it is given.
mod compare;
mod error;
mod history;
mod odd_names;
mod paths;
mod range;
mod renames;
mod schema;
mod signatures;
mod violation;

pub use error::Error;
pub use odd_names::{OddName, odd_names};
pub use paths::{DEFAULT_PATH, InvalidPath, Paths};
pub use range::{Added, Findings, Range, Relation, check, lost};
pub use schema::{Malformed, malformed};
pub use signatures::{Signatures, badly_signed};
pub use violation::{Letter, MAX_LISTED, Violation};

/// The rule in one line, for every report of a violation.
pub const RULE: &str = "existing files must not be changed, moved or deleted; write corrections as new events";
