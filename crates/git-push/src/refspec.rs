//! Refspecs: a pure function from refspecs, local refs and remote refs to updates (git-push, *\<refspec\>…*).
//!
//! 1. [`Refspecs::parse()`] parses the text.
//! 2. [`Refspecs::with_sources()`] looks up each source in the local repository, before any remote is asked.
//! 3. [`Sourced::matched()`] looks up destinations among the remote's refs, fills in patterns, and returns the [`Wanted`]
//!    updates.
//!
//! A short name stands for a full one by the rules of gitrevisions (*\<refname\>*). Branches and tags win over other refs.
//! `^excluded` patterns apply to the name on the remote, as in git.
mod error;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, refspec};

use self::names::standing_for;

pub use error::RefspecError;
pub use names::{filled, full_names, may_stand_for};

/// Refspecs of one push, parsed but not looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refspecs {
    one_by_one: Vec<One>,
    patterns: Vec<Pattern>,
    excluded: Vec<BString>,
    matching: Matching,
    prune: bool,
}

/// Refs that `:` stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Matching {
    /// Branches that both sides have.
    #[default]
    CommonBranches,
    /// All local branches (git-push, *--all*).
    AllBranches,
    /// All local refs. Refs of the remote that are not pushed are deleted (git-push, *--mirror*).
    AllRefs,
}

/// Refspecs with their local sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced {
    one_by_one: Vec<(Source, One)>,
    by_pattern: Vec<(Source, Filled)>,
    excluded: Vec<BString>,
    null: ObjectId,
    /// Patterns by which refs of the remote without a local ref are deleted, and the names of local refs.
    prune: Option<(Refspecs, BTreeSet<BString>)>,
}

/// An update that refspecs request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Source of the update, as git calls it: the full name of a ref, or the given expression, such as `HEAD` or `main~2`.
    /// `None` for a deletion.
    pub source: Option<BString>,
    /// The full name on the remote.
    pub name: BString,
    /// The id that the remote has. The null id if it has no such ref.
    pub old: ObjectId,
    /// The id to set. The null id deletes the ref.
    pub new: ObjectId,
    /// True if the refspec starts with `+`.
    pub force: bool,
}

/// Refs and objects of the local repository.
pub struct LocalRefs<'a> {
    /// Full names and ids, without `HEAD`. A symbolic ref has the id of its target.
    pub ids: BTreeMap<BString, ObjectId>,
    /// Targets of symbolic refs, `HEAD` among them.
    pub symbolic: BTreeMap<BString, BString>,
    /// Resolves an expression such as `HEAD`, `main~2` or an abbreviated id to an object.
    pub object: &'a dyn Fn(&BStr) -> Option<ObjectId>,
    /// The null id of the repository's object format.
    pub null: ObjectId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct One {
    /// `None` deletes.
    source: Option<BString>,
    destination: Option<BString>,
    force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// `:`, the branches that both sides have.
    Matching { force: bool },
    Glob {
        source: BString,
        destination: BString,
        force: bool,
    },
}

/// Destination of a local ref by a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filled {
    /// The full name on the remote.
    name: BString,
    force: bool,
    /// True if the ref is pushed only if the remote has it already.
    only_if_there: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    name: Option<BString>,
    id: ObjectId,
    /// Full name of the ref, or of the target of a symbolic ref. `None` for other expressions.
    stands_for: Option<BString>,
}

impl Refspecs {
    /// Parses refspecs as `git push` takes them: `+`, `:destination`, patterns, `^` and `:` among them.
    ///
    /// # Errors
    /// [`RefspecError::Invalid`].
    pub fn parse<S: AsRef<[u8]>>(texts: impl IntoIterator<Item = S>) -> Result<Self, RefspecError> {
        let mut all = Refspecs::default();
        for text in texts {
            all.add(text.as_ref().as_bstr())?;
        }
        Ok(all)
    }

    /// Sets what `:` stands for. Without refspecs, `:` is added.
    #[must_use]
    pub fn with_matching(mut self, matching: Matching) -> Self {
        if self.is_empty() {
            self.patterns.push(Pattern::Matching { force: false });
        }
        self.matching = matching;
        self
    }

