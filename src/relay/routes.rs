//! Routes and their handlers. `openapi.json` describes them.
mod feeds;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use futures_util::stream::try_unfold;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    access::{Access, Grant},
    answer::{ErrorResponse, FIRST_SEQ, SEQ, json, json_text},
    body::MemoryBudget,
    confirmed::Confirmation,
    cors::{self, LAST_EVENT_ID, Origin},
    index::Feed,
    observe::{Observer, observe},
    page::{self, Answer, Page, encoded},
    permission::{self, EventRules},
    policy::Policy,
    replay::identity,
    store::{Accepted, Handle, Refusal, Submission, WriteRequest},
    stream::{Ends, Listener},
    subscription::Subscription,
    tokens::Right,
    web,
};
use crate::event::{Event, MAX_EVENT};

/// OpenAPI description, served at `/openapi.json`.
pub const OPENAPI: &str = include_str!("openapi.json");
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
    access: Arc<Access>,
    bodies: MemoryBudget,
    /// Memory for pages. It is separate, so that readers and writers do not block each other.
    pages: MemoryBudget,
    keep_alive: Duration,
    stopped: watch::Receiver<bool>,
    /// Refuse events without a signature.
    pub require_signatures: bool,
}

/// Query parameters of a request.
type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

impl App {
    /// Creates the state. Requests and listeners may be idle for `idle_timeout`.
    pub fn new(store: Handle, access: Arc<Access>, idle_timeout: Duration, stopped: watch::Receiver<bool>) -> Self {
        App {
            store,
            access,
            bodies: MemoryBudget::new(idle_timeout),
            pages: MemoryBudget::new(idle_timeout),
            // A listener with the same timeout hears of the relay before it gives up.
            keep_alive: idle_timeout / 2,
            stopped,
            require_signatures: false,
        }
    }

    /// Returns the query parameters that are not for the access control.
    fn parameters(&self, query: Parameters) -> Result<Vec<(String, String)>, ErrorResponse> {
        let Query(mut members) =
            query.map_err(|error| ErrorResponse::of(StatusCode::BAD_REQUEST, "", error.body_text()))?;
        members.retain(|(name, _)| !self.access.takes(name));
        Ok(members)
    }

    /// Checks that the feed exists and that the request may do this with it; returns the policy of the feed.
    fn permit(&self, grant: &Grant, right: Right, id: &str) -> Result<Policy, ErrorResponse> {
        grant.check(right, id)?;
        let index = self.store.index();
        let feed = index.feed(id).ok_or_else(no_such_feed)?;
        permission::check(grant, right, feed.about())
    }

    /// Looks for a feed that another relay may have made, if one of these is unknown.
    async fn look_for(&self, feeds: &[String]) {
        let is_unknown = {
            let index = self.store.index();
            feeds.iter().any(|id| index.feed(id).is_none())
        };
        if is_unknown {
            self.store.refresh().await;
        }
    }

    /// Returns true if the request may read a stored feed.
    fn may_read(&self, grant: &Grant, id: &str) -> bool {
        let index = self.store.index();
        let feed = index.feed(id);
        feed.is_some_and(|feed| permission::allows(grant, Right::Read, feed.about()))
    }
}

/// The relay's routes, each also below `/v1`. Web pages of these origins may use them.
pub fn router(app: App, origins: Vec<Origin>, observer: Arc<Observer>) -> Router {
    let app = Arc::new(app);
    let (mut guarded, mut open) = (Router::new(), Router::new());
    for prefix in ["", V1] {
        let at = |path: &str| format!("{prefix}{path}");
        guarded = guarded
            .route(&at("/feeds"), get(feeds::feeds).post(feeds::make_feed))
            .route(&at("/feeds/{feed_id}"), get(feeds::feed))
            .route(&at("/feeds/{feed_id}/policy"), put(feeds::set_policy))
            .route(&at("/feeds/{feed_id}/events"), get(events).post(post_event))
            .route(&at("/feeds/{feed_id}/stream"), get(stream))
            .route(&at("/feeds/{feed_id}/confirmed"), put(confirm))
            .route(&at("/stream"), get(stream_of_feeds))
            .merge(web::guarded(prefix, observer.clone()));
        open = open
            .route(&at("/health"), get(health))
            .route(&at("/openapi.json"), get(openapi))
            .merge(web::probes(prefix, app.stopped.clone()))
            .merge(web::page(prefix));
    }
    let router = guarded
        .route_layer(from_fn_with_state(app.clone(), guard))
        .merge(open)
        .fallback(|| async { ErrorResponse::new(StatusCode::NOT_FOUND, "no such path; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let problem = "method not allowed; see /openapi.json";
            ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, problem)
        })
        .with_state(app);
    let router = match cors::layer(origins) {
        Some(layer) => router.layer(layer),
        None => router,
    };
    router.layer(from_fn_with_state(observer, observe))
}

