//! What proves to a server who we are: a token from the environment, or the user info of a URL, as HTTP Basic
//! authentication (RFC 7617). It is in memory only, in [`secrecy`] types, from the environment to the header.
use std::{ffi::OsString, net::IpAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::push::{Error, Outcome};

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "GITHUB_PAT";

/// The user that goes with a token; servers look at the token only.
const TOKEN_USER: &str = "x-access-token";

/// Secrets shorter than this are not looked for in texts: they would match half of every sentence.
const MIN_SCRUBBED: usize = 4;

/// Takes the token out of the environment; an empty one is none.
///
/// # Errors
/// [`Outcome::Misconfigured`] when it cannot be a token: not UTF-8, or with control characters in it.
pub fn token(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<SecretString>, Error> {
    let refused = |why: &str| {
        Error::new(Outcome::Misconfigured, format!("the token in {TOKEN_VARIABLE} {why}"))
            .with_hint("set it to the token alone, without a line feed at its end")
    };
    match variable(TOKEN_VARIABLE).map(OsString::into_string) {
        None => Ok(None),
        Some(Err(_)) => Err(refused("is not UTF-8")),
        Some(Ok(token)) if token.is_empty() => Ok(None),
        Some(Ok(token)) if token.contains(char::is_control) => {
            Err(refused("has a line feed or another control character in it"))
        }
        Some(Ok(token)) => Ok(Some(token.into())),
    }
}

/// An `Authorization` header, and what must not be seen of it.
#[derive(Debug)]
pub struct Authorization {
    header: SecretString,
    secrets: Vec<SecretString>,
}

impl Authorization {
    /// What to send to `url`: its user info where it has some, completed by `token`; `None` when there is neither.
    ///
    /// # Errors
    /// [`Outcome::Misconfigured`] when they would cross a network in the clear, or cannot be put into a header.
    pub fn new(url: &gix::Url, token: Option<&SecretString>) -> Result<Option<Self>, Error> {
        let token = token.map(ExposeSecret::expose_secret);
        let (user, password) = match (url.user(), url.password(), token) {
            (None, None, None) => return Ok(None),
            (user, Some(password), _) => (user.unwrap_or_default(), password),
            (user, None, Some(token)) => (user.unwrap_or(TOKEN_USER), token),
            // A token in the place of the user.
            (Some(user), None, None) => (user, ""),
        };
        if user.contains(char::is_control) || password.contains(char::is_control) {
            return Err(Error::new(
                Outcome::Misconfigured,
                "the user or the password in the URL has a control character in it",
            ));
        }
        if url.scheme != gix::url::Scheme::Https && !is_loopback(url.host().unwrap_or_default()) {
            return Err(Error::new(
                Outcome::Misconfigured,
                "credentials are not sent over plain http, where anybody on the way can read them",
            )
            .with_hint("use the https URL of the repository"));
        }
        Ok(Some(Authorization::basic(user, password)))
    }

    /// The header's value.
    pub fn header(&self) -> &SecretString {
        &self.header
    }

    /// `text`, which came from outside, without the secrets that it may echo.
    pub fn scrub(&self, text: &str) -> String {
        let secrets = self.secrets.iter().map(ExposeSecret::expose_secret);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    fn basic(user: &str, password: &str) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        // Without a password it is the user that is secret.
        let secret = if password.is_empty() { user } else { password };
        // The longest first: it may hold another one.
        let secrets = [
            encoded.clone(),
            BASE64_STANDARD.encode(secret),
            percent_encoded(secret),
            secret.to_owned(),
        ];
        let secrets = secrets.into_iter().filter(|secret| secret.len() >= MIN_SCRUBBED);
        Authorization {
            header: format!("Basic {encoded}").into(),
            secrets: secrets.map(SecretString::from).collect(),
        }
    }
}

/// Whether a connection to the host of a URL does not leave this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// As a URL would carry it (RFC 3986, section 2.1).
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(url: &str, token: Option<&str>) -> Option<String> {
        let url = gix::url::parse(url).expect("a URL");
        let authorization = Authorization::new(&url, token.map(SecretString::from).as_ref()).expect("no error")?;
        let value = authorization
            .header()
            .expose_secret()
            .strip_prefix("Basic ")?
            .to_owned();
        Some(String::from_utf8(BASE64_STANDARD.decode(value).expect("base64")).expect("UTF-8"))
    }

    fn taken(value: &str) -> Result<Option<String>, Error> {
        let token = token(|name| (name == "GITHUB_PAT").then(|| value.into()))?;
        Ok(token.map(|token| token.expose_secret().to_owned()))
    }

    #[test]
    fn the_token_goes_with_a_user_unless_the_url_says_otherwise() {
        let cases = [
            ("https://host/r.git", None, None),
            ("https://host/r.git", Some("token"), Some("x-access-token:token")),
            ("https://me@host/r.git", Some("token"), Some("me:token")),
            ("https://me:word@host/r.git", Some("token"), Some("me:word")),
            ("https://me:p%40ss@host/r.git", None, Some("me:p@ss")),
            ("https://me@host/r.git", None, Some("me:")),
        ];
        for (url, token, expected) in cases {
            assert_eq!(header(url, token).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn plain_http_carries_credentials_on_loopback_only() {
        let token = SecretString::from("canary");
        for host in ["127.0.0.1", "127.9.9.9:80", "localhost", "LOCALHOST:8080", "[::1]:80"] {
            let url = gix::url::parse(format!("http://{host}/r.git").as_str()).expect("a URL");
            assert!(
                Authorization::new(&url, Some(&token)).expect("allowed").is_some(),
                "{host}"
            );
        }
        for host in [
            "example.com",
            "128.0.0.1",
            "[::2]",
            "localhost.example.com",
            "127.0.0.1.example.com",
        ] {
            let url = gix::url::parse(format!("http://{host}/r.git").as_str()).expect("a URL");
            let error = Authorization::new(&url, Some(&token)).expect_err(host);
            assert_eq!(error.outcome(), Outcome::Misconfigured, "{host}");
        }
    }

    #[test]
    fn a_token_that_cannot_be_one_is_refused_without_being_shown() {
        assert_eq!(taken("").expect("none"), None);
        assert_eq!(taken("canary").expect("a token").as_deref(), Some("canary"));
        for bad in ["canary\n", "can\rary", "can\0ary"] {
            let error = taken(bad).expect_err("a control character");
            assert_eq!(error.outcome(), Outcome::Misconfigured);
            assert!(
                error.to_string().contains("GITHUB_PAT") && !error.to_string().contains("can"),
                "{error}"
            );
        }
    }

    #[test]
    fn no_form_of_the_secret_survives_scrubbing_or_debug() {
        let url = gix::url::parse("https://host/r.git").expect("a URL");
        let authorization = Authorization::new(&url, Some(&"can/ary+".into()))
            .expect("allowed")
            .expect("some");
        let forms = [
            "can/ary+".to_owned(),
            "can%2Fary%2B".to_owned(),
            BASE64_STANDARD.encode("can/ary+"),
            BASE64_STANDARD.encode("x-access-token:can/ary+"),
        ];
        for form in forms {
            assert_eq!(authorization.scrub(&format!("a {form} b")), "a *** b");
            assert!(!format!("{authorization:?}").contains(&form));
        }
    }
}
