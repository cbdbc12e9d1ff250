//! What kept an answer from arriving, in words, and what it means for the attempt.
use std::{io, time::Duration};

use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use ureq::{Timeout, http::StatusCode};

use crate::{Settings, token::TOKEN_VARIABLE};

/// The longest wait that a server's `Retry-After` is obeyed with.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

const PROXY_HINT: &str = "put user and password into the URL of the proxy";

/// What becomes of the remote when an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it was only asked, or it cannot have got the whole request.
    None,
    /// It may have carried out what it was sent.
    Possible,
}

/// What was done to prove who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Credentials were sent.
    Sent,
    /// The server redirected to another origin, where they do not belong.
    Withheld,
    /// There are none.
    Absent,
}

impl Effect {
    /// The error `what` of an exchange with this effect: [`ErrorKind::Uncertain`] where there may be one, else `kind`.
    pub(super) fn error(self, kind: ErrorKind, what: impl Into<String>) -> Error {
        match self {
            Effect::None => Error::new(kind, what),
            Effect::Possible => Error::new(ErrorKind::Uncertain, what)
                .with_hint("the push may have been carried out: read the refs back before trying again"),
        }
    }
}

/// No answer, or not all of it.
pub(super) fn lost(error: &ureq::Error, effect: Effect, settings: &Settings) -> Error {
    if let Some(error) = tls_error(error) {
        return tls(error, effect);
    }
    if let ureq::Error::ConnectProxyFailed(why) = error
        && why.contains("407")
    {
        let what = "the proxy asks for credentials, or refuses those in its URL (HTTP 407)";
        return Error::new(ErrorKind::Misconfigured, what).with_hint(PROXY_HINT);
    }
    let what = match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("could not connect within {:?}", settings.connect_timeout)
        }
        ureq::Error::Timeout(_) => format!("the server was silent for {:?}", settings.idle_timeout),
        ureq::Error::HostNotFound => "no address is known for the name of the host".into(),
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "the connection was refused: nothing listens there".into(),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => "the server closed the connection before its answer was complete".into(),
            _ => format!("the connection failed: {error}"),
        },
        ureq::Error::Protocol(error) => format!("the server's answer is not HTTP: {error}"),
        ureq::Error::BodyExceedsLimit(limit) => format!("the server's answer is larger than {} bytes", limit - 1),
        ureq::Error::ConnectProxyFailed(why) => format!("the proxy does not connect us: {why}"),
        other => format!("the exchange with the server failed: {other}"),
    };
    effect.error(ErrorKind::Transient, what)
}

