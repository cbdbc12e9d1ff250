//! Facts that are read from files, for the checks.
pub mod commits;
pub mod disk;
pub mod folder;
pub mod worker;
