//! Errors of ureq as sentences.
use std::io;

use git_push::{Error, ErrorKind};
use rustls::CertificateError;
use ureq::Timeout;

use super::named_certificate::is_authority_as_server;

use crate::http_client::{NoConnection, connection_failure};
use crate::settings::Settings;

/// Creates the error of a missing or incomplete answer.
pub(super) fn lost(error: &ureq::Error, settings: &Settings) -> Error {
    if let Some(error) = tls_error(error) {
        return tls(error);
    }
    if let ureq::Error::ConnectProxyFailed(why) = error
        && why.contains("407")
    {
        let what = "the proxy asks for credentials, or refuses those in its URL (HTTP 407)";
        return Error::new(ErrorKind::Misconfigured, what).with_hint("put user and password into the URL of the proxy");
    }
    let what = match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("could not connect within {:?}", settings.connect_timeout)
        }
        ureq::Error::Timeout(_) => format!("the server was silent for {:?}", settings.idle_timeout),
        ureq::Error::HostNotFound => "the host name cannot be resolved".into(),
        ureq::Error::Io(error) => connection_failure(error),
        ureq::Error::Protocol(error) => format!("the server's answer is not HTTP: {error}"),
        ureq::Error::BodyExceedsLimit(limit) => {
            format!("the server's answer is larger than {} bytes", limit.saturating_sub(1))
        }
        ureq::Error::ConnectProxyFailed(why) => format!("the proxy does not connect to the server: {why}"),
        other => format!("the exchange with the server failed: {other}"),
    };
    let lost = Error::new(ErrorKind::Transient, what);
    if has_no_connection(error) {
        return lost.with_source(NoConnection);
    }
    lost
}

/// Returns true if nothing can have been sent.
fn has_no_connection(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) | ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let what = format!("the server's certificate is not trusted: {}", untrusted(why));
            Error::new(ErrorKind::Misconfigured, what).with_hint(
                "name the file with the certificate of its authority, or with the certificate itself, in SSL_CERT_FILE \
                 or http.sslCAInfo",
            )
        }
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => {
            let what = format!("the server does not speak TLS, or none of its versions is supported: {error}");
            Error::new(ErrorKind::Misconfigured, what).with_hint("check the scheme and the port of the URL")
        }
        other => Error::new(ErrorKind::Transient, format!("the TLS connection failed: {other}")),
    }
}

/// Returns the reason in words, where rustls has only the name of a value.
fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "its issuer is unknown".into(),
        CertificateError::BadSignature => "its signature is invalid".into(),
        CertificateError::BadEncoding => "it is not encoded correctly".into(),
        CertificateError::Revoked => "it is revoked".into(),
        CertificateError::Other(other) if is_authority_as_server(other) => {
            "it is self-signed, or that of an authority".into()
        }
        CertificateError::Other(other) => format!("it is invalid ({})", other.0),
        other => other.to_string(),
    }
}
