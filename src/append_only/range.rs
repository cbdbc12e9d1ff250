//! Check of the rule over a range of commits.
use std::collections::{BTreeSet, HashSet};

use bstr::BString;
use gix::{
    ObjectId,
    objs::{Find, tree::EntryKind},
};

use super::{
    Error, MAX_LISTED, Paths, Violation,
    compare::{Change, compare},
    history::History,
};
use crate::git_objects::{Additions, Error as ObjectError, Leaf, Reader};

/// Range of commits to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The old end: a commit, or a tag of one. With `None`, the whole history of `head` is new.
    pub base: Option<ObjectId>,
    /// The new end: a commit, or a tag of one.
    pub head: ObjectId,
    /// The relation of `head` to `base`.
    pub relation: Relation,
}

/// Relation of `head` to `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `head` is to be merged into `base`, as in a pull request. Only its changes since the merge base count: files added
    /// to `base` since then are not missing. Without a common ancestor, the two ends are compared.
    Proposal,
    /// `head` replaces `base`, as in a push. It must have every guarded file of `base`.
    Replacement,
    /// `head` is a new ref next to `base`. Only its new commits count, and it may be unrelated to `base`.
    Beside,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first [`MAX_LISTED`] violations, by commit (the oldest first), then by path. A file that violates the rule in
    /// several commits is listed for each of them.
    pub violations: Vec<Violation>,
    /// Number of all violations.
    pub violation_count: usize,
    /// New files below the guarded paths, if they were requested.
    pub added: Vec<Added>,
    /// Number of new commits. If clocks ran backwards, it may include commits that are not new; the other fields do not.
    pub commits: usize,
}

/// A file that none of a commit's parents has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its path.
    pub path: BString,
    /// The commit that added it.
    pub commit: ObjectId,
    /// Id of its content.
    pub id: ObjectId,
    /// The kind of file.
    pub kind: EntryKind,
}

/// Checks each commit that is reachable from `head` but not from `base` against each of its parents, and compares
/// `head` with `base` in the way that their relation requires. `shallow` returns true for a commit at which the clone
/// ends. `with_added` requests the list of new files.
///
/// # Errors
/// The rule cannot be checked: see [`Error`].
pub fn check(
    objects: &dyn Find,
    paths: &Paths,
    range: Range,
    shallow: &dyn Fn(ObjectId) -> bool,
    with_added: bool,
) -> Result<Findings, Error> {
    let reader = Reader(objects);
    let commit = |id: ObjectId| reader.peel(id)?.ok_or(ObjectError::NotACommit(id));
    let (base, head) = (range.base.map(commit).transpose()?, commit(range.head)?);
    let mut findings = Findings::default();
    if base == Some(head) {
        return Ok(findings);
    }
    let mut history = History::between(reader, shallow, base, head)?;
    if with_added {
        history.finish()?;
    }
    let check = Check {
        reader,
        paths,
        additions: if with_added {
            Additions::Wanted
        } else {
            Additions::Unread
        },
    };
    let new = history.new_commits()?;
    for id in &new {
        let (violations, added) = check.commit(*id, &history)?;
        if !violations.is_empty() {
            history.finish()?;
        }
        if history.is_new(*id) {
            violations.into_iter().for_each(|violation| findings.note(violation));
            findings.added.extend(added);
        }
    }
    findings.commits = new.iter().filter(|id| history.is_new(**id)).count();
    let ends = match range.relation {
        Relation::Replacement => true,
        Relation::Proposal => base.is_some() && !history.is_related()?,
        Relation::Beside => false,
    };
    if let Some(base) = base.filter(|_| ends) {
        check.ends(base, head, &mut findings)?;
    }
    Ok(findings)
}

/// Returns the violations that the deletion of the ref at `old` would cause, if only the commit `kept` (if any)
/// remained.
///
/// An `old` that is not a commit has no files.
///
/// # Errors
/// See [`check()`].
pub fn lost(objects: &dyn Find, paths: &Paths, old: ObjectId, kept: Option<ObjectId>) -> Result<Findings, Error> {
    let reader = Reader(objects);
    let mut findings = Findings::default();
    let Some(old) = reader.peel(old)? else {
        return Ok(findings);
    };
    let new = match kept {
        Some(kept) => reader.commit(kept)?.tree,
        None => ObjectId::empty_tree(old.kind()),
    };
    let broken = compare(reader, paths, reader.commit(old)?.tree, new, Additions::Unread)?;
    for violation in broken.into_iter().filter_map(|change| violation(change, old)) {
        findings.note(violation);
    }
    Ok(findings)
}

impl Findings {
    /// Returns true if there is no violation.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }

    fn note(&mut self, violation: Violation) {
        self.violation_count += 1;
        if self.violations.len() < MAX_LISTED {
            self.violations.push(violation);
        }
    }
}

struct Check<'a> {
    reader: Reader<'a>,
    paths: &'a Paths,
    additions: Additions,
}

impl Check<'_> {
    /// Compares one commit with each of its parents. Returns the violations, and the files that no parent has.
    fn commit(&self, id: ObjectId, history: &History<'_>) -> Result<(BTreeSet<Violation>, Vec<Added>), Error> {
        let commit = history.commit(id)?;
        let mut parents = Vec::new();
        for parent in &commit.parents {
            parents.push(history.commit(*parent)?.tree);
        }
        if parents.is_empty() {
            parents.push(ObjectId::empty_tree(id.kind()));
        }
        let mut violations = BTreeSet::new();
        let mut added: Option<Vec<(BString, Leaf)>> = None;
        for parent in parents {
            let mut here = Vec::new();
            for change in compare(self.reader, self.paths, parent, commit.tree, self.additions)? {
                match change {
                    Change::Added { path, item } => here.push((path, item)),
                    broken => violations.extend(violation(broken, id)),
                }
            }
            added = Some(match added {
                None => here,
                Some(before) => in_both(before, here),
            });
        }
        let new = |(path, item): (BString, Leaf)| Added {
            path,
            commit: id,
            id: item.id,
            kind: item.kind,
        };
        Ok((violations, added.unwrap_or_default().into_iter().map(new).collect()))
    }

    /// Compares the two ends. Skips files for which a violation is listed already.
    fn ends(&self, base: ObjectId, head: ObjectId, findings: &mut Findings) -> Result<(), Error> {
        let tree = |id| self.reader.commit(id).map(|commit| commit.tree);
        let broken = compare(self.reader, self.paths, tree(base)?, tree(head)?, Additions::Unread)?;
        let blamed: HashSet<BString> = findings.violations.iter().map(|found| found.path.clone()).collect();
        let found = broken.into_iter().filter_map(|change| violation(change, head));
        for violation in found.filter(|violation| !blamed.contains(&violation.path)) {
            findings.note(violation);
        }
        Ok(())
    }
}

fn violation(change: Change, commit: ObjectId) -> Option<Violation> {
    match change {
        Change::Added { .. } => None,
        Change::Broken { path, letter, to, .. } => Some(Violation {
            path,
            letter,
            to,
            commit,
        }),
    }
}

/// Returns the items of `other` whose paths are also in `one`.
fn in_both(one: Vec<(BString, Leaf)>, other: Vec<(BString, Leaf)>) -> Vec<(BString, Leaf)> {
    let paths: HashSet<BString> = one.into_iter().map(|(path, _)| path).collect();
    other.into_iter().filter(|(path, _)| paths.contains(path)).collect()
}
