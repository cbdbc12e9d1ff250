//! What several tests need: a Stargate, and what pushes to it.
// Each test program uses its part of this.
#![allow(dead_code)]

pub mod stargate;
