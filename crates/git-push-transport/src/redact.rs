//! URLs without the secrets in them.
use std::fmt;

use bstr::{BStr, ByteSlice};
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

/// Returns the URL of a remote helper, without what may be a secret: user info, query, and all but the first word of a command
/// line. It is safe for a terminal.
pub(crate) fn shown_address(url: &BStr) -> String {
    let end = url.find_byteset(b" ?#").unwrap_or(url.len());
    let (shown, rest) = url.split_at(end);
    let shown = shown.as_bstr();
    let start = [&b"://"[..], b"::"]
        .iter()
        .find_map(|mark| Some(shown.find(mark)? + mark.len()));
    let start = start.unwrap_or_default();
    let length = shown[start..].find_byte(b'/').unwrap_or(shown.len() - start);
    let host = shown[start..start + length]
        .rfind_byte(b'@')
        .map_or(start, |at| start + at + 1);
    let mut text = git_push::cleaned(&[shown[..start].as_bytes(), &shown[host..]].concat());
    if rest.starts_with(b" ") {
        text.push_str(" …");
    }
    text
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Scheme::Ext | Scheme::Helper(_) | Scheme::HelperUrl(_) = self.0.scheme {
            return f.write_str(&shown_address(self.0.to_bstring().as_bstr()));
        }
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
        for (url, expected) in [
            ("ext::sh -c 'token=canary nc host'", "ext::sh …"),
            ("hg::https://me:canary@host/r?canary", "hg::https://host/r"),
            ("hg::me:canary@host/r@b", "hg::host/r@b"),
            ("s3://canary@bucket/r#canary", "s3://bucket/r"),
            ("fd::7,8/name", "fd::7,8/name"),
            ("x::", "x::"),
        ] {
            let parsed = gix::url::parse(url).expect(url);
            assert_eq!(Shown(&parsed).to_string(), expected);
        }
        let ssh = gix::url::parse("ssh://me:canary@host/r.git").expect("a URL");
        assert_eq!(Shown(&ssh).to_string(), "ssh://host/r.git");
    }
}
