//! Transports for `git-push`: HTTP ([`http`]), ssh and `git://` ([`stream`]), and local folders ([`local`]). [`Remote`] is
//! any of them, by its URL. [`web`] reaches an HTTP service that is not a repository.
//!
//! All calls block. Connections are `Send`: in asynchronous code, run a push on a thread for blocking work, such as that of
//! tokio's `spawn_blocking`.

// What ways share is not used up by one of them.
#![cfg_attr(
    not(all(feature = "daemon", feature = "http", feature = "local", feature = "ssh")),
    allow(dead_code, unused_imports, unused_mut, unused_variables)
)]
#[cfg(feature = "http")]
pub mod credentials;
pub mod fetch;
pub mod forge;
pub mod head;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "local")]
pub mod local;
pub mod remote;
pub mod settings;
#[cfg(any(feature = "daemon", feature = "ssh"))]
pub mod stream;
pub mod token;
pub mod upload_pack;
#[cfg(feature = "http")]
pub mod web;

#[cfg(feature = "http")]
mod helpers;
#[cfg(feature = "http")]
mod netrc;
#[cfg(any(feature = "http", feature = "ssh"))]
mod process;
#[cfg(any(feature = "daemon", feature = "http", feature = "ssh"))]
mod reading;
mod received;
#[cfg(any(feature = "daemon", feature = "http", feature = "ssh"))]
mod service;
mod shown;
mod url;

#[cfg(not(any(feature = "daemon", feature = "http", feature = "local", feature = "ssh")))]
compile_error!("git-push-transport needs one of its features: daemon, http, local, ssh");

pub use forge::Forge;
pub use head::Head;
pub use remote::{Location, Remote, resolve};
pub use settings::Settings;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
