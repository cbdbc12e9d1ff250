//! Host keys that are trusted: files of the format of OpenSSH's `known_hosts` (sshd(8), *SSH_KNOWN_HOSTS FILE FORMAT*), for
//! the built-in client.
//!
//! A host has the name `host`, or `[host]:port` if the port is not 22. As in OpenSSH, a key of `host` alone counts for its
//! other ports, too, unless one of these has keys of its own.
//!
//! # Limitations
//! - Certificates of hosts are not supported: a `@cert-authority` line trusts nothing here.
use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

/// The port of ssh.
pub(super) const PORT: u16 = 22;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// Counted from 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.line, self.file.display())
    }
}

/// A line about one host.
#[derive(Debug)]
struct Entry {
    marker: Marker,
    /// Has the port.
    is_exact: bool,
    /// The key, as on the wire. Empty if it cannot be read.
    key: Vec<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Trusted,
    Revoked,
    Authority,
}

/// Decision about a host key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is the known one.
    Known,
    /// No key of this type is known.
    Unknown,
    /// Another key of this type is known.
    Changed(Place),
    /// It must not be trusted.
    Revoked(Place),
    /// Only a certificate authority is known.
    Authority(Place),
}

/// Lines about one host.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

impl KnownHosts {
    /// Adds the lines of the file `file`, with this content, that are about `host` and `port`.
    pub(super) fn add(&mut self, file: &Path, content: &str, host: &str, port: u16) {
        let host = host.to_lowercase();
        let with_port = format!("[{host}]:{port}");
        for (number, line) in content.lines().enumerate() {
            let Some((marker, hosts, key)) = fields(line) else {
                continue;
            };
            let is_exact = names(hosts, if port == PORT { &host } else { &with_port });
            if is_exact || names(hosts, &host) {
                let place = Place {
                    file: file.to_owned(),
                    line: number + 1,
                };
                let key = STANDARD.decode(key).unwrap_or_default();
                self.entries.push(Entry {
                    marker,
                    is_exact,
                    key,
                    place,
                });
            }
        }
    }

    /// Decides about `key`, the key of the server as on the wire.
    pub(super) fn check(&self, key: &[u8]) -> Trust {
        let is_revoked = |entry: &&Entry| {
            // A revoked key that cannot be read could be this one.
            entry.marker == Marker::Revoked && (entry.key == key || entry.key.is_empty())
        };
        if let Some(entry) = self.entries.iter().find(is_revoked) {
            return Trust::Revoked(entry.place.clone());
        }
        let trusted: Vec<_> = self.trusted().collect();
        if trusted.iter().any(|entry| entry.key == key) {
            return Trust::Known;
        }
        let of_this_type = trusted.iter().find(|entry| key_type(&entry.key) == key_type(key));
        let authority = self.entries.iter().find(|entry| entry.marker == Marker::Authority);
        match (of_this_type, authority) {
            (Some(other), _) => Trust::Changed(other.place.clone()),
            (None, Some(authority)) if trusted.is_empty() => Trust::Authority(authority.place.clone()),
            (None, _) => Trust::Unknown,
        }
    }

    /// Returns the names of the types of the keys that are trusted.
    pub(super) fn types(&self) -> impl Iterator<Item = &[u8]> {
        self.trusted().map(|entry| key_type(&entry.key))
    }

    /// Returns the lines with keys for this port; if there are none, those for the host.
    fn trusted(&self) -> impl Iterator<Item = &Entry> {
        let is_key = |entry: &&Entry| entry.marker == Marker::Trusted && !entry.key.is_empty();
        let has_exact = self.entries.iter().filter(is_key).any(|entry| entry.is_exact);
        let keys = self.entries.iter().filter(is_key);
        keys.filter(move |entry| entry.is_exact || !has_exact)
    }
}

/// Returns the name of the type of a key on the wire (RFC 4253, section 6.6).
fn key_type(key: &[u8]) -> &[u8] {
    let name = key.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.get(..length)
    });
    name.unwrap_or_default()
}

