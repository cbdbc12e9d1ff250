//! Pointers of Git LFS: small blobs that stand for large files (git-lfs, *docs/spec.md*).
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

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

    /// Returns the paths that the object may have: that of git-lfs in `own`, a folder `lfs/objects`, and those of git-lfs and of
    /// Gitea in `store`, the folder of `stargate.lfsStore`.
    pub fn paths(&self, own: &Path, store: Option<&Path>) -> Vec<PathBuf> {
        let oid = self.as_str();
        let below = |folder: &Path| folder.join(&oid[..2]).join(&oid[2..4]);
        let mut paths = vec![below(own).join(oid)];
        if let Some(store) = store {
            paths.extend([
                below(store).join(oid),
                below(store).join(&oid[4..]),
                below(&store.join("objects")).join(oid),
            ]);
        }
        paths
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pointer {
    /// Parses the contents of a blob as git-lfs does (*lfs/pointer.go*). Returns none if they are not a pointer: then git-lfs does
    /// not replace the file either. White space around the text, empty lines and CRLF are accepted.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > MAX_POINTER {
            return None;
        }
        let mut lines = bytes.to_str().ok()?.trim().lines().filter(|line| !line.is_empty());
        let version = lines.next()?.strip_prefix("version ")?;
        if !VERSIONS.contains(&version) {
            return None;
        }
        let (mut oid, mut size, mut extensions) = (None, None, Vec::new());
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match (key, oid.is_some(), size.is_some()) {
                ("oid", false, false) => oid = Some(id(value)?),
                ("size", true, false) => size = Some(value.parse::<i64>().ok()?.try_into().ok()?),
                (_, _, true) => return None,
                _ => extensions.push((extension(key, value)?, key)),
            }
        }
        extensions.sort_unstable();
        // Two extensions must not have the same priority.
        let is_valid = |pair: &[(char, &str)]| pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1;
        extensions
            .windows(2)
            .all(is_valid)
            .then_some(Pointer { oid: oid?, size: size? })
    }
}

fn id(value: &str) -> Option<Oid> {
    value.strip_prefix("sha256:")?.parse().ok()
}

/// Returns the priority of an extension: a digit in its key, `ext-N-NAME`.
fn extension(key: &str, value: &str) -> Option<char> {
    let (priority, name) = key.strip_prefix("ext-")?.split_once('-')?;
    let is_word = |first: char| first.is_ascii_alphanumeric() || first == '_';
    let is_key = priority.len() == 1 && name.starts_with(is_word);
    id(value).filter(|_| is_key)?;
    priority.chars().next().filter(char::is_ascii_digit)
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
        let extension = format!("ext-0-foo sha256:{}", "a".repeat(64));
        for accepted in [
            TEXT.replace("oid", &format!("{extension}\noid")),
            format!("\n {TEXT} "),
            TEXT.replace("size", "\nsize"),
        ] {
            assert_eq!(Pointer::parse(accepted.as_bytes()), Some(pointer.clone()), "{accepted}");
        }
    }

    #[test]
    fn other_blobs_are_no_pointers() {
        let extension = format!("ext-0-foo sha256:{}", "a".repeat(64));
        for text in [
            String::new(),
            "version https://git-lfs.github.com/spec/v1\n".to_owned(),
            TEXT.replace("sha256:4d", "sha256:4D"),
            TEXT.replace("sha256", "sha512"),
            TEXT.replace("12345", "-1"),
            TEXT.replace("2393", "239"),
            TEXT.replace("/v1", "/v9"),
            TEXT.replace("12345", &u64::MAX.to_string()),
            TEXT.replace("oid", "ext-0-foo sha256:1\noid"),
            TEXT.replace("oid", "note x\noid"),
            TEXT.replace("oid", &format!("{extension}\n{}\noid", extension.replace("foo", "bar"))),
            format!("{TEXT}size 12345\n"),
            format!("{TEXT}{}", " ".repeat(1024)),
        ] {
            assert_eq!(Pointer::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
