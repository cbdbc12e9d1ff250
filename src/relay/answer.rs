//! Responses: JSON, and error responses that list all problems.
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::store::{Accepted, MatchedBy, Refusal};
use crate::event::Problem;

/// Header with the number of an event in the order of arrival: of the one in the response, or of the last one of a page.
pub const SEQ: HeaderName = HeaderName::from_static("relay-seq");

/// Header with the first number after all events that were removed; missing if none were.
pub const FIRST_SEQ: HeaderName = HeaderName::from_static("relay-first-seq");

/// Response to a request that is refused.
#[derive(Debug)]
pub struct ErrorResponse {
    status: StatusCode,
    error: String,
    details: Vec<Problem>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
    /// The conflicting event or feed, as JSON.
    stored: Option<Vec<u8>>,
}

impl ErrorResponse {
    /// Creates a response with one problem that concerns no member.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        ErrorResponse {
            status,
            error: error.into(),
            details: Vec::new(),
            header: None,
            stored: None,
        }
    }

    /// Creates a response with one problem of this member.
    pub fn of(status: StatusCode, field: &str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        let mut response = ErrorResponse::new(status, format!("{field} {problem}").trim_start());
        let field = field.to_owned();
        response.details = vec![Problem { field, problem }];
        response
    }

    /// Creates a response to a request with these problems.
    pub fn invalid(details: Vec<Problem>) -> Self {
        let mut response = ErrorResponse::new(StatusCode::BAD_REQUEST, "the request is invalid");
        response.details = details;
        response
    }

    /// Creates a response to a request that the policy of the feed does not allow, for these reasons.
    pub fn against_policy(details: Vec<Problem>) -> Self {
        let mut response = ErrorResponse::new(StatusCode::FORBIDDEN, "the policy of the feed does not allow this");
        response.details = details;
        response
    }

    /// Creates a response that asks for a retry.
    pub fn busy(problem: impl Into<String>) -> Self {
        ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, problem).with(header::RETRY_AFTER, HeaderValue::from(1))
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Adds the event or feed that conflicts with the request.
    pub fn with_stored(mut self, json: Vec<u8>) -> Self {
        self.stored = Some(json);
        self
    }

    /// Body of the response: `{"error":…}`, with `"details":[…]` if members are wrong, and with `"stored":{…}` if another event
    /// or feed conflicts.
    pub fn text(&self) -> Vec<u8> {
        let mut text = br#"{"error":"#.to_vec();
        text.extend(serde_json::to_vec(&self.error).expect("a string serializes into memory"));
        if !self.details.is_empty() {
            text.extend_from_slice(br#","details":"#);
            text.extend(serde_json::to_vec(&self.details).expect("problems serialize into memory"));
        }
        if let Some(stored) = &self.stored {
            text.extend_from_slice(br#","stored":"#);
            text.extend_from_slice(stored);
        }
        text.push(b'}');
        text
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = json_text(self.status, self.text());
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        let problem = refusal.to_string();
        match refusal {
            Refusal::UnknownFeed => ErrorResponse::new(StatusCode::NOT_FOUND, problem),
            Refusal::OtherFeed(_) => ErrorResponse::new(StatusCode::CONFLICT, problem),
            Refusal::Removed => ErrorResponse::new(StatusCode::GONE, problem),
            Refusal::Conflict { by, stored } => conflict(by, &stored, problem),
            Refusal::TooManyFeeds | Refusal::NotStored(_) => {
                ErrorResponse::new(StatusCode::INSUFFICIENT_STORAGE, problem)
            }
            Refusal::Unreadable(_) => ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, problem),
            Refusal::TooLong(_) => ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, problem),
            Refusal::Stopping | Refusal::Unavailable(_) => ErrorResponse::busy(problem),
        }
    }
}

fn conflict(by: MatchedBy, stored: &Accepted, problem: String) -> ErrorResponse {
    let field = by.field().to_owned();
    let mut response = ErrorResponse::new(StatusCode::CONFLICT, problem.clone()).with_stored(stored.json.to_vec());
    response.details = vec![Problem { field, problem }];
    response.header = Some(Box::new((SEQ, HeaderValue::from(stored.seq))));
    response
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
