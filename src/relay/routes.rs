//! Routes and their handlers. `openapi.json` describes them.
use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream::try_unfold;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    access::Access,
    answer::{ErrorResponse, json, json_text},
    body::MemoryBudget,
    index::Feed,
    page::{self, write_event},
    replay::identity,
    store::{Accepted, Handle, Refusal, Submission, WriteRequest},
    stream::Listener,
};
use crate::event::{Event, MAX_EVENT, Problem, check_name};

/// OpenAPI description, served at `/openapi.json`.
pub const OPENAPI: &str = include_str!("openapi.json");
/// Maximum length of a body that creates a feed, in bytes.
const MAX_FEED: usize = 4096;
/// Maximum length of a body that is parsed inline, in bytes. Longer ones are parsed on another thread, to block no requests.
const MAX_PARSED_INLINE: usize = 32 << 10;

/// Maximum number of bytes around an event in a response.
const ENVELOPE: usize = 64;

/// State shared by all requests.
#[derive(Debug)]
pub struct App {
    store: Handle,
    access: Access,
    bodies: MemoryBudget,
    /// Memory for pages. It is separate, so that readers and writers do not block each other.
    pages: MemoryBudget,
    keep_alive: Duration,
    stopped: watch::Receiver<bool>,
}

impl App {
    /// Creates the state. Requests and listeners may be idle for `idle_timeout`.
    pub fn new(store: Handle, access: Access, idle_timeout: Duration, stopped: watch::Receiver<bool>) -> Self {
        App {
            store,
            access,
            bodies: MemoryBudget::new(idle_timeout),
            pages: MemoryBudget::new(idle_timeout),
            // A listener with the same timeout hears of the relay before it gives up.
            keep_alive: idle_timeout / 2,
            stopped,
        }
    }
}

/// The relay's routes.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let guarded = Router::new()
        .route("/feeds", get(feeds).post(make_feed))
        .route("/feeds/{feed_id}", get(feed))
        .route("/feeds/{feed_id}/events", get(events).post(post_event))
        .route("/feeds/{feed_id}/stream", get(stream))
        .route_layer(from_fn_with_state(app.clone(), guard));
    guarded
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .fallback(|| async { ErrorResponse::new(StatusCode::NOT_FOUND, "no such path; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let problem = "method not allowed; see /openapi.json";
            ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, problem)
        })
        .with_state(app)
}

async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, ErrorResponse> {
    app.access.check(request.headers())?;
    Ok(next.run(request).await)
}

#[derive(Serialize)]
struct FeedView<'a> {
    feed_id: &'a str,
    created_at: Timestamp,
    events: usize,
    first_ts: Option<Timestamp>,
    last_ts: Option<Timestamp>,
    last_seq: u64,
}

impl<'a> FeedView<'a> {
    fn of(feed_id: &'a str, feed: &Feed) -> Self {
        let (first_ts, last_ts) = feed.span().unzip();
        FeedView {
            feed_id,
            created_at: feed.created(),
            events: feed.len(),
            first_ts,
            last_ts,
            last_seq: feed.last(),
        }
    }
}

async fn feeds(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Feeds<'a> {
        feeds: Vec<FeedView<'a>>,
    }
    let index = app.store.index();
    let feeds = index.feeds().map(|(id, feed)| FeedView::of(id, feed)).collect();
    json(StatusCode::OK, &Feeds { feeds })
}

