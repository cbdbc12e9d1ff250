//! Meaning of the statuses of an LFS server (git-lfs, *docs/api/batch.md*, *Response Errors*).
use std::time::Duration;

use git_push::{Error, ErrorKind};

use super::pointer::Oid;

/// Returns the error of a batch request. It concerns all objects.
pub(super) fn of_batch(status: u16, retry_after: Option<Duration>) -> Error {
    let what = |meaning: &str| format!("the LFS server {meaning} (HTTP {status})");
    let error = match status {
        401 | 403 => Error::new(ErrorKind::Misconfigured, what("does not accept the credentials")).with_hint(
            "give the worker a token with write access to LFS, or set stargate.lfs to off if readers find the objects elsewhere",
        ),
        404 | 405 | 410 | 501 => Error::new(ErrorKind::Misconfigured, what("is not there"))
            .with_hint("enable LFS at the mirror, or set lfs.url in the repository's configuration"),
        300..=399 => Error::new(ErrorKind::Misconfigured, what("redirects, which is not followed"))
            .with_hint("set lfs.url to the URL that it redirects to"),
        413 | 422 | 507 | 509 => Error::new(ErrorKind::Rejected, what("refuses the objects")),
        408 | 425 | 429 | 500.. => Error::new(ErrorKind::Transient, what("failed, or asks to retry later")),
        _ => Error::new(ErrorKind::Rejected, what("sent an unexpected answer")),
    };
    with_delay(error, retry_after)
}

/// Returns the error of one object. It must not hold up others, unless the server asks to wait.
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
        507 | 509 => Error::new(ErrorKind::Rejected, what("has no room or bandwidth left")),
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
    fn a_failure_of_one_object_is_its_own_unless_the_server_asks_to_wait() {
        let oid: Oid = "a".repeat(64).parse().expect("an id");
        for status in [400, 401, 404, 413, 422, 500, 502, 507] {
            assert_eq!(
                of_object(&oid, "upload", status, None).kind(),
                ErrorKind::Rejected,
                "{status}"
            );
        }
        let waiting = of_object(&oid, "upload", 429, Some(Duration::from_secs(7)));
        assert_eq!(
            (waiting.kind(), waiting.retry_after()),
            (ErrorKind::Transient, Some(Duration::from_secs(7)))
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
