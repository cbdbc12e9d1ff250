//! Refspecs: a pure function from refspecs, local refs and remote refs to updates (git-push, *\<refspec\>…*).
//!
//! 1. [`Refspecs::parse()`] parses the text.
//! 2. [`Refspecs::with_sources()`] looks up each source in the local repository, before any remote is asked.
//! 3. [`Sourced::matched()`] looks up destinations among the remote's refs, fills in patterns, and returns the [`Wanted`]
//!    updates.
//!
//! A short name stands for a full one by the rules of gitrevisions (*\<refname\>*). Branches and tags win over other refs.
//! `^excluded` patterns apply to the name on the remote, as in git.
mod names;

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, refspec};

use self::names::standing_for;

pub use names::{filled, full_names, may_stand_for};

/// Refspecs of one push, parsed but not looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refspecs {
    one_by_one: Vec<One>,
    patterns: Vec<Pattern>,
    excluded: Vec<BString>,
}

/// Refspecs with their local sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced {
    one_by_one: Vec<(Source, One)>,
    by_pattern: Vec<(Source, Filled)>,
    excluded: Vec<BString>,
    null: ObjectId,
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

/// Errors in refspecs, in git's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefspecError {
    /// The text is not a refspec.
    #[error("invalid refspec '{0}': {1}")]
    Invalid(BString, String),
    /// The source is neither a local ref nor a local object.
    #[error("src refspec {0} does not match any")]
    NoSource(BString),
    /// The source stands for several local refs.
    #[error("src refspec {0} matches more than one")]
    AmbiguousSource(BString),
    /// There is no destination, and the source cannot be one.
    #[error("{0} cannot be resolved to branch")]
    NotABranch(BString),
    /// The ref to delete does not exist on the remote.
    #[error("unable to delete '{0}': remote ref does not exist")]
    NothingToDelete(BString),
    /// The destination stands for several refs of the remote.
    #[error("dst refspec {0} matches more than one")]
    AmbiguousDestination(BString),
    /// The destination stands for no ref of the remote, and the kind of ref to create is unknown.
    #[error("destination {destination} is not a full refname, and {source_name} is neither a branch nor a tag")]
    Unqualified {
        /// The given destination.
        destination: BString,
        /// The given source.
        source_name: BString,
    },
    /// Two refspecs have the same destination.
    #[error("dst ref {0} receives from more than one src")]
    Twice(BString),
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
        let force = matching.filter(|_| local.starts_with(b"refs/heads/"))?;
        Some(Filled {
            name: local.clone(),
            force,
            only_if_there: true,
        })
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
        wanted.retain(|update| !self.excluded.iter().any(|pattern| excludes(pattern, &update.name)));
        let there = |update: &Wanted| remote.contains_key(&update.name);
        wanted.sort_by_cached_key(|update| {
            let name = there(update).then(|| update.name.clone());
            (name.is_none(), name)
        });
        Ok(wanted)
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
mod tests {
    use super::*;

    const NULL: ObjectId = ObjectId::Sha1([0; 20]);
    const HERE: ObjectId = ObjectId::Sha1([1; 20]);
    const THERE: ObjectId = ObjectId::Sha1([2; 20]);

    /// Returns the updates as `source>name`, for a repository and a remote with refs of these names.
    fn asked(refspecs: &[&str], local: &[&str], remote: &[&str]) -> Result<String, RefspecError> {
        let refs = |names: &[&str], id| names.iter().map(|name| ((*name).into(), id)).collect();
        let local = LocalRefs {
            ids: refs(local, HERE),
            symbolic: [("HEAD".into(), "refs/heads/main".into())].into(),
            object: &|expression| (expression == "HEAD").then_some(HERE),
            null: NULL,
        };
        let wanted = Refspecs::parse(refspecs)?
            .with_sources(&local)?
            .matched(&refs(remote, THERE))?;
        let line = |wanted: Wanted| {
            assert_eq!(wanted.new.is_null(), wanted.source.is_none());
            assert_eq!(wanted.old.is_null(), !remote.contains(&&*wanted.name.to_string()));
            format!("{}>{}", wanted.source.unwrap_or_default(), wanted.name)
        };
        Ok(wanted.into_iter().map(line).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn branches_and_tags_win_over_others_and_over_nothing() {
        let asked = |refspec: &str, local: &[&str]| asked(&[refspec], local, &[]);
        let other = ["refs/remotes/a", "refs/heads/a"];
        assert_eq!(asked("a", &other).unwrap(), "refs/heads/a>refs/heads/a");
        assert_eq!(asked("a", &other[..1]).unwrap(), "refs/remotes/a>refs/remotes/a");
        let two = ["refs/tags/a", "refs/heads/a"];
        assert_eq!(asked("a", &two), Err(RefspecError::AmbiguousSource("a".into())));
        assert_eq!(asked("a", &[]), Err(RefspecError::NoSource("a".into())));
    }

    #[test]
    fn what_the_remote_has_comes_first_then_new_names_as_they_were_asked_for() {
        let local = ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/heads/d"];
        let refspecs = ["d", "a", "refs/heads/*", "^refs/heads/c"];
        let asked = asked(&refspecs, &local, &["refs/heads/b"]).unwrap();
        let names: Vec<_> = asked.split(' ').filter_map(|one| one.split('>').nth(1)).collect();
        assert_eq!(names, ["refs/heads/b", "refs/heads/d", "refs/heads/a"]);
    }

    #[test]
    fn a_destination_that_is_not_utf8_is_kept_as_it_is() {
        let id = |name: &str, id| BTreeMap::from([(name.into(), id)]);
        let local = LocalRefs {
            ids: id("refs/heads/a", HERE),
            symbolic: BTreeMap::new(),
            object: &|_| None,
            null: NULL,
        };
        let refspecs = Refspecs::parse([b"a:\xff"]).unwrap();
        let wanted = refspecs
            .with_sources(&local)
            .unwrap()
            .matched(&BTreeMap::new())
            .unwrap();
        assert_eq!(wanted[0].name, b"refs/heads/\xff".as_bstr());
    }

    #[test]
    fn a_destination_that_is_not_there_is_what_the_source_is() {
        let local = ["refs/heads/main", "refs/tags/v1", "refs/kv/main"];
        let asked = |refspec: &str| asked(&[refspec], &local, &["refs/heads/there"]);
        assert_eq!(asked("HEAD").unwrap(), "HEAD>refs/heads/main");
        assert_eq!(asked("HEAD:new").unwrap(), "HEAD>refs/heads/new");
        assert_eq!(asked("v1:v2").unwrap(), "refs/tags/v1>refs/tags/v2");
        assert_eq!(asked("v1:there").unwrap(), "refs/tags/v1>refs/heads/there");
        assert!(matches!(
            asked("refs/kv/main:new"),
            Err(RefspecError::Unqualified { .. })
        ));
        assert_eq!(asked(":new"), Err(RefspecError::NothingToDelete("new".into())));
        assert_eq!(asked(":there").unwrap(), ">refs/heads/there");
    }
}
