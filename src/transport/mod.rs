//! Ways to reach a mirror.
pub mod local;
