//! The journal: its writer, its files over time, both against a model, and the log beside it.
//!
//! Nothing here starts a process: for a moment, a child holds the locks of all threads.
#![cfg(unix)]
mod drafts;
mod log;
mod model;
mod segments;
mod writer;
