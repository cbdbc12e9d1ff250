//! Access control. With tokens, only their holders have access. Without tokens, only programs of this machine have
//! access, and a web page in a local browser has none.
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
};
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::{
    answer::ErrorResponse,
    tokens::{self, Hash, Right, Token, TokenFileError},
};
use crate::http_server::{bearer, has_several_hosts, is_local};

/// Query parameter with a token (RFC 6750, section 2.3).
pub const QUERY: &str = "access_token";

/// Clients that are allowed to send requests.
pub enum Access {
    /// Clients with a token.
    Tokens(Tokens),
    /// Clients that address the relay by a loopback name. Streams end when the number changes.
    Loopback(watch::Sender<u64>),
}

/// The tokens that are accepted, by their hashes.
pub struct Tokens {
    known: RwLock<HashMap<Hash, Arc<Token>>>,
    /// Hash of the token that allows everything.
    owner: Option<Hash>,
    file: Option<PathBuf>,
    /// Accept a token as the query parameter [`QUERY`], too.
    in_query: bool,
    start: Instant,
    /// Number of times that the file was read again.
    reloads: watch::Sender<u64>,
}

/// Rights of a request.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its token. `None` allows everything.
    token: Option<Arc<Token>>,
    /// Changes when the tokens are read again after the check, or a policy is set.
    pub reloads: watch::Receiver<u64>,
}

/// Sources of tokens.
#[derive(Debug, Default)]
pub struct TokenSources<'a> {
    /// Token that allows everything.
    pub owner: Option<SecretString>,
    /// File of tokens ([`tokens`]).
    pub file: Option<&'a Path>,
    /// Accept a token as the query parameter [`QUERY`], too.
    pub in_query: bool,
}

/// Error that keeps a relay from listening.
#[derive(Debug, thiserror::Error)]
pub enum NoAccess {
    /// Other machines could reach the relay.
    #[error("a relay that other machines can reach requires a token")]
    TokenNeeded,
    /// Tokens are accepted in the query, and there is none.
    #[error("tokens are accepted in the query, but there is no token")]
    NoTokenForQuery,
    /// The token cannot be sent in a header.
    #[error("the token contains characters that are not allowed in a header")]
    BadToken,
    /// The file of tokens cannot be used.
    #[error(transparent)]
    File(#[from] TokenFileError),
}

impl Access {
    /// Returns the access control of a relay that listens at `ip`, with these tokens.
    ///
    /// # Errors
    /// [`NoAccess`]
    pub fn new(ip: IpAddr, sources: TokenSources<'_>) -> Result<Self, NoAccess> {
        let visible = |token: &SecretString| token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        let owner = sources.owner.filter(|token| !token.expose_secret().is_empty());
        match (&owner, sources.file) {
            (Some(token), _) if !visible(token) => return Err(NoAccess::BadToken),
            (None, None) if sources.in_query => return Err(NoAccess::NoTokenForQuery),
            (None, None) if ip.is_loopback() => return Ok(Access::Loopback(watch::Sender::default())),
            (None, None) => return Err(NoAccess::TokenNeeded),
            _ => {}
        }
        let tokens = Tokens {
            known: RwLock::default(),
            owner: owner.map(|token| hash(&token)),
            file: sources.file.map(Path::to_owned),
            in_query: sources.in_query,
            start: Instant::now(),
            reloads: watch::Sender::default(),
        };
        tokens.reload()?;
        Ok(Access::Tokens(tokens))
    }

    /// Checks a request, and returns its rights.
    ///
    /// # Errors
    /// Returns the response to a request that is not allowed.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<Grant, ErrorResponse> {
        if has_several_hosts(headers) {
            let problem = "more than one header Host";
            return Err(ErrorResponse::new(StatusCode::MISDIRECTED_REQUEST, problem));
        }
        match self {
            Access::Tokens(tokens) => tokens.check(headers, uri),
            Access::Loopback(reloads) if is_local(headers) => Ok(Grant {
                token: None,
                reloads: reloads.subscribe(),
            }),
            Access::Loopback(_) => Err(ErrorResponse::new(
                StatusCode::MISDIRECTED_REQUEST,
                "without a token, the relay accepts only localhost or a loopback address in the header Host",
            )),
        }
    }

