//! Access control: with a token, its holders; without, only programs of this machine, and no web page in a local browser.
use std::{fmt, net::IpAddr};

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode, Uri, header},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::answer::ErrorResponse;

/// Query parameter with a token (RFC 6750, section 2.3).
pub const QUERY: &str = "access_token";

/// Clients that are allowed to send requests.
pub enum Access {
    /// Clients with this token.
    Token {
        /// The token.
        token: SecretString,
        /// Accept the token as the query parameter [`QUERY`], too.
        in_query: bool,
    },
    /// Clients that address the relay by a loopback name.
    Loopback,
}

/// Error that keeps a relay from listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAccess {
    /// Other machines could reach the relay.
    #[error("a relay that other machines can reach requires a token")]
    TokenNeeded,
    /// The token cannot be sent in a header.
    #[error("the token contains characters that are not allowed in a header")]
    BadToken,
}

impl Access {
    /// Returns the access control of a relay that listens at `ip`, with this token, which may be in a query.
    ///
    /// # Errors
    /// [`NoAccess`]
    pub fn new(ip: IpAddr, token: Option<SecretString>, in_query: bool) -> Result<Self, NoAccess> {
        let visible = |token: &SecretString| token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        match token.filter(|token| !token.expose_secret().is_empty()) {
            Some(token) if visible(&token) => Ok(Access::Token { token, in_query }),
            Some(_) => Err(NoAccess::BadToken),
            None if ip.is_loopback() => Ok(Access::Loopback),
            None => Err(NoAccess::TokenNeeded),
        }
    }

    /// Checks whether a request is allowed.
    ///
    /// # Errors
    /// The response to a request that is not.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ErrorResponse> {
        let unauthorized = |problem| {
            ErrorResponse::new(StatusCode::UNAUTHORIZED, problem)
                .with(header::WWW_AUTHENTICATE, "Bearer realm=\"relay\"")
        };
        // Two programs on the way could each believe another one.
        if headers.get_all(header::HOST).iter().count() > 1 {
            let problem = "more than one header Host";
            return Err(ErrorResponse::new(StatusCode::MISDIRECTED_REQUEST, problem));
        }
        match self {
            Access::Token { token, in_query } => {
                let given = bearer(headers).map(SecretString::from);
                match given.or_else(|| in_query.then(|| of_query(uri)).flatten()) {
                    Some(given) if is_same(&given, token) => Ok(()),
                    Some(_) => Err(unauthorized("the token is wrong")),
                    None => Err(unauthorized("the header Authorization: Bearer TOKEN is required")),
                }
            }
            // Any site can give its name the address of this machine (DNS rebinding); the browser then sends that name as Host.
            Access::Loopback if is_local(headers) => Ok(()),
            Access::Loopback => Err(ErrorResponse::new(
                StatusCode::MISDIRECTED_REQUEST,
                "without a token, the relay accepts only localhost or a loopback address in the header Host",
            )),
        }
    }
}

impl Access {
    /// Returns true for a query parameter that is for the access control.
    pub fn takes(&self, parameter: &str) -> bool {
        matches!(self, Access::Token { in_query: true, .. }) && parameter == QUERY
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Token { .. } => "Token",
            Access::Loopback => "Loopback",
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn of_query(uri: &Uri) -> Option<SecretString> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let token = parameters.into_iter().find(|(name, _)| name == QUERY)?;
    Some(token.1.into())
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    let [one, other] = [one, other].map(|token| token.expose_secret().as_bytes());
    one.ct_eq(other).into()
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (name, ""),
            Some((name, port)) => (name, port.strip_prefix(':').unwrap_or("?")),
            None => return false,
        },
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn other_machines_need_a_token() {
        assert_eq!(Access::new(EVERYWHERE, None, false).unwrap_err(), NoAccess::TokenNeeded);
        assert_eq!(
            Access::new(EVERYWHERE, Some("".into()), false).unwrap_err(),
            NoAccess::TokenNeeded
        );
        assert_eq!(
            Access::new(HERE, Some("a b".into()), false).unwrap_err(),
            NoAccess::BadToken
        );
        assert!(matches!(
            Access::new(HERE, Some("".into()), false),
            Ok(Access::Loopback)
        ));
        let access = Access::new(EVERYWHERE, Some("secret".into()), false).expect("access");
        assert_eq!(format!("{access:?}"), "Token");
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
            let access = Access::new(EVERYWHERE, Some("a+b&c".into()), in_query).expect("access");
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
        let access = Access::new(EVERYWHERE, Some("secret".into()), true).expect("access");
        let uri: Uri = "/feeds?access_token=secret".parse().expect("a URI");
        let wrong = headers(header::AUTHORIZATION, "Bearer wrong");
        assert!(access.check(&wrong, &uri).is_err(), "the header wins");
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_answered() {
        let access = Access::new(HERE, None, false).expect("access");
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
