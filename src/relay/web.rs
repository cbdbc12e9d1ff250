//! Pages for people and monitors: the page at `/`, the state of the feeds, and the metrics.
//!
//! The page is static and has no data; its script requests data as any client does. The page may load only resources
//! that the relay serves. All content of events is inserted as text.
use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{
    access::Grant,
    answer::{ErrorResponse, json},
    metrics::{MEDIA_TYPE, Stored, size_of_files},
    observe::Observer,
    permission,
    tokens::Right,
};

const PAGE: &str = include_str!("web/page.html");
const SCRIPT: &str = include_str!("web/page.js");
const REQUESTS: &str = include_str!("web/relay.js");
const STYLE: &str = include_str!("web/page.css");

/// Policy of the page (CSP, level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The page and its parts, below this prefix.
pub fn page<S: Clone + Send + Sync + 'static>(prefix: &str) -> Router<S> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { asset(kind, text) });
    Router::new()
        .route(&format!("{prefix}/"), file("text/html; charset=utf-8", PAGE))
        .route(
            &format!("{prefix}/page.js"),
            file("text/javascript; charset=utf-8", SCRIPT),
        )
        .route(
            &format!("{prefix}/relay.js"),
            file("text/javascript; charset=utf-8", REQUESTS),
        )
        .route(&format!("{prefix}/page.css"), file("text/css; charset=utf-8", STYLE))
}

/// The routes that need a grant, below this prefix.
pub fn guarded<S: Clone + Send + Sync + 'static>(prefix: &str, observer: Arc<Observer>) -> Router<S> {
    Router::new()
        .route(&format!("{prefix}/status"), get(status))
        .route(&format!("{prefix}/metrics"), get(metrics))
        .with_state(observer)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the relay has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'static str,
    version: &'static str,
    last_seq: u64,
    feeds: Vec<FeedStatus<'a>>,
}

#[derive(Serialize)]
struct FeedStatus<'a> {
    id: &'a str,
    name: &'a str,
    /// Number of the last event; 0 without any.
    last_seq: u64,
}

async fn status(State(observer): State<Arc<Observer>>, Extension(grant): Extension<Grant>) -> Response {
    let index = observer.store.index();
    let feeds = index.feeds().rev();
    let feeds = feeds.filter(|feed| permission::allows(&grant, Right::Read, feed.about()));
    let feeds = feeds.map(|feed| FeedStatus {
        id: &feed.about().id,
        name: &feed.about().name,
        last_seq: feed.last(),
    });
    let status = Status {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        last_seq: index.last(),
        feeds: feeds.collect(),
    };
    json(StatusCode::OK, &status)
}

async fn metrics(
    State(observer): State<Arc<Observer>>,
    Extension(grant): Extension<Grant>,
) -> Result<Response, ErrorResponse> {
    if !grant.has(Right::Read) && !grant.has(Right::Admin) {
        let problem = "the token has neither of the rights read and admin, for any feed";
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, problem));
    }
    let data = observer.data.clone();
    let measured = tokio::task::spawn_blocking(move || size_of_files(&data)).await;
    let measured = measured.map_err(std::io::Error::other).and_then(|size| size);
    let bytes = measured.map_err(|error| {
        let problem = format!("the size of the data folder cannot be read: {error}");
        ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, problem)
    })?;
    let index = observer.store.index();
    let stored = Stored {
        feeds: index.feeds().len(),
        last_seq: index.last(),
        bytes,
    };
    drop(index);
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, observer.metrics.text(stored)).into_response())
}
