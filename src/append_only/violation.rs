//! Violations of the rule.
use bstr::BString;
use gix::ObjectId;

/// Maximum number of listed violations. Further ones are only counted.
pub const MAX_LISTED: usize = 10_000;

/// Change to a file, as the status letter of `git diff --name-status` (git-diff, *--diff-filter*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Letter {
    /// Its content or its mode changed.
    Modified,
    /// Its type changed, for example from a file to a symbolic link or a submodule.
    TypeChanged,
    /// It was deleted.
    Deleted,
    /// It was deleted, and the same file was added elsewhere.
    Renamed,
}

impl Letter {
    /// Returns the letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Letter::Modified => "M",
            Letter::TypeChanged => "T",
            Letter::Deleted => "D",
            Letter::Renamed => "R",
        }
    }
}

/// A change to an existing guarded file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// Old path of the file.
    pub path: BString,
    /// The change.
    pub letter: Letter,
    /// New path, if it was renamed.
    pub to: Option<BString>,
    /// The commit that made the change. In a comparison of two ends, the new end.
    pub commit: ObjectId,
}