/// An answer with a status other than 200. `text` is what the server says for a person; it may be empty.
pub(super) fn refused(
    status: StatusCode,
    text: &str,
    retry_after: Option<Duration>,
    effect: Effect,
    proof: Proof,
) -> Error {
    let says = if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    };
    let what = |meaning: &str| format!("{meaning} (HTTP {}){says}", status.as_u16());
    let misconfigured = |meaning: &str| Error::new(ErrorKind::Misconfigured, what(meaning));
    let error = match status.as_u16() {
        401 => unauthorized(what, proof),
        403 if retry_after.is_none() => misconfigured(match proof {
            Proof::Sent => "the server knows who we are and forbids it",
            Proof::Withheld | Proof::Absent => "the server forbids it to an unknown user",
        })
        .with_hint(format!(
            "check that the token in {TOKEN_VARIABLE} is allowed to write to the repository"
        )),
        404 | 410 => misconfigured("no such repository, or the token may not see it").with_hint(format!(
            "check the URL, and what the token in {TOKEN_VARIABLE} gives access to"
        )),
        407 => misconfigured("the proxy asks for credentials").with_hint(PROXY_HINT),
        403 | 425 | 429 => Error::new(ErrorKind::Transient, what("the server asks us to come again later")),
        // A proxy says this, too, when the server behind it is gone before it has answered.
        408 | 503 => effect.error(ErrorKind::Transient, what("the server asks us to come again later")),
        413 => Error::new(ErrorKind::Rejected, what("the push is larger than the server takes"))
            .with_hint("push fewer commits at once, or have the server's limit raised"),
        500.. => effect.error(ErrorKind::Transient, what("the server failed")),
        400.. => Error::new(ErrorKind::Rejected, what("the server refuses the request")),
        _ => effect.error(
            ErrorKind::Transient,
            what("the server gives an answer that is none of git's"),
        ),
    };
    match retry_after {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

/// An answer that says it is something else than git's protocol (gitprotocol-http, *Smart Server Response*).
pub(super) fn not_git(content_type: Option<&str>, effect: Effect) -> Error {
    let (what, hint) = match content_type {
        Some("text/html" | "application/xhtml+xml") => (
            "the server answers with a web page instead of Git's protocol; it may be a login page".to_owned(),
            "check the URL; behind a login page for browsers, a token or another address is needed",
        ),
        Some("text/plain") => (
            "the server offers the repository as plain files only (git's dumb protocol)".to_owned(),
            "have it served by git http-backend",
        ),
        Some(other) => (
            format!("the server answers with `{other}` instead of Git's protocol"),
            "check that the URL is that of a Git repository",
        ),
        None => (
            "the server does not say that it answers in Git's protocol".to_owned(),
            "check that the URL is that of a Git repository",
        ),
    };
    match effect {
        Effect::None => Error::new(ErrorKind::Misconfigured, what).with_hint(hint),
        Effect::Possible => effect.error(ErrorKind::Uncertain, what),
    }
}

/// How long `Retry-After` asks to wait from `now` on: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let delay = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

fn unauthorized(what: impl Fn(&str) -> String, proof: Proof) -> Error {
    let (meaning, hint) = match proof {
        Proof::Sent => (
            "the server refuses the credentials",
            "check that the token or password is valid and has not expired",
        ),
        Proof::Withheld => (
            "the server redirects to another host, which asks for credentials; they are not sent there",
            "set the remote's URL to where the repository is now",
        ),
        Proof::Absent => (
            "the server asks for credentials, and there are none",
            "set GITHUB_PAT to a token, or give git a credential.helper or a .netrc that knows one",
        ),
    };
    Error::new(ErrorKind::Misconfigured, what(meaning)).with_hint(hint)
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn tls(error: &rustls::Error, effect: Effect) -> Error {
    match error {
        rustls::Error::InvalidCertificate(why) => Error::new(
            ErrorKind::Misconfigured,
            format!("the server's certificate is not trusted: {why}"),
        )
        .with_hint("name the file with the certificate of its authority in SSL_CERT_FILE or http.sslCAInfo"),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => Error::new(
            ErrorKind::Misconfigured,
            format!("the server does not speak TLS as we do: {error}"),
        )
        .with_hint("check the scheme and the port of the URL"),
        other => effect.error(ErrorKind::Transient, format!("the TLS connection failed: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_capped() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        let cases = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_status_says_whether_trying_again_helps() {
        use ErrorKind::{Misconfigured, Rejected, Transient, Uncertain};
        let cases = [
            (400, Rejected, Rejected),
            (401, Misconfigured, Misconfigured),
            (403, Misconfigured, Misconfigured),
            (404, Misconfigured, Misconfigured),
            (408, Transient, Uncertain),
            (413, Rejected, Rejected),
            (429, Transient, Transient),
            (500, Transient, Uncertain),
            (502, Transient, Uncertain),
            (503, Transient, Uncertain),
            (504, Transient, Uncertain),
            (204, Transient, Uncertain),
        ];
        for (status, asked, pushed) in cases {
            let code = StatusCode::from_u16(status).expect("a status");
            let kind = |effect| refused(code, "", None, effect, Proof::Sent).kind();
            assert_eq!(kind(Effect::None), asked, "{status} to a question");
            assert_eq!(kind(Effect::Possible), pushed, "{status} to a push");
        }
    }

    #[test]
    fn a_rate_limit_may_hide_behind_forbidden() {
        let wait = Some(Duration::from_secs(30));
        let error = refused(StatusCode::FORBIDDEN, "slow down", wait, Effect::None, Proof::Sent);
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Transient, wait));
        assert_eq!(
            error.to_string(),
            "the server asks us to come again later (HTTP 403): slow down"
        );
    }
}
