//! Removal of secrets from texts that a server sends.
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

/// Length below which a secret is not searched for: it would match parts of ordinary words.
const MIN_SCRUBBED: usize = 4;

/// Length from which the start of a secret counts as a secret, too.
const MIN_START: usize = 8;

/// Texts that must not be shown, in every form in which a server may echo them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Adds a secret.
    pub(crate) fn add(&mut self, secret: &str) {
        let forms = [secret.to_owned(), BASE64_STANDARD.encode(secret)];
        let forms = forms.into_iter().filter(|form| form.len() >= MIN_SCRUBBED);
        self.0.extend(forms.map(SecretString::from));
        // The longest first: it may contain another one.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
    }

    /// Adds a password and its form in Basic authentication. Without a password, the user is the secret.
    pub(crate) fn add_identity(&mut self, user: &str, password: &str) {
        self.add(if password.is_empty() { user } else { password });
        self.add(&BASE64_STANDARD.encode(format!("{user}:{password}")));
    }

    /// Adds the value of a header, and the part after its scheme (`Basic`, `Bearer`).
    pub(crate) fn add_header(&mut self, value: &str) {
        self.add(value);
        if let Some((_, alone)) = value.split_once(' ') {
            self.add(alone);
        }
    }

    /// Adds those of `other`.
    pub(crate) fn extend(&mut self, other: Secrets) {
        self.0.extend(other.0);
        self.0.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
    }

    /// Returns `text` without the secrets, also where their characters are percent-encoded (RFC 3986, section 2.1).
    pub(crate) fn scrub(&self, text: &str) -> String {
        let forms = self.0.iter().map(|form| form.expose_secret().as_bytes());
        let scrubbed = forms.fold(text.as_bytes().to_vec(), |text, form| without(&text, form));
        String::from_utf8_lossy(&scrubbed).into_owned()
    }
}

/// Replaces `secret`, or its start, with stars: the text may have been cut off in the middle of it.
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

/// Returns the number of bytes of `secret` that `text` starts with, percent-encoded or not, and the rest of `text`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_the_secret_survives_scrubbing_or_debug() {
        let mut secrets = Secrets::default();
        secrets.add_identity("x-access-token", "can/ary+");
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
            assert_eq!(secrets.scrub(&format!("a {form} b")), "a *** b");
            assert!(!format!("{secrets:?}").contains(&form));
        }
    }

    #[test]
    fn a_header_is_secret_with_and_without_its_scheme() {
        let mut secrets = Secrets::default();
        secrets.add_header("Bearer canary");
        assert_eq!(secrets.scrub("Bearer canary, canary"), "***, ***");
    }
}
