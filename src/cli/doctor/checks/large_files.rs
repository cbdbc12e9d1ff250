//! Files of pending commits that the mirror's host does not take.
use super::{
    check::{Check, Name, Verdict},
    disk::shown_bytes,
};

/// Largest blob that GitHub takes, in bytes.
pub const GITHUB_LIMIT: u64 = 100 << 20;
/// Maximum number of files to report.
const MAX_FILES: usize = 5;

/// A large file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeFile {
    /// Its path in the commit.
    pub path: String,
    /// Id of its blob.
    pub blob: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Checks files that are larger than [`GITHUB_LIMIT`]. Returns none if there are none.
pub fn check(files: &[LargeFile], repository: &str) -> Option<Check> {
    let shown = files
        .iter()
        .take(MAX_FILES)
        .map(|file| format!("{} ({}, blob {})", file.path, shown_bytes(file.size), file.blob));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match files.len().saturating_sub(MAX_FILES) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let found = format!(
        "GitHub rejects files of more than 100 MiB, and pending commits contain {shown}{more}: their refs are rejected"
    );
    let hint = format!(
        "rewrite the commits in a clone of {repository}, and push them again with --force: `git lfs migrate import --everything \
         --above=100MB` keeps the files, `git filter-repo --strip-blobs-bigger-than 100M` removes them; set stargate.force to \
         mirror the rewritten branches"
    );
    (!files.is_empty()).then(|| Check::new(Name::LargeFiles, Verdict::Problem, found).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_named_with_their_sizes() {
        assert_eq!(check(&[], "/r.git"), None);
        let file = LargeFile {
            path: "data/big.bin".into(),
            blob: "a1".into(),
            size: 101 << 20,
        };
        let check = check(&std::iter::repeat_n(file, 7).collect::<Vec<_>>(), "/r.git").expect("a check");
        assert!(check.found.contains("data/big.bin (101 MiB, blob a1)"), "{check:?}");
        assert!(check.found.contains(", and 2 more"), "{check:?}");
    }
}
