//! What tests share: a Stargate and what pushes to it, a mirror, a server with a script.
// No test program uses all of it.
#![allow(dead_code)]

pub mod faulty;
pub mod git;
pub mod mirror;
pub mod scripted;
pub mod stargate;
