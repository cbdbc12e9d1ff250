//! The worker: its cycle with a model of the mirror, and each of its commands with real repositories and mirrors.
#![cfg(unix)]
mod branches;
mod comparison;
mod cycle;
mod doctor;
mod formats;
mod head;
mod hidden_refs;
mod journey;
mod lfs;
mod local_refs;
mod log_format;
mod namespace;
mod parts;
mod patience;
mod reftable;
mod root;
mod server_words;
mod sync;
mod wait;
mod watch;
mod watermarks;
