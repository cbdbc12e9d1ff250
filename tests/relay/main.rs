//! `relay` as a process, used over HTTP.
#![cfg(unix)]
mod browser;
mod clients;
mod connections;
mod contract;
mod described;
mod devtools;
mod durability;
mod feeds;
mod look;
mod mirrors;
mod monitoring;
mod policies;
mod requests;
mod signed;
mod size;
mod streams;
mod tokens;
mod web;
mod worker_page;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
