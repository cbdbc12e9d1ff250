//! Errors of an exchange: refusals of a server, and answers that are not in git's protocol.
use std::time::Duration;

use git_push::{Error, ErrorKind, Remedy};

use crate::token::TOKEN_VARIABLE;

const PROXY_HINT: &str = "put user and password into the URL of the proxy";

/// Effect of a failed exchange on the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// None: the request only reads, or it cannot have arrived completely.
    None,
    /// The server may have carried out the request.
    Possible,
}

/// Credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Credentials were sent.
    Sent,
    /// Not sent, because the server redirected to another origin.
    Withheld,
    /// There are none.
    Absent,
}

impl Effect {
    /// Creates an error: [`ErrorKind::Uncertain`] if there may be an effect, else of `kind`.
    pub(super) fn error(self, kind: ErrorKind, what: impl Into<String>) -> Error {
        match self {
            Effect::None => Error::new(kind, what),
            Effect::Possible => Error::new(ErrorKind::Uncertain, what)
                .with_hint("the push may have been carried out: read the refs back before a retry"),
        }
    }

    /// Turns the error of a client into the error of the exchange. A transient error becomes uncertain if the request
    /// may have had an effect.
    pub(super) fn of(self, error: Error) -> Error {
        if self == Effect::Possible && error.kind() == ErrorKind::Transient {
            self.error(ErrorKind::Uncertain, error.to_string())
        } else {
            error
        }
    }
}

/// Creates the error of a status other than 200. `text` is the server's human-readable text, which may be empty.
pub(super) fn refused(status: u16, text: &str, retry_after: Option<Duration>, effect: Effect, proof: Proof) -> Error {
    let says = if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    };
    let what = |meaning: &str| format!("{meaning} (HTTP {}){says}", status);
    let misconfigured = |meaning: &str| Error::new(ErrorKind::Misconfigured, what(meaning));
    let error = match status {
        401 => unauthorized(what, proof),
        403 if retry_after.is_none() => misconfigured(match proof {
            Proof::Sent => "the server does not allow this for the user of these credentials",
            Proof::Withheld | Proof::Absent => "the server does not allow this without credentials",
        })
        .with_hint(format!(
            "check that the token in {TOKEN_VARIABLE} is allowed to write to the repository"
        )),
        404 | 410 => misconfigured("no such repository, or the token may not see it").with_hint(format!(
            "check the URL, and the permissions of the token in {TOKEN_VARIABLE}"
        )),
        407 => misconfigured("the proxy asks for credentials").with_hint(PROXY_HINT),
        403 | 425 | 429 => Error::new(ErrorKind::Transient, what("the server asks to retry later")),
        // A proxy also sends this status if the server behind it fails before it has answered.
        408 => effect
            .error(ErrorKind::Transient, what("the server asks to retry later"))
            .with_remedy(Remedy::SmallerPack),
        503 => effect.error(ErrorKind::Transient, what("the server asks to retry later")),
        413 => Error::new(ErrorKind::Rejected, what("the push is larger than the server accepts"))
            .with_hint("push fewer commits at once, or raise the server's limit")
            .with_remedy(Remedy::SmallerPack),
        // It did not read the body, whose length was not announced (RFC 9112, section 6).
        411 | 501 => {
            Error::new(ErrorKind::Rejected, what("the server refuses the request")).with_remedy(Remedy::KnownLength)
        }
        500.. => effect.error(ErrorKind::Transient, what("the server failed")),
        400.. => {
            let error = Error::new(ErrorKind::Rejected, what("the server refuses the request"));
            if status == 400 {
                error.with_remedy(Remedy::SelfContainedPack)
            } else {
                error
            }
        }
        _ => effect.error(ErrorKind::Transient, what("the answer is not in Git's protocol")),
    };
    match retry_after {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

/// Creates the error of an answer with an unexpected content type (gitprotocol-http, *Smart Server Response*).
pub(super) fn not_git(content_type: Option<&str>, effect: Effect) -> Error {
    let (what, hint) = match content_type {
        Some("text/html" | "application/xhtml+xml") => (
            "the server answers with a web page instead of Git's protocol; it may be a login page".to_owned(),
            "check the URL; if it leads to a login page, use a token or another URL",
        ),
        Some("text/plain") => (
            "the server offers the repository as plain files only (git's dumb protocol)".to_owned(),
            "serve the repository with git http-backend",
        ),
        Some(other) => (
            format!("the server answers with `{other}` instead of Git's protocol"),
            "check that the URL is that of a Git repository",
        ),
        None => (
            "the server answers without a content type instead of in Git's protocol".to_owned(),
            "check that the URL is that of a Git repository",
        ),
    };
    match effect {
        Effect::None => Error::new(ErrorKind::Misconfigured, what).with_hint(hint),
        Effect::Possible => effect.error(ErrorKind::Uncertain, what),
    }
}

fn unauthorized(what: impl Fn(&str) -> String, proof: Proof) -> Error {
    let (meaning, hint) = match proof {
        Proof::Sent => (
            "the server refuses the credentials",
            "check that the token or password is valid and has not expired",
        ),
        Proof::Withheld => (
            "the server redirects to another host, which asks for credentials; they are not sent there",
            "set the remote's URL to the current URL of the repository",
        ),
        Proof::Absent => (
            "the server requires credentials, but there are none",
            "set GITHUB_PAT to a token, or add a password to .netrc or to a credential.helper of git",
        ),
    };
    Error::new(ErrorKind::Misconfigured, what(meaning)).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_on_a_retry() {
        use ErrorKind::{Misconfigured, Rejected, Transient, Uncertain};
        let cases = [
            (400, Rejected, Rejected),
            (401, Misconfigured, Misconfigured),
            (403, Misconfigured, Misconfigured),
            (404, Misconfigured, Misconfigured),
            (408, Transient, Uncertain),
            (411, Rejected, Rejected),
            (413, Rejected, Rejected),
            (501, Rejected, Rejected),
            (429, Transient, Transient),
            (500, Transient, Uncertain),
            (502, Transient, Uncertain),
            (503, Transient, Uncertain),
            (504, Transient, Uncertain),
            (204, Transient, Uncertain),
        ];
        for (status, asked, pushed) in cases {
            let kind = |effect| refused(status, "", None, effect, Proof::Sent).kind();
            assert_eq!(kind(Effect::None), asked, "{status} to a question");
            assert_eq!(kind(Effect::Possible), pushed, "{status} to a push");
        }
    }

    #[test]
    fn a_status_may_ask_for_another_pack() {
        let remedy = |status| refused(status, "", None, Effect::Possible, Proof::Sent).remedy();
        assert_eq!([408, 413].map(remedy), [Some(Remedy::SmallerPack); 2]);
        assert_eq!(remedy(400), Some(Remedy::SelfContainedPack));
        assert_eq!([411, 501].map(remedy), [Some(Remedy::KnownLength); 2]);
        assert_eq!([401, 403, 422, 500, 503].map(remedy), [None; 5]);
    }

    #[test]
    fn a_rate_limit_may_hide_behind_forbidden() {
        let wait = Some(Duration::from_secs(30));
        let error = refused(403, "slow down", wait, Effect::None, Proof::Sent);
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Transient, wait));
        assert_eq!(
            error.to_string(),
            "the server asks to retry later (HTTP 403): slow down"
        );
    }
}
