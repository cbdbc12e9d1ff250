//! From a source to a commit: [`inbox`] slows fast sources down, [`batch`] (pure) decides when events are committed, and
//! [`landing`] commits them.
pub mod batch;
pub mod inbox;

pub(super) mod landing;

pub use landing::Committed;
