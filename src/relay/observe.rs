//! Observation of requests: all are counted in [`Metrics`], and written to the access log if there is one.
use std::{
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;

use super::{
    access::Grant,
    access_log::Entry,
    metrics::{Metrics, NO_ROUTE},
    store::Handle,
};
use crate::http_server::Peer;

/// Observer of requests.
#[derive(Debug)]
pub struct Observer {
    /// The store, whose state is shown.
    pub store: Handle,
    /// The data folder.
    pub data: PathBuf,
    /// The metrics.
    pub metrics: Metrics,
    /// Writes an access log.
    pub access_log: bool,
}

/// Body of a response that is being observed.
struct ObservedBody {
    body: Body,
    entry: Option<Entry>,
    _listener: Option<Listening>,
}

/// Counts a listener until it is dropped.
struct Listening(Gauge);

/// Middleware that observes a request and its response.
pub async fn observe(
    State(observer): State<Arc<Observer>>,
    matched: Option<MatchedPath>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let mut entry = observer.access_log.then(|| {
        let feed = parameters.as_ref().ok().and_then(|parameters| parameters.iter().next());
        let peer = request.extensions().get().map(|Peer(address)| *address);
        Entry::new(&method, request.uri(), feed.map(|(_, feed)| feed), peer)
    });
    let mut response = next.run(request).await;
    let route = matched.as_ref().map_or(NO_ROUTE, |matched| template(matched.as_str()));
    let status = response.status();
    observer
        .metrics
        .count(&method, route, status, start.elapsed().as_secs_f64());
    let grant: Option<Grant> = response.extensions_mut().remove();
    if let Some(entry) = &mut entry {
        entry.status = Some(status);
        entry.token = grant.and_then(|grant| grant.name().map(str::to_owned));
    }
    let listener = is_stream(&response).then(|| Listening::new(&observer.metrics.listeners));
    response.map(|body| {
        Body::new(ObservedBody {
            body,
            entry,
            _listener: listener,
        })
    })
}

/// Returns a route without the prefix of its version.
fn template(route: &str) -> &str {
    match route.strip_prefix("/v1") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => route,
    }
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::OK && kind.starts_with("text/event-stream")
}

impl Listening {
    fn new(listeners: &Gauge) -> Self {
        listeners.inc();
        Listening(listeners.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some(entry), Some(Ok(frame))) = (&mut self.entry, &frame) {
            entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
