//! What several tests need: git, a mirror behind a real web server, a server that misbehaves.
// Each test program uses its part of this.
#![allow(dead_code)]

pub mod git;
pub mod mirror;
pub mod scripted;
