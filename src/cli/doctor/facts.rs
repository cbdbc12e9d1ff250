//! Facts that are read from files, for the checks.
pub mod commits;
pub mod disk;
#[cfg(unix)]
pub mod folder;
pub mod worker;
