//! `relay` as a process, used over HTTP.
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
