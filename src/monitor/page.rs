//! The page at `/`: every repository and mirror for a person. It is static and has no data; its script asks for `/status` as
//! any client does.
use axum::{Router, routing::get};

use crate::http_server::{CSS, HTML, SCRIPT, asset};

const PAGE: &str = include_str!("page.html");
const PAGE_SCRIPT: &str = include_str!("page.js");
const PAGE_STYLE: &str = concat!(include_str!("../http_server/pages.css"), include_str!("page.css"));

/// Returns the routes of the page and its parts, which need no permission.
pub fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { asset(kind, text) });
    Router::new()
        .route("/", file(HTML, PAGE))
        .route("/page.js", file(SCRIPT, PAGE_SCRIPT))
        .route("/page.css", file(CSS, PAGE_STYLE))
}
