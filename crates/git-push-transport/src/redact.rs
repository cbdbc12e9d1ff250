//! URLs without the secrets in them.
use std::fmt;

use bstr::ByteSlice;
use gix::url::Scheme;

/// Returns `url` without possible secrets: the password; the user, except for ssh; query and fragment, for http and
/// https.
#[must_use]
pub fn redacted(url: &gix::Url) -> gix::Url {
    let mut redacted = url.clone();
    redacted.set_password(None);
    if url.scheme != Scheme::Ssh {
        redacted.set_user(None);
    }
    if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
        return redacted;
    }
    let text = redacted.to_bstring();
    let Some(end) = text.find_byteset(b"?#") else {
        return redacted;
    };
    gix::url::parse(text[..end].as_bstr()).unwrap_or_else(|_| {
        // The host alone.
        redacted.path = "/".into();
        redacted
    })
}

/// A URL as it is shown: [`redacted`], without any user, and safe for a terminal.
pub struct Shown<'a>(
    /// The URL, which may contain secrets.
    pub &'a gix::Url,
);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = redacted(self.0);
        url.set_user(None);
        f.write_str(&git_push::cleaned(&url.to_bstring()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_stays() {
        let cases = [
            ("https://me:canary@host/o/r.git?key=canary", "https://host/o/r.git"),
            ("https://host:8443/o/r%3F.git#canary", "https://host:8443/o/r%3F.git"),
            ("https://canary@host?canary", "https://host/"),
            ("https://host/a@b", "https://host/a@b"),
            ("ssh://git:canary@host/r.git", "ssh://git@host/r.git"),
            ("git@host:o/r.git", "git@host:o/r.git"),
            ("git://canary@host/r?s", "git://host/r?s"),
            ("../r.git", "../r.git"),
            ("/srv/a@b?c.git", "/srv/a@b?c.git"),
            ("file:///srv/r.git", "file:///srv/r.git"),
        ];
        for (url, expected) in cases {
            let parsed = gix::url::parse(url).expect(url);
            assert_eq!(redacted(&parsed).to_bstring(), expected, "{url}");
        }
        let ssh = gix::url::parse("ssh://me:canary@host/r.git").expect("a URL");
        assert_eq!(Shown(&ssh).to_string(), "ssh://host/r.git");
    }
}
