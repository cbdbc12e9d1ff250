//! The journal: its writer, its files over time (both compared with a model), the log, and the replacement of files.
//!
//! No test here starts a process, because a child briefly holds the locks of all threads.
#![cfg(unix)]
mod drafts;
mod log;
mod model;
mod replace;
mod segments;
mod writer;
