//! The files of `stargate.sshKey`, `sshPassphraseFile` and `sshKnownHosts`, checked before a client uses them: a client
//! reports less than what is wrong with them.
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use git_push::{Error, ErrorKind};
#[cfg(feature = "ssh-builtin")]
use secrecy::SecretString;

/// Maximum size of a file of a key, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Start of a key in OpenSSH's format, before the name of the cipher (OpenSSH, *PROTOCOL.key*).
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// A private key, as it is in its file.
pub(super) struct KeyFile {
    #[cfg(feature = "ssh-builtin")]
    pub(super) text: SecretString,
    pub(super) is_encrypted: bool,
}

/// Content of a file that should be a private key.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Plain,
    Encrypted,
    PublicKey,
    Other,
}

impl KeyFile {
    /// Reads the private key at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the file cannot be read, others can read it, or it is not a private key.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = text(path, "private key", "stargate.sshKey")?;
        let shown = path.display();
        let refused = |why: &str, hint: String| {
            Err(Error::new(ErrorKind::Misconfigured, format!("the private key {shown} {why}")).with_hint(hint))
        };
        match content(&text) {
            Content::PublicKey => refused(
                "is a public key",
                "set stargate.sshKey to the file of the private key, which has the same name without .pub".into(),
            ),
            Content::Other => refused(
                "is not a private key in OpenSSH's format or in PEM",
                "set stargate.sshKey to the file that ssh-keygen wrote".into(),
            ),
            _ if is_open_to_others(path) => refused("can be read by other users", format!("run `chmod 600 {shown}`")),
            kind => Ok(KeyFile {
                #[cfg(feature = "ssh-builtin")]
                text: text.into(),
                is_encrypted: kind == Content::Encrypted,
            }),
        }
    }
}

/// Reads the passphrase in the first line of the file at `path`.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the file cannot be read, or has none.
#[cfg(feature = "ssh-builtin")]
pub(super) fn passphrase(path: &Path) -> Result<SecretString, Error> {
    let text = text(path, "passphrase", "stargate.sshPassphraseFile")?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.into()),
        None => {
            let what = format!("the file of the passphrase, {}, is empty", path.display());
            Err(Error::new(ErrorKind::Misconfigured, what).with_hint("write the passphrase into its first line"))
        }
    }
}

/// Checks that the file of host keys can be read.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it cannot.
pub(super) fn check_known_hosts(path: &Path) -> Result<(), Error> {
    File::open(path)
        .map(drop)
        .map_err(|error| unreadable_known_hosts(path, &error))
}

/// Creates the error for a file of host keys that cannot be read.
pub(super) fn unreadable_known_hosts(path: &Path, error: &io::Error) -> Error {
    unreadable(path, "file of host keys", "stargate.sshKnownHosts", error)
}

/// Creates the error for a key that needs a passphrase.
pub(super) fn encrypted(path: &Path) -> Error {
    let what = format!(
        "the private key {} is encrypted, and there is no passphrase",
        path.display()
    );
    Error::new(ErrorKind::Misconfigured, what)
        .with_hint("set stargate.sshPassphraseFile to a file with the passphrase, or remove it with `ssh-keygen -p`")
}

fn text(path: &Path, what: &str, key: &str) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|error| unreadable(path, what, key, &error))?;
    Ok(text)
}

fn unreadable(path: &Path, what: &str, key: &str, error: &io::Error) -> Error {
    let what = format!("the {what} {} cannot be read: {error}", path.display());
    let hint = format!("correct {key}, or make the file readable to the user of this process");
    Error::new(ErrorKind::Misconfigured, what).with_hint(hint)
}

fn content(text: &str) -> Content {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let is_public = |word: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start));
    match first
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.strip_suffix("-----"))
    {
        Some("OPENSSH PRIVATE KEY") => {
            let body: String = lines.take_while(|line| !line.starts_with('-')).collect();
            match STANDARD
                .decode(body)
                .map(|bytes| cipher(&bytes) == Some(b"none".as_slice()))
            {
                Ok(true) => Content::Plain,
                Ok(false) => Content::Encrypted,
                Err(_) => Content::Other,
            }
        }
        Some("ENCRYPTED PRIVATE KEY") => Content::Encrypted,
        Some(kind) if kind.ends_with("PRIVATE KEY") => {
            let is_encrypted = lines
                .next()
                .is_some_and(|line| line.starts_with("Proc-Type: 4,ENCRYPTED"));
            if is_encrypted {
                Content::Encrypted
            } else {
                Content::Plain
            }
        }
        Some(kind) if kind.ends_with("PUBLIC KEY") => Content::PublicKey,
        None if is_public(first) => Content::PublicKey,
        _ => Content::Other,
    }
}

/// Returns the name of the cipher of a key in OpenSSH's format.
fn cipher(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Returns true if users other than the owner can read a key of the user of this process. As in OpenSSH, the keys of
/// other users, such as of root, may be readable to a group.
#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    let is_ours = gix::sec::identity::is_path_owned_by_current_user(path).unwrap_or(true);
    is_ours && std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &[u8]) -> String {
        let length = u32::try_from(cipher.len()).expect("a short name").to_be_bytes();
        let body = STANDARD.encode([MAGIC, &length, cipher, b"rest"].concat());
        let (start, end) = body.split_at(20);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{start}\n{end}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    #[test]
    fn the_kind_of_a_key_is_in_its_file() {
        let pem = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        for (text, expected) in [
            (openssh(b"none"), Content::Plain),
            (openssh(b"aes256-ctr"), Content::Encrypted),
            (pem("RSA PRIVATE KEY", "MIIE"), Content::Plain),
            (
                pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: x"),
                Content::Encrypted,
            ),
            (pem("ENCRYPTED PRIVATE KEY", "MIIE"), Content::Encrypted),
            (pem("PRIVATE KEY", "MIIE"), Content::Plain),
            (pem("PUBLIC KEY", "MIIE"), Content::PublicKey),
            (pem("CERTIFICATE", "MIIE"), Content::Other),
            ("ssh-ed25519 AAAA me".into(), Content::PublicKey),
            (pem("OPENSSH PRIVATE KEY", "not base64"), Content::Other),
            (String::new(), Content::Other),
        ] {
            assert_eq!(content(&text), expected, "{text}");
        }
    }
}
