//! `relay` as a process, asked over HTTP.
#![cfg(unix)]
mod connections;
mod contract;
mod described;
mod durability;
mod feeds;
mod requests;
mod streams;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
