//! `stargate-hook`: argv in, exit code out.
fn main() {}