    /// Deletes refs of the remote that patterns or `:` match and the local repository lacks (git-push, *--prune*).
    #[must_use]
    pub fn with_prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Returns true if there is no refspec but exclusions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.one_by_one.is_empty() && self.patterns.is_empty()
    }

    /// Returns the refspec `[+]name:destination` by which these refspecs push the ref with this full name, if one of them has
    /// a destination for it.
    #[must_use]
    pub fn mapped(&self, name: &BStr) -> Option<BString> {
        let named = self.one_by_one.iter().find_map(|one| {
            let is_named = one.source.as_ref().is_some_and(|source| source == name);
            Some((one.force, one.destination.clone().filter(|_| is_named)?))
        });
        let by_pattern = || {
            self.patterns.iter().find_map(|pattern| match pattern {
                Pattern::Matching { .. } => None,
                Pattern::Glob {
                    source,
                    destination,
                    force,
                } => Some((*force, filled(source.as_ref(), name, destination.as_ref())?)),
            })
        };
        let (force, destination) = named.or_else(by_pattern)?;
        let plus: &[u8] = if force { b"+" } else { b"" };
        Some([plus, name, b":", &destination].concat().into())
    }

    fn add(&mut self, text: &BStr) -> Result<(), RefspecError> {
        let invalid = |error: gix::Error| RefspecError::Invalid(text.into(), super::causes(&error));
        let parsed = refspec::parse(text, refspec::parse::Operation::Push).map_err(invalid)?;
        let source = parsed.source().map(BStr::to_owned);
        let destination = parsed.destination().map(BStr::to_owned);
        let force = text.starts_with(b"+");
        if text.starts_with(b"^") {
            self.excluded.extend(source);
            return Ok(());
        }
        match (source, destination) {
            (None, None) if !text.ends_with(b":") => {
                return Err(RefspecError::Invalid(text.into(), "it names nothing".into()));
            }
            (None, None) => self.patterns.push(Pattern::Matching { force }),
            (Some(source), destination) if source.contains(&b'*') => self.patterns.push(Pattern::Glob {
                destination: destination.unwrap_or_else(|| source.clone()),
                source,
                force,
            }),
            (source, destination) => self.one_by_one.push(One {
                source,
                destination,
                force,
            }),
        }
        Ok(())
    }

    /// Looks up the sources.
    ///
    /// # Errors
    /// [`RefspecError::NoSource`], [`RefspecError::AmbiguousSource`].
    pub fn with_sources(&self, local: &LocalRefs<'_>) -> Result<Sourced, RefspecError> {
        let one = |one: &One| {
            let source = source(one.source.as_ref().map(|name| name.as_bstr()), local)?;
            Ok((source, one.clone()))
        };
        let by_pattern = |name| Some((local.reference(name), self.by_pattern(name)?));
        Ok(Sourced {
            one_by_one: self.one_by_one.iter().map(one).collect::<Result<_, _>>()?,
            by_pattern: local.ids.keys().filter_map(by_pattern).collect(),
            excluded: self.excluded.clone(),
            null: local.null,
            prune: self
                .prunes()
                .then(|| (self.clone(), local.ids.keys().cloned().collect())),
        })
    }

    /// Returns the destination by the first pattern that matches; `:` comes last, unless it is forced.
    fn by_pattern(&self, local: &BString) -> Option<Filled> {
        let mut matching = None;
        for pattern in &self.patterns {
            match pattern {
                Pattern::Matching { force } => {
                    matching = if *force { Some(true) } else { matching.or(Some(false)) };
                }
                Pattern::Glob {
                    source,
                    destination,
                    force,
                } => {
                    if let Some(name) = filled(source.as_ref(), local.as_ref(), destination.as_ref()) {
                        return Some(Filled {
                            name,
                            force: *force,
                            only_if_there: false,
                        });
                    }
                }
            }
        }
        let force = matching.filter(|_| self.matches(local))?;
        Some(Filled {
            name: local.clone(),
            force,
            only_if_there: self.matching == Matching::CommonBranches,
        })
    }

    /// Returns true if `:` stands for refs of this name.
    fn matches(&self, name: &BString) -> bool {
        self.matching == Matching::AllRefs || name.starts_with(b"refs/heads/")
    }

    fn prunes(&self) -> bool {
        self.prune || self.matching == Matching::AllRefs
    }

    /// Returns true if a ref of the remote that is not pushed is deleted, with these local refs.
    fn deletes(&self, remote: &BString, local: &BTreeSet<BString>) -> bool {
        if self.matching == Matching::AllRefs {
            return true;
        }
        let source = |pattern: &Pattern| match pattern {
            Pattern::Matching { .. } => None,
            Pattern::Glob {
                source, destination, ..
            } => filled(destination.as_ref(), remote.as_ref(), source.as_ref()),
        };
        let is_matching = |pattern: &Pattern| matches!(pattern, Pattern::Matching { .. });
        let matched = || (self.patterns.iter().any(is_matching) && self.matches(remote)).then(|| remote.clone());
        let source = self.patterns.iter().find_map(source).or_else(matched);
        source.is_some_and(|source| !local.contains(&source))
    }
}

