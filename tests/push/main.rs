//! Pushes: the command, packs, the wire, and every parser of foreign bytes.
#![cfg(unix)]
mod bitmaps;
mod command;
mod fuzzed;
mod history;
mod interrupt;
mod local;
mod pack_states;
mod packs;
mod parts;
mod thin;
mod wire;
