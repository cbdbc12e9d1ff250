//! The hooks: what they record, when they reject, how they are installed, and under which users they run.
#![cfg(unix)]
mod install;
mod intents;
mod owners;
mod process;
mod ref_names;

/// The hook program.
const HOOK: &str = env!("CARGO_BIN_EXE_stargate-hook");
