//! Certificates: those to trust, and the one to present.
use std::{
    fs,
    path::{Path, PathBuf},
};

use git_push::{Error, ErrorKind};
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, ClientCert, PemItem, parse_pem};

use crate::http_config::HttpConfig;
use crate::settings::Settings;

/// Reads the certificates to trust: those of the configured file, else those of the system, else, on a system without any, the
/// embedded ones of Mozilla.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the configured file has none.
pub(super) fn trust_roots(config: &HttpConfig, settings: &Settings) -> Result<Vec<Certificate<'static>>, Error> {
    let own = |certificates: &[CertificateDer<'_>]| {
        let own = |der| Certificate::from_der(der).to_owned();
        certificates.iter().map(|der| own(der)).collect()
    };
    let Some(file) = file(config, settings) else {
        let system = rustls_native_certs::load_native_certs().certs;
        let embedded = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        return Ok(if system.is_empty() { own(embedded) } else { own(&system) });
    };
    let loaded = rustls_native_certs::load_certs_from_paths(Some(file), None);
    if loaded.certs.is_empty() {
        let why = loaded.errors.first().map(|error| format!(": {error}"));
        let why = why.unwrap_or_default();
        let what = format!("no certificate could be read from {}{why}", file.display());
        return Err(Error::new(ErrorKind::Misconfigured, what)
            .with_hint("set SSL_CERT_FILE or http.sslCAInfo to a file of certificates in PEM format"));
    }
    Ok(own(&loaded.certs))
}

/// Returns true if a setting names the certificates to trust.
pub(super) fn names_certificates(config: &HttpConfig, settings: &Settings) -> bool {
    file(config, settings).is_some()
}

/// Returns the configured file of certificates to trust.
fn file<'a>(config: &'a HttpConfig, settings: &'a Settings) -> Option<&'a PathBuf> {
    config.ca_file.as_ref().or(settings.ca_file.as_ref())
}

/// Reads the certificate to present, with its key.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if one of them cannot be read. The text names the file.
pub(super) fn client_certificate(config: &HttpConfig) -> Result<Option<ClientCert>, Error> {
    let Some([certificate, key]) = &config.client_certificate else {
        return Ok(None);
    };
    let mut chain = Vec::new();
    for item in pem(certificate, "http.sslCert")? {
        if let PemItem::Certificate(certificate) = item {
            chain.push(certificate);
        }
    }
    if chain.is_empty() {
        let why = "it contains no certificate in PEM format";
        return Err(unusable(certificate, "http.sslCert", why));
    }
    let keys = pem(key, "http.sslKey")?.into_iter();
    let mut keys = keys.filter_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    let why = "it contains no key in PEM format, or the key is encrypted";
    let found = keys.next().ok_or_else(|| unusable(key, "http.sslKey", why))?;
    Ok(Some(ClientCert::new_with_certs(&chain, found)))
}

fn pem(path: &Path, key: &str) -> Result<Vec<PemItem<'static>>, Error> {
    let bytes = fs::read(path).map_err(|error| unusable(path, key, &error.to_string()))?;
    let items: Result<Vec<_>, _> = parse_pem(&bytes).collect();
    items.map_err(|error| unusable(path, key, &error.to_string()))
}

fn unusable(path: &Path, key: &str, why: &str) -> Error {
    let what = format!("{} of {key} cannot be used: {why}", path.display());
    Error::new(ErrorKind::Misconfigured, what)
        .with_hint(format!("set {key} to a file in PEM format without encryption"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let settings = Settings {
            ca_file: Some(file.path().to_owned()),
            ..Settings::default()
        };
        let error = trust_roots(&HttpConfig::default(), &settings).expect_err("no certificate");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        let path = file.path().display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
    }

    #[test]
    fn there_are_trust_roots_without_any_setting() {
        let roots = trust_roots(&HttpConfig::default(), &Settings::default());
        assert!(!roots.expect("roots").is_empty());
    }
}
