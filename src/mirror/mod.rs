//! Decisions about the mirror, as pure functions of entries, local refs and the remote's refs. No file, no socket, no
//! clock, no randomness.
//!
//! - [`plan()`] turns the backlog and the refs of both sides into groups of commands;
//! - [`settle()`] decides the outcome of an attempt, from the server's report and from the refs that were read back;
//! - [`compare()`] and [`missed()`] compare the refs of both sides, and find updates that the journal missed;
//! - [`Tally`] has the entries that only some of several mirrors have settled;
//! - [`AlertMemory`] decides which alerts about the mirror are due;
//! - [`Grouping`] determines which refs land together, including symbolic refs;
//! - [`watermark`] defines the ref names of a namespace.
mod alerts;
mod grouping;
mod outcome;
mod plan;
mod reconcile;
mod settlement;
mod tally;
pub mod watermark;

pub use alerts::{Alert, AlertChannel, AlertMemory, AlertState, CLAIM, Condition, Fate, Observed};
pub use grouping::Grouping;
pub use outcome::Outcome;
pub use plan::{Change, Damaged, Group, Hold, LocalView, Plan, Rules, plan};
pub use reconcile::{Compared, Standing, compare, missed};
pub use settlement::{GroupResult, held, settle, settle_unseen};
pub use tally::Tally;
