//! Histories of files that do not compress, for pushes whose size matters.
use std::path::Path;

use super::{
    git::{git, git_with_input},
    random::Random,
};

/// Commits to make.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of commits.
    pub commits: usize,
    /// Number of files in each.
    pub files: usize,
    /// Bytes of each file.
    pub bytes: usize,
    /// Every so many commits, one is on a branch beside, which the next one merges; 0 for a line.
    pub merges: usize,
}

/// Makes a bare repository at `folder` whose `refs/heads/main` has such a history.
pub fn make(folder: &Path, shape: Shape, seed: u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    git(folder, &["init", "-q", "--bare", "-b", "main", "."]);
    extend(folder, "refs/heads/main", shape, seed);
}

/// Adds such a history to a ref.
pub fn extend(folder: &Path, name: &str, shape: Shape, seed: u64) {
    let mut random = Random::new(seed);
    let mut stream = Vec::new();
    let mut first = git(folder, &["for-each-ref", "--format=%(objectname)", name]);
    let mut beside: Option<usize> = None;
    for number in 1..=shape.commits {
        let is_beside = shape.merges > 0 && number % shape.merges == 0 && number < shape.commits;
        let to = if is_beside { "refs/heads/beside" } else { name };
        let mut text = format!(
            "commit {to}\nmark :{number}\ncommitter A <a@example.com> {} +0000\n",
            1_700_000_000 + number
        );
        text += &format!("data {}\nnumber {number}\n", format!("number {number}").len());
        match (beside.take(), number) {
            (_, 1) if first.is_empty() => {}
            (_, 1) => text += &format!("from {}\n", std::mem::take(&mut first)),
            (Some(other), _) => text += &format!("from :{}\nmerge :{other}\n", other - 1),
            (None, _) => text += &format!("from :{}\n", number - 1),
        }
        beside = is_beside.then_some(number);
        stream.extend_from_slice(text.as_bytes());
        for file in 0..shape.files {
            let path = format!("{}/{}/{number}-{file}", file % 7, file % 3);
            stream.extend_from_slice(format!("M 100644 inline {path}\ndata {}\n", shape.bytes).as_bytes());
            stream.extend((0..shape.bytes).map(|_| random.below(256) as u8));
            stream.push(b'\n');
        }
    }
    git_with_input(folder, &["fast-import", "--quiet", "--force"], &stream);
}

/// Checks that a repository has everything of its refs, and the branches and tags of `source`, and nothing temporary.
///
/// # Panics
/// When something is missing, damaged or left.
pub fn assert_same(source: &Path, receiver: &Path) {
    git(receiver, &["fsck", "--strict", "--no-dangling", "--no-progress"]);
    let refs = |repository| git(repository, &["for-each-ref", "--format=%(objectname) %(refname)"]);
    assert_eq!(refs(source), refs(receiver));
}
