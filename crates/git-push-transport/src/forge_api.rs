//! The REST APIs of forges: requests, and the meaning of their answers. Requests go through any
//! [`HttpClient`](crate::http_client::HttpClient). Redirects are not followed, and no text of an answer is repeated: it may
//! contain a secret.
pub(crate) mod address;
pub(crate) mod answer;
#[cfg(feature = "http")]
pub(crate) mod app;
pub(crate) mod call;
#[cfg(feature = "http")]
pub(crate) mod creation;
pub(crate) mod default_branch;
#[cfg(feature = "http")]
pub(crate) mod jwt;
pub(crate) mod token_end;
