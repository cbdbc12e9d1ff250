//! The token for the mirror: when it was last accepted, and when it ends. The token itself is never stored.
use git_push::Error;
use git_push_transport::{Remote, TokenEnd, TokenUse};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{head::forge_at, memory::Memory, session::Session};

/// Time before the end of a token from which the log and `doctor` warn of it.
pub const WARNED_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Interval of warnings, and of questions about the end.
const DAY: i64 = 24 * 60 * 60;
/// Precision of the time of the last acceptance, so that not every cycle writes.
const PRECISION: i64 = 60 * 60;

/// Remembered facts about the token for one mirror. Times are in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedToken {
    /// Last time at which the mirror accepted the token, up to an hour early.
    #[serde(default)]
    pub accepted_at: Option<i64>,
    /// End of the token, if the server reports it.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// Last time at which the server was asked for the end.
    #[serde(default)]
    asked_at: Option<i64>,
    /// Last time at which the log warned of the end.
    #[serde(default)]
    warned_at: Option<i64>,
}

/// The end of a token, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenExpiry {
    /// The end.
    pub at: Timestamp,
    /// Time until then; negative if it has passed.
    pub left: SignedDuration,
}

impl TokenExpiry {
    /// Creates the expiry of a token that ends at `at`.
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        TokenExpiry {
            at,
            left: at.duration_since(now),
        }
    }

    /// Returns true if the end is near enough for a warning.
    pub fn is_near(&self) -> bool {
        self.left <= WARNED_BEFORE
    }
}

impl std::fmt::Display for TokenExpiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, hours) = (self.left.as_hours() / 24, self.left.as_hours());
        match (days, hours) {
            _ if self.left.is_negative() => write!(f, "the token ended at {}", self.at),
            (0, 0) => write!(f, "the token ends at {}, in less than an hour", self.at),
            (0, 1) => write!(f, "the token ends at {}, in 1 hour", self.at),
            (0, hours) => write!(f, "the token ends at {}, in {hours} hours", self.at),
            (1, _) => write!(f, "the token ends at {}, in 1 day", self.at),
            (days, _) => write!(f, "the token ends at {}, in {days} days", self.at),
        }
    }
}

impl RememberedToken {
    /// Returns the end, if it is known.
    pub fn expiry(&self, now: Timestamp) -> Option<TokenExpiry> {
        let at = Timestamp::from_second(self.expires_at?).ok()?;
        Some(TokenExpiry::new(at, now))
    }

    /// Records what the mirror said in a cycle.
    fn record(&mut self, seen: TokenUse, now: i64) {
        if seen.refused {
            // The next token may have another end.
            (self.expires_at, self.asked_at) = (None, None);
        } else if seen.accepted && self.accepted_at.is_none_or(|before| (now - before).abs() >= PRECISION) {
            self.accepted_at = Some(now);
        }
        if let Some(ends) = seen.ends.filter(|_| !seen.refused) {
            self.expires_at = Some(ends.as_second());
        }
    }

    /// Returns true if a day has passed since then.
    fn is_due(before: Option<i64>, now: i64) -> bool {
        before.is_none_or(|before| (now - before).abs() >= DAY)
    }
}

/// Adds to the error of a refused token the time until which it was accepted.
pub fn with_last_acceptance(error: Error, seen: TokenUse, remembered: Option<&RememberedToken>) -> Error {
    let accepted = remembered.and_then(|token| Timestamp::from_second(token.accepted_at?).ok());
    match accepted.filter(|_| seen.refused) {
        Some(at) => {
            let what = format!("{error}; the token was accepted until {at}");
            error.reworded(what)
        }
        None => error,
    }
}

/// Remembers what the mirror said about the token, at the end of a cycle. Asks once a day for its end, and warns once a day if
/// that is near.
pub(super) fn watch_token(session: &Session<'_>, remote: &mut Remote, compared: bool) {
    let (seen, now) = (remote.token_use(), session.clock.now());
    if session.options.dry_run || seen.renews {
        return;
    }
    let mut memory = Memory::load(&session.memory);
    let location = remote.location().to_string();
    let before = memory.tokens.get(&location).cloned().unwrap_or_default();
    let mut token = before.clone();
    token.record(seen, now.as_second());
    let may_ask = seen.accepted && !seen.refused && seen.ends.is_none() && compared;
    if may_ask && RememberedToken::is_due(token.asked_at, now.as_second()) {
        ask(session, remote, &mut token, now);
    }
    let near = token.expiry(now).filter(TokenExpiry::is_near);
    if let Some(near) = near.filter(|_| RememberedToken::is_due(token.warned_at, now.as_second())) {
        tracing::warn!(
            repository = %session.git_dir.display(),
            remote = %location,
            hint = "create a new token, and replace the old one with it",
            "{near}"
        );
        token.warned_at = Some(now.as_second());
    }
    if token == before {
        return;
    }
    memory.tokens.insert(location, token);
    if let Err(error) = memory.save(&session.memory) {
        tracing::warn!(%error, "cannot write the worker's memory; the end of the token may be forgotten");
    }
}

