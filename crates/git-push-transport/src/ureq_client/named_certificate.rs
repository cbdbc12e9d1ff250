//! Trust in the server certificates that a file names, as git has it: the exact certificate of a server is trusted, even if
//! it is self-signed with the flag of an authority, or its issuer is unknown. rustls trusts issuers only.
use std::sync::Arc;

use git_push::{Error, ErrorKind};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use ureq::tls::{Certificate, ClientCert};

use super::purposes;

/// Verifier that trusts these certificates, and servers with certificates that they have issued.
#[derive(Debug)]
struct NamedCertificates {
    named: Vec<CertificateDer<'static>>,
    issuers: Arc<WebPkiServerVerifier>,
}

/// Creates the configuration of TLS that trusts the `named` certificates only.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if none of them can be read, or the client's key does not match its certificate.
pub(super) fn client_config(
    named: &[Certificate<'_>],
    client: Option<&ClientCert>,
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = NamedCertificates::new(named, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(client) = client else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = client.certs().iter().map(owned).collect();
    let key = PrivateKeyDer::try_from(client.private_key().der().to_vec()).map_err(unusable)?;
    Ok(Arc::new(builder.with_client_auth_cert(chain, key).map_err(unusable)?))
}

fn owned(certificate: &Certificate<'_>) -> CertificateDer<'static> {
    CertificateDer::from(certificate.der().to_vec())
}

fn unusable(error: impl std::fmt::Display) -> Error {
    let what = format!("the configured certificates cannot be used: {error}");
    Error::new(ErrorKind::Misconfigured, what)
        .with_hint("check the files of http.sslCAInfo or SSL_CERT_FILE, http.sslCert and http.sslKey")
}

impl NamedCertificates {
    fn new(named: &[Certificate<'_>], provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let named: Vec<_> = named.iter().map(owned).collect();
        let mut issuers = RootCertStore::empty();
        issuers.add_parsable_certificates(named.iter().cloned());
        let issuers = WebPkiServerVerifier::builder_with_provider(Arc::new(issuers), provider.clone());
        Ok(NamedCertificates {
            named,
            issuers: issuers.build().map_err(unusable)?,
        })
    }
}

/// Returns true if only the issuer was found wrong. webpki checks the dates of a certificate before that, but not always its
/// purposes.
fn is_about_the_issuer(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => is_authority_as_server(other),
        _ => false,
    }
}

/// Returns true for the certificate of an authority that a server presents as its own.
pub(super) fn is_authority_as_server(error: &rustls::OtherError) -> bool {
    matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for NamedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .issuers
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(error) if is_about_the_issuer(&error) && self.named.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                if !purposes::may_serve(end_entity) {
                    return Err(CertificateError::InvalidPurpose.into());
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ureq::tls::{PemItem, parse_pem};

    use super::*;

    /// A self-signed certificate of 127.0.0.1 with CA:TRUE, valid from 2026 to 2126, as `openssl req -x509` makes them.
    const SELF_SIGNED: &str = "\
-----BEGIN CERTIFICATE-----
MIIBZDCCAQugAwIBAgIUHlXV0hkyHpeT6ralxsQO9ebvc+0wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjgwOTU4MjdaGA8yMTI2MTEwNDA5NTgy
N1owDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCz9
Ra3TuYLSr5rhOz5dh1YBB+nVXgSVgQwEMvbhKOghc6hl2lHdZQURJ++KiLUZuOrc
z2vbUoTlY8DICLm/oXujQzBBMA8GA1UdEwEB/wQFMAMBAf8wDwYDVR0RBAgwBocE
fwAAATAdBgNVHQ4EFgQUN42ozZ0gAyNjcrnQsjpW/J0OVfowCgYIKoZIzj0EAwID
RwAwRAIgVYkg3TY5KoLiXHSgIk0rs80EYUB3lPtMnGqgIjCjA1QCICgsdeGmIKiX
7LUV3ajb6KJcvjaD/bNu5Rh+qFBNfgpu
-----END CERTIFICATE-----
";

    /// The same, for servers only.
    const FOR_SERVERS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUU8W/J0UO1EqKnMMUTmg9fYov+ikwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjgxNDE4MThaGA8yMTI2MTEwNDE0MTgx
OFowDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFy/
5Hk2vtZTKZMOGmXG6xBcNnhDTPo/hvZ8cdf0f8PPPpxbEttHNIchAh43+HOoNkt2
gKkJKvmSyuTLwKy4EZSjeTB3MB0GA1UdDgQWBBRhcIF1L4TzcFxvW3LV0O0FODQQ
+DAfBgNVHSMEGDAWgBRhcIF1L4TzcFxvW3LV0O0FODQQ+DAPBgNVHRMBAf8EBTAD
AQH/MA8GA1UdEQQIMAaHBH8AAAEwEwYDVR0lBAwwCgYIKwYBBQUHAwEwCgYIKoZI
zj0EAwIDSAAwRQIgC8nYcTNrBhWKBF5wV+r90nJBQGabgnzBENU56YDzJOwCIQD6
Xn6zmN7Ko6sPIObZwuE+WNIkxPI+4GEONYfrNrXFEA==
-----END CERTIFICATE-----
";

    /// The same, for clients only.
    const FOR_CLIENTS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIURkuhiED7H0YYjj1u1GUEYiTV20cwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjgxNDE4MThaGA8yMTI2MTEwNDE0MTgx
OFowDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOP+
cPvBxfqWtP9a+aFzKHdZ1Xkj4OmKuMSXATo5EOgF9UOtn+BjXTxhT5xUXyA0eHC1
U8+QYCokNW9TGA17fWejeTB3MB0GA1UdDgQWBBRuf6vpp+y4+Tk40YnWkKEJgeP9
uzAfBgNVHSMEGDAWgBRuf6vpp+y4+Tk40YnWkKEJgeP9uzAPBgNVHRMBAf8EBTAD
AQH/MA8GA1UdEQQIMAaHBH8AAAEwEwYDVR0lBAwwCgYIKwYBBQUHAwIwCgYIKoZI
zj0EAwIDSAAwRQIhAJklBMGncF7A5zOymuEdJcKdJ7dc8Z/w+7NAo3w28azPAiAz
MWTYlWPSUw1N7yBY3tjojORzBoBaZJs+Iv1o/BJung==
-----END CERTIFICATE-----
";

    /// Verifies the certificate for this server at this time, in seconds since the epoch.
    fn verify(named: &[Certificate<'_>], server: &str, now: u64) -> Result<(), rustls::Error> {
        verify_presented(named, &self_signed(), server, now)
    }

    fn verify_presented(
        named: &[Certificate<'_>],
        presented: &Certificate<'_>,
        server: &str,
        now: u64,
    ) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = NamedCertificates::new(named, &provider).expect("a certificate");
        let presented = owned(presented);
        let (server, now) = (ServerName::try_from(server).expect("a name"), Duration::from_secs(now));
        let now = UnixTime::since_unix_epoch(now);
        verifier
            .verify_server_cert(&presented, &[], &server, &[], now)
            .map(|_| ())
    }

    fn self_signed() -> Certificate<'static> {
        certificate(SELF_SIGNED)
    }

    fn certificate(text: &str) -> Certificate<'static> {
        match parse_pem(text.as_bytes()).next() {
            Some(Ok(PemItem::Certificate(certificate))) => certificate,
            _ => panic!("the text of a certificate"),
        }
    }

    #[test]
    fn a_named_certificate_is_trusted_for_its_name_and_its_time_only() {
        let named = [self_signed()];
        let valid = 1_800_000_000;
        verify(&named, "127.0.0.1", valid).expect("it is named");
        for (server, now) in [
            ("127.0.0.2", valid),
            ("localhost", valid),
            ("127.0.0.1", 1_000_000_000),
            ("127.0.0.1", 5_000_000_000),
        ] {
            verify(&named, server, now).expect_err("another name, or another time");
        }
    }

    #[test]
    fn a_named_certificate_is_trusted_for_its_purpose_only() {
        let verify = |text: &str| {
            let presented = certificate(text);
            verify_presented(std::slice::from_ref(&presented), &presented, "127.0.0.1", 1_800_000_000)
        };
        verify(FOR_SERVERS).expect("it is for servers");
        let error = verify(FOR_CLIENTS).expect_err("it is for clients");
        assert_eq!(error, CertificateError::InvalidPurpose.into());
        let der = certificate(FOR_SERVERS).der().to_vec();
        for length in 0..der.len() {
            assert!(!purposes::may_serve(&der[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_certificate_that_is_not_named_is_refused() {
        let mut other = self_signed().der().to_vec();
        // Another signature.
        *other.last_mut().expect("bytes") ^= 1;
        verify(&[Certificate::from_der(&other)], "127.0.0.1", 1_800_000_000).expect_err("not the same bytes");
    }
}
