//! What proves to a server over HTTP who we are, as HTTP Basic authentication (RFC 7617) or as it is configured. The first
//! of these counts:
//!
//! 1. User and password of the URL; a user without password goes with the token.
//! 2. The token in `GITHUB_PAT`, else in the file that `GITHUB_PAT_FILE` names.
//! 3. `http.extraHeader` or `http.<url>.extraHeader` with an `Authorization` in it.
//! 4. `NETRC`, else `~/.netrc` (curl does the same).
//! 5. `credential.helper` programs: before a push, and when a server asks a reader (HTTP 401). What they gave is stored
//!    when the server takes it, and erased when it does not (gitcredentials).
//! 6. A user of the URL that nobody has a password for: a token in the place of the user.
//!
//! A client certificate (`http.sslCert`) goes beside any of them. Secrets are in memory only, in [`secrecy`] types, and go
//! over plain http to loopback only, unless `stargate.insecureHttp` says that the network is trusted.
use std::net::IpAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use super::helpers::Helpers;
use super::http::Options;
use super::settings::Settings;

/// The user that goes with a token; servers look at the token only.
const TOKEN_USER: &str = "x-access-token";

/// Secrets shorter than this are not looked for in texts: they would match half of every sentence.
const MIN_SCRUBBED: usize = 4;

/// So many bytes from the start of a secret are a secret, too.
const MIN_START: usize = 8;

/// What is sent to one server, and what must not be seen of it.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The value of the `Authorization` header.
    header: Option<SecretString>,
    /// Whom to ask when the server wants to know who we are.
    helpers: Option<Helpers>,
    /// What is sent when they do not know.
    otherwise: Option<Identity>,
    secrets: Secrets,
}

impl Credentials {
    /// What there is for `url`, in the order of this module.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when it would cross a network in the clear, or cannot be put into a header.
    pub(super) fn find(url: &gix::Url, settings: &Settings, options: &Options) -> Result<Self, Error> {
        let mut secrets = Secrets::default();
        options.secrets().for_each(|secret| secrets.add(secret));
        let mut credentials = Credentials {
            header: None,
            helpers: None,
            otherwise: None,
            secrets,
        };
        let travels = may_travel(url, options);
        if !options.headers.is_empty() {
            travels.map_err(Error::from)?;
        }
        let given = Identity::given(url, settings.token.as_ref());
        if let Some(identity) = given {
            travels.map_err(Error::from)?;
            credentials.send(&identity)?;
        } else if let Some(header) = &options.authorization {
            travels.map_err(Error::from)?;
            credentials.header = Some(header.clone());
        } else if let Some(identity) = settings.netrc_identity(url)? {
            travels.map_err(Error::from)?;
            credentials.send(&identity)?;
        } else {
            // In the clear nobody is asked, so that a mirror for everybody can be read.
            credentials.helpers = settings.helpers(url)?.filter(|_| travels.is_ok());
            credentials.otherwise = Identity::lone_user(url);
            if credentials.otherwise.is_some() {
                travels.map_err(Error::from)?;
            }
            if credentials.helpers.is_none() {
                credentials.give_otherwise()?;
            }
        }
        Ok(credentials)
    }

    /// The `Authorization` header's value, if there is one by now.
    pub(super) fn header(&self) -> Option<&SecretString> {
        self.header.as_ref()
    }

    /// Asks helpers, once, where there is nothing to send yet. Whether there is something now.
    ///
    /// # Errors
    /// What a helper gives cannot be put into a header.
    pub(super) fn ask(&mut self) -> Result<bool, Error> {
        if self.header.is_some() {
            return Ok(false);
        }
        let Some(helpers) = &mut self.helpers else {
            return Ok(false);
        };
        match helpers.ask() {
            Some(identity) => self.send(&identity)?,
            None => self.give_otherwise()?,
        }
        Ok(self.header.is_some())
    }

    /// The server knows us: helpers may keep what they gave.
    pub(super) fn accepted(&mut self) {
        self.helpers.iter_mut().for_each(Helpers::store);
    }

    /// The server does not know us: helpers are to forget what they gave.
    pub(super) fn refused(&mut self) {
        self.helpers.iter_mut().for_each(Helpers::erase);
    }

