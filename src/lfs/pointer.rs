//! Pointers of Git LFS: small blobs that stand for large files (git-lfs, *docs/spec.md*).
use std::{fmt, str::FromStr};

use bstr::ByteSlice;

/// Largest pointer, in bytes.
pub const MAX_POINTER: u64 = 1024;

/// First lines of pointers. Versions of Git LFS before its release used the other ones.
const VERSIONS: [&str; 3] = [
    "https://git-lfs.github.com/spec/v1",
    "https://hawser.github.com/spec/v1",
    "http://git-media.io/v/2",
];

/// SHA-256 of an LFS object, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(String);

/// The text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hex digits")]
pub struct BadOid;

/// A parsed pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// Id of the object.
    pub oid: Oid,
    /// Size of the object in bytes.
    pub size: u64,
}

impl FromStr for Oid {
    type Err = BadOid;

    fn from_str(text: &str) -> Result<Self, BadOid> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let valid = text.len() == 64 && text.bytes().all(is_digit);
        valid.then(|| Oid(text.to_owned())).ok_or(BadOid)
    }
}

impl Oid {
    /// Returns the hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pointer {
    /// Parses the contents of a blob. Returns none if they are not a pointer. As in git-lfs, the lines may end with CRLF, and
    /// lines of extensions are skipped.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > MAX_POINTER || !bytes.starts_with(b"version http") {
            return None;
        }
        let mut lines = bytes.to_str().ok()?.trim_end().lines();
        let version = lines.next()?.strip_prefix("version ")?;
        if !VERSIONS.contains(&version) {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => oid = Some(value.strip_prefix("sha256:")?.parse().ok()?),
                ("size", value) => size = Some(value.parse().ok()?),
                _ => {}
            }
        }
        Some(Pointer { oid: oid?, size: size? })
    }
}

impl fmt::Display for Pointer {
    /// Writes the pointer as `git lfs pointer` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pointer { oid, size } = self;
        write!(f, "version {}\noid sha256:{oid}\nsize {size}\n", VERSIONS[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version https://git-lfs.github.com/spec/v1\n\
                        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

    #[test]
    fn a_pointer_is_read_and_written() {
        let pointer = Pointer::parse(TEXT.as_bytes()).expect("a pointer");
        assert_eq!((pointer.size, pointer.to_string().as_str()), (12345, TEXT));
        let crlf = TEXT.replace('\n', "\r\n");
        assert_eq!(Pointer::parse(crlf.as_bytes()), Some(pointer.clone()));
        let extended = TEXT.replace("oid", "ext-0-foo sha256:1\noid");
        assert_eq!(Pointer::parse(extended.as_bytes()), Some(pointer));
    }

    #[test]
    fn other_blobs_are_no_pointers() {
        for text in [
            String::new(),
            "version https://git-lfs.github.com/spec/v1\n".to_owned(),
            TEXT.replace("sha256:4d", "sha256:4D"),
            TEXT.replace("sha256", "sha512"),
            TEXT.replace("12345", "-1"),
            TEXT.replace("2393", "239"),
            TEXT.replace("/v1", "/v9"),
            format!(" {TEXT}"),
            format!("{TEXT}{}", " ".repeat(1024)),
        ] {
            assert_eq!(Pointer::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
