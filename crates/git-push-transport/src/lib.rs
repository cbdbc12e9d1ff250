//! Transports for `git-push`: HTTP ([`http`]), ssh and `git://` ([`stream`]), and folders ([`local`]). A [`Remote`] is one of
//! them, by its URL. [`web`] sends requests to an HTTP service that is not a repository.
//!
//! All calls that reach a remote block. Connections are `Send`: in asynchronous code, run a push on a thread for blocking work,
//! such as that of tokio's `spawn_blocking` (`examples/spawn_blocking.rs`).
//!
//! # Interfaces that an application can implement
//!
//! | trait | default | used by |
//! |---|---|---|
//! | [`Connection`](git_push::Connection) | [`Remote`] | [`Push::send()`](git_push::Push::send) |
//! | [`HttpClient`](http_client::HttpClient) | [`UreqClient`](ureq_client::UreqClient), with the feature `http` | [`Http::new()`](http::Http::new) |
//! | [`Credentials`](credentials::Credentials) | [`GitCredentials`](git_credentials::GitCredentials) | [`Http::new()`](http::Http::new) |
//!
//! # Modules
//!
//! A module uses those below it and never those above it. Modules in one line do not use each other.
//!
//! ```text
//! remote                                       a connection to any location
//! web  webhook  forge_repository  authenticated  requests to other services, with a token or with git's credentials;
//!                                              notifications; repositories that may not exist
//! http  stream  local                          connections: what is sent to one kind of server, and what its answer means
//! git_credentials                              default of an interface
//! github_app                                   tokens of a GitHub App
//! ureq_client                                  default of an interface
//! protocol_allow                               protocols that configuration allows
//! location  reading  answers  transport        names and URLs; answers of a server, whatever carries them; their interface
//! helpers  netrc  http_config  received  forge_api  token_setting   programs, files, configuration; packs; REST APIs
//! credentials  http_client  fetch  head        interfaces; requests for a pack and for HEAD
//! settings  secrets  url  url_match  process   plain data; texts without secrets; URLs over HTTP
//! child_environment                            the environment of programs that belong to others
//! prompt                                       questions to a person
//! git_config  token  redact  upload_pack       git configuration; the environment; URLs without secrets; requests for refs
//! service  forge  workflows                    names of git's services; kinds of servers with a REST API; a look at a push
//! ```
//!
//! [`Settings`] are plain data. Each module that uses a setting interprets it. No module depends on a mirror, a journal
//! or a command line.

// With some features only, shared code is unused.
#![cfg_attr(
    not(all(feature = "daemon", feature = "http", feature = "local", feature = "ssh")),
    allow(dead_code, unreachable_code, unused_imports, unused_mut, unused_variables)
)]
#[cfg(feature = "http")]
pub mod authenticated;
#[cfg(feature = "smart-http")]
pub mod credentials;
#[cfg(feature = "http")]
pub mod forge_repository;
#[cfg(feature = "smart-http")]
pub mod git_credentials;
#[cfg(feature = "smart-http")]
pub mod http;
#[cfg(feature = "smart-http")]
pub mod http_client;
#[cfg(feature = "local")]
pub mod local;
#[cfg(any(feature = "daemon", feature = "ssh"))]
pub mod stream;
#[cfg(feature = "http")]
pub mod ureq_client;
#[cfg(feature = "http")]
pub mod web;
#[cfg(feature = "http")]
pub mod webhook;

#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
mod answers;
mod child_environment;
mod fetch;
mod forge;
#[cfg(feature = "smart-http")]
mod forge_api;
mod git_config;
#[cfg(feature = "http")]
mod github_app;
mod head;
#[cfg(feature = "smart-http")]
mod helpers;
#[cfg(feature = "smart-http")]
mod http_config;
mod location;
#[cfg(feature = "smart-http")]
mod netrc;
#[cfg(any(feature = "smart-http", feature = "ssh"))]
mod process;
#[cfg(feature = "smart-http")]
mod prompt;
mod protocol_allow;
#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
mod reading;
mod received;
mod redact;
mod remote;
#[cfg(feature = "smart-http")]
mod secrets;
#[cfg(any(feature = "daemon", feature = "smart-http", feature = "ssh"))]
mod service;
mod settings;
mod token;
#[cfg(feature = "smart-http")]
mod token_setting;
mod transport;
mod upload_pack;
mod url;
#[cfg(feature = "smart-http")]
mod url_match;
#[cfg(feature = "smart-http")]
mod workflows;

#[cfg(not(any(feature = "daemon", feature = "local", feature = "smart-http", feature = "ssh")))]
compile_error!("git-push-transport needs one of its features: daemon, http, local, smart-http, ssh");

pub use child_environment::SECRET_VARIABLES;
pub use fetch::{Extent, Wanted};
pub use forge::{Forge, TokenEnd};
pub use head::Head;
pub use location::{HelperAddress, Location, resolve, resolve_all};
#[cfg(feature = "smart-http")]
pub use prompt::Prompts;
pub use redact::{Shown, redacted};
pub use remote::Remote;
pub use settings::{CONNECT_TIMEOUT, HelperSettings, IDLE_TIMEOUT, Proxies, Settings, SshClient, SshSettings};
pub use token::{AppKey, GithubApp};
pub use transport::{TokenUse, Transport};
pub use url::HttpUrl;

#[doc(hidden)] // For the fuzz targets of this workspace.
pub mod fuzzed {
    pub use crate::fetch::PackStream;
    pub use crate::upload_pack::{LsRefs, ls_refs_request, protocol_2};
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
