//! The walk from new tips: everything that they reach exists, up to the commits that refs of the repository reach.
//!
//! What the refs reach is complete, as git has it. It is recognized by the trees of those commits that new ones build on.
//! Damage of the repository makes the walk longer: a ref whose object cannot be read completes nothing, with a warning.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use bstr::BString;
use git_push::{Error, ErrorKind, causes};
use gix::{ObjectId, objs::Kind};

use super::{Objects, referred};

/// A walk with its results so far.
pub(super) struct Connectivity<'a> {
    objects: &'a Objects<'a>,
    /// Tips of the refs, as commits.
    refs: Vec<ObjectId>,
    /// Objects that the refs of the repository have, all of them by themselves.
    tips: HashSet<ObjectId>,
    /// Warnings for the person who pushes.
    words: RefCell<BTreeSet<String>>,
}

/// Commits that no ref reaches, and those below them that refs reach.
#[derive(Default)]
struct Commits {
    unknown: Vec<ObjectId>,
    known: BTreeSet<ObjectId>,
}

impl<'a> Connectivity<'a> {
    /// Reads the refs of the repository. One whose object is missing or damaged is left out, with a warning.
    pub fn new(objects: &'a Objects<'a>, refs: &BTreeMap<BString, ObjectId>) -> Result<Self, Error> {
        let mut connectivity = Connectivity {
            objects,
            refs: Vec::new(),
            tips: HashSet::new(),
            words: RefCell::default(),
        };
        for (name, tip) in refs {
            let found = peeled(objects, *tip).and_then(|found| match found {
                Some((id, Kind::Commit)) => Ok(objects.find(id, &mut Vec::new())?.map(|_| (id, Kind::Commit))),
                other => Ok(other),
            });
            let why = match found {
                Ok(Some((id, kind))) => {
                    connectivity.refs.extend((kind == Kind::Commit).then_some(id));
                    connectivity.tips.insert(*tip);
                    continue;
                }
                Ok(None) => "it does not exist".to_owned(),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => error.to_string(),
            };
            connectivity.warn(format!("cannot read the object {tip} of {name}: {why}"));
        }
        Ok(connectivity)
    }

    /// Returns the warnings.
    pub fn into_words(self) -> impl Iterator<Item = String> {
        self.words.into_inner().into_iter()
    }

    fn warn(&self, what: String) {
        self.words.borrow_mut().insert(format!("warning: {what}"));
    }

