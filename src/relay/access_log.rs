//! The access log: a line for each request, when its response has been sent or its client has gone.
//!
//! The lines have the level `info` and the target [`TARGET`]. They have no query, which may contain a token, and no token but
//! its name.
use std::{net::SocketAddr, time::Instant};

use axum::http::{Method, StatusCode, Uri};

/// Target of the lines.
pub const TARGET: &str = "relay::access";
/// Maximum length of a path in a line, in bytes.
const MAX_PATH: usize = 1024;

/// A request. It is logged on drop.
#[derive(Debug)]
pub struct Entry {
    method: Method,
    path: String,
    feed: Option<String>,
    /// Address of the connection's other end. Behind a proxy, this is the proxy's.
    remote: Option<SocketAddr>,
    start: Instant,
    /// Name of the token.
    pub token: Option<String>,
    /// Status of the response; `None` if the client has gone before.
    pub status: Option<StatusCode>,
    /// Number of bytes of the response's body.
    pub bytes: u64,
}

impl Entry {
    /// Creates the entry of a request that begins now.
    pub fn new(method: &Method, uri: &Uri, feed: Option<&str>, remote: Option<SocketAddr>) -> Self {
        Entry {
            method: method.clone(),
            path: shown(uri.path()),
            feed: feed.map(str::to_owned),
            remote,
            start: Instant::now(),
            token: None,
            status: None,
            bytes: 0,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let duration = self.start.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(
            target: TARGET,
            method = self.method.as_str(),
            path = self.path,
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            duration_ms = duration,
            token = self.token,
            feed = self.feed,
            remote = self.remote.map(|remote| remote.to_string()),
            "request"
        );
    }
}

/// Returns a path in ASCII, cut to [`MAX_PATH`].
fn shown(path: &str) -> String {
    let mut shown = String::new();
    for byte in path.bytes() {
        if shown.len() >= MAX_PATH {
            return shown + "…";
        }
        if byte.is_ascii_graphic() {
            shown.push(char::from(byte));
        } else {
            shown += &format!("%{byte:02X}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_short_and_ascii() {
        assert_eq!(shown("/feeds/a%20b/events"), "/feeds/a%20b/events");
        assert_eq!(shown("/\u{9b}31mü"), "/%C2%9B31m%C3%BC");
        let long = shown(&format!("/{}", "x".repeat(5000)));
        assert_eq!(long.chars().count(), MAX_PATH + 1);
    }
}
