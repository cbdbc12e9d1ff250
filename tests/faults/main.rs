//! Worlds that go wrong: with a worker as a process, and with values in the place of disk and mirror ([`simulation`]).
//!
//! The worker as a process is killed at every call that changes the disk, runs on disks that fail and disks that are full,
//! is told to end, and carries 64 pushes at once. After each fault the worker is started again, and then everything that
//! was accepted is on the mirror, nothing moved there twice, the journal parses, and nothing that only a worker at work
//! needs is left.
#![cfg(target_os = "linux")]
mod crowd;
mod disk;
mod killed;
mod signals;
mod simulation;
mod world;
