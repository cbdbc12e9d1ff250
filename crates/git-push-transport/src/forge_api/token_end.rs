//! The end of a token, as forges report it:
//!
//! - GitHub: the header `GitHub-Authentication-Token-Expiration` of each answer of the API to a token with an end. Asked for is
//!   `GET /rate_limit`, which does not count towards the limit.
//! - GitLab: `expires_at` of `GET /api/v4/personal_access_tokens/self`, a day: the token ends at its start, in UTC. It needs the
//!   scope `api` or `read_api`.
//! - Gitea, Forgejo: tokens have no end.
use git_push::Error;
use jiff::{civil::Date, tz::TimeZone};

use crate::forge::{Forge, TokenEnd};
use crate::forge_api::address::Address;
use crate::forge_api::answer::ApiAnswer;
use crate::forge_api::call::Call;
use crate::url::HttpUrl;

/// Returns the request for the end of the token for the repository at `url`.
pub(crate) fn call(forge: Forge, url: &HttpUrl) -> Option<Call> {
    let address = Address::new(forge, url)?;
    let path = match forge {
        Forge::GitHub => "rate_limit",
        Forge::GitLab => "personal_access_tokens/self",
        Forge::Gitea => return None,
    };
    Some(Call::get(address.below(path)))
}

/// Returns the end in an answer. A token that may not read about itself is no error.
///
/// # Errors
/// The server failed, or asks to retry later.
pub(crate) fn answered(forge: Forge, answer: &ApiAnswer) -> Result<TokenEnd, Error> {
    if let Some(failure) = answer.failure(forge) {
        return Err(failure);
    }
    Ok(match forge {
        _ if !answer.is_ok() => TokenEnd::Unknown,
        Forge::GitHub => answer.token_ends.map_or(TokenEnd::Never, TokenEnd::At),
        Forge::GitLab => gitlab(&answer.json()),
        Forge::Gitea => TokenEnd::Never,
    })
}

fn gitlab(token: &serde_json::Value) -> TokenEnd {
    match token.get("expires_at") {
        Some(serde_json::Value::Null) => TokenEnd::Never,
        Some(serde_json::Value::String(text)) => {
            let day: Option<Date> = text.parse().ok();
            let start = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
            start.map_or(TokenEnd::Unknown, |start| TokenEnd::At(start.timestamp()))
        }
        _ => TokenEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitlab_names_a_day_or_none() {
        for (json, expected) in [
            (
                "{\"expires_at\":\"2026-12-31\",\"active\":true}",
                TokenEnd::At("2026-12-31T00:00:00Z".parse().expect("a time")),
            ),
            ("{\"expires_at\":null}", TokenEnd::Never),
            ("{\"expires_at\":\"soon\"}", TokenEnd::Unknown),
            ("{}", TokenEnd::Unknown),
            ("null", TokenEnd::Unknown),
        ] {
            assert_eq!(gitlab(&serde_json::from_str(json).expect("JSON")), expected, "{json}");
        }
    }
}