impl Sourced {
    /// Returns the updates of a remote with these refs: first those of refs that it has, by name, then new ones in the order
    /// of the refspecs.
    ///
    /// # Errors
    /// The other variants of [`RefspecError`].
    pub fn matched(&self, remote: &BTreeMap<BString, ObjectId>) -> Result<Vec<Wanted>, RefspecError> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut names = BTreeSet::new();
        for (source, one) in &self.one_by_one {
            let there = |name: &BString| remote.contains_key(name) || names.contains(name);
            let name = source.destination(one.destination.as_ref(), there)?;
            if !names.insert(name.clone()) {
                return Err(RefspecError::Twice(name));
            }
            wanted.push(self.update(source, name, one.force, remote));
        }
        for (source, filled) in &self.by_pattern {
            let name = filled.name.clone();
            if (remote.contains_key(&name) || !filled.only_if_there) && names.insert(name.clone()) {
                wanted.push(self.update(source, name, filled.force, remote));
            }
        }
        if let Some((refspecs, local)) = &self.prune {
            for (name, old) in remote {
                if !names.contains(name) && refspecs.deletes(name, local) {
                    wanted.push(self.deletion(name, *old));
                }
            }
        }
        wanted.retain(|update| !self.excluded.iter().any(|pattern| excludes(pattern, &update.name)));
        let there = |update: &Wanted| remote.contains_key(&update.name);
        wanted.sort_by_cached_key(|update| {
            let name = there(update).then(|| update.name.clone());
            (name.is_none(), name)
        });
        Ok(wanted)
    }

    fn deletion(&self, name: &BString, old: ObjectId) -> Wanted {
        Wanted {
            source: None,
            name: name.clone(),
            old,
            new: self.null,
            force: false,
        }
    }

    /// Returns the update that creates the remote ref `name` as a copy of the local one, unless it is excluded.
    #[must_use]
    pub fn creation(&self, name: &BString, new: ObjectId) -> Option<Wanted> {
        let is_excluded = self.excluded.iter().any(|pattern| excludes(pattern, name));
        (!is_excluded).then(|| Wanted {
            source: Some(name.clone()),
            name: name.clone(),
            old: self.null,
            new,
            force: false,
        })
    }

    fn update(&self, source: &Source, name: BString, force: bool, remote: &BTreeMap<BString, ObjectId>) -> Wanted {
        Wanted {
            source: source.name.clone(),
            old: remote.get(&name).copied().unwrap_or(self.null),
            new: source.id,
            name,
            force,
        }
    }
}

impl LocalRefs<'_> {
    /// Returns the full name of the only ref that `short` stands for.
    #[must_use]
    pub fn only(&self, short: &BStr) -> Option<BString> {
        match &standing_for(short, |name| self.ids.contains_key(name))[..] {
            [name] => Some(name.clone()),
            _ => None,
        }
    }

    fn reference(&self, name: &BString) -> Source {
        Source {
            id: self.ids[name],
            stands_for: Some(self.symbolic.get(name).unwrap_or(name).clone()),
            name: Some(name.clone()),
        }
    }
}

impl Source {
    fn label(&self) -> BString {
        self.name.clone().unwrap_or_default()
    }

    /// Returns the full name on the remote. `there` returns true for its refs.
    fn destination(&self, given: Option<&BString>, there: impl Fn(&BString) -> bool) -> Result<BString, RefspecError> {
        let given = match given {
            Some(given) => given.clone(),
            None => self.as_destination()?,
        };
        match &standing_for(given.as_ref(), there)[..] {
            [name] => Ok(name.clone()),
            [] if given.starts_with(b"refs/") => Ok(given),
            [] if self.name.is_none() => Err(RefspecError::NothingToDelete(given)),
            [] => self.qualified(given),
            _ => Err(RefspecError::AmbiguousDestination(given)),
        }
    }

    /// Returns the destination if none is given.
    fn as_destination(&self) -> Result<BString, RefspecError> {
        let name = self.label();
        match &self.stands_for {
            Some(full) if *full == name || full.starts_with(b"refs/heads/") => Ok(full.clone()),
            // A detached HEAD has a name, but is no branch.
            None if name == "HEAD" => Ok(name),
            _ => Err(RefspecError::NotABranch(name)),
        }
    }

    /// Returns the full name of a new ref: a branch if the source is one, a tag if the source is one.
    fn qualified(&self, destination: BString) -> Result<BString, RefspecError> {
        let kinds = ["refs/heads/", "refs/tags/"];
        let full = self.stands_for.clone().unwrap_or_default();
        match kinds.iter().find(|kind| full.starts_with(kind.as_bytes())) {
            // The name may not be UTF-8.
            Some(kind) => Ok([kind.as_bytes(), &destination].concat().into()),
            None => Err(RefspecError::Unqualified {
                destination,
                source_name: self.label(),
            }),
        }
    }
}

fn source(given: Option<&BStr>, local: &LocalRefs<'_>) -> Result<Source, RefspecError> {
    let Some(given) = given else {
        return Ok(Source {
            name: None,
            id: local.null,
            stands_for: None,
        });
    };
    match &standing_for(given, |name| local.ids.contains_key(name))[..] {
        [name] => Ok(local.reference(name)),
        [] => Ok(Source {
            id: (local.object)(given).ok_or_else(|| RefspecError::NoSource(given.into()))?,
            stands_for: local.symbolic.get(given.as_bytes()).cloned(),
            name: Some(given.into()),
        }),
        _ => Err(RefspecError::AmbiguousSource(given.into())),
    }
}

fn excludes(pattern: &BString, name: &BString) -> bool {
    filled(pattern.as_ref(), name.as_ref(), b"".as_bstr()).is_some()
}

#[cfg(test)]
mod tests;
