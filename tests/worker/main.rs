//! The worker: its cycle with a model of the mirror, and each of its commands with real repositories and mirrors.
#![cfg(unix)]
mod branches;
mod comparison;
mod create;
mod cycle;
mod doctor;
mod formats;
mod github_app;
mod head;
mod hidden_refs;
mod journey;
mod lfs;
mod local_refs;
mod log_format;
mod mirrors;
mod namespace;
mod parts;
mod patience;
mod reftable;
mod root;
mod server_words;
mod ssh;
mod sync;
mod tokens;
mod wait;
mod watch;
mod watermarks;
