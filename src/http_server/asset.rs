//! Files of a page. The page may load only what its server serves, and no other page may show it in a frame.
use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// Media type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// Media type of a script.
pub const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Media type of a style sheet.
pub const CSS: &str = "text/css; charset=utf-8";

/// Policy of a page (CSP, level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Returns the response with a file of this media type.
pub fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
