//! Pushes: the command, packs, the wire, and every parser of foreign bytes.
#![cfg(unix)]
mod bitmaps;
mod command;
mod damaged_index;
mod deltas;
mod fuzzed;
mod git_push;
mod graphs;
mod helpers;
mod history;
mod interrupt;
mod local;
mod local_hooks;
mod local_tables;
mod pack_states;
mod packs;
mod parts;
mod prompts;
mod remote_helper;
mod requests;
mod reverse_indices;
mod streams;
mod thin;
mod walks;
mod wire;
