//! The journal: its writer, its files over time, its commands, all of it against a model, and the log beside it.
#![cfg(unix)]
mod commands;
mod drafts;
mod log;
mod model;
mod segments;
mod writer;
