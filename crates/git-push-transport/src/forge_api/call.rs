//! One request to an API.
use std::io::Read;

use base64::{Engine, prelude::BASE64_STANDARD};
use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::forge::Forge;
use crate::forge_api::answer::ApiAnswer;
use crate::http_client::{Header, HttpClient, HttpRequest, HttpResponse, Method, RequestBody, body_error};
use crate::secrets::Secrets;

/// Limit of an answer, in bytes.
pub(crate) const MAX_ANSWER: u64 = 1 << 20;

/// A request to the API.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: String,
    /// JSON.
    pub(crate) body: Option<String>,
}

impl Call {
    pub(crate) fn get(url: String) -> Self {
        Call {
            method: Method::Get,
            url,
            body: None,
        }
    }

    pub(crate) fn new(method: Method, url: String, body: &serde_json::Value) -> Self {
        Call {
            method,
            url,
            body: Some(body.to_string()),
        }
    }

    /// Returns the headers of the request.
    pub(crate) fn headers(&self, authorization: Header) -> Vec<Header> {
        let plain = |name, value: &str| Header::new(name, value).ok();
        let content_type = self
            .body
            .as_ref()
            .and_then(|_| plain("Content-Type", "application/json"));
        let accept = plain("Accept", "application/json");
        [Some(authorization), accept, content_type]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Sends the request over `client`.
    ///
    /// # Errors
    /// There is no answer, or it is too large. The status is not checked.
    pub(crate) fn send(&self, client: &dyn HttpClient, authorization: Header) -> Result<ApiAnswer, Error> {
        let mut secrets = Secrets::default();
        secrets.add_header(authorization.value());
        let mut body = self.body.as_deref().unwrap_or_default().as_bytes();
        let request = HttpRequest {
            method: self.method,
            url: self.url.clone(),
            headers: self.headers(authorization),
            body: self.body.as_ref().map(|text| RequestBody {
                length: Some(text.len() as u64),
                reader: &mut body,
            }),
            max_answer: Some(MAX_ANSWER),
        };
        let answered = client.send(request).and_then(read);
        answered.map_err(|error| {
            // A client may quote what is no HTTP.
            let what = secrets.scrub(&format!("{}: {error}", self.url));
            error.reworded(what).without_source()
        })
    }
}

/// Reads the body of an answer.
///
/// # Errors
/// It is not complete, or larger than the limit.
pub(crate) fn read(mut response: HttpResponse) -> Result<ApiAnswer, Error> {
    let mut bytes = Vec::new();
    let mut body = std::mem::replace(&mut response.body, Box::new(std::io::empty())).take(MAX_ANSWER + 1);
    body.read_to_end(&mut bytes).map_err(body_error)?;
    if bytes.len() as u64 > MAX_ANSWER {
        let what = format!("the answer is larger than {MAX_ANSWER} bytes");
        return Err(Error::new(ErrorKind::Rejected, what));
    }
    let body = String::from_utf8(bytes).unwrap_or_default();
    Ok(ApiAnswer::new(&response, body, Timestamp::now()))
}

/// Returns the `Authorization` for the API, from that for git. GitHub and GitLab take only the token of it.
pub(crate) fn authorization(forge: Forge, for_git: &SecretString) -> Option<Header> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
