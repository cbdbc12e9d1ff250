//! Shared parts of the tests: a Stargate and its clients, a mirror, a scripted server.
#![cfg(unix)]

pub mod certificates;
pub mod chunks;
pub mod counter;
pub mod executable;
pub mod faulty;
pub mod feeds;
pub mod forge;
pub mod front;
pub mod git;
pub mod history;
pub mod lying;
pub mod mirror;
pub mod nats;
pub mod processes;
pub mod programs;
pub mod pushing;
pub mod random;
pub mod relay;
pub mod running;
pub mod scripted;
pub mod sshd;
pub mod stargate;
pub mod strace;
pub mod unthin;
pub mod web;
