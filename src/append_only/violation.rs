//! What breaks the rule.
use bstr::BString;
use gix::ObjectId;

/// How many violations are listed; the others are counted.
pub const MAX_LISTED: usize = 10_000;

/// What became of a file, as the status letter of `git diff --name-status` (git-diff, *--diff-filter*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Letter {
    /// Its content or its mode is another.
    Modified,
    /// A file became a symbolic link or a submodule, or the like.
    TypeChanged,
    /// It is gone.
    Deleted,
    /// It is gone, and the same file is new somewhere else.
    Renamed,
}

impl Letter {
    /// The letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Letter::Modified => "M",
            Letter::TypeChanged => "T",
            Letter::Deleted => "D",
            Letter::Renamed => "R",
        }
    }
}

/// One existing file that did not stay what and where it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// Where the file was.
    pub path: BString,
    /// What became of it.
    pub letter: Letter,
    /// Where it is now, if it was renamed.
    pub to: Option<BString>,
    /// The commit that did it; of a comparison of two ends, the new one.
    pub commit: ObjectId,
}
