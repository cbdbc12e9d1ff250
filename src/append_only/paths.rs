//! Guarded paths, relative to the root of a tree, as bytes, with `/`.
use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// Default path to guard.
pub const DEFAULT_PATH: &str = "events/";

/// Guarded folders or single files. None of them is below another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths(Vec<BString>);

/// Error for an invalid path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a path below the root of a repository, such as events/ (use . for the whole repository)")]
pub struct InvalidPath(pub BString);

impl Paths {
    /// Parses paths with or without a slash at the end. `.` is the whole tree.
    ///
    /// # Errors
    /// A path is empty, starts with a slash, or has a part that is empty, `.` or `..`.
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

    /// Returns true if nothing is guarded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a file with this path is guarded.
    pub fn cover(&self, file: &BStr) -> bool {
        let below = |path: &BString| match file.strip_prefix(path.as_slice()) {
            Some(rest) => path.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        self.0.iter().any(below)
    }

    /// Returns each path without a slash at the end. The whole tree is the empty path.
    pub(super) fn iter(&self) -> impl Iterator<Item = &BStr> {
        self.0.iter().map(|path| path.as_bstr())
    }

    /// Returns each path for display.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.iter().map(|path| {
            if path.is_empty() {
                ".".into()
            } else {
                format!("{}/", path.to_str_lossy())
            }
        })
    }
}

/// Writes the paths separated by commas.
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
    if parts.into_iter().any(is_bad) {
        Err(InvalidPath(path.into()))
    } else {
        Ok(trimmed.into())
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
