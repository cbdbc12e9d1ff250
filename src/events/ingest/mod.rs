//! From a source to a commit: [`inbox`] slows fast sources down, [`batch`] (pure) decides when events are committed, and
//! [`committer`] commits them.
pub mod batch;
pub mod inbox;

pub(super) mod committer;

pub use committer::Committed;
