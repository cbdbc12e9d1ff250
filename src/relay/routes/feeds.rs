//! Handlers of feeds and of their policies.
use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    super::{
        access::Grant,
        answer::{ErrorResponse, json},
        index::{About, Feed},
        new_feed::{feed_to_make, policy_to_set},
        permission,
        store::{Refusal, WriteRequest},
        tokens::Right,
    },
    App, known, no_such_feed,
};

/// Maximum length of a body that creates a feed or sets a policy, in bytes.
const MAX_FEED: usize = 8192;

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

pub(super) async fn feeds(State(app): State<Arc<App>>, Extension(grant): Extension<Grant>) -> Response {
    let index = app.store.index();
    let feeds = index
        .feeds()
        .rev()
        .filter(|feed| permission::allows(&grant, Right::Read, feed.about()));
    json(StatusCode::OK, &feeds.map(FeedView::of).collect::<Vec<_>>())
}

pub(super) async fn make_feed(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let body = app.bodies.read(&headers, body, MAX_FEED).await?;
    let feed = feed_to_make(&body.bytes).map_err(ErrorResponse::invalid)?;
    let id = feed.about.id.clone();
    grant.check(Right::Admin, &id)?;
    match app.store.submit(WriteRequest::Feed(feed)).await {
        Ok(accepted) if accepted.is_new => show_feed(&app, &id, StatusCode::CREATED),
        Ok(_) => show_known_feed(&app, &grant, &id),
        Err(Refusal::OtherFeed(other)) if app.may_read(&grant, &other) => {
            let index = app.store.index();
            let stored = index.feed(&other).map(FeedView::of);
            let stored = serde_json::to_vec(&stored).expect("responses serialize into memory");
            Err(ErrorResponse::from(Refusal::OtherFeed(other)).with_stored(stored))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn feed(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    feed: Result<Path<String>, PathRejection>,
) -> Result<Response, ErrorResponse> {
    let (feed, _) = known(&app, &grant, Right::Read, feed).await?;
    show_feed(&app, &feed, StatusCode::OK)
}

pub(super) async fn set_policy(
    State(app): State<Arc<App>>,
    Extension(grant): Extension<Grant>,
    feed: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let (id, _) = known(&app, &grant, Right::Admin, feed).await?;
    let body = app.bodies.read(&headers, body, MAX_FEED).await?;
    let stored = app.store.index().feed(&id).map(|feed| feed.about().clone());
    let policy = policy_to_set(&stored.ok_or_else(no_such_feed)?, &body.bytes).map_err(ErrorResponse::invalid)?;
    if app.store.submit(WriteRequest::Feed(policy)).await?.is_new {
        // Their clients may not be allowed to read any more.
        app.access.end_streams();
    }
    show_known_feed(&app, &grant, &id)
}

fn show_feed(app: &App, id: &str, status: StatusCode) -> Result<Response, ErrorResponse> {
    let index = app.store.index();
    let feed = index.feed(id).ok_or_else(no_such_feed)?;
    Ok(json(status, &FeedView::of(feed)))
}

/// Shows a stored feed; only its id, if the request may not read it.
fn show_known_feed(app: &App, grant: &Grant, id: &str) -> Result<Response, ErrorResponse> {
    if app.may_read(grant, id) {
        show_feed(app, id, StatusCode::OK)
    } else {
        Ok(json(StatusCode::OK, &serde_json::json!({ "id": id })))
    }
}
