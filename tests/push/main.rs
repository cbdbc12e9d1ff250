//! Pushes: the command, packs, the wire, and everything that reads foreign bytes.
#![cfg(unix)]
mod bitmaps;
mod command;
mod deltas;
mod fuzzed;
mod history;
mod interrupt;
mod local;
mod pack_states;
mod packs;
mod wire;
