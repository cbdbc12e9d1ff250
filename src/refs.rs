//! Reader of a repository's refs. An unreadable ref is not an absent one: each read has one of three results.
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
//! This is the only place that reads local refs for the mirror. Other ref storage formats belong here, too.
mod list;
mod loose;
mod packed;

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
};

use bstr::{BStr, BString};
use gix::ObjectId;

pub use self::list::LocalRefs;
use self::{
    loose::Loose,
    packed::{Found, Packed},
};
use durable::storage::{Disk, Look, Storage};

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
    /// The file or folder.
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
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::System(error) => write!(f, "cannot be read: {error}"),
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

/// Refs of one repository.
#[derive(Debug)]
pub struct Refs {
    /// Folder with `refs/` and `packed-refs`.
    folder: PathBuf,
    format: gix::hash::Kind,
    /// Last content of `packed-refs`, with the metadata of that file.
    packed: RefCell<Option<(Look, Rc<Packed>)>>,
}

impl Refs {
    /// Returns the refs below this folder, with ids of this kind.
    pub fn new(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs {
            folder: folder.to_owned(),
            format,
            packed: RefCell::default(),
        }
    }

    /// Returns the refs of this repository.
    pub fn of(repository: &gix::Repository) -> Self {
        Refs::new(repository.common_dir(), repository.object_hash())
    }

    /// Reads the current value of the ref with this full name.
    pub fn read(&self, name: &BStr) -> LocalRef {
        self.resolve(name).0
    }

    /// Reads a ref, and returns also the end of its chain of symbolic refs: `name` itself unless it is symbolic.
    fn resolve(&self, name: &BStr) -> (LocalRef, BString) {
        let mut name = name.to_owned();
        for _ in 0..=MOST_STEPS {
            match self.step(BStr::new(&name)) {
                Ok(Some(Loose::Symbolic(target))) => name = target,
                Ok(Some(Loose::Id(id))) => return (LocalRef::Id(id), name),
                Ok(None) => return (LocalRef::Absent, name),
                Err(unreadable) => return (LocalRef::Unreadable(unreadable), name),
            }
        }
        let place = loose::path(&self.folder, BStr::new(&name));
        let circle = Unreadable::new(&place, Why::TooManySteps);
        (LocalRef::Unreadable(circle), name)
    }

    /// Reads one ref without following symbolic refs.
    fn step(&self, name: &BStr) -> Result<Option<Loose>, Unreadable> {
        if gix::validate::reference::name(name).is_err() {
            // No ref can have such a name.
            return Ok(None);
        }
        if let Some(loose) = loose::read(&loose::path(&self.folder, name), self.format)? {
            return Ok(Some(loose));
        }
        match self.packed()?.find(name) {
            Found::Id(id) => Ok(Some(Loose::Id(id))),
            Found::Nothing => Ok(None),
            Found::Damaged(line) => Err(self.damaged(line)),
        }
    }

    fn packed_path(&self) -> PathBuf {
        self.folder.join("packed-refs")
    }

    fn damaged(&self, line: usize) -> Unreadable {
        Unreadable::new(&self.packed_path(), Why::Line(line))
    }

    /// Returns the current content of `packed-refs`. Reads it again if the file has changed.
    fn packed(&self) -> Result<Rc<Packed>, Unreadable> {
        let path = self.packed_path();
        let look = Disk.look(&path).map_err(|error| Unreadable::system(&path, &error))?;
        let Some(look) = look else {
            return Ok(Rc::default());
        };
        if let Some((seen, packed)) = &*self.packed.borrow()
            && *seen == look
        {
            return Ok(packed.clone());
        }
        let packed = Rc::new(Packed::read(&path, self.format)?);
        // The metadata of a symbolic link does not show changes of its target.
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        *self.packed.borrow_mut() = is_file.then(|| (look, packed.clone()));
        Ok(packed)
    }
}
