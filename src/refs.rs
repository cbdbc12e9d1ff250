//! Reader of a repository's refs. An unreadable ref is not an absent one: each read has one of three results.
//!
//! # Files
//!
//! A ref is a *loose* file below `refs/`, or else a line of `packed-refs`. Loose files are read before `packed-refs`.
//! `git pack-refs` works in the opposite order, so a ref that is being packed is found in one of the two.
//!
//! Damage makes these refs unreadable:
//!
//! - a loose file that cannot be read, is empty or has invalid content: its ref;
//! - a folder that cannot be read: every ref below it, packed or not;
//! - a damaged line of `packed-refs` with an intact name: the ref with that name, unless it is loose;
//! - any other damage of `packed-refs`: every ref that is neither loose nor on an intact line.
//!
//! # Reftables
//!
//! A ref is a record in one of the tables that `reftable/tables.list` names. Each read takes a snapshot of all tables.
//!
//! Damage makes these refs unreadable:
//!
//! - the stack cannot be read, is damaged, or changes again and again while it is opened: every ref;
//! - a block is damaged: every ref whose look-up needs the block.
//!
//! This is the only place that reads local refs for the mirror.
mod files;
mod list;
mod loose;
mod packed;
mod tables;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString};
use gix::ObjectId;

pub use self::list::LocalRefs;
use self::{files::Files, tables::Tables};
use crate::ref_pattern::RefPatterns;

/// Number of symbolic refs in a row that git follows.
const MOST_STEPS: usize = 5;

/// Result of reading one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalRef {
    /// The ref's id. For a symbolic ref, the id of its target.
    Id(ObjectId),
    /// There is no such ref. A symbolic ref whose target is absent is absent, too.
    Absent,
    /// The ref may exist, but cannot be read.
    Unreadable(Unreadable),
}

impl LocalRef {
    /// Returns the id, if there is one.
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            LocalRef::Id(id) => Some(*id),
            LocalRef::Absent | LocalRef::Unreadable(_) => None,
        }
    }
}

/// Reason why a ref cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {why}", place.display())]
pub struct Unreadable {
    /// The file, the folder, or the ref as if it were a file.
    pub place: PathBuf,
    /// The problem.
    pub why: Why,
}

/// Problem of a file or folder of refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The system returned this error.
    System(String),
    /// It is empty.
    Empty,
    /// It contains neither an object id nor the name of another ref.
    NoId,
    /// It is a pipe, a device, or a link to a folder.
    NoFile,
    /// It is a symbolic link to a file that does not exist.
    BrokenLink,
    /// Too many symbolic refs in a row, or a cycle of them.
    TooManySteps,
    /// This line, counted from 1, is damaged.
    Line(usize),
    /// The tables cannot be read, for this reason.
    Tables(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::System(error) | Why::Tables(error) => write!(f, "cannot be read: {error}"),
            Why::Empty => f.write_str("is empty"),
            Why::NoId => f.write_str("contains neither an object id nor a ref name"),
            Why::NoFile => f.write_str("is not a regular file"),
            Why::BrokenLink => f.write_str("is a symbolic link to a missing file"),
            Why::TooManySteps => write!(f, "passes through more than {MOST_STEPS} symbolic refs"),
            Why::Line(number) => write!(f, "is damaged in line {number}"),
        }
    }
}

impl Unreadable {
    fn new(place: &Path, why: Why) -> Self {
        let place = place.to_owned();
        Unreadable { place, why }
    }

    fn system(place: &Path, error: &std::io::Error) -> Self {
        Unreadable::new(place, Why::System(error.to_string()))
    }
}

/// Content of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Id(ObjectId),
    /// The name of another ref.
    Symbolic(BString),
}

/// Refs of one repository.
#[derive(Debug)]
pub struct Refs(Storage);

#[derive(Debug)]
enum Storage {
    Files(Files),
    Tables(Tables),
}

impl Refs {
    /// Returns the refs in files below this folder, with ids of this kind.
    pub fn new(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs(Storage::Files(Files::new(folder, format)))
    }

    /// Returns the refs in the reftables of this common git directory, with ids of this kind.
    pub fn in_tables(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs(Storage::Tables(Tables::new(folder, format)))
    }

    /// Reads the current value of the ref with this full name.
    pub fn read(&self, name: &BStr) -> LocalRef {
        self.follow(name).0
    }

    /// Reads the same, and also returns the name of the ref that holds the id: `name`, unless that is symbolic. It is the
    /// name of the missing ref if a symbolic ref dangles.
    pub fn follow(&self, name: &BStr) -> (LocalRef, BString) {
        match &self.0 {
            Storage::Files(files) => files.resolve(name),
            Storage::Tables(tables) => tables.follow(name),
        }
    }

    /// Lists the current values of all refs that match `patterns`.
    pub fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        match &self.0 {
            Storage::Files(files) => files.list(patterns),
            Storage::Tables(tables) => tables.list(patterns),
        }
    }
}

/// Follows symbolic refs from `name`; `step` reads one ref of the repository at `folder`. Returns the answer, and the name of
/// the ref that holds the id: `name`, unless that is symbolic.
fn resolve(
    folder: &Path,
    name: &BStr,
    step: impl Fn(&BStr) -> Result<Option<Value>, Unreadable>,
) -> (LocalRef, BString) {
    let mut name = name.to_owned();
    for _ in 0..=MOST_STEPS {
        match step(BStr::new(&name)) {
            Ok(Some(Value::Symbolic(target))) => name = target,
            Ok(Some(Value::Id(id))) => return (LocalRef::Id(id), name),
            Ok(None) => return (LocalRef::Absent, name),
            Err(unreadable) => return (LocalRef::Unreadable(unreadable), name),
        }
    }
    let place = loose::path(folder, BStr::new(&name));
    let circle = Unreadable::new(&place, Why::TooManySteps);
    (LocalRef::Unreadable(circle), name)
}
