//! Pages for people and monitors: the page at `/`, the state of the feeds, and the metrics.
//!
//! The page is static and has no data; its script asks for them as any client does. It may load only what the relay serves.
//! All content of events is inserted as text.
use std::{io, sync::Arc};

use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    access::Grant,
    answer::{ErrorResponse, json, json_text},
    index::Bounds,
    metrics::{Stored, size_of_files},
    observe::Observer,
    permission,
    tokens::Right,
};
use crate::{
    http_server::{CSS, HTML, SCRIPT, asset},
    openmetrics,
};

const PAGE: &str = include_str!("web/page.html");
const PAGE_SCRIPT: &str = include_str!("web/page.js");
const REQUESTS: &str = include_str!("web/relay.js");
const STYLE: &str = concat!(include_str!("../http_server/pages.css"), include_str!("web/page.css"));

/// The page and its parts, below this prefix.
pub fn page<S: Clone + Send + Sync + 'static>(prefix: &str) -> Router<S> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { asset(kind, text) });
    Router::new()
        .route(&format!("{prefix}/"), file(HTML, PAGE))
        .route(&format!("{prefix}/page.js"), file(SCRIPT, PAGE_SCRIPT))
        .route(&format!("{prefix}/relay.js"), file(SCRIPT, REQUESTS))
        .route(&format!("{prefix}/page.css"), file(CSS, STYLE))
}

/// The routes that need a grant, below this prefix.
pub fn guarded<S: Clone + Send + Sync + 'static>(prefix: &str, observer: Arc<Observer>) -> Router<S> {
    Router::new()
        .route(&format!("{prefix}/status"), get(status))
        .route(&format!("{prefix}/metrics"), get(metrics))
        .with_state(observer)
}

/// Probes of monitors, below this prefix: `/healthz` and `/readyz`, which need no token.
pub fn probes<S: Clone + Send + Sync + 'static>(prefix: &str, stopped: watch::Receiver<bool>) -> Router<S> {
    Router::new()
        .route(
            &format!("{prefix}/healthz"),
            get(|| async { json_text(StatusCode::OK, ALIVE) }),
        )
        .route(&format!("{prefix}/readyz"), get(readyz))
        .with_state(stopped)
}

/// Answers 503 once the relay is to stop. It ends by itself after a disk error.
async fn readyz(State(stopped): State<watch::Receiver<bool>>) -> Response {
    if *stopped.borrow() {
        json_text(StatusCode::SERVICE_UNAVAILABLE, STOPPING)
    } else {
        json_text(StatusCode::OK, READY)
    }
}

const ALIVE: &str = r#"{"status":"ok"}"#;
const READY: &str = r#"{"ready":true,"problems":[]}"#;
const STOPPING: &str = r#"{"ready":false,"problems":[{"problem":"stopping","detail":"the relay ends"}]}"#;

/// Limits of the count of events that a mirror has not confirmed.
const COUNTED: Bounds = Bounds {
    events: 1000,
    bytes: usize::MAX,
};

#[derive(Serialize)]
struct Status {
    status: &'static str,
    version: &'static str,
    last_seq: u64,
    feeds: Vec<FeedStatus>,
}

#[derive(Serialize)]
struct FeedStatus {
    id: String,
    name: String,
    /// Number of the last event; 0 without any.
    last_seq: u64,
    /// Number up to which all mirrors have the events; `None` without a mirror.
    confirmed: Option<u64>,
    /// Number of events that come later, as far as they are counted.
    behind: Option<usize>,
}

async fn status(
    State(observer): State<Arc<Observer>>,
    Extension(grant): Extension<Grant>,
) -> Result<Response, ErrorResponse> {
    let store = &observer.store;
    let (mut feeds, mut scans) = (Vec::new(), Vec::new());
    let last_seq = {
        let index = store.index();
        for feed in index.feeds().rev() {
            if !permission::allows(&grant, Right::Read, feed.about()) {
                continue;
            }
            let confirmed = store.confirmed(&feed.about().id);
            if let Some(seq) = confirmed.filter(|seq| *seq < feed.last()) {
                scans.push((feeds.len(), index.arrived_after(feed, seq, COUNTED)));
            }
            feeds.push(FeedStatus {
                id: feed.about().id.to_string(),
                name: feed.about().name.to_string(),
                last_seq: feed.last(),
                confirmed,
                behind: confirmed.map(|_| 0),
            });
        }
        index.last()
    };
    let is_in_memory = scans.iter().all(|(_, scan)| scan.is_in_memory());
    let count = move || {
        let counts = scans.iter();
        let counts = counts.map(|(place, scan)| Ok((*place, scan.arrived(COUNTED)?.records.len())));
        counts.collect::<io::Result<Vec<_>>>()
    };
    let counted = store.read_index(is_in_memory, count).await.map_err(|error| {
        let problem = format!("the index cannot be read: {error}");
        ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, problem)
    })?;
    for (place, behind) in counted {
        feeds[place].behind = Some(behind);
    }
    let status = Status {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        last_seq,
        feeds,
    };
    Ok(json(StatusCode::OK, &status))
}

async fn metrics(
    State(observer): State<Arc<Observer>>,
    Extension(grant): Extension<Grant>,
) -> Result<Response, ErrorResponse> {
    if !grant.has(Right::Read) && !grant.has(Right::Admin) {
        let problem = "the token has neither the read nor the admin right for any feed";
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, problem));
    }
    let data = observer.data.clone();
    let measured = tokio::task::spawn_blocking(move || size_of_files(&data)).await;
    let measured = measured.map_err(io::Error::other).and_then(|size| size);
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
    let headers = [
        (header::CONTENT_TYPE, openmetrics::MEDIA_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, observer.metrics.text(stored)).into_response())
}
