//! One transfer, as the LFS server asks for it.
use std::{fmt, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// Time before its end at which an action counts as expired.
const MARGIN: Duration = Duration::from_secs(5);

/// A URL with the headers to send. `Debug` shows neither.
#[derive(Clone)]
pub(super) struct Action {
    href: SecretString,
    pub(super) headers: Vec<(String, SecretString)>,
    expires_in: Option<i64>,
    expires_at: Option<Timestamp>,
}

impl Action {
    /// Creates an action. A time that cannot be parsed is none: the server decides.
    pub(super) fn new(
        href: SecretString,
        headers: Vec<(String, SecretString)>,
        expires_in: Option<i64>,
        expires_at: Option<&str>,
    ) -> Self {
        Action {
            href,
            headers,
            expires_in: expires_in.filter(|seconds| *seconds != 0),
            expires_at: expires_at.and_then(|text| text.parse().ok()),
        }
    }

    /// Returns the URL, which may contain a secret.
    pub(super) fn url(&self) -> &str {
        self.href.expose_secret()
    }

    /// Returns true if the action has expired. It was received at `since`. As in git-lfs, `expires_in` precedes `expires_at`.
    pub(super) fn is_expired(&self, since: Timestamp, now: Timestamp) -> bool {
        let end = match (self.expires_in, self.expires_at) {
            (Some(seconds), _) => since.as_second().saturating_add(seconds),
            (None, Some(at)) => at.as_second(),
            (None, None) => return false,
        };
        now.as_second().saturating_add(MARGIN.as_secs() as i64) >= end
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_expires_after_seconds_or_at_a_time() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let action = |expires_in, expires_at| Action::new("http://h".into(), Vec::new(), expires_in, expires_at);
        for (action, now, expired) in [
            (action(None, None), 1_000_000, false),
            (action(Some(60), None), 1054, false),
            (action(Some(60), None), 1055, true),
            (action(Some(-1), None), 1000, true),
            (action(Some(60), Some("1970-01-01T00:00:01Z")), 1001, false),
            (action(None, Some("1970-01-01T00:00:01Z")), 1001, true),
            (action(None, Some("1970-01-01T01:00:00+00:00")), 1001, false),
            (action(None, Some("soon")), 1001, false),
        ] {
            assert_eq!(action.is_expired(at(1000), at(now)), expired, "{now}");
        }
    }
}
