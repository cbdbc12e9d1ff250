//! Pushes in parts, for servers that refuse large ones: GitHub takes at most 2 GiB a push, and answers 408 to slow ones.
//! PURE: commits with estimated sizes in, parts out. [`Push::send_in_parts()`] sends them.
//!
//! New commits are put in order, first parents first. A part is a run of them that stays within a limit. Its commits are
//! pushed to temporary refs in a namespace of their own, so that the next part builds on them. The push of the real refs
//! comes last, when the remote has all commits. Then the temporary refs are deleted.
//!
//! ```text
//! order   a --- b --- c --- d ------- g --- h       first parents
//!                      \\             /
//!                       e --------- f               a merged branch comes after the first parent of its merge
//! part 1  a b           refs/…/b
//! part 2  c d e f       refs/…/d refs/…/f
//! part 3  g h           refs/…/h
//! last                  the real refs, without commits
//! ```
//!
//! A temporary ref is named after its commit. After a crash or a lost connection, the next push finds the refs in the
//! advertisement, and sends only objects that they do not reach.
//!
//! A single commit may exceed the limit. Then its objects go first, blobs before trees, each run of them in the tree of
//! a temporary commit. The id of that commit depends only on the objects, so after an interruption the next push finds
//! these refs, too.
//!
//! [`Push::send_in_parts()`]: super::Push::send_in_parts()
use std::ops::Range;

use bstr::BString;
use gix::ObjectId;

/// Settings of a push in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parts {
    /// Start of the names of temporary refs, with a slash at the end. The namespace belongs to pushes in parts alone.
    pub namespace: BString,
    /// Largest size of a pack in bytes.
    pub max_bytes: u64,
}

impl Parts {
    /// Creates settings. `namespace` is the start of a full ref name, such as `refs/parts/`.
    #[must_use]
    pub fn new(namespace: impl Into<BString>, max_bytes: u64) -> Self {
        Parts {
            namespace: namespace.into(),
            max_bytes,
        }
    }
}

/// A commit to send, with an estimate of its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizedCommit {
    /// Its id.
    pub id: ObjectId,
    /// Places of those of its parents that are sent, too. Each is smaller than its own.
    pub parents: Vec<usize>,
    /// Estimated bytes in a pack: the commit, and those of its objects that no earlier commit has.
    pub bytes: u64,
}

/// Commits that are sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Places of the commits.
    pub commits: Range<usize>,
    /// Places of those without a child in this part. They reach all others.
    pub tips: Vec<usize>,
    /// Estimated bytes.
    pub bytes: u64,
}

/// Cuts all of `commits` into parts, see [`next()`].
#[must_use]
pub fn cut(commits: &[SizedCommit], limit: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    while let Some(part) = next(commits, parts.last().map_or(0, |part| part.commits.end), limit) {
        parts.push(part);
    }
    parts
}

/// Returns the part that starts at this place, if a commit is left. It has at most `limit` bytes, or a single commit.
///
/// If not all commits fit, the part ends where it has the fewest tips, but has at least half of the commits that fit.
/// On a history without open branches that is along first parents.
#[must_use]
pub fn next(commits: &[SizedCommit], start: usize, limit: u64) -> Option<Part> {
    let left = commits.get(start..).filter(|left| !left.is_empty())?;
    let longest = start + fitting(left.iter().map(|commit| commit.bytes), limit);
    let end = if longest == commits.len() {
        longest
    } else {
        best_end(commits, start..longest)
    };
    let has_child = has_child(commits, start..end);
    let tips = (start..end).filter(|place| !has_child[place - start]);
    Some(Part {
        tips: tips.collect(),
        bytes: sum(&commits[start..end]),
        commits: start..end,
    })
}

/// Returns how many of these sizes, counted from the first, have a sum of at most `limit`. At least one, if there is one.
#[must_use]
pub fn fitting(sizes: impl IntoIterator<Item = u64>, limit: u64) -> usize {
    let mut bytes = 0_u64;
    let fits = |(number, size): &(usize, u64)| {
        bytes = bytes.saturating_add(*size);
        *number == 0 || bytes <= limit
    };
    sizes.into_iter().enumerate().take_while(fits).count()
}

/// Returns the last end in the second half of this run at which it has the fewest tips.
fn best_end(commits: &[SizedCommit], run: Range<usize>) -> usize {
    let half = sum(&commits[run.clone()]) / 2;
    let mut has_child = vec![false; run.len()];
    let (mut bytes, mut tips) = (0_u64, 0_usize);
    let (mut best, mut fewest) = (run.end, usize::MAX);
    for place in run.clone() {
        tips += 1;
        for parent in commits[place].parents.iter().filter(|parent| run.contains(parent)) {
            if !std::mem::replace(&mut has_child[parent - run.start], true) {
                tips -= 1;
            }
        }
        bytes = bytes.saturating_add(commits[place].bytes);
        if bytes >= half && tips <= fewest {
            (best, fewest) = (place + 1, tips);
        }
    }
    best
}