/// Asks the forge for the end of the token.
fn ask(session: &Session<'_>, remote: &mut Remote, token: &mut RememberedToken, now: Timestamp) {
    let Some(forge) = forge_at(remote.location(), session.config.forge) else {
        return;
    };
    token.asked_at = Some(now.as_second());
    match remote.token_end(forge) {
        Ok(TokenEnd::At(end)) => token.expires_at = Some(end.as_second()),
        Ok(_) => token.expires_at = None,
        Err(error) => tracing::debug!(%error, "cannot find out when the token expires"),
    }
}

#[cfg(test)]
mod tests {
    use git_push::ErrorKind;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_end_is_shown_with_the_time_that_is_left() {
        let now = at("2026-11-28T12:00:00Z");
        for (end, expected, near) in [
            (
                "2026-12-31T12:00:00Z",
                "the token ends at 2026-12-31T12:00:00Z, in 33 days",
                false,
            ),
            (
                "2026-12-12T12:00:00Z",
                "the token ends at 2026-12-12T12:00:00Z, in 14 days",
                true,
            ),
            (
                "2026-11-29T13:00:00Z",
                "the token ends at 2026-11-29T13:00:00Z, in 1 day",
                true,
            ),
            (
                "2026-11-28T17:30:00Z",
                "the token ends at 2026-11-28T17:30:00Z, in 5 hours",
                true,
            ),
            (
                "2026-11-28T12:30:00Z",
                "the token ends at 2026-11-28T12:30:00Z, in less than an hour",
                true,
            ),
            ("2026-11-28T11:59:00Z", "the token ended at 2026-11-28T11:59:00Z", true),
        ] {
            let expiry = TokenExpiry::new(at(end), now);
            assert_eq!((expiry.to_string().as_str(), expiry.is_near()), (expected, near));
        }
    }

    fn seen(accepted: bool, refused: bool, ends: Option<Timestamp>) -> TokenUse {
        let mut seen = TokenUse::default();
        (seen.accepted, seen.refused, seen.ends) = (accepted, refused, ends);
        seen
    }

    #[test]
    fn acceptance_is_recorded_by_the_hour_and_a_refusal_forgets_the_end() {
        let mut token = RememberedToken::default();
        let end = at("2026-12-01T00:00:00Z");
        token.record(seen(true, false, Some(end)), 10_000);
        assert_eq!(
            (token.accepted_at, token.expires_at),
            (Some(10_000), Some(end.as_second()))
        );
        token.record(seen(true, false, None), 10_000 + PRECISION - 1);
        assert_eq!(token.accepted_at, Some(10_000));
        token.record(seen(true, false, None), 10_000 + PRECISION);
        assert_eq!(
            (token.accepted_at, token.expires_at),
            (Some(13_600), Some(end.as_second()))
        );
        token.record(seen(true, true, Some(end)), 99_000);
        assert_eq!((token.accepted_at, token.expires_at), (Some(13_600), None));
    }

    #[test]
    fn a_refusal_says_until_when_the_token_was_accepted() {
        let error = || Error::new(ErrorKind::Misconfigured, "the server refuses the credentials");
        let token = RememberedToken {
            accepted_at: Some(at("2026-10-01T08:00:00Z").as_second()),
            ..RememberedToken::default()
        };
        let explained = |refused, token| with_last_acceptance(error(), seen(false, refused, None), token).to_string();
        let plain = "the server refuses the credentials";
        assert_eq!(
            explained(true, Some(&token)),
            format!("{plain}; the token was accepted until 2026-10-01T08:00:00Z")
        );
        assert_eq!(explained(false, Some(&token)), plain);
        assert_eq!(explained(true, None), plain);
        assert_eq!(explained(true, Some(&RememberedToken::default())), plain);
    }
}