async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Result<Response, ErrorResponse> {
    let grant = app.access.check(request.headers(), request.uri())?;
    request.extensions_mut().insert(grant.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(grant);
    Ok(response)
}

async fn events(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    uri: Uri,
    feed: Result<Path<String>, PathRejection>,
    query: Parameters,
) -> Result<Response, ErrorResponse> {
    let (feed, _) = known(&app, &grant, Right::Read, feed).await?;
    let query = page::Query::parse(&app.parameters(query)?).map_err(ErrorResponse::invalid)?;
    let page = Page::find(&app.store, &feed, query).await;
    let page = page
        .map_err(|error| unreadable(&feed, &error))?
        .ok_or_else(no_such_feed)?;
    // While the response is built, the events are in memory twice.
    let permit = app.pages.reserve(2 * page.size()).await?;
    let turn = app.store.turn().await;
    let read = app.store.read(page.records(), page.filter.clone(), page.limit).await;
    drop(turn);
    let selected = read.map_err(|error| unreadable(&feed, &error))?;
    let answer = page.answer(&selected.events, selected.count);
    let link = link(&uri, &feed, &answer);
    let mut response = json_text(StatusCode::OK, permit.hold(answer.json));
    response.headers_mut().insert(SEQ, HeaderValue::from(answer.last_seq));
    if let Some(first) = first_seq(&app) {
        response.headers_mut().insert(FIRST_SEQ, first);
    }
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Returns the first number after all events that were removed, if any were.
fn first_seq(app: &App) -> Option<HeaderValue> {
    let removed = app.store.index().removed();
    (removed > 0).then(|| HeaderValue::from(removed + 1))
}

fn unreadable(feed: &str, error: &io::Error) -> ErrorResponse {
    tracing::error!(feed, %error, "stored events cannot be read");
    ErrorResponse::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("stored events cannot be read: {error}"),
    )
}

/// Returns the header `Link` (RFC 8288) with the next page, if there is one at present.
fn link(uri: &Uri, feed: &str, answer: &Answer) -> Option<HeaderValue> {
    let query = answer.next.as_ref()?;
    let prefix = if uri.path().starts_with("/v1/") { V1 } else { "" };
    let link = format!("<{prefix}/feeds/{}/events?{query}>; rel=\"next\"", encoded(feed));
    // All of it is ASCII.
    HeaderValue::from_str(&link).ok()
}

async fn post_event(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let (feed, policy) = known(&app, &grant, Right::Write, feed).await?;
    let rules = EventRules {
        policy,
        require_signatures: app.require_signatures,
    };
    let mut body = app.bodies.read(&headers, body, MAX_EVENT).await?;
    let sent = body.bytes.len() + ENVELOPE;
    let submission = match body.bytes.len() {
        0..=MAX_PARSED_INLINE => submission(feed.clone(), &body.bytes, &rules)?,
        _ => {
            let bytes = std::mem::take(&mut body.bytes);
            let named = feed.clone();
            let parsed = tokio::task::spawn_blocking(move || submission(named, &bytes, &rules)).await;
            parsed.map_err(|error| ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??
        }
    };
    let event_id = submission.identity.event_id.clone();
    let submitted = app.store.submit(WriteRequest::Event(submission)).await;
    let (status, seq, text) = match without_unreadable(submitted, &feed, |stored| app.may_read(&grant, stored))? {
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

/// Refuses to show a stored event of a feed that the request may not read, unless it is the same event in the feed that
/// it is posted to.
fn without_unreadable(
    submitted: Result<Accepted, Refusal>,
    posted_to: &str,
    may_read: impl FnOnce(&str) -> bool,
) -> Result<Result<Accepted, Refusal>, ErrorResponse> {
    let (stored, is_same) = match &submitted {
        Ok(accepted) if !accepted.is_new => (&accepted.json, true),
        Err(Refusal::Conflict { stored, .. }) => (&stored.json, false),
        _ => return Ok(submitted),
    };
    #[derive(serde::Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        feed_id: std::borrow::Cow<'a, str>,
    }
    let stored: Stored<'_> = serde_json::from_slice(stored)
        .map_err(|error| ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    if (is_same && stored.feed_id == posted_to) || may_read(&stored.feed_id) {
        return Ok(submitted);
    }
    let problem = "an event with this event_id or source exists, but the token may not read it";
    Err(ErrorResponse::new(StatusCode::CONFLICT, problem))
}

/// Maximum length of a confirmation, in bytes.
const MAX_CONFIRMATION: usize = 8192;

/// Stores a mirror's confirmation for a feed.
async fn confirm(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let (feed, _) = known(&app, &grant, Right::Write, feed).await?;
    let body = app.bodies.read(&headers, body, MAX_CONFIRMATION).await?;
    let confirmation = Confirmation::parse(feed.clone(), &body.bytes);
    let confirmation = confirmation.map_err(|problem| ErrorResponse::invalid(vec![problem]))?;
    let last = app.store.index().feed(&feed).map_or(0, Feed::last);
    if confirmation.seq.is_some_and(|seq| seq > last) {
        let problem = format!("is greater than {last}, the number of the last event of the feed");
        return Err(ErrorResponse::of(StatusCode::BAD_REQUEST, "seq", problem));
    }
    let answer = json(StatusCode::OK, &confirmation);
    app.store.submit(WriteRequest::Confirmation(confirmation)).await?;
    Ok(answer)
}

async fn stream(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: Parameters,
) -> Result<Response, ErrorResponse> {
    let (feed, _) = known(&app, &grant, Right::Read, feed).await?;
    follow(&app, &grant, Some(feed), &headers, query).await
}

async fn stream_of_feeds(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
    query: Parameters,
) -> Result<Response, ErrorResponse> {
    follow(&app, &grant, None, &headers, query).await
}

/// Returns the stream of a feed, or of the feeds that the query names.
async fn follow(
    app: &App,
    grant: &Grant,
    feed: Option<String>,
    headers: &HeaderMap,
    query: Parameters,
) -> Result<Response, ErrorResponse> {
    let subscription = Subscription::parse(feed, &app.parameters(query)?);
    let mut subscription = subscription.map_err(ErrorResponse::invalid)?;
    app.look_for(&subscription.feeds).await;
    for feed in &subscription.feeds {
        app.permit(grant, Right::Read, feed)?;
    }
    // A browser that reconnects sends the header, and the query of the first connection.
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        subscription.after = Some(id.to_str().unwrap_or_default().to_owned());
    }
    let ends = Ends {
        stopped: app.stopped.clone(),
        reloads: grant.reloads.clone(),
    };
    let listener = Listener::new(app.store.clone(), subscription, ends, app.keep_alive);
    let headers = [
        // Without the charset, some clients read Latin-1.
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // nginx buffers otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let bytes = try_unfold(listener, |mut listener| async move {
        let bytes = listener.next().await?;
        io::Result::Ok(bytes.map(|bytes| (bytes, listener)))
    });
    let mut response = (headers, Body::from_stream(bytes)).into_response();
    if let Some(first) = first_seq(app) {
        response.headers_mut().insert(FIRST_SEQ, first);
    }
    Ok(response)
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

/// Returns the feed id of a path and the policy, if the request may do this with it, and the feed exists.
async fn known(
    app: &App,
    grant: &Grant,
    right: Right,
    feed: Result<Path<String>, PathRejection>,
) -> Result<(String, Policy), ErrorResponse> {
    let Path(id) = feed.map_err(|_| no_such_feed())?;
    app.look_for(std::slice::from_ref(&id)).await;
    let policy = app.permit(grant, right, &id)?;
    Ok((id, policy))
}

fn no_such_feed() -> ErrorResponse {
    Refusal::UnknownFeed.into()
}

fn status(accepted: &Accepted) -> StatusCode {
    if accepted.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// Parses an event to be written to `feed`, and checks it by the rules.
fn submission(feed: String, body: &[u8], rules: &EventRules) -> Result<Submission, ErrorResponse> {
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
    rules.check(&event, json.len())?;
    Ok(Submission {
        feed,
        identity: identity(&event),
        json: json.into(),
    })
}
