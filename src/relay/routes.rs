//! Routes and their handlers. `openapi.json` describes them.
use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream::try_unfold;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{
    access::Access,
    answer::{ErrorResponse, SEQ, json, json_text},
    body::MemoryBudget,
    index::{About, Feed},
    page::{self, Page, encoded},
    replay::identity,
    store::{Accepted, Handle, NewFeed, Refusal, Submission, WriteRequest},
    stream::Listener,
};
use crate::{
    event::{Event, Form, Json, MAX_EVENT, Members, Problem, check_name, read_json},
    uuid,
};

/// OpenAPI description, served at `/openapi.json`.
pub const OPENAPI: &str = include_str!("openapi.json");
/// Maximum length of a body that creates a feed, in bytes.
const MAX_FEED: usize = 8192;
/// Maximum length of the name of a feed, in bytes.
const MAX_FEED_NAME: usize = 1024;
/// Maximum length of a body that is parsed inline, in bytes. Longer ones are parsed on another thread, to block no requests.
const MAX_PARSED_INLINE: usize = 32 << 10;

/// Prefix of the paths of this version of the protocol.
const V1: &str = "/v1";
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

/// The relay's routes, each also below `/v1`.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let (mut guarded, mut open) = (Router::new(), Router::new());
    for prefix in ["", V1] {
        let at = |path: &str| format!("{prefix}{path}");
        guarded = guarded
            .route(&at("/feeds"), get(feeds).post(make_feed))
            .route(&at("/feeds/{feed_id}"), get(feed))
            .route(&at("/feeds/{feed_id}/events"), get(events).post(post_event))
            .route(&at("/feeds/{feed_id}/stream"), get(stream));
        open = open
            .route(&at("/health"), get(health))
            .route(&at("/openapi.json"), get(openapi));
    }
    guarded
        .route_layer(from_fn_with_state(app.clone(), guard))
        .merge(open)
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
    id: &'a str,
    name: &'a str,
    policy_json: &'a RawValue,
    created_at: String,
}

impl<'a> FeedView<'a> {
    fn of(feed: &'a Feed) -> Self {
        let About { id, name, policy } = feed.about();
        FeedView {
            id,
            name,
            policy_json: serde_json::from_str(policy).unwrap_or(RawValue::NULL),
            created_at: format!("{:.3}", feed.created()),
        }
    }
}

async fn feeds(State(app): State<Arc<App>>) -> Response {
    let index = app.store.index();
    let feeds: Vec<_> = index.feeds().rev().map(FeedView::of).collect();
    json(StatusCode::OK, &feeds)
}

