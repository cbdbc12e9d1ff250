//! `relay --store`: the tests of the relay over a stream of NATS JetStream, and what only a stream has.
#![cfg(unix)]
#[path = "../relay/contract.rs"]
mod contract;
mod credentials;
#[path = "../relay/feeds.rs"]
mod feeds;
mod messages;
mod mirror;
mod operator;
#[path = "../relay/policies.rs"]
mod policies;
#[path = "../relay/requests.rs"]
mod requests;
mod shared;
#[path = "../relay/signed.rs"]
mod signed;
#[path = "../relay/streams.rs"]
mod streams;
#[path = "../relay/tokens.rs"]
mod tokens;

use std::{fs, path::Path};

use support::{nats::Servers, relay::STORE};
use tempfile::TempDir;

/// A folder whose relays have their events in a stream. Its server is killed on drop.
struct Folder {
    folder: TempDir,
    _servers: Servers,
}

impl Folder {
    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn folder() -> Folder {
    let servers = Servers::one();
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(STORE), servers.url("test")).expect("a file");
    Folder {
        folder,
        _servers: servers,
    }
}
