//! Ways to reach a mirror: over HTTP ([`http`]), over ssh and as `git://` ([`stream`]), and in a folder of this machine
//! ([`local`]). [`Remote`] is any of them, by its URL. [`web`] reaches a service over HTTP that is no mirror.
pub mod credentials;
pub mod fetch;
pub mod http;
pub mod local;
pub mod remote;
pub mod settings;
pub mod stream;
pub mod upload_pack;
pub mod web;

mod helpers;
mod netrc;
mod process;
mod reading;
mod received;
mod service;

pub use remote::{Location, Remote, resolve};
pub use settings::Settings;
