//! A key that signs events.
//!
//! The file of a key is PKCS#8 in PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it:
//!
//! ```text
//! -----BEGIN PRIVATE KEY-----
//! base64 of the key
//! -----END PRIVATE KEY-----
//! ```
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    Event, Json, Problem,
    envelope::Rules,
    new_problem, read_json,
    signature::{AUTHOR, SIGNATURE, did_key, message, signature_text},
};

/// Length of a private key in bytes.
pub const KEY_BYTES: usize = 32;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// PKCS#8 of an Ed25519 key, in DER, up to the key's own bytes (RFC 8410, section 7).
const DER: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An Ed25519 key.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

/// Error of reading a key. It does not say anything about the key's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not an unencrypted Ed25519 private key in PEM (PKCS#8)")]
pub struct NotAKey;

impl SigningKey {
    /// Reads the file of a key.
    ///
    /// # Errors
    /// [`NotAKey`]
    pub fn from_pem(text: &SecretString) -> Result<Self, NotAKey> {
        let text = text.expose_secret().trim();
        let body = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
        let body: SecretString = body.ok_or(NotAKey)?.split_whitespace().collect::<String>().into();
        let der = BASE64_STANDARD.decode(body.expose_secret()).map_err(|_| NotAKey)?;
        let der = SecretSlice::from(der);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.expose_secret());
        Ok(SigningKey(pair.map_err(|_| NotAKey)?))
    }

    /// Returns the `did:key` of the author who has this key.
    pub fn author(&self) -> String {
        did_key(self.0.public_key().as_ref())
    }

    /// Signs an event. Adds its `author_identity_id` if it has none.
    ///
    /// # Errors
    /// Returns all defects of the event. It must not have another author, nor a signature.
    pub fn sign(&self, json: &[u8]) -> Result<Event, Vec<Problem>> {
        let author = self.author();
        let mut members = match read_json(json) {
            Ok(Json::Object(members)) => members,
            Ok(_) => return Err(vec![new_problem("", "is not a JSON object")]),
            Err(problem) => return Err(vec![new_problem("", problem)]),
        };
        match members.get(AUTHOR) {
            None => members = members.with(AUTHOR, Json::String(author)),
            Some(Json::String(given)) if *given == author => {}
            Some(_) => return Err(vec![new_problem(AUTHOR, format!("is not {author}, whose key this is"))]),
        }
        if !matches!(members.get(SIGNATURE), None | Some(Json::Null)) {
            return Err(vec![new_problem(SIGNATURE, "is there already")]);
        }
        let message = message(&members).map_err(|problem| vec![problem])?;
        let signature = signature_text(self.0.sign(&message).as_ref());
        Event::from_members(members.with(SIGNATURE, Json::String(signature)), Rules::Posted)
    }
}

/// Returns the file of a key with these bytes.
pub fn pem(key: &[u8; KEY_BYTES]) -> SecretString {
    let body = BASE64_STANDARD.encode([&DER[..], key].concat());
    format!("{BEGIN}\n{body}\n{END}\n").into()
}
