//! Answers: JSON, and refusals that say everything that is wrong.
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::store::Refusal;
use crate::event::Problem;

/// A request that is not granted.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    errors: Vec<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// Refused for one reason that is of no member.
    pub fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        Refused::of(status, "", problem)
    }

    /// Refused for one reason that is of this member.
    pub fn of(status: StatusCode, field: &str, problem: impl Into<String>) -> Self {
        let (field, problem) = (field.to_owned(), problem.into());
        Refused::all(status, vec![Problem { field, problem }])
    }

    /// Refused for these reasons.
    pub fn all(status: StatusCode, errors: Vec<Problem>) -> Self {
        Refused {
            status,
            errors,
            header: None,
        }
    }

    /// What will help is to come again.
    pub fn busy(problem: impl Into<String>) -> Self {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, problem).with(header::RETRY_AFTER, "1")
    }

    /// With this header.
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Errors {
            errors: Vec<Problem>,
        }
        let mut response = json(self.status, &Errors { errors: self.errors });
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let told = refusal.to_string();
        match refusal {
            Refusal::UnknownFeed => Refused::of(StatusCode::NOT_FOUND, "feed_id", told),
            Refusal::Conflict => Refused::of(StatusCode::CONFLICT, "event_id", told),
            Refusal::TooManyFeeds | Refusal::NotStored(_) => Refused::new(StatusCode::INSUFFICIENT_STORAGE, told),
            Refusal::Unreadable(_) => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, told),
            Refusal::Stopping => Refused::busy(told),
        }
    }
}

/// An answer with this value.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // What is answered has strings as keys: writing it into memory does not fail.
    json_text(status, serde_json::to_vec(value).unwrap_or_default())
}

/// An answer with this JSON.
pub fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text.into()).into_response()
}
