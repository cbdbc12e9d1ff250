//! Meaning of the statuses of an LFS server (git-lfs, *docs/api/batch.md*, *Response Errors*), and the failures of an attempt.
use std::{collections::BTreeMap, time::Duration};

use git_push::{Error, ErrorKind};

use crate::lfs_pointer::{Oid, Pointer};

/// The source of the errors of objects that were not carried. Nothing was sent to the mirror's repository then, and groups that do
/// not need the objects can be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an LFS object was not carried")]
pub struct NotCarried;

/// Objects that failed in an attempt, each with its error.
#[derive(Default)]
pub(super) struct Failures(BTreeMap<Pointer, Error>);

impl Failures {
    /// Adds an object.
    pub(super) fn add(&mut self, pointer: &Pointer, error: &Error) {
        self.0.entry(pointer.clone()).or_insert_with(|| copy(error));
    }

    /// Adds objects that failed for the same reason.
    pub(super) fn add_all<'a>(&mut self, pointers: impl IntoIterator<Item = &'a Pointer>, error: &Error) {
        pointers.into_iter().for_each(|pointer| self.add(pointer, error));
    }

    /// Returns true if the object failed.
    pub(super) fn has(&self, pointer: &Pointer) -> bool {
        self.0.contains_key(pointer)
    }

    /// Returns the error of a push that needs these objects: that of the first one, with the longest delay that a server asked
    /// for.
    pub(super) fn of<'a>(&self, pointers: impl Iterator<Item = &'a Pointer>) -> Option<Error> {
        let errors: Vec<&Error> = pointers.filter_map(|pointer| self.0.get(pointer)).collect();
        let delay = errors.iter().filter_map(|error| error.retry_after()).max();
        errors.first().map(|error| with_delay(copy(error), delay))
    }

    /// Returns an error with which a server asked to wait.
    pub(super) fn asking_to_wait(&self) -> Option<Error> {
        let mut errors = self.0.values();
        errors.find(|error| error.retry_after().is_some()).map(copy)
    }
}

/// Returns the same error, without its source.
pub(super) fn copy(error: &Error) -> Error {
    let copied = Error::new(error.kind(), error.to_string()).with_server_words(error.server_words());
    let copied = with_delay(copied, error.retry_after());
    match error.hint() {
        Some(hint) => copied.with_hint(hint),
        None => copied,
    }
}

/// Returns the error of a batch request. It concerns all objects.
pub(super) fn of_batch(status: u16, retry_after: Option<Duration>) -> Error {
    let what = |meaning: &str| format!("the LFS server {meaning} (HTTP {status})");
    let error = match status {
        401 | 403 => Error::new(ErrorKind::Misconfigured, what("does not accept the credentials")).with_hint(
            "give the worker a token with write access to LFS, or set stargate.lfs to off if readers find the objects elsewhere",
        ),
        404 | 405 | 410 | 501 => Error::new(ErrorKind::Misconfigured, what("does not exist"))
            .with_hint("enable LFS at the mirror, or set lfs.url in the repository's configuration"),
        300..=399 => Error::new(ErrorKind::Misconfigured, what("redirects, and redirects are not followed"))
            .with_hint("set lfs.url to the URL that it redirects to"),
        413 | 422 | 507 | 509 => Error::new(ErrorKind::Rejected, what("refuses the objects")),
        408 | 425 | 429 | 500.. => Error::new(ErrorKind::Transient, what("failed, or asks to retry later")),
        _ => Error::new(ErrorKind::Rejected, what("sent an unexpected answer")),
    };
    with_delay(error, retry_after)
}

/// Returns the error of one object.
pub(super) fn of_object(oid: &Oid, step: &str, status: u16, retry_after: Option<Duration>) -> Error {
    let what = |meaning: &str| format!("LFS object {oid}: {step}: the server {meaning} (HTTP {status})");
    let error = match status {
        429 | 503 => Error::new(ErrorKind::Transient, what("asks to retry later")),
        401 | 403 => Error::new(
            ErrorKind::Rejected,
            what("does not accept the authorization of the batch answer"),
        ),
        404 | 410 => Error::new(ErrorKind::Rejected, what("does not have this resource")),
        413 => Error::new(ErrorKind::Rejected, what("says that the object is too large")),
        422 => Error::new(ErrorKind::Rejected, what("says that the object is invalid")),
        501 | 505 => Error::new(ErrorKind::Rejected, what("does not support the request")),
        507 | 509 => Error::new(ErrorKind::Rejected, what("has no storage or bandwidth left")),
        408 | 425 | 500.. => Error::new(ErrorKind::Transient, what("failed")),
        _ => Error::new(ErrorKind::Rejected, what("failed")),
    };
    with_delay(error, retry_after)
}

fn with_delay(error: Error, retry_after: Option<Duration>) -> Error {
    match retry_after {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_an_object_is_told_from_a_failure_of_the_server() {
        let oid: Oid = "a".repeat(64).parse().expect("an id");
        let kind = |status| of_object(&oid, "upload", status, None).kind();
        for status in [400, 401, 404, 413, 422, 501, 507] {
            assert_eq!(kind(status), ErrorKind::Rejected, "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504, 522] {
            assert_eq!(kind(status), ErrorKind::Transient, "{status}");
        }
    }

    #[test]
    fn the_error_of_a_push_has_the_longest_delay_of_its_objects() {
        let pointer = |digit: &str| Pointer {
            oid: digit.repeat(64).parse().expect("an id"),
            size: 1,
        };
        let [a, b, c] = ["a", "b", "c"].map(pointer);
        let mut failures = Failures::default();
        failures.add(&a, &of_object(&a.oid, "upload", 500, None));
        failures.add(&b, &of_object(&b.oid, "upload", 429, Some(Duration::from_secs(7))));
        failures.add(&b, &of_object(&b.oid, "upload", 413, None));
        let error = failures.of([&a, &b, &c].into_iter()).expect("an error");
        assert!(error.to_string().contains(a.oid.as_str()), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(failures.of([&c].into_iter()).is_none());
        assert_eq!(
            failures.asking_to_wait().expect("an error").kind(),
            ErrorKind::Transient
        );
    }

    #[test]
    fn a_failed_batch_says_who_has_to_act() {
        for (status, kind) in [
            (302, ErrorKind::Misconfigured),
            (401, ErrorKind::Misconfigured),
            (404, ErrorKind::Misconfigured),
            (413, ErrorKind::Rejected),
            (422, ErrorKind::Rejected),
            (429, ErrorKind::Transient),
            (500, ErrorKind::Transient),
        ] {
            assert_eq!(of_batch(status, None).kind(), kind, "{status}");
        }
    }
}