/// Returns marker, hosts and key of a line; none if it is a comment, or incomplete.
fn fields(line: &str) -> Option<(Marker, &str, &str)> {
    let mut words = line.split_ascii_whitespace().peekable();
    if words.peek()?.starts_with('#') {
        return None;
    }
    let marker = match words.next_if(|word| word.starts_with('@')) {
        None => Marker::Trusted,
        Some("@revoked") => Marker::Revoked,
        Some("@cert-authority") => Marker::Authority,
        Some(_) => return None,
    };
    let (hosts, _type, key) = (words.next()?, words.next()?, words.next()?);
    Some((marker, hosts, key))
}

/// Returns true if the list of patterns, or the hash, names `host`.
fn names(hosts: &str, host: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return is_hash_of(hashed, host);
    }
    let mut is_named = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated, host) => return false,
            Some(_) => {}
            None => is_named |= matches(pattern, host),
        }
    }
    is_named
}

/// Returns true if `hashed` is `<salt>|<HMAC-SHA1 of the host>`, both in Base64.
fn is_hash_of(hashed: &str, host: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else {
        return false;
    };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    hmac::verify(&key, host.as_bytes(), &hash).is_ok()
}

/// Matches a pattern in which `*` is any text and `?` is any character. The case of letters does not count.
fn matches(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_lowercase().into_bytes();
    let host = host.as_bytes();
    let (mut at, mut in_host) = (0, 0);
    // Where to go on if the text after the last `*` does not match.
    let mut star: Option<(usize, usize)> = None;
    while in_host < host.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, in_host));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == host[in_host] => {
                at += 1;
                in_host += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, in_host) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key on the wire, of this type.
    fn key(kind: &str, content: &str) -> Vec<u8> {
        let text = |text: &str| {
            [
                &u32::try_from(text.len()).expect("short").to_be_bytes(),
                text.as_bytes(),
            ]
            .concat()
        };
        [text(kind), text(content)].concat()
    }

    fn known(lines: &str, host: &str, port: u16) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add(Path::new("known"), lines, host, port);
        known
    }

    fn line(hosts: &str, kind: &str, content: &str) -> String {
        format!("{hosts} {kind} {} me@here\n", STANDARD.encode(key(kind, content)))
    }

    fn place(line: usize) -> Place {
        Place {
            file: "known".into(),
            line,
        }
    }

    #[test]
    fn lines_name_hosts_by_patterns_and_ports() {
        for (hosts, host, port, expected) in [
            ("host", "host", 22, true),
            ("host", "HOST", 22, true),
            ("Host", "host", 22, true),
            ("other,host", "host", 22, true),
            ("*.example.com", "git.example.com", 22, true),
            ("*.example.com,!git.example.com", "git.example.com", 22, false),
            ("git?.*.com", "git1.example.com", 22, true),
            ("git?.*.com", "git.example.com", 22, false),
            ("*a*b", "xaxbxb", 22, true),
            ("*a*b", "xaxbx", 22, false),
            ("[host]:2222", "host", 2222, true),
            ("[host]:2222", "host", 22, false),
            ("[host]:2222", "host", 2223, false),
            ("host", "host", 2222, true),
            ("::1", "::1", 22, true),
            ("[::1]:2222", "::1", 2222, true),
            ("hos", "host", 22, false),
        ] {
            let lines = line(hosts, "ssh-ed25519", "a");
            let trust = known(&lines, host, port).check(&key("ssh-ed25519", "a"));
            assert_eq!(trust == Trust::Known, expected, "{hosts} {host} {port}: {trust:?}");
        }
    }

    #[test]
    fn names_can_be_hashed() {
        // `ssh-keygen -H` made these of `example.com` and `[example.com]:2222`.
        for (hashed, port) in HASHED {
            let lines = line(hashed, "ssh-ed25519", "a");
            assert_eq!(
                known(&lines, "example.com", port).check(&key("ssh-ed25519", "a")),
                Trust::Known
            );
            assert_eq!(
                known(&lines, "example.org", port).check(&key("ssh-ed25519", "a")),
                Trust::Unknown
            );
        }
        let broken = line("|1|not base64|no", "ssh-ed25519", "a");
        assert_eq!(
            known(&broken, "example.com", 22).check(&key("ssh-ed25519", "a")),
            Trust::Unknown
        );
    }

    #[test]
    fn another_key_of_the_type_has_changed_and_one_of_another_type_is_unknown() {
        let lines = line("host", "ssh-rsa", "a") + "# a comment\n\n" + &line("host", "ssh-ed25519", "a");
        let known = known(&lines, "host", 22);
        assert_eq!(known.check(&key("ssh-ed25519", "a")), Trust::Known);
        assert_eq!(known.check(&key("ssh-ed25519", "b")), Trust::Changed(place(4)));
        assert_eq!(known.check(&key("ecdsa-sha2-nistp256", "a")), Trust::Unknown);
        assert_eq!(
            known.types().collect::<Vec<_>>(),
            [b"ssh-rsa".as_slice(), b"ssh-ed25519"]
        );
    }

    #[test]
    fn a_key_of_the_port_comes_before_one_of_the_host() {
        let lines = line("host", "ssh-ed25519", "a") + &line("[host]:2222", "ssh-ed25519", "b");
        let known = known(&lines, "host", 2222);
        assert_eq!(known.check(&key("ssh-ed25519", "b")), Trust::Known);
        assert_eq!(known.check(&key("ssh-ed25519", "a")), Trust::Changed(place(2)));
    }

    #[test]
    fn a_revoked_key_is_refused_wherever_it_stands() {
        let trusted = line("host", "ssh-ed25519", "a");
        let revoked = format!("@revoked {}", line("*", "ssh-ed25519", "a"));
        for (lines, number) in [(trusted.clone() + &revoked, 2), (revoked.clone() + &trusted, 1)] {
            let trust = known(&lines, "host", 22).check(&key("ssh-ed25519", "a"));
            assert_eq!(trust, Trust::Revoked(place(number)));
        }
        let unreadable = format!("{trusted}@revoked host ssh-ed25519 AAA!\n");
        let trust = known(&unreadable, "host", 22).check(&key("ssh-ed25519", "a"));
        assert_eq!(trust, Trust::Revoked(place(2)));
    }

    #[test]
    fn an_authority_trusts_no_key() {
        let authority = format!("@cert-authority {}", line("*", "ssh-ed25519", "a"));
        let alone = known(&authority, "host", 22).check(&key("ssh-ed25519", "a"));
        assert_eq!(alone, Trust::Authority(place(1)));
        let both = authority + &line("host", "ssh-ed25519", "b");
        assert_eq!(known(&both, "host", 22).check(&key("ssh-ed25519", "b")), Trust::Known);
        let unknown_marker = format!("@trusted {}", line("host", "ssh-ed25519", "a"));
        assert_eq!(
            known(&unknown_marker, "host", 22).check(&key("ssh-ed25519", "a")),
            Trust::Unknown
        );
    }

    #[test]
    fn lines_that_cannot_be_read_trust_nothing() {
        for lines in [
            "host",
            "host ssh-ed25519",
            "host ssh-ed25519 !!!",
            "host 1024 37 123456",
            "",
            "\u{0}",
        ] {
            assert_eq!(
                known(lines, "host", 22).check(&key("ssh-ed25519", "a")),
                Trust::Unknown,
                "{lines}"
            );
        }
    }

    const HASHED: [(&str, u16); 2] = [
        ("|1|TYMNA2I/aXfw8uzc1kxUp3wl1Kw=|WoDg4Hv6TO+oksGNhl57k23b5mE=", 22),
        ("|1|bg87DkdW4hSRGnWmI4oEZVYdrKI=|yawa5Aw3Azey21GQW3s3ewKKf4E=", 2222),
    ];
}