    /// Hides what proves to a proxy who we are.
    pub(super) fn hide(&mut self, user: &str, password: &str) {
        self.secrets.add(password);
        self.secrets.add(&BASE64_STANDARD.encode(format!("{user}:{password}")));
    }

    /// `text`, which came from outside, without the secrets that it may echo.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secrets.scrub(text)
    }

    fn give_otherwise(&mut self) -> Result<(), Error> {
        match self.otherwise.take() {
            Some(identity) => self.send(&identity),
            None => Ok(()),
        }
    }

    fn send(&mut self, identity: &Identity) -> Result<(), Error> {
        let (user, password) = (identity.user.as_str(), identity.password.expose_secret());
        if user.contains(char::is_control) || password.contains(char::is_control) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the user or the password for the server has a control character in it",
            ));
        }
        // Without a password it is the user that is secret.
        self.secrets.add(if password.is_empty() { user } else { password });
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.secrets.add(&encoded);
        self.header = Some(format!("Basic {encoded}").into());
        Ok(())
    }
}

/// A user with a password, which may be a token.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) password: SecretString,
}

impl Identity {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Identity {
            user: user.to_owned(),
            password: password.into(),
        }
    }

    /// The user info of `url`, completed by `token`.
    fn given(url: &gix::Url, token: Option<&SecretString>) -> Option<Self> {
        match (url.user(), url.password(), token) {
            (user, Some(password), _) => Some(Identity::new(user.unwrap_or_default(), password)),
            (user, None, Some(token)) => Some(Identity::new(user.unwrap_or(TOKEN_USER), token.expose_secret())),
            (_, None, None) => None,
        }
    }

    /// A token in the place of the user.
    fn lone_user(url: &gix::Url) -> Option<Self> {
        url.user().map(|user| Identity::new(user, ""))
    }
}

/// What must not be seen, in every form in which it may come back.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        let forms = [secret.to_owned(), BASE64_STANDARD.encode(secret)];
        let forms = forms.into_iter().filter(|form| form.len() >= MIN_SCRUBBED);
        self.0.extend(forms.map(SecretString::from));
        // The longest first: it may hold another one.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
    }

    /// `text` without them, whichever of their characters are percent-encoded in it (RFC 3986, section 2.1).
    pub(super) fn scrub(&self, text: &str) -> String {
        let forms = self.0.iter().map(|form| form.expose_secret().as_bytes());
        let scrubbed = forms.fold(text.as_bytes().to_vec(), |text, form| without(&text, form));
        String::from_utf8_lossy(&scrubbed).into_owned()
    }
}

/// `text` with stars in every place of `secret`, or of its start: what it stands in may have been cut off.
fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (common, behind) = skip_common(rest, secret);
        if common == secret.len() || common >= MIN_START {
            out.extend_from_slice(b"***");
            rest = behind;
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

/// How many bytes of `secret` the start of `text` is, percent-encoded or not, and what comes after them.
fn skip_common<'a>(mut text: &'a [u8], secret: &[u8]) -> (usize, &'a [u8]) {
    for (common, &byte) in secret.iter().enumerate() {
        let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        text = match (text.first(), digit(1), digit(2)) {
            (Some(b'%'), Some(high), Some(low)) if high * 16 + low == u32::from(byte) => &text[3..],
            (Some(first), ..) if *first == byte => &text[1..],
            _ => return (common, text),
        };
    }
    (secret.len(), text)
}

/// Credentials would cross a network in the clear.
#[derive(Debug, Clone, Copy)]
pub(super) struct InTheClear;

impl From<InTheClear> for Error {
    fn from(_: InTheClear) -> Self {
        Error::new(
            ErrorKind::Misconfigured,
            "credentials are not sent over plain http, where anybody on the way can read them",
        )
        .with_hint("use the https URL of the repository; on a network that you trust, set stargate.insecureHttp")
    }
}

pub(super) fn may_travel(url: &gix::Url, options: &Options) -> Result<(), InTheClear> {
    let safe = url.scheme == gix::url::Scheme::Https || is_loopback(url.host().unwrap_or_default());
    match safe || options.insecure_http {
        true => Ok(()),
        false => Err(InTheClear),
    }
}

