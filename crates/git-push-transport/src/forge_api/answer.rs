//! Meaning of an answer of an API, apart from its JSON.
use std::time::Duration;

use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::forge::Forge;
use crate::http_client::{HttpResponse, MAX_RETRY_AFTER};

/// An answer whose body was read whole.
#[derive(Debug)]
pub(crate) struct ApiAnswer {
    pub(crate) status: u16,
    /// Time of the server.
    pub(crate) date: Option<Timestamp>,
    /// Delay after which the server takes requests again, if it has refused this one because there were too many.
    rate_limit: Option<Duration>,
    retry_after: Option<Duration>,
    /// End of the token that was sent, as GitHub reports it.
    pub(crate) token_ends: Option<Timestamp>,
    /// Scopes of the token that was sent, as GitHub reports them for a classic token.
    pub(crate) scopes: Option<String>,
    /// JSON, which may contain a token.
    body: SecretString,
}

impl ApiAnswer {
    /// Takes the header of `response` and its body.
    pub(crate) fn new(response: &HttpResponse, body: String, now: Timestamp) -> Self {
        let date = response.date();
        let retry_after = response.retry_after();
        let used_up = response
            .header("X-RateLimit-Remaining")
            .is_some_and(|left| left.trim() == "0");
        let reset = response.header("X-RateLimit-Reset").filter(|_| used_up);
        let reset = reset.and_then(|seconds| Timestamp::from_second(seconds.trim().parse().ok()?).ok());
        let until_reset = reset.map(|reset| {
            let delay = Duration::try_from(reset.duration_since(date.unwrap_or(now))).unwrap_or_default();
            delay.min(MAX_RETRY_AFTER)
        });
        let refused = matches!(response.status, 403 | 429);
        ApiAnswer {
            status: response.status,
            date,
            rate_limit: retry_after.or(until_reset).filter(|_| refused),
            retry_after,
            token_ends: token_ends(response),
            scopes: response.header("X-OAuth-Scopes").map(str::to_owned),
            body: body.into(),
        }
    }

    /// Returns the JSON of the body; null if it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body.expose_secret()).unwrap_or_default()
    }

    /// Returns true if the body contains this text, in any case.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.body.expose_secret().to_ascii_lowercase().contains(text)
    }

    /// Returns true for a status of success.
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Returns the error of an answer that does not depend on the request: too many requests, a failure of the server, a
    /// redirect.
    pub(crate) fn failure(&self, forge: Forge) -> Option<Error> {
        let status = self.status;
        let what = |meaning: &str| format!("the API of {forge} {meaning} (HTTP {status})");
        let error = match status {
            300..=399 => Error::new(
                ErrorKind::Misconfigured,
                what("redirects, and redirects are not followed"),
            )
            .with_hint("set the URL of the mirror to the one that the repository has now"),
            _ if self.rate_limit.is_some() || status == 429 => {
                Error::new(ErrorKind::Transient, what("accepts no more requests for now"))
            }
            408 | 425 | 500.. => Error::new(ErrorKind::Transient, what("failed, or asks to retry later")),
            _ => return None,
        };
        Some(match self.rate_limit.or(self.retry_after) {
            Some(delay) => error.with_retry_after(delay),
            None => error,
        })
    }

    /// Returns the difference of the clocks in seconds, if it is noticeable; positive if that of this machine is ahead.
    pub(crate) fn clock_skew(&self, now: Timestamp) -> Option<i64> {
        /// Also the time that an answer may take.
        const NOTICEABLE: i64 = 60;
        let ahead = now.as_second() - self.date?.as_second();
        (ahead.abs() >= NOTICEABLE).then_some(ahead)
    }
}

/// Returns the end of the token that was sent with the request, as GitHub reports it: `2026-12-01 10:00:00 UTC`, or with an
/// offset such as `+0200`.
pub(crate) fn token_ends(response: &HttpResponse) -> Option<Timestamp> {
    parse_end(response.header("GitHub-Authentication-Token-Expiration")?)
}

fn parse_end(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = text
        .strip_suffix(" UTC")
        .map_or(text.to_owned(), |text| format!("{text} +0000"));
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", text).ok()?;
    time.to_timestamp().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> ApiAnswer {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let response = HttpResponse::new(status, headers.collect(), Box::new(std::io::empty()));
        ApiAnswer::new(
            &response,
            String::new(),
            "2026-11-28T12:00:00Z".parse().expect("a time"),
        )
    }

    #[test]
    fn the_end_of_a_token_is_in_utc_or_has_an_offset() {
        for (text, expected) in [
            ("2026-12-01 10:00:00 UTC", Some("2026-12-01T10:00:00Z")),
            ("2026-12-01 10:00:00 +0200", Some("2026-12-01T08:00:00Z")),
            ("2026-12-01 10:00:00 -0800", Some("2026-12-01T18:00:00Z")),
            ("2026-12-01", None),
            ("never", None),
        ] {
            let expected = expected.map(|text| text.parse().expect("a time"));
            let found = answer(200, &[("github-authentication-token-expiration", text)]).token_ends;
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_rate_limit_is_transient_with_its_delay_and_another_refusal_is_not() {
        let date = ("Date", "Sat, 28 Nov 2026 11:59:00 GMT");
        let used_up = ("X-RateLimit-Remaining", "0");
        // 12:00:00, a minute after the server's time.
        let reset = ("x-ratelimit-reset", "1795867200");
        for (status, headers, expected) in [
            (403, vec![date, used_up, reset], Some(60)),
            (429, vec![("Retry-After", "7")], Some(7)),
            (403, vec![("Retry-After", "9")], Some(9)),
            (503, vec![("Retry-After", "5")], Some(5)),
        ] {
            let error = answer(status, &headers).failure(Forge::GitHub).expect("a failure");
            assert_eq!(error.kind(), ErrorKind::Transient, "{status}");
            assert_eq!(error.retry_after(), expected.map(Duration::from_secs), "{status}");
        }
        for status in [401, 403, 404, 422] {
            assert!(answer(status, &[date]).failure(Forge::GitHub).is_none(), "{status}");
        }
        assert!(
            answer(403, &[("X-RateLimit-Remaining", "12"), reset])
                .failure(Forge::GitHub)
                .is_none()
        );
    }

    #[test]
    fn clocks_that_differ_by_a_minute_are_noticed() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        for (date, expected) in [
            ("Sat, 28 Nov 2026 11:59:30 GMT", None),
            ("Sat, 28 Nov 2026 11:50:00 GMT", Some(600)),
            ("Sat, 28 Nov 2026 12:10:00 GMT", Some(-600)),
        ] {
            assert_eq!(answer(401, &[("Date", date)]).clock_skew(now), expected, "{date}");
        }
        assert_eq!(answer(401, &[]).clock_skew(now), None);
    }
}
