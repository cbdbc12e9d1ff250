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

/// Returns true if the answer names the scopes of the token, and none of them allows a push. GitHub names them for classic
/// tokens only, in a header, which may be empty for the others; GitLab in `scopes`.
pub(crate) fn lacks_write_scope(forge: Forge, answer: &ApiAnswer) -> bool {
    let lacks = |scopes: &[&str], writing: &[&str]| !scopes.iter().any(|scope| writing.contains(scope));
    if !answer.is_ok() {
        return false;
    }
    match forge {
        Forge::GitHub => answer.scopes.as_ref().is_some_and(|scopes| {
            let scopes: Vec<&str> = scopes
                .split(',')
                .map(str::trim)
                .filter(|scope| !scope.is_empty())
                .collect();
            !scopes.is_empty() && lacks(&scopes, &["repo", "public_repo"])
        }),
        Forge::GitLab => answer.json()["scopes"].as_array().is_some_and(|scopes| {
            let scopes: Vec<&str> = scopes.iter().filter_map(serde_json::Value::as_str).collect();
            lacks(&scopes, &["api", "write_repository"])
        }),
        Forge::Gitea => false,
    }
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
    use crate::http_client::HttpResponse;

    #[test]
    fn scopes_without_writing_are_noticed_and_missing_ones_are_not() {
        let answer = |header: Option<&str>, body: &str| {
            let headers = header.map(|scopes| ("x-oauth-scopes".to_owned(), scopes.to_owned()));
            let response = HttpResponse::new(200, headers.into_iter().collect(), Box::new(std::io::empty()));
            ApiAnswer::new(&response, body.to_owned(), jiff::Timestamp::UNIX_EPOCH)
        };
        for (scopes, expected) in [
            (Some("gist, read:org"), true),
            (Some(""), false),
            (Some(" , "), false),
            (Some("repo, workflow"), false),
            (Some("public_repo"), false),
            // A fine-grained token.
            (None, false),
        ] {
            assert_eq!(
                lacks_write_scope(Forge::GitHub, &answer(scopes, "{}")),
                expected,
                "{scopes:?}"
            );
        }
        for (body, expected) in [
            ("{\"scopes\":[\"read_repository\"]}", true),
            ("{\"scopes\":[\"write_repository\"]}", false),
            ("{\"scopes\":[\"api\"]}", false),
            ("{}", false),
        ] {
            assert_eq!(
                lacks_write_scope(Forge::GitLab, &answer(None, body)),
                expected,
                "{body}"
            );
        }
    }

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
