//! JSON web tokens of a GitHub App: RS256 (RFC 7515, RFC 7518, section 3.3; RFC 7519).
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::token::{AppKey, GithubApp, read_secret};

/// Seconds before now at which the token starts, for a clock that is a little ahead.
const BEFORE: i64 = 60;
/// Seconds for which the token is valid. GitHub takes at most ten minutes.
const LIFETIME: i64 = 9 * 60;

/// Names of the setting of the key.
const KEY: &str = "stargate.githubAppKey or STARGATE_GITHUB_APP_KEY_FILE";

/// Returns a token of the App that is valid at `now`.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the key cannot be read, or is not an RSA key in PEM format.
pub(crate) fn signed(app: &GithubApp, now: Timestamp) -> Result<SecretString, Error> {
    let claims = claims(&app.id, now.as_second());
    let [header, claims] =
        ["{\"alg\":\"RS256\",\"typ\":\"JWT\"}", &claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = signature(app, message.as_bytes())?;
    Ok(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into())
}

/// Returns the claims. The issuer is a number if it is an App ID, which older servers require, and a text if it is a client ID.
fn claims(id: &str, now: i64) -> String {
    let (from, until) = (now - BEFORE, now - BEFORE + LIFETIME);
    let issuer = id.parse::<u64>().map_or_else(|_| id.into(), serde_json::Value::from);
    serde_json::json!({ "iat": from, "exp": until, "iss": issuer }).to_string()
}

fn signature(app: &GithubApp, message: &[u8]) -> Result<Vec<u8>, Error> {
    let place = match &app.key {
        AppKey::File(path) => format!("the key of the GitHub App {} in {}", app.id, path.display()),
        AppKey::Pem(_) => format!("the key of the GitHub App {} in STARGATE_GITHUB_APP_KEY", app.id),
    };
    let unusable = |why: &str| {
        Error::new(ErrorKind::Misconfigured, format!("{place} cannot be used: {why}"))
            .with_hint("download a private key from the App's page, and use it unchanged")
    };
    let pem: SecretSlice<u8> = match &app.key {
        AppKey::File(path) => read_secret(path, KEY, "private key")?.into(),
        AppKey::Pem(pem) => pem.expose_secret().as_bytes().to_vec().into(),
    };
    let key = PrivateKeyDer::from_pem_slice(pem.expose_secret())
        .map_err(|_| unusable("it contains no private key in PEM format"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok();
    let signer = key.and_then(|key| key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]));
    let signer = signer.ok_or_else(|| unusable("it is not an RSA key of 2048 bits or more"))?;
    signer.sign(message).map_err(|_| unusable("it does not sign"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_id_is_a_number_and_a_client_id_a_text() {
        let parsed = |id: &str| -> serde_json::Value { serde_json::from_str(&claims(id, 1000)).expect("JSON") };
        assert_eq!(parsed("7"), serde_json::json!({"iat": 940, "exp": 1480, "iss": 7}));
        assert_eq!(parsed("Iv1.a")["iss"], "Iv1.a");
    }

    #[test]
    fn other_keys_are_refused_and_not_shown() {
        for pem in [
            "",
            "canary",
            "-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let app = GithubApp {
                id: "7".into(),
                key: AppKey::Pem(pem.into()),
            };
            let error = signed(&app, Timestamp::UNIX_EPOCH).expect_err("no key");
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(
                !error.to_string().contains("anary") && error.hint().is_some(),
                "{error}"
            );
        }
    }
}
