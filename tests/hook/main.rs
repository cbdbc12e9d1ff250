//! The hooks: recorded updates, rejections, installation, and the users that run them.
#![cfg(unix)]
mod configured;
mod install;
mod intents;
mod owners;
mod process;
mod ref_names;

/// The hook program.
const HOOK: &str = env!("CARGO_BIN_EXE_stargate-hook");
