//! Web pages that may use the relay: cross-origin resource sharing, as in the WHATWG's Fetch, section 3.3.
//!
//! Without an allowed origin, no page of another origin can read a response, or send JSON.
use std::time::Duration;

pub use axum::http::HeaderValue as Origin;
use axum::http::{HeaderName, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::answer::SEQ;

/// Header with which a listener resumes.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Time for which a browser may remember the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Parses an origin, exactly as a browser sends it.
///
/// # Errors
/// The text is not an origin of a web page.
pub fn parse_origin(text: &str) -> Result<Origin, String> {
    let wrong = || "write an origin as https://example.com or http://localhost:8080, without a path".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(wrong()),
    };
    let is_exact = text == format!("{scheme}://{authority}") && text == text.to_ascii_lowercase();
    if !is_exact || authority.as_str().contains(['@', '*']) || authority.host().is_empty() {
        return Err(wrong());
    }
    let has_port = authority.as_str() != authority.host();
    match authority.port_u16() {
        Some(port) if port == default => Err(format!("leave out :{port}, as browsers do")),
        None if has_port => Err(wrong()),
        _ => Origin::from_str(text).map_err(|_| wrong()),
    }
}

/// Returns the layer that answers preflights and allows these origins; `None` without any.
pub fn layer(origins: Vec<Origin>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, LAST_EVENT_ID])
        .expose_headers([SEQ, header::LINK, header::RETRY_AFTER])
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for good in [
            "https://example.com",
            "http://localhost:8080",
            "http://[::1]:3000",
            "https://a.b:80",
        ] {
            assert_eq!(parse_origin(good).expect(good), good);
        }
        for bad in [
            "",
            "*",
            "null",
            "example.com",
            "https://example.com/",
            "https://example.com/a",
            "https://Example.com",
            "https://example.com:443",
            "http://example.com:80",
            "http://example.com:",
            "https://user@example.com",
            "https://*.example.com",
            "ftp://example.com",
            "https://",
            "https://a.b?c",
        ] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }
}