    /// Returns true for a query parameter that is for the access control.
    pub fn takes(&self, parameter: &str) -> bool {
        matches!(self, Access::Tokens(tokens) if tokens.in_query) && parameter == QUERY
    }

    /// Reads the file of tokens again; returns the number of tokens, or `None` if no file is configured. Streams end,
    /// so that their clients reconnect with a valid token.
    ///
    /// # Errors
    /// The file cannot be used, and the tokens stay as they were.
    pub fn reload(&self) -> Result<Option<usize>, TokenFileError> {
        match self {
            Access::Tokens(tokens) if tokens.file.is_some() => tokens.reload().map(Some),
            _ => Ok(None),
        }
    }

    /// Ends all streams, so that their clients reconnect and are checked again.
    pub fn end_streams(&self) {
        let (Access::Tokens(Tokens { reloads, .. }) | Access::Loopback(reloads)) = self;
        reloads.send_modify(|reloads| *reloads += 1);
    }
}

impl Tokens {
    fn reload(&self) -> Result<usize, TokenFileError> {
        let mut known = match &self.file {
            Some(file) => tokens::read(file)?,
            None => HashMap::new(),
        };
        let count = known.len();
        known.extend(self.owner.map(|owner| (owner, Arc::new(Token::owner()))));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        self.reloads.send_modify(|reloads| *reloads += 1);
        Ok(count)
    }

    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<Grant, ErrorResponse> {
        let unauthorized = |problem| {
            ErrorResponse::new(StatusCode::UNAUTHORIZED, problem).with(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"relay\""),
            )
        };
        let given = bearer(headers).map(SecretString::from);
        let given = given.or_else(|| self.in_query.then(|| of_query(uri)).flatten());
        let given = given.ok_or_else(|| unauthorized("the header Authorization: Bearer TOKEN is required"))?;
        // Before the look-up: a stream ends even if the tokens are read again right after it.
        let reloads = self.reloads.subscribe();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let token = known.get(&hash(&given)).cloned();
        drop(known);
        let token = token.ok_or_else(|| unauthorized("the token is wrong"))?;
        match token.count(self.start.elapsed()) {
            Ok(()) => Ok(Grant {
                token: Some(token),
                reloads,
            }),
            Err(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let problem = "the token has exceeded its requests per minute";
                Err(ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, problem)
                    .with(header::RETRY_AFTER, HeaderValue::from(seconds)))
            }
        }
    }
}

impl Grant {
    /// Token of the request; `None` without tokens.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    /// Returns true if the request may do this with the feed, by its token.
    pub fn allows(&self, right: Right, feed: &str) -> bool {
        self.token.as_ref().is_none_or(|token| token.allows(right, feed))
    }

    /// Returns true if the request may do this with some feed.
    pub fn has(&self, right: Right) -> bool {
        self.token.as_ref().is_none_or(|token| token.has(right))
    }

    /// Name of the token; `None` without tokens.
    pub fn name(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.name.as_str())
    }

    /// Checks that the request may do this with the feed, by its token.
    ///
    /// # Errors
    /// Returns the response to a request without this right.
    pub fn check(&self, right: Right, feed: &str) -> Result<(), ErrorResponse> {
        if self.allows(right, feed) {
            return Ok(());
        }
        let problem = match right {
            Right::Read => "the token may not read this feed",
            Right::Write => "the token may not write to this feed",
            Right::Admin => "the token may not create or change this feed",
        };
        Err(ErrorResponse::new(StatusCode::FORBIDDEN, problem))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Tokens(_) => "Tokens",
            Access::Loopback(_) => "Loopback",
        })
    }
}

/// Hash under which a token is known. It is looked up, not compared: the time says nothing about the token.
fn hash(token: &SecretString) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.expose_secret().as_bytes()).as_ref());
    hash
}

