//! Responses: JSON, and error responses that list all problems.
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    page::write_event,
    store::{Accepted, Refusal},
};
use crate::event::Problem;

/// Response to a request that is refused.
#[derive(Debug)]
pub struct ErrorResponse {
    status: StatusCode,
    errors: Vec<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
    /// The conflicting event.
    stored: Option<Box<Accepted>>,
}

impl ErrorResponse {
    /// Creates a response with one problem that concerns no member.
    pub fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        ErrorResponse::of(status, "", problem)
    }

    /// Creates a response with one problem of this member.
    pub fn of(status: StatusCode, field: &str, problem: impl Into<String>) -> Self {
        let (field, problem) = (field.to_owned(), problem.into());
        ErrorResponse::all(status, vec![Problem { field, problem }])
    }

    /// Creates a response with these problems.
    pub fn all(status: StatusCode, errors: Vec<Problem>) -> Self {
        ErrorResponse {
            status,
            errors,
            header: None,
            stored: None,
        }
    }

    /// Creates a response that asks for a retry.
    pub fn busy(problem: impl Into<String>) -> Self {
        ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, problem).with(header::RETRY_AFTER, "1")
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }
}

impl ErrorResponse {
    /// Body of the response: `{"errors":[…]}`, with `"stored":{"seq":…,"event":{…}}` if another event conflicts.
    pub fn text(&self) -> Vec<u8> {
        let mut text = br#"{"errors":"#.to_vec();
        text.extend(serde_json::to_vec(&self.errors).expect("problems serialize into memory"));
        if let Some(stored) = &self.stored {
            text.extend_from_slice(br#","stored":"#);
            write_event(&mut text, stored.seq, &stored.json);
        }
        text.push(b'}');
        text
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = json_text(self.status, self.text());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        let problem = refusal.to_string();
        match refusal {
            Refusal::UnknownFeed => ErrorResponse::of(StatusCode::NOT_FOUND, "feed_id", problem),
            Refusal::Conflict { by, stored } => {
                let mut response = ErrorResponse::of(StatusCode::CONFLICT, by.field(), problem);
                response.stored = Some(Box::new(stored));
                response
            }
            Refusal::TooManyFeeds | Refusal::NotStored(_) => {
                ErrorResponse::new(StatusCode::INSUFFICIENT_STORAGE, problem)
            }
            Refusal::Unreadable(_) => ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, problem),
            Refusal::Stopping => ErrorResponse::busy(problem),
        }
    }
}

/// Creates a response with this value.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    json_text(
        status,
        serde_json::to_vec(value).expect("responses serialize into memory"),
    )
}

/// Creates a response with this JSON.
pub fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text.into()).into_response()
}