/// Whether a connection to the host of a URL does not leave this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::token;

    fn found(url: &str, token: Option<&str>) -> Result<Credentials, Error> {
        let mut settings = Settings::from_environment(|_| None)?;
        settings.token = token.map(SecretString::from);
        let url = gix::url::parse(url).expect("a URL");
        Credentials::find(&url, &settings, &Options::default())
    }

    fn header(url: &str, token: Option<&str>) -> Option<String> {
        let found = found(url, token).expect("no error");
        let value = found.header()?.expose_secret().strip_prefix("Basic ")?.to_owned();
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
    fn plain_http_carries_credentials_on_loopback_only_or_where_it_is_trusted() {
        for host in ["127.0.0.1", "127.9.9.9:80", "localhost", "LOCALHOST:8080", "[::1]:80"] {
            let found = found(&format!("http://{host}/r.git"), Some("canary")).expect("allowed");
            assert!(found.header().is_some(), "{host}");
        }
        for host in [
            "example.com",
            "128.0.0.1",
            "[::2]",
            "localhost.example.com",
            "127.0.0.1.example.com",
        ] {
            let url = format!("http://{host}/r.git");
            let error = found(&url, Some("canary")).expect_err(host);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{host}");
            assert!(found(&url, None).expect("nothing to send").header().is_none());
            let trusted = Options {
                insecure_http: true,
                ..Options::default()
            };
            let mut settings = Settings::from_environment(|_| None).expect("settings");
            settings.token = Some("canary".into());
            let url = gix::url::parse(url.as_str()).expect("a URL");
            assert!(
                Credentials::find(&url, &settings, &trusted)
                    .expect("trusted")
                    .header()
                    .is_some()
            );
        }
    }

    #[test]
    fn a_token_that_cannot_be_one_is_refused_without_being_shown() {
        assert_eq!(taken("").expect("none"), None);
        assert_eq!(taken("canary").expect("a token").as_deref(), Some("canary"));
        for bad in ["canary\n", "can\rary", "can\0ary"] {
            let error = taken(bad).expect_err("a control character");
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(
                error.to_string().contains("GITHUB_PAT") && !error.to_string().contains("can"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_file_that_is_named_must_hold_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let taken = |variable: &str| {
            let token = token(|name| match name {
                "GITHUB_PAT" => Some(variable.into()),
                "GITHUB_PAT_FILE" => Some(path.clone().into()),
                _ => None,
            });
            token.map(|token| token.map(|token| token.expose_secret().to_owned()))
        };
        let refused = |why: &str| {
            let error = taken("").expect_err(why);
            let said = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(
                said.contains(&path.display().to_string()) && said.contains(why),
                "{said}"
            );
            assert!(!said.contains("canary"), "{said}");
        };
        refused("cannot be read: No such file");
        assert_eq!(
            taken("first").expect("the file is not looked at").as_deref(),
            Some("first")
        );
        for (content, why) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("canary\ncanary\n", "has a line feed"),
        ] {
            std::fs::write(&path, content).expect("a file");
            refused(why);
        }
        std::fs::write(&path, "canary\n").expect("a file");
        assert_eq!(taken("").expect("a token").as_deref(), Some("canary"));
    }

    #[test]
    fn no_form_of_the_secret_survives_scrubbing_or_debug() {
        let found = found("https://host/r.git", Some("can/ary+")).expect("allowed");
        let forms = [
            "can/ary+".to_owned(),
            "can%2Fary%2B".to_owned(),
            "can%2fary+".to_owned(),
            "%63an%2Fary%2b".to_owned(),
            BASE64_STANDARD.encode("x-access-token:can/ary+")[..20].to_owned(),
            BASE64_STANDARD.encode("can/ary+"),
            BASE64_STANDARD.encode("x-access-token:can/ary+"),
        ];
        for form in forms {
            assert_eq!(found.scrub(&format!("a {form} b")), "a *** b");
            assert!(!format!("{found:?}").contains(&form));
        }
    }
}
