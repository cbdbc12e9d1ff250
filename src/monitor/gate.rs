//! Callers that may read: holders of the token, or without a token programs of this machine.
use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use secrecy::{ExposeSecret, SecretString};

use crate::http_server::{bearer, has_several_hosts, is_local};

/// Callers that may read.
pub enum Gate {
    /// Holders of the token with this hash.
    Token([u8; SHA256_OUTPUT_LEN]),
    /// Programs that address this machine by a loopback name.
    Loopback,
}

/// Error that keeps a monitor from listening.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Other machines could read.
    #[error("an address that other machines can reach requires a token")]
    TokenNeeded,
    /// The token cannot be sent in a header.
    #[error("the token contains characters that are not allowed in a header")]
    BadToken,
}

impl Gate {
    /// Returns the gate of a server that listens at `ip`. An empty token is none.
    ///
    /// # Errors
    /// [`GateError`]
    pub fn new(ip: IpAddr, token: Option<&SecretString>) -> Result<Self, GateError> {
        let token = token.map(ExposeSecret::expose_secret).filter(|token| !token.is_empty());
        match token {
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(GateError::BadToken),
            Some(token) => Ok(Gate::Token(hash(token))),
            None if ip.is_loopback() => Ok(Gate::Loopback),
            None => Err(GateError::TokenNeeded),
        }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// Returns the status and the reason if the request is not allowed.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if has_several_hosts(headers) {
            return Err((StatusCode::MISDIRECTED_REQUEST, "more than one header Host"));
        }
        match (self, bearer(headers)) {
            (Gate::Loopback, _) if is_local(headers) => Ok(()),
            (Gate::Loopback, _) => Err((
                StatusCode::MISDIRECTED_REQUEST,
                "without a token, only localhost or a loopback address is accepted in the header Host",
            )),
            (Gate::Token(token), Some(given)) if is_same(token, &hash(given)) => Ok(()),
            (Gate::Token(_), Some(_)) => Err((StatusCode::UNAUTHORIZED, "the token is wrong")),
            (Gate::Token(_), None) => Err((
                StatusCode::UNAUTHORIZED,
                "the header Authorization: Bearer TOKEN is required",
            )),
        }
    }
}

/// Compares hashes in a time that does not depend on them.
fn is_same(one: &[u8; SHA256_OUTPUT_LEN], other: &[u8; SHA256_OUTPUT_LEN]) -> bool {
    one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

fn hash(token: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::http::header::{AUTHORIZATION, HOST, HeaderName};

    use super::*;

    fn gate(ip: Ipv4Addr, token: Option<&str>) -> Result<Gate, GateError> {
        Gate::new(ip.into(), token.map(SecretString::from).as_ref())
    }

    fn status(gate: &Gate, headers: &[(HeaderName, &str)]) -> u16 {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value.parse().expect("a value"));
        }
        gate.check(&all).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn other_machines_need_a_token_and_browsers_a_loopback_name() {
        let (here, everywhere) = (Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED);
        for none in [None, Some("")] {
            assert!(matches!(gate(everywhere, none), Err(GateError::TokenNeeded)));
        }
        assert!(matches!(gate(here, Some("a b")), Err(GateError::BadToken)));
        let loopback = gate(here, None).expect("a gate");
        for (host, expected) in [
            ("localhost:9", 200),
            ("127.0.0.1", 200),
            ("[::1]:9", 200),
            ("example.com", 421),
        ] {
            assert_eq!(status(&loopback, &[(HOST, host)]), expected, "{host}");
        }
        assert_eq!(status(&loopback, &[]), 421);
        assert_eq!(status(&loopback, &[(HOST, "localhost"), (HOST, "example.com")]), 421);
        let token = gate(everywhere, Some("secret")).expect("a gate");
        for (value, expected) in [
            ("Bearer secret", 200),
            ("bearer secret", 200),
            ("Bearer secre", 401),
            ("secret", 401),
        ] {
            assert_eq!(
                status(&token, &[(AUTHORIZATION, value), (HOST, "example.com")]),
                expected,
                "{value}"
            );
        }
        assert_eq!(status(&token, &[(HOST, "localhost")]), 401);
    }
}
