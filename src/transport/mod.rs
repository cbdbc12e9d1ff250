//! Ways to reach a mirror: over HTTP ([`http`]) and in a folder of this machine ([`local`]). [`Remote`] is either, by
//! its URL.
pub mod credentials;
pub mod http;
pub mod local;
pub mod remote;
pub mod upload_pack;

pub use http::Settings;
pub use remote::{Location, Remote, resolve};