    /// Returns an object. One of the repository that is damaged does not count as there, with a warning.
    fn find<'b>(&self, id: ObjectId, buffer: &'b mut Vec<u8>) -> Result<Option<gix::objs::Data<'b>>, Error> {
        match self.objects.find(id, buffer) {
            Err(error) if error.kind() != ErrorKind::Interrupted && !self.objects.is_new(&id) => {
                self.warn(error.to_string());
                Ok(None)
            }
            found => found,
        }
    }

    /// Returns the type of an object. One of the repository that is damaged does not count as there, with a warning.
    fn kind(&self, id: ObjectId) -> Result<Option<Kind>, Error> {
        match self.objects.kind(id) {
            Err(error) if error.kind() != ErrorKind::Interrupted && !self.objects.is_new(&id) => {
                self.warn(error.to_string());
                Ok(None)
            }
            found => found,
        }
    }

    /// Returns those tips that reach an object that does not exist.
    pub fn disconnected(&self, tips: &BTreeSet<ObjectId>) -> Result<BTreeSet<ObjectId>, Error> {
        let mut disconnected = BTreeSet::new();
        if !self.reach_all(tips)? {
            for tip in tips {
                if !self.reach_all(&BTreeSet::from([*tip]))? {
                    disconnected.insert(*tip);
                }
            }
        }
        Ok(disconnected)
    }

    /// Returns true if everything that the tips reach exists.
    fn reach_all(&self, tips: &BTreeSet<ObjectId>) -> Result<bool, Error> {
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        for tip in tips.iter().filter(|tip| !self.tips.contains(*tip)) {
            match peeled(self.objects, *tip)? {
                None => return Ok(false),
                Some((id, Kind::Commit)) => commits.push(id),
                Some((id, kind)) => others.push((id, kind)),
            }
        }
        let Some(commits) = self.commits(commits)? else {
            return Ok(false);
        };
        let mut buffer = Vec::new();
        for id in &commits.unknown {
            let Some(commit) = self.find(*id, &mut buffer)? else {
                return Ok(false);
            };
            let tree = referred(commit.kind, commit.data, id.kind());
            others.extend(tree.into_iter().filter(|(_, kind)| *kind == Kind::Tree));
        }
        self.trees_exist(others, &commits.known)
    }

    /// Returns the commits that these reach and no ref does. `None` if one does not exist.
    fn commits(&self, tips: Vec<ObjectId>) -> Result<Option<Commits>, Error> {
        let (mut commits, mut old) = (Commits::default(), BTreeSet::new());
        let (mut seen, mut next, mut buffer) = (HashSet::new(), tips, Vec::new());
        while let Some(id) = next.pop() {
            if !seen.insert(id) {
                continue;
            }
            if !self.objects.is_new(&id) {
                old.insert(id);
                continue;
            }
            let Some(commit) = self.find(id, &mut buffer)? else {
                return Ok(None);
            };
            commits.unknown.push(id);
            let parents = referred(commit.kind, commit.data, id.kind());
            next.extend(
                parents
                    .into_iter()
                    .filter(|(_, kind)| *kind == Kind::Commit)
                    .map(|(id, _)| id),
            );
        }
        for id in &old {
            if self.kind(*id)? != Some(Kind::Commit) {
                return Ok(None);
            }
        }
        self.beyond(old, commits)
    }

    /// Adds commits of the repository that `old` reach and no ref does. `None` if one does not exist.
    fn beyond(&self, old: BTreeSet<ObjectId>, mut commits: Commits) -> Result<Option<Commits>, Error> {
        let walk = self.objects.repository.rev_walk(old.iter().copied());
        let walk = walk.with_hidden(self.refs.iter().copied()).all();
        let Ok(walk) = walk else {
            return self.down_to_tips(old, commits);
        };
        let (mut walked, mut parents) = (BTreeSet::new(), old.clone());
        for commit in walk {
            self.objects.go_on()?;
            let commit = match commit {
                Ok(commit) => commit,
                Err(error) => {
                    self.warn(format!("cannot read what the refs reach: {}", causes(&error)));
                    return self.down_to_tips(old, commits);
                }
            };
            walked.insert(commit.id);
            parents.extend(commit.parent_ids.iter().copied());
        }
        commits.known = parents.difference(&walked).copied().collect();
        commits.unknown.extend(walked);
        Ok(Some(commits))
    }

    /// The same, for a repository with an object that cannot be read. Only the refs themselves are complete.
    fn down_to_tips(&self, old: BTreeSet<ObjectId>, mut commits: Commits) -> Result<Option<Commits>, Error> {
        let refs: HashSet<_> = self.refs.iter().copied().collect();
        let (mut seen, mut next, mut buffer) = (HashSet::new(), Vec::from_iter(old), Vec::new());
        while let Some(id) = next.pop() {
            if refs.contains(&id) {
                commits.known.insert(id);
            } else if seen.insert(id) {
                let Some(commit) = self.find(id, &mut buffer)? else {
                    return Ok(None);
                };
                commits.unknown.push(id);
                let parents = referred(commit.kind, commit.data, id.kind()).into_iter();
                next.extend(parents.filter(|(_, kind)| *kind == Kind::Commit).map(|(id, _)| id));
            }
        }
        Ok(Some(commits))
    }

    /// Returns true if these objects and all objects below them exist. `known` are commits that are complete.
    fn trees_exist(&self, mut next: Vec<(ObjectId, Kind)>, known: &BTreeSet<ObjectId>) -> Result<bool, Error> {
        let (mut seen, mut complete) = (HashSet::new(), None);
        let mut buffer = Vec::new();
        while let Some((id, expected)) = next.pop() {
            if !seen.insert(id) {
                continue;
            }
            if !self.objects.is_new(&id) {
                let complete = match &mut complete {
                    Some(complete) => complete,
                    none => none.insert(self.below(known)?),
                };
                if complete.contains(&id) {
                    continue;
                }
            }
            if self.kind(id)? != Some(expected) {
                return Ok(false);
            }
            if expected == Kind::Tree {
                let Some(tree) = self.find(id, &mut buffer)? else {
                    return Ok(false);
                };
                next.extend(referred(tree.kind, tree.data, id.kind()));
            }
        }
        Ok(true)
    }

    /// Returns all trees and files of these commits.
    fn below(&self, commits: &BTreeSet<ObjectId>) -> Result<HashSet<ObjectId>, Error> {
        let mut below = HashSet::new();
        let mut next: Vec<_> = commits.iter().map(|id| (*id, Kind::Commit)).collect();
        let mut buffer = Vec::new();
        while let Some((id, kind)) = next.pop() {
            if !below.insert(id) || kind == Kind::Blob {
                continue;
            }
            // One that has gone was lost before this push.
            let Some(object) = self.find(id, &mut buffer)? else {
                continue;
            };
            let referred = referred(object.kind, object.data, id.kind()).into_iter();
            next.extend(referred.filter(|(_, kind)| *kind != Kind::Commit));
        }
        Ok(below)
    }
}

/// Returns the object that a tag refers to, over other tags, with its type. `None` if one of them does not exist.
fn peeled(objects: &Objects<'_>, tip: ObjectId) -> Result<Option<(ObjectId, Kind)>, Error> {
    let (mut id, mut buffer) = (tip, Vec::new());
    loop {
        let kind = match objects.kind(id)? {
            Some(Kind::Tag) => Kind::Tag,
            other => return Ok(other.map(|kind| (id, kind))),
        };
        let tag = objects.find(id, &mut buffer)?;
        let target = tag.and_then(|tag| referred(kind, tag.data, id.kind()).first().copied());
        match target {
            Some((target, _)) => id = target,
            None => return Ok(None),
        }
    }
}
