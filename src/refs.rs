//! The refs of a repository, read from its files. Unreadable is not absent: every read has one of three answers.
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
//! This is the only place that reads local refs for the mirror: another ref storage format is to be read here.
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
    /// The file or folder.
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

/// The refs of one repository.
#[derive(Debug)]
pub struct Refs {
    /// The folder that has `refs/` and `packed-refs`.
    folder: PathBuf,
    format: gix::hash::Kind,
    /// What was read last of `packed-refs`, and how that file looked.
    packed: RefCell<Option<(Look, Rc<Packed>)>>,
}

impl Refs {
    /// The refs below this folder, with ids of this kind.
    pub fn new(folder: &Path, format: gix::hash::Kind) -> Self {
        Refs {
            folder: folder.to_owned(),
            format,
            packed: RefCell::default(),
        }
    }

    /// The refs of this repository.
    pub fn of(repository: &gix::Repository) -> Self {
        Refs::new(repository.common_dir(), repository.object_hash())
    }

    /// Reads the ref of this full name, as it is now.
    pub fn read(&self, name: &BStr) -> LocalRef {
        self.resolve(name).0
    }

    /// The same, and the name of the ref that holds the id: `name`, unless that is symbolic.
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

    /// What the ref itself holds.
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

    /// `packed-refs` as it is now; it is read again when the file has changed.
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
        // How a link looks says nothing of the file.
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        *self.packed.borrow_mut() = is_file.then(|| (look, packed.clone()));
        Ok(packed)
    }
}
