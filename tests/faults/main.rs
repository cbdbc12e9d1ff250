//! The worker as a process in a world that goes wrong: killed at every call that changes the disk, on disks that fail and
//! disks that are full, told to end, and with 64 pushes at once.
//!
//! After each fault the worker is started again, and then everything that was accepted is on the mirror, nothing moved
//! there twice, the journal parses, and nothing that only a worker at work needs is left.
#![cfg(target_os = "linux")]
mod crowd;
mod disk;
mod killed;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod world;