fn of_query(uri: &Uri) -> Option<SecretString> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let token = parameters.into_iter().find(|(name, _)| name == QUERY)?;
    Some(token.1.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Access with this token, or without any.
    fn access(ip: IpAddr, token: Option<&str>, in_query: bool) -> Result<Access, NoAccess> {
        let sources = TokenSources {
            owner: token.map(SecretString::from),
            file: None,
            in_query,
        };
        Access::new(ip, sources)
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn other_machines_need_a_token() {
        assert!(matches!(access(EVERYWHERE, None, false), Err(NoAccess::TokenNeeded)));
        assert!(matches!(
            access(EVERYWHERE, Some(""), false),
            Err(NoAccess::TokenNeeded)
        ));
        assert!(matches!(access(HERE, Some("a b"), false), Err(NoAccess::BadToken)));
        assert!(matches!(access(HERE, Some(""), false), Ok(Access::Loopback(_))));
        assert!(matches!(access(HERE, None, true), Err(NoAccess::NoTokenForQuery)));
        let access = access(EVERYWHERE, Some("secret"), false).expect("access");
        assert_eq!(format!("{access:?}"), "Tokens");
        let granted = |value: &str| {
            access
                .check(&headers(header::AUTHORIZATION, value), &Uri::default())
                .is_ok()
        };
        assert!(granted("Bearer secret") && granted("bearer  secret"));
        for bad in [
            "secret",
            "Bearer",
            "Bearer secre",
            "Bearer secrets",
            "Bearer ",
            "Basic secret",
        ] {
            assert!(!granted(bad), "{bad}");
        }
        assert!(access.check(&HeaderMap::new(), &Uri::default()).is_err());
    }

    #[test]
    fn a_token_in_the_query_is_accepted_only_if_asked_for() {
        let granted = |in_query: bool, query: &str| {
            let access = access(EVERYWHERE, Some("a+b&c"), in_query).expect("access");
            let uri: Uri = format!("/feeds?{query}").parse().expect("a URI");
            assert_eq!(access.takes(QUERY), in_query);
            access.check(&HeaderMap::new(), &uri).is_ok()
        };
        let right = "x=1&access_token=a%2Bb%26c";
        assert!(granted(true, right) && !granted(false, right));
        for wrong in [
            "access_token=a+b%26c",
            "access_token=",
            "access_token",
            "token=a%2Bb%26c",
            "",
        ] {
            assert!(!granted(true, wrong), "{wrong}");
        }
        let access = access(EVERYWHERE, Some("secret"), true).expect("access");
        let uri: Uri = "/feeds?access_token=secret".parse().expect("a URI");
        let wrong = headers(header::AUTHORIZATION, "Bearer wrong");
        assert!(access.check(&wrong, &uri).is_err(), "the header wins");
    }

    #[test]
    fn a_request_that_was_checked_before_the_tokens_were_read_again_notices_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens.json");
        std::fs::write(&file, r#"{"tokens":[]}"#).expect("a file");
        let sources = TokenSources {
            owner: Some("secret".into()),
            file: Some(file.as_path()),
            in_query: false,
        };
        let access = Access::new(EVERYWHERE, sources).expect("access");
        let checked = || {
            let headers = headers(header::AUTHORIZATION, "Bearer secret");
            access.check(&headers, &Uri::default()).expect("a grant").reloads
        };
        let before = checked();
        assert!(!before.has_changed().expect("it can"));
        access.reload().expect("tokens");
        assert!(before.has_changed().expect("it can") && !checked().has_changed().expect("it can"));
        std::fs::write(&file, "{").expect("a file");
        let before = checked();
        access.reload().expect_err("no tokens");
        assert!(!before.has_changed().expect("it can"), "the tokens stay as they were");
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_answered() {
        let access = access(HERE, None, false).expect("access");
        let granted = |value: &str| access.check(&headers(header::HOST, value), &Uri::default()).is_ok();
        for good in [
            "localhost",
            "LOCALHOST:3000",
            "127.0.0.1:3000",
            "127.1.2.3",
            "[::1]:3000",
            "[::1]",
        ] {
            assert!(granted(good), "{good}");
        }
        for bad in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1:3000",
            "[::2]",
            "[::1",
            "[::1]x",
            "localhost:80@example.com",
            "localhost:80.example.com",
            "127.0.0.1:3000:3000",
            "",
        ] {
            assert!(!granted(bad), "{bad}");
        }
        assert!(access.check(&HeaderMap::new(), &Uri::default()).is_err());
        let mut two = headers(header::HOST, "localhost");
        two.append(header::HOST, "localhost".parse().expect("a value"));
        assert!(access.check(&two, &Uri::default()).is_err());
    }
}
