//! The journal: its writer, its files over time, both against a model, the log beside it, and the replacement of files.
//!
//! Nothing here starts a process: for a moment, a child holds the locks of all threads.
#![cfg(unix)]
mod drafts;
mod log;
mod model;
mod replace;
mod segments;
mod writer;
