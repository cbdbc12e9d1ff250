//! What the headers of a request say about its sender.
use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Returns true for a request with more than one header `Host`: two programs on the way could each believe another one.
pub fn has_several_hosts(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().count() > 1
}

/// Returns the token of a request (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Returns true for a request that addresses this machine by a loopback name. Any site can give its name the address of this
/// machine (DNS rebinding); a browser then sends that name as `Host`.
pub fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (name, ""),
            Some((name, port)) => (name, port.strip_prefix(':').unwrap_or("?")),
            None => return false,
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