async fn make_feed(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, ErrorResponse> {
    let body = app.bodies.read(&headers, body, MAX_FEED).await?;
    let id = feed_to_make(&body.bytes).map_err(|errors| ErrorResponse::all(StatusCode::BAD_REQUEST, errors))?;
    let accepted = app.store.submit(WriteRequest::Feed(id.clone())).await?;
    show_feed(&app, &id, status(&accepted))
}

async fn feed(
    State(app): State<Arc<App>>,
    feed: Result<Path<String>, PathRejection>,
) -> Result<Response, ErrorResponse> {
    show_feed(&app, &known(&app, feed)?, StatusCode::OK)
}

async fn events(
    State(app): State<Arc<App>>,
    feed: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, ErrorResponse> {
    let feed = known(&app, feed)?;
    let Query(members) = query.map_err(|error| ErrorResponse::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let query = page::Query::parse(&members).map_err(|errors| ErrorResponse::all(StatusCode::BAD_REQUEST, errors))?;
    let page = app
        .store
        .index()
        .feed(&feed)
        .map(|feed| query.page(feed))
        .ok_or_else(no_such_feed)?;
    // While the response is built, the events are in memory twice.
    let permit = app.pages.reserve(2 * page.size()).await?;
    let events = app.store.read(page.records.clone()).await.map_err(|error| {
        tracing::error!(feed, %error, "stored events cannot be read");
        ErrorResponse::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("stored events cannot be read: {error}"),
        )
    })?;
    Ok(json_text(StatusCode::OK, permit.hold(page.to_json(&events))))
}

async fn post_event(
    State(app): State<Arc<App>>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let feed = known(&app, feed)?;
    let mut body = app.bodies.read(&headers, body, MAX_EVENT).await?;
    let sent = body.bytes.len() + ENVELOPE;
    let submission = match body.bytes.len() {
        0..=MAX_PARSED_INLINE => submission(feed.clone(), &body.bytes)?,
        _ => {
            let bytes = std::mem::take(&mut body.bytes);
            let named = feed.clone();
            let parsed = tokio::task::spawn_blocking(move || submission(named, &bytes)).await;
            parsed.map_err(|error| ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??
        }
    };
    let event_id = submission.identity.event_id.clone();
    let (status, text) = match app.store.submit(WriteRequest::Event(submission)).await {
        Ok(accepted) => {
            let mut text = Vec::with_capacity(accepted.json.len() + 64);
            write_event(&mut text, accepted.seq, &accepted.json);
            (status(&accepted), text)
        }
        Err(refusal @ Refusal::Conflict { .. }) => {
            tracing::warn!(feed, %event_id, "refused an event: {refusal}");
            (StatusCode::CONFLICT, ErrorResponse::from(refusal).text())
        }
        Err(refusal) => return Err(refusal.into()),
    };
    // The stored event may be longer than the one that was sent.
    let permit = if text.len() <= sent {
        body.permit
    } else {
        app.pages.reserve(text.len()).await?
    };
    Ok(json_text(status, permit.hold(text)))
}

async fn stream(
    State(app): State<Arc<App>>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    let feed = known(&app, feed)?;
    let last_id = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let listener = Listener::new(app.store.clone(), feed, last_id, app.stopped.clone(), app.keep_alive);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // nginx buffers otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let bytes = try_unfold(listener, |mut listener| async move {
        let bytes = listener.next().await?;
        io::Result::Ok(bytes.map(|bytes| (bytes, listener)))
    });
    Ok((headers, Body::from_stream(bytes)).into_response())
}

async fn health(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        feeds: usize,
        last_seq: u64,
    }
    let index = app.store.index();
    let health = Health {
        status: "ok",
        feeds: index.feeds().len(),
        last_seq: index.last(),
    };
    json(StatusCode::OK, &health)
}

async fn openapi() -> Response {
    json_text(StatusCode::OK, OPENAPI)
}

/// Returns the feed id of a path, if the feed exists.
fn known(app: &App, feed: Result<Path<String>, PathRejection>) -> Result<String, ErrorResponse> {
    match feed {
        Ok(Path(id)) if app.store.index().feed(&id).is_some() => Ok(id),
        _ => Err(no_such_feed()),
    }
}

fn no_such_feed() -> ErrorResponse {
    Refusal::UnknownFeed.into()
}

fn show_feed(app: &App, id: &str, status: StatusCode) -> Result<Response, ErrorResponse> {
    let index = app.store.index();
    let feed = index.feed(id).ok_or_else(no_such_feed)?;
    Ok(json(status, &FeedView::of(id, feed)))
}

fn status(accepted: &Accepted) -> StatusCode {
    if accepted.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// Parses the id in `{"feed_id": …}`.
fn feed_to_make(body: &[u8]) -> Result<String, Vec<Problem>> {
    let problem = |field: &str, problem: String| Problem {
        field: field.into(),
        problem,
    };
    let mut members: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| vec![problem("", format!("is not a JSON object: {error}"))])?;
    let id = match members.remove("feed_id") {
        Some(Value::String(id)) => check_name(&id).map(|()| id).map_err(str::to_owned),
        Some(_) => Err("is not a string".to_owned()),
        None => Err("is missing".to_owned()),
    };
    let unknown = members
        .keys()
        .map(|name| problem(name, "is unknown: a feed has only a feed_id".into()));
    let problems: Vec<_> = id
        .as_ref()
        .err()
        .map(|what| problem("feed_id", what.clone()))
        .into_iter()
        .chain(unknown)
        .collect();
    match id {
        Ok(id) if problems.is_empty() => Ok(id),
        _ => Err(problems),
    }
}

/// Parses an event to be written to `feed`.
fn submission(feed: String, body: &[u8]) -> Result<Submission, ErrorResponse> {
    let refused = |errors| ErrorResponse::all(StatusCode::BAD_REQUEST, errors);
    let event = Event::parse(body).map_err(refused)?;
    if event.feed_id() != feed {
        let problem = "differs from the one in the URL";
        return Err(ErrorResponse::of(StatusCode::BAD_REQUEST, "feed_id", problem));
    }
    let json = serde_json::to_vec(event.members()).expect("JSON members serialize into memory");
    if json.len() > MAX_EVENT {
        // Numbers may become longer: 1e5 is written as 1e+5.
        return Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("is longer than {MAX_EVENT} bytes when stored"),
        ));
    }
    Ok(Submission {
        feed,
        identity: identity(&event),
        json: json.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_has_an_id_that_is_a_plain_name_and_nothing_else() {
        assert_eq!(feed_to_make(br#"{"feed_id":"general"}"#), Ok("general".to_owned()));
        for (body, fields) in [
            (r#"{"feed_id":"../x","name":1}"#, &["feed_id", "name"][..]),
            (r#"{"id":"general"}"#, &["feed_id", "id"]),
            (r#"{"feed_id":7}"#, &["feed_id"]),
            ("[]", &[""]),
            ("", &[""]),
        ] {
            let problems = feed_to_make(body.as_bytes()).expect_err(body);
            let told: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(told, fields, "{body}");
        }
    }
}
