//! Default branch of a repository on a forge: one request to its REST API, with the token of the repository's credentials.
//!
//! - GitHub: `PATCH /repos/{owner}/{repo}`, on `api.github.com`, or below `/api/v3` of another server
//! - GitLab: `PUT /api/v4/projects/{path}`
//! - Gitea, Forgejo: `PATCH /api/v1/repos/{owner}/{repo}`, with the same `Authorization` as for git
//!
//! A redirect is not followed, and the answer's text is not repeated.
use base64::{Engine, prelude::BASE64_STANDARD};
use bstr::{BStr, ByteSlice};
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use super::exchange::{Exchange, plain, retry_after_of};
use crate::forge::Forge;
use crate::http_client::{Header, HttpResponse, Method};
use crate::url::{HttpUrl, encoded};

/// A request to the API.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    method: Method,
    url: String,
}

/// Sets the default branch to `branch`, a full name.
///
/// # Errors
/// The name or the URL is not supported, there is no token, or the forge does not change it.
pub(super) fn set_default_branch(exchange: &mut Exchange, forge: Forge, branch: &BStr) -> Result<(), Error> {
    let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
    let short = branch
        .strip_prefix(b"refs/heads/")
        .and_then(|short| short.to_str().ok());
    let short = short.ok_or_else(|| refused("the name of the branch is not UTF-8"))?;
    let call = call(forge, exchange.configured())
        .ok_or_else(|| refused("the URL of the mirror is not that of a repository on the forge"))?;
    let for_git = exchange.authorization()?;
    let for_git = for_git.ok_or_else(|| refused("there is no token for the API"))?;
    let headers = vec![
        authorization(forge, for_git).ok_or_else(|| refused("the token cannot be sent"))?,
        plain("Accept", "application/json"),
        plain("Content-Type", "application/json"),
    ];
    // A ref name has neither a backslash nor a control character (git-check-ref-format).
    let body = format!("{{\"default_branch\":\"{}\"}}", short.replace('"', "\\\""));
    let response = exchange.request(call.method, call.url, headers, body.into_bytes())?;
    answered(forge, &response)
}

/// Returns the request that changes the repository at `url`.
fn call(forge: Forge, url: &HttpUrl) -> Option<Call> {
    let (origin, path) = url.origin_and_path();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let names: Vec<String> = path.split('/').map(encoded).collect();
    let (method, url) = match (forge, &names[..]) {
        (Forge::GitHub, [owner, repository]) => (
            Method::Patch,
            format!("{}/repos/{owner}/{repository}", github_api(origin, url.host())),
        ),
        (Forge::GitLab, [_, _, ..]) => (Method::Put, format!("{origin}/api/v4/projects/{}", names.join("%2F"))),
        (Forge::Gitea, [below @ .., owner, repository]) => {
            let below: String = below.iter().map(|name| format!("/{name}")).collect();
            (
                Method::Patch,
                format!("{origin}{below}/api/v1/repos/{owner}/{repository}"),
            )
        }
        _ => return None,
    };
    Some(Call { method, url })
}

fn github_api(origin: &str, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host == "github.com" || host.ends_with(".ghe.com") {
        format!("https://api.{host}")
    } else {
        format!("{origin}/api/v3")
    }
}

/// Returns the `Authorization` for the API, from that for git. GitHub and GitLab use only the token.
fn authorization(forge: Forge, for_git: &SecretString) -> Option<Header> {
    let value = match forge {
        Forge::GitHub | Forge::GitLab => bearer(for_git.expose_secret())?,
        Forge::Gitea => for_git.clone(),
    };
    Header::new("Authorization", value).ok()
}

fn bearer(for_git: &str) -> Option<SecretString> {
    let Some((_, given)) = for_git
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
    else {
        return Some(for_git.into());
    };
    let decoded = BASE64_STANDARD.decode(given.trim()).ok()?;
    let pair = SecretString::from(String::from_utf8(decoded).ok()?);
    let (user, password) = pair.expose_secret().split_once(':')?;
    Some(format!("Bearer {}", if password.is_empty() { user } else { password }).into())
}

