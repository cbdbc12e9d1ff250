//! What the mirror shall have, decided as a function of values: entries, local refs, the remote's refs. No file, no
//! socket, no clock, no randomness.
//!
//! - [`plan()`] folds them into groups of commands;
//! - [`settle()`] says what an attempt came to, from the report and from the refs that were read back;
//! - [`compare()`] and [`missed()`] find what the journal does not know, from the refs of both sides;
//! - [`Grouping`] says which refs land together, symbolic ones among them;
//! - [`watermark`] knows the names of a namespace's refs.
mod grouping;
mod outcome;
mod plan;
mod reconcile;
mod settlement;
pub mod watermark;

pub use grouping::Grouping;
pub use outcome::Outcome;
pub use plan::{Change, Damaged, Group, Hold, Knowledge, Plan, Rules, plan};
pub use reconcile::{Compared, Standing, compare, missed};
pub use settlement::{GroupResult, held, settle, settle_unseen};
