//! The refs of a repository. Unreadable is not absent: every read has one of three answers.
//!
//! # Files
//!
//! A ref is a *loose* file below `refs/`, else a line of `packed-refs`. Loose files are read first and `packed-refs` after
//! them, as `git pack-refs` works the other way round: a ref that is being packed is seen in one of the two.
//!
//! What cannot be known:
//!
//! - a loose file that cannot be read, is empty or holds something else: its ref;
//! - a folder that cannot be read: every ref below it, packed or not;
//! - a line of `packed-refs` that is damaged, but for its name: the ref of that name, unless it is loose;
//! - any other damage of `packed-refs`: every ref that is neither loose nor on an intact line.
//!
//! # Reftables
//!
//! A ref is a record in one of the tables that `reftable/tables.list` names. Each read takes a snapshot of all tables.
//!
//! What cannot be known:
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

/// How many symbolic refs may follow each other: as many as git follows.
const MOST_STEPS: usize = 5;

/// The answer to a read of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalRef {
    /// The ref's id; of a symbolic ref, the id of its target.
    Id(ObjectId),
    /// There is no such ref. A symbolic ref whose target is absent is absent, too.
    Absent,
    /// The ref may be there or not.
    Unreadable(Unreadable),
}

impl LocalRef {
    /// The id, where there is one.
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            LocalRef::Id(id) => Some(*id),
            LocalRef::Absent | LocalRef::Unreadable(_) => None,
        }
    }
}

/// Why a ref cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {why}", place.display())]
pub struct Unreadable {
    /// The file, the folder, or the ref as if it were a file.
    pub place: PathBuf,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a file that should hold refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The system refuses, for this reason.
    System(String),
    /// There is nothing in it.
    Empty,
    /// It holds neither an object id nor the name of another ref.
    NoId,
    /// It is a pipe, a device, or a link to a folder.
    NoFile,
    /// It is a symbolic link to a file that does not exist.
    BrokenLink,
    /// Symbolic refs lead round in circles, or are too many.
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
            Why::NoId => f.write_str("holds no object id and no ref name"),
            Why::NoFile => f.write_str("is not a regular file"),
            Why::BrokenLink => f.write_str("is a symbolic link to a missing file"),
            Why::TooManySteps => write!(f, "leads through more than {MOST_STEPS} symbolic refs"),
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

/// What a ref itself holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Id(ObjectId),
    /// The name of another ref.
    Symbolic(BString),
}

/// The refs of one repository.
#[derive(Debug)]
pub struct Refs(Storage);

#[derive(Debug)]
enum Storage {
    Files(Files),
    Tables(Tables),
}

impl Refs {
    /// The refs in files below this folder, with ids of this kind.
    pub fn new(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs(Storage::Files(Files::new(folder, format)))
    }

    /// The refs in the reftables of this common git directory, with ids of this kind.
    pub fn in_tables(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs(Storage::Tables(Tables::new(folder, format)))
    }

    /// Reads the ref of this full name, as it is now.
    pub fn read(&self, name: &BStr) -> LocalRef {
        match &self.0 {
            Storage::Files(files) => files.resolve(name).0,
            Storage::Tables(tables) => tables.read(name),
        }
    }

    /// Every ref that `patterns` name, as it is now.
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