fn answered(forge: Forge, response: &HttpResponse) -> Result<(), Error> {
    let status = response.status;
    let what = |meaning: &str| format!("the API of {forge} {meaning} (HTTP {status})");
    let misconfigured = |meaning: &str| Error::new(ErrorKind::Misconfigured, what(meaning));
    let error = match status {
        200..=299 => return Ok(()),
        401 | 403 | 404 => misconfigured("does not let this token change the repository")
            .with_hint(format!("give the token {}", forge.permission())),
        300..=399 => misconfigured("redirects, which is not followed")
            .with_hint("set the URL of the mirror to the one that the repository has now"),
        408 | 425 | 429 | 500.. => Error::new(ErrorKind::Transient, what("failed, or asks to retry later")),
        _ => Error::new(ErrorKind::Rejected, what("refuses the change")),
    };
    Err(match retry_after_of(response) {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(forge: Forge, url: &str) -> Option<(String, String)> {
        let url = HttpUrl::new(&gix::url::parse(url).expect("a URL")).expect("of http");
        call(forge, &url).map(|call| (call.method.name().to_owned(), call.url))
    }

    #[test]
    fn each_forge_has_its_request() {
        for (forge, url, expected) in [
            (
                Forge::GitHub,
                "https://github.com/o/r.git",
                "PATCH https://api.github.com/repos/o/r",
            ),
            (
                Forge::GitHub,
                "https://me@GitHub.com/o/r/",
                "PATCH https://api.github.com/repos/o/r",
            ),
            (
                Forge::GitHub,
                "https://a.ghe.com/o/r",
                "PATCH https://api.a.ghe.com/repos/o/r",
            ),
            (
                Forge::GitHub,
                "https://git.example.com:8443/o/r.git",
                "PATCH https://git.example.com:8443/api/v3/repos/o/r",
            ),
            (
                Forge::GitLab,
                "https://gitlab.com/g/sub/r.git",
                "PUT https://gitlab.com/api/v4/projects/g%2Fsub%2Fr",
            ),
            (
                Forge::Gitea,
                "https://codeberg.org/o/r.git",
                "PATCH https://codeberg.org/api/v1/repos/o/r",
            ),
            (
                Forge::Gitea,
                "https://example.com/git/o/r.git",
                "PATCH https://example.com/git/api/v1/repos/o/r",
            ),
        ] {
            let (method, called) = called(forge, url).expect(url);
            assert_eq!(format!("{method} {called}"), expected);
        }
        for (forge, url) in [
            (Forge::GitHub, "https://github.com/r.git"),
            (Forge::GitHub, "https://git.example.com/git/o/r.git"),
            (Forge::GitLab, "https://gitlab.com/r.git"),
            (Forge::Gitea, "https://codeberg.org"),
        ] {
            assert_eq!(called(forge, url), None, "{url}");
        }
    }

    #[test]
    fn github_and_gitlab_take_the_token_alone() {
        let basic = |pair: &str| SecretString::from(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        let shown = |forge, header: &SecretString| {
            let value = authorization(forge, header).expect("a header");
            value.value().to_owned()
        };
        for forge in [Forge::GitHub, Forge::GitLab] {
            assert_eq!(shown(forge, &basic("x-access-token:canary")), "Bearer canary");
            assert_eq!(shown(forge, &basic("canary:")), "Bearer canary");
            assert_eq!(shown(forge, &"Bearer canary".into()), "Bearer canary");
        }
        let header = basic("me:canary");
        assert_eq!(shown(Forge::Gitea, &header), header.expose_secret());
        assert!(authorization(Forge::GitHub, &"Basic ?".into()).is_none());
    }

    #[test]
    fn known_hosts_are_recognized() {
        for (host, expected) in [
            ("github.com", Some(Forge::GitHub)),
            ("GitHub.com", Some(Forge::GitHub)),
            ("gitlab.com", Some(Forge::GitLab)),
            ("codeberg.org", Some(Forge::Gitea)),
            ("github.com.example.com", None),
            ("git.example.com", None),
        ] {
            assert_eq!(Forge::of_host(host), expected, "{host}");
        }
    }
}