/// Returns for each commit of this run whether one of its children is in the run.
fn has_child(commits: &[SizedCommit], run: Range<usize>) -> Vec<bool> {
    let mut has_child = vec![false; run.len()];
    let parents = commits[run.clone()].iter().flat_map(|commit| &commit.parents);
    for parent in parents.filter(|parent| run.contains(parent)) {
        has_child[parent - run.start] = true;
    }
    has_child
}

fn sum(commits: &[SizedCommit]) -> u64 {
    let sizes = commits.iter().map(|commit| commit.bytes);
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn commit(parents: &[usize], bytes: u64) -> SizedCommit {
        SizedCommit {
            id: ObjectId::null(gix::hash::Kind::Sha1),
            parents: parents.to_vec(),
            bytes,
        }
    }

    /// Generates histories in which parents come first: roots, chains, merges, octopuses.
    fn histories() -> impl Strategy<Value = Vec<SizedCommit>> {
        let one = (prop::collection::vec(any::<Index>(), 0..4), 0..3u8, 0..100u64);
        prop::collection::vec(one, 0..60).prop_map(|commits| {
            let commit = |(place, (parents, chain, bytes)): (usize, &(Vec<Index>, u8, u64))| {
                let mut parents: Vec<_> = parents.iter().take(place).map(|index| index.index(place)).collect();
                if *chain > 0 {
                    parents = place.checked_sub(1).into_iter().collect();
                }
                commit(&parents, *bytes)
            };
            commits.iter().enumerate().map(commit).collect()
        })
    }

    /// Places that these reach, without passing one of `had`.
    fn reached(commits: &[SizedCommit], tips: &[usize], had: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut waiting = tips.to_vec();
        while let Some(place) = waiting.pop() {
            if !had.contains(&place) && reached.insert(place) {
                waiting.extend(&commits[place].parents);
            }
        }
        reached
    }

    proptest! {
        #[test]
        fn the_parts_are_bounded_closed_and_everything(commits in histories(), limit in 0..400u64) {
            let mut had = BTreeSet::new();
            for part in cut(&commits, limit) {
                let bytes: u64 = part.commits.clone().map(|place| commits[place].bytes).sum();
                prop_assert_eq!(part.bytes, bytes);
                prop_assert!(bytes <= limit || part.commits.len() == 1);
                let sent = reached(&commits, &part.tips, &had);
                prop_assert_eq!(&sent, &part.commits.clone().collect(), "what the tips reach is the part");
                had.extend(sent);
            }
            prop_assert_eq!(had.len(), commits.len());
        }

        #[test]
        fn no_tip_is_reached_from_another(commits in histories(), limit in 0..400u64) {
            for part in cut(&commits, limit) {
                for tip in &part.tips {
                    let others: Vec<_> = part.tips.iter().copied().filter(|other| other != tip).collect();
                    prop_assert!(!reached(&commits, &others, &BTreeSet::new()).contains(tip));
                }
            }
        }

        #[test]
        fn parts_are_not_smaller_than_they_must_be(commits in histories(), limit in 0..400u64) {
            let parts = cut(&commits, limit);
            for (part, next) in parts.iter().zip(parts.iter().skip(1)) {
                let longest = fitting(commits[part.commits.start..].iter().map(|commit| commit.bytes), limit);
                let most: u64 = sum(&commits[part.commits.start..][..longest]);
                prop_assert!(next.commits.start == part.commits.end && part.bytes >= most / 2, "{part:?} of {most}");
            }
        }
    }

    #[test]
    fn a_line_is_cut_where_the_limit_is() {
        let line: Vec<_> = (0..10_usize)
            .map(|place| commit(&place.checked_sub(1).into_iter().collect::<Vec<_>>(), 10))
            .collect();
        let ends: Vec<_> = cut(&line, 35).iter().map(|part| part.commits.end).collect();
        assert_eq!(ends, [3, 6, 9, 10]);
        assert!(cut(&line, 35).iter().all(|part| part.tips.len() == 1));
        assert_eq!(cut(&line, 0).len(), 10, "each commit is a part");
        assert_eq!(cut(&line, u64::MAX).len(), 1);
    }

    #[test]
    fn a_part_ends_where_no_branch_is_open() {
        // 0 - 1 - 2 - 5(merge) - 6, with 3 - 4 beside 2.
        let parents: [&[usize]; 7] = [&[], &[0], &[1], &[1], &[3], &[2, 4], &[5]];
        let commits: Vec<_> = parents.iter().map(|parents| commit(parents, 10)).collect();
        let parts = cut(&commits, 50);
        assert_eq!((parts[0].commits.clone(), &parts[0].tips), (0..3, &vec![2]));
        assert_eq!((parts[1].commits.clone(), &parts[1].tips), (3..7, &vec![6]));
    }
}
