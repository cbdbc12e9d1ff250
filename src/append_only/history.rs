//! Walk that finds the new commits: those reachable from `head` but not from `base`.
//!
//! It follows both ends at once, the youngest commit first, until only commits reachable from `base` are left. If clocks
//! were wrong, the result may then contain a commit that `base` reaches by a longer path; it never lacks a new commit.
//! [`finish()`](History::finish()) follows the rest. After that the result is exact, even if clocks were wrong.
use std::collections::{BinaryHeap, HashMap};

use gix::ObjectId;

use super::Error;
use crate::git_objects::{Commit, Error as ObjectError, Reader};

/// Maximum number of commits to read. More are an error, because a partial check would be no verdict.
const MAX_COMMITS: usize = 4_000_000;

/// Reached from `head`.
const HEAD: u8 = 1;
/// Reached from `base`.
const BASE: u8 = 2;

struct Seen {
    commit: Commit,
    reached: u8,
    waiting: bool,
}

/// Commits reached so far.
pub(super) struct History<'a> {
    reader: Reader<'a>,
    /// True for commits at which a shallow clone ends.
    shallow: &'a dyn Fn(ObjectId) -> bool,
    seen: HashMap<ObjectId, Seen>,
    /// By time. Within one second, commits reachable from `base` come first, so that only clocks that run backwards
    /// cause a wrong order.
    waiting: BinaryHeap<(i64, bool, ObjectId)>,
    /// Number of waiting commits that are reached from `head` only.
    new_waiting: usize,
    /// A commit reachable from `base` whose parents are missing.
    cut: Option<ObjectId>,
    related: bool,
}

impl<'a> History<'a> {
    /// Follows both ends as far as necessary.
    ///
    /// # Errors
    /// A commit is missing or damaged, or there are too many.
    pub(super) fn between(
        reader: Reader<'a>,
        shallow: &'a dyn Fn(ObjectId) -> bool,
        base: Option<ObjectId>,
        head: ObjectId,
    ) -> Result<Self, Error> {
        let mut history = History {
            reader,
            shallow,
            seen: HashMap::new(),
            waiting: BinaryHeap::new(),
            new_waiting: 0,
            cut: None,
            related: false,
        };
        history.reach(head, HEAD)?;
        if let Some(base) = base {
            history.reach(base, BASE)?;
        }
        while history.new_waiting > 0 {
            history.step()?;
        }
        Ok(history)
    }

    /// Follows all remaining commits.
    ///
    /// # Errors
    /// The errors of [`between()`](History::between()).
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        while !self.waiting.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// Returns the new commits, the oldest first.
    ///
    /// # Errors
    /// The clone is shallow and ends at one of them.
    pub(super) fn new_commits(&self) -> Result<Vec<ObjectId>, Error> {
        let new = self.seen.iter().filter(|(_, seen)| seen.reached == HEAD);
        let mut new: Vec<_> = new.map(|(id, seen)| (seen.commit.time, *id)).collect();
        new.sort_unstable();
        match new.iter().find(|(_, id)| (self.shallow)(*id)) {
            Some((_, commit)) => Err(Error::Shallow { commit: *commit }),
            None => Ok(new.into_iter().map(|(_, id)| id).collect()),
        }
    }

    /// Returns true if this commit is new.
    pub(super) fn is_new(&self, id: ObjectId) -> bool {
        self.seen.get(&id).is_some_and(|seen| seen.reached == HEAD)
    }

    /// Returns a commit that was reached.
    ///
    /// # Errors
    /// The commit was not reached.
    pub(super) fn commit(&self, id: ObjectId) -> Result<&Commit, Error> {
        let seen = self.seen.get(&id).ok_or(ObjectError::Missing { what: "commit", id })?;
        Ok(&seen.commit)
    }

    /// Returns true if both ends have a common ancestor.
    ///
    /// # Errors
    /// The errors of [`between()`](History::between()), or the clone is too shallow to decide.
    pub(super) fn is_related(&mut self) -> Result<bool, Error> {
        if !self.related {
            self.finish()?;
        }
        match (self.related, self.cut) {
            (false, Some(commit)) => Err(Error::Apart { commit }),
            (related, _) => Ok(related),
        }
    }

    fn reach(&mut self, id: ObjectId, from: u8) -> Result<(), Error> {
        if !self.seen.contains_key(&id) {
            if self.seen.len() >= MAX_COMMITS {
                return Err(ObjectError::TooMany(MAX_COMMITS, "commits").into());
            }
            let seen = Seen {
                commit: self.reader.commit(id)?,
                reached: 0,
                waiting: false,
            };
            self.seen.insert(id, seen);
        }
        let Some(seen) = self.seen.get_mut(&id) else {
            return Ok(());
        };
        let before = seen.reached;
        seen.reached |= from;
        if seen.reached == before {
            return Ok(());
        }
        self.related |= seen.reached == HEAD | BASE;
        self.new_waiting -= usize::from(seen.waiting && before == HEAD);
        self.new_waiting += usize::from(seen.reached == HEAD);
        seen.waiting = true;
        self.waiting.push((seen.commit.time, seen.reached != HEAD, id));
        Ok(())
    }

    /// Follows the youngest waiting commit to its parents.
    fn step(&mut self) -> Result<(), Error> {
        let Some((_, _, id)) = self.waiting.pop() else {
            return Ok(());
        };
        let Some(seen) = self.seen.get_mut(&id).filter(|seen| seen.waiting) else {
            return Ok(());
        };
        seen.waiting = false;
        let reached = seen.reached;
        self.new_waiting -= usize::from(reached == HEAD);
        if (self.shallow)(id) {
            if reached != HEAD {
                self.cut = Some(id);
            }
            return Ok(());
        }
        for parent in seen.commit.parents.clone() {
            self.reach(parent, reached)?;
        }
        Ok(())
    }
}
