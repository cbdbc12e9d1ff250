//! Ways to reach a mirror: over HTTP ([`http`]) and on this machine's file system. [`Remote`] is either, by its URL.
pub mod credentials;
pub mod http;
pub mod remote;
pub mod upload_pack;

pub use http::Settings;

