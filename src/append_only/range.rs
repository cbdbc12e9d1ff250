//! The rule over a range of commits.
use std::collections::{BTreeSet, HashSet};

use bstr::BString;
use gix::{
    ObjectId,
    objs::{Find, tree::EntryKind},
};

use super::{
    Error, MAX_LISTED, Paths, Violation,
    compare::{Additions, Change, compare},
    history::History,
    objects::{Item, Reader},
};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// What was there before: a commit, or a tag of one. `None`: nothing, so that all of `head`'s history is new.
    pub base: Option<ObjectId>,
    /// What is there now: a commit, or a tag of one.
    pub head: ObjectId,
    /// What the one is to the other.
    pub relation: Relation,
}

/// What `head` is to `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is to be merged, as a pull request. What counts is what it did since the two parted: what `base` has gained
    /// since then is not missing in it. Where they never were one, the ends are compared.
    Proposal,
    /// It takes the place of `base`, as in a push. All that `base` has must be in it.
    Replacement,
    /// It is new, and `base` stays. Only what is new in it counts; it may have nothing in common with `base`.
    Beside,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first [`MAX_LISTED`] violations: by commit, the oldest first, then by path. A file that breaks the rule in
    /// several commits is there for each of them.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub violation_count: usize,
    /// The new files below the guarded paths, if they were asked for.
    pub added: Vec<Added>,
    /// How many new commits there are. Where clocks ran backwards, some may be counted that are not new, but nothing else is
    /// said of them.
    pub commits: usize,
}

/// A file that none of a commit's parents has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Where it is.
    pub path: BString,
    /// The commit that added it.
    pub commit: ObjectId,
    /// Its content.
    pub id: ObjectId,
    /// What kind of file it is.
    pub kind: EntryKind,
}

/// Checks the rule over every commit that `head` reaches and `base` does not, each against each of its parents, and over
/// the two ends. `shallow` says whether the clone ends at a commit. New files are told when `with_added`.
///
/// # Errors
/// There is no verdict: see [`Error`].
pub fn check(
    objects: &dyn Find,
    paths: &Paths,
    range: Range,
    shallow: &dyn Fn(ObjectId) -> bool,
    with_added: bool,
) -> Result<Findings, Error> {
    let reader = Reader(objects);
    let commit = |id: ObjectId| reader.peel(id)?.ok_or(Error::NotACommit(id));
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

/// What the files of the commit `old` would lose if only `kept` were left. Nothing is left if that is `None`.
///
/// # Errors
/// See [`check()`]. An `old` that is no commit has no files.
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
    /// Whether the rule is kept.
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
    /// What one commit did to the files of each of its parents, and what it added to all of them.
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
        let mut added: Option<Vec<(BString, Item)>> = None;
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
        let new = |(path, item): (BString, Item)| Added {
            path,
            commit: id,
            id: item.id,
            kind: item.kind,
        };
        Ok((violations, added.unwrap_or_default().into_iter().map(new).collect()))
    }

    /// The two ends, as far as no commit between them was blamed.
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

/// What is in both, whatever it is there.
fn in_both(one: Vec<(BString, Item)>, other: Vec<(BString, Item)>) -> Vec<(BString, Item)> {
    let paths: HashSet<BString> = one.into_iter().map(|(path, _)| path).collect();
    other.into_iter().filter(|(path, _)| paths.contains(path)).collect()
}
