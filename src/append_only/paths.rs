//! Which files are guarded: paths from the root of a tree, as bytes, with `/`.
use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// What is guarded when nothing else is said.
pub const DEFAULT_PATH: &str = "events/";

/// Folders (or single files) that are only ever added to. None of them is below another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths(Vec<BString>);

/// Why a path is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no path below the root of a repository, such as events/ (and . for all of it)")]
pub struct InvalidPath(pub BString);

impl Paths {
    /// Paths as a person gives them: with or without a slash at the end; `.` is the whole tree.
    ///
    /// # Errors
    /// One is empty, starts with a slash, or has a part that is empty, `.` or `..`.
    pub fn new<P: AsRef<[u8]>>(paths: impl IntoIterator<Item = P>) -> Result<Self, InvalidPath> {
        let mut parsed: Vec<BString> = Vec::new();
        for path in paths {
            parsed.push(parse(path.as_ref())?);
        }
        parsed.sort();
        let mut outermost = Paths::default();
        for path in parsed {
            if !outermost.cover(path.as_bstr()) {
                outermost.0.push(path);
            }
        }
        Ok(outermost)
    }

    /// Whether nothing is guarded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a file of this path is guarded.
    pub fn cover(&self, file: &BStr) -> bool {
        let below = |path: &BString| match file.strip_prefix(path.as_slice()) {
            Some(rest) => path.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        self.0.iter().any(below)
    }

    /// Each path, without a slash at the end; empty for the whole tree.
    pub(super) fn iter(&self) -> impl Iterator<Item = &BStr> {
        self.0.iter().map(|path| path.as_bstr())
    }

    /// Each path as a person reads it.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.iter().map(|path| match path.is_empty() {
            true => ".".into(),
            false => format!("{}/", path.to_str_lossy()),
        })
    }
}

/// The paths, as in a sentence.
impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

fn parse(path: &[u8]) -> Result<BString, InvalidPath> {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    if trimmed == b"." {
        return Ok(BString::default());
    }
    let parts = trimmed.split_str("/");
    let is_bad = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
    match parts.into_iter().any(is_bad) {
        true => Err(InvalidPath(path.into())),
        false => Ok(trimmed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_covers_itself_and_what_is_below_it() {
        let paths = Paths::new(["events/", "a/b"]).unwrap();
        for (file, covered) in [
            ("events", true),
            ("events/x/y.json", true),
            ("events.json", false),
            ("Events/x", false),
            ("a/b/c", true),
            ("a/bc", false),
            ("a", false),
        ] {
            assert_eq!(paths.cover(file.into()), covered, "{file}");
        }
        assert!(Paths::new(["."]).unwrap().cover("anything".into()));
        assert!(!Paths::default().cover("events/x".into()));
    }

    #[test]
    fn what_is_below_another_is_left_out() {
        let paths = Paths::new(["events/a", "events", "events-old", "events/"]).unwrap();
        assert_eq!(paths.to_string(), "events/, events-old/");
        assert_eq!(Paths::new([".", "events"]).unwrap().to_string(), ".");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", "/", "/events", "a//b", "../a", "a/./b", "a/..", "a\0"] {
            assert_eq!(Paths::new([path]), Err(InvalidPath(path.into())));
        }
    }
}