async fn make_feed(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, ErrorResponse> {
    let body = app.bodies.read(&headers, body, MAX_FEED).await?;
    let feed = feed_to_make(&body.bytes).map_err(ErrorResponse::invalid)?;
    let id = feed.about.id.clone();
    match app.store.submit(WriteRequest::Feed(feed)).await {
        Ok(accepted) => show_feed(&app, &id, status(&accepted)),
        Err(Refusal::OtherFeed(other)) => {
            let index = app.store.index();
            let stored = index.feed(&other).map(FeedView::of);
            let stored = serde_json::to_vec(&stored).expect("responses serialize into memory");
            Err(ErrorResponse::from(Refusal::OtherFeed(other)).with_stored(stored))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn feed(
    State(app): State<Arc<App>>,
    feed: Result<Path<String>, PathRejection>,
) -> Result<Response, ErrorResponse> {
    show_feed(&app, &known(&app, feed)?, StatusCode::OK)
}

async fn events(
    State(app): State<Arc<App>>,
    uri: Uri,
    feed: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, ErrorResponse> {
    let feed = known(&app, feed)?;
    let Query(members) = query.map_err(|error| ErrorResponse::of(StatusCode::BAD_REQUEST, "", error.body_text()))?;
    let query = page::Query::parse(&members).map_err(ErrorResponse::invalid)?;
    let page = app
        .store
        .index()
        .feed(&feed)
        .map(|feed| query.page(feed))
        .ok_or_else(no_such_feed)?;
    // While the response is built, the events are in memory twice.
    let permit = app.pages.reserve(2 * page.size()).await?;
    let turn = app.store.turn().await;
    let events = app.store.read(page.records.clone()).await.map_err(|error| {
        tracing::error!(feed, %error, "stored events cannot be read");
        ErrorResponse::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("stored events cannot be read: {error}"),
        )
    })?;
    drop(turn);
    let mut response = json_text(StatusCode::OK, permit.hold(page.to_json(&events)));
    response.headers_mut().insert(SEQ, HeaderValue::from(page.last_seq));
    if let Some(link) = link(&uri, &feed, &page) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Returns the header `Link` (RFC 8288) with the next page, if there is one at present.
fn link(uri: &Uri, feed: &str, page: &Page) -> Option<HeaderValue> {
    let query = page.next_query()?;
    let prefix = if uri.path().starts_with("/v1/") { V1 } else { "" };
    let link = format!("<{prefix}/feeds/{}/events?{query}>; rel=\"next\"", encoded(feed));
    // All of it is ASCII.
    HeaderValue::from_str(&link).ok()
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
    let (status, seq, text) = match app.store.submit(WriteRequest::Event(submission)).await {
        Ok(accepted) => (status(&accepted), accepted.seq, accepted.json.to_vec()),
        Err(Refusal::Conflict { by, stored }) => {
            tracing::warn!(feed, %event_id, "refused an event: {}", by.conflict());
            let seq = stored.seq;
            let text = ErrorResponse::from(Refusal::Conflict { by, stored }).text();
            (StatusCode::CONFLICT, seq, text)
        }
        Err(refusal) => return Err(refusal.into()),
    };
    // The stored event may be longer than the one that was sent.
    let permit = if text.len() <= sent {
        body.permit
    } else {
        app.pages.reserve(text.len()).await?
    };
    let mut response = json_text(status, permit.hold(text));
    response.headers_mut().insert(SEQ, HeaderValue::from(seq));
    Ok(response)
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
    Ok(json(status, &FeedView::of(feed)))
}

fn status(accepted: &Accepted) -> StatusCode {
    if accepted.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// Parses `{"name": …, "policy_json"?: …, "feed_id"?: …}`. With a `feed_id`, the name may be missing, too.
fn feed_to_make(body: &[u8]) -> Result<NewFeed, Vec<Problem>> {
    let problem = |field: &str, problem: String| Problem {
        field: field.into(),
        problem,
    };
    let members = match read_json(body) {
        Ok(Json::Object(members)) => members,
        Ok(_) => return Err(vec![problem("", "is not a JSON object".into())]),
        Err(error) => return Err(vec![problem("", error)]),
    };
    let id = text(&members, "feed_id", |id| check_name(id).map_err(str::to_owned));
    let name = text(&members, "name", check_feed_name);
    let mut problems: Vec<_> = members
        .sorted()
        .filter(|(name, _)| !["feed_id", "name", "policy_json"].contains(name))
        .map(|(name, _)| problem(name, "is unknown: a feed has name, policy_json and feed_id".into()))
        .collect();
    problems.extend(id.as_ref().err().map(|what| problem("feed_id", what.clone())));
    problems.extend(name.as_ref().err().map(|what| problem("name", what.clone())));
    if members.get("feed_id").is_none() && members.get("name").is_none() {
        problems.push(problem("name", "is missing".into()));
    }
    match (id, name) {
        (Ok(id), Ok(name)) if problems.is_empty() => Ok(new_feed(id, name, members.get("policy_json"))),
        _ => Err(problems),
    }
}

fn new_feed(id: Option<&str>, name: Option<&str>, policy: Option<&Json>) -> NewFeed {
    let id = id.map_or_else(|| uuid::version_4(uuid::random()), str::to_owned);
    let mut text = Vec::new();
    policy
        .unwrap_or(&Json::Null)
        .write(&mut text, Form::Compact)
        .expect("JSON is written into memory");
    NewFeed {
        is_named: name.is_some(),
        has_policy: policy.is_some(),
        about: About {
            name: name.unwrap_or(&id).into(),
            policy: String::from_utf8(text).expect("JSON is UTF-8").into(),
            id: id.into(),
        },
    }
}

/// Returns a member that is a string and valid, if it is there.
fn text<'a>(
    members: &'a Members,
    name: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => check(text).map(|()| Some(text.as_str())),
        Some(_) => Err("is not a string".into()),
    }
}

fn check_feed_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("is empty".into()),
        1..=MAX_FEED_NAME => Ok(()),
        _ => Err(format!("is longer than {MAX_FEED_NAME} bytes")),
    }
}

/// Parses an event to be written to `feed`.
fn submission(feed: String, body: &[u8]) -> Result<Submission, ErrorResponse> {
    let event = Event::parse_posted(body).map_err(ErrorResponse::invalid)?;
    if event.feed_id() != feed {
        let problem = "differs from the one in the URL";
        return Err(ErrorResponse::of(StatusCode::BAD_REQUEST, "feed_id", problem));
    }
    let json = event.to_json();
    if json.len() > MAX_EVENT {
        // Numbers may become longer: 1e5 is written as 100000.
        return Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the event is longer than {MAX_EVENT} bytes when stored"),
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
    fn a_feed_has_a_name_or_an_id_or_both() {
        let made = |body: &str| feed_to_make(body.as_bytes()).expect(body);
        let feed = made(r#"{"feed_id":"general"}"#);
        assert_eq!(
            (&*feed.about.id, &*feed.about.name, &*feed.about.policy),
            ("general", "general", "null")
        );
        assert!(!feed.is_named && !feed.has_policy);
        let feed = made(r#"{"name":"A/B","policy_json":{"b":1,"a":[null]},"feed_id":"g"}"#);
        let About { id, name, policy } = &feed.about;
        assert_eq!((&**id, &**name, &**policy), ("g", "A/B", r#"{"b":1,"a":[null]}"#));
        let [one, other] = [0, 1].map(|_| made(r#"{"name":"A"}"#).about.id);
        assert!(one.len() == 36 && one != other, "{one} {other}");
        for (body, fields) in [
            (r#"{"feed_id":"../x","name":1}"#, &["feed_id", "name"][..]),
            (r#"{"id":"general"}"#, &["id", "name"]),
            (r#"{"feed_id":7}"#, &["feed_id"]),
            (r#"{"name":""}"#, &["name"]),
            ("[]", &[""]),
            ("", &[""]),
        ] {
            let problems = feed_to_make(body.as_bytes()).expect_err(body);
            let told: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(told, fields, "{body}");
        }
    }
}
