//! Faults: with a worker as a process, and with simulated disks and mirrors ([`simulation`]).
//!
//! The worker as a process is killed at every call that changes the disk, runs on failing and full disks, gets signals,
//! and mirrors 64 pushes at once. After each fault the worker is started again. Then every accepted push is on the
//! mirror, no ref moved there twice, the journal parses, and no temporary file of a worker is left.
#![cfg(target_os = "linux")]
mod crowd;
mod disk;
mod killed;
mod mirrors;
mod signals;
mod simulation;
mod world;
