//! Search for new paths that a person or a file system may mistake for another one, see [`odd_name`](crate::odd_name).
use std::collections::{HashMap, HashSet, hash_map::Entry};

use bstr::{BStr, BString, ByteSlice};
use gix::{
    ObjectId,
    objs::{Find, tree::EntryRef},
};

use super::{
    Error, Paths,
    compare::{Change, compare},
};
use crate::git_objects::{Additions, Error as ObjectError, Leaf, Reader, item_at};
use crate::odd_name::{Oddity, fold, hidden};

/// A guarded path, or the beginning of one, that is new in `head` and odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddName {
    /// The path up to the part that is odd.
    pub path: BString,
    /// The oddity.
    pub oddity: Oddity,
}

/// Names in a folder.
struct Folder {
    old: HashSet<BString>,
    /// Grouped by their case-folded names.
    new: HashMap<BString, Vec<BString>>,
}

/// Returns the odd names among those that `head` adds to `base`. Without a base, all names are new. Both ids are commits
/// or tags of commits.
///
/// # Errors
/// An object is missing or damaged, or there are too many new files.
pub fn odd_names(
    objects: &dyn Find,
    paths: &Paths,
    base: Option<ObjectId>,
    head: ObjectId,
) -> Result<Vec<OddName>, Error> {
    let reader = Reader(objects);
    let tree = |id: ObjectId| -> Result<ObjectId, Error> {
        let commit = reader.peel(id)?.ok_or(ObjectError::NotACommit(id))?;
        Ok(reader.commit(commit)?.tree)
    };
    let new = tree(head)?;
    let old = match base {
        Some(base) => tree(base)?,
        None => ObjectId::empty_tree(head.kind()),
    };
    let mut names = Names {
        reader,
        old,
        new,
        folders: HashMap::new(),
        seen: HashSet::new(),
        found: Vec::new(),
    };
    for change in compare(reader, paths, old, new, Additions::Wanted)? {
        if let Change::Added { path, .. } = change {
            names.look_at(&path)?;
        }
    }
    names.found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(names.found)
}

struct Names<'a> {
    reader: Reader<'a>,
    old: ObjectId,
    new: ObjectId,
    folders: HashMap<BString, Folder>,
    seen: HashSet<BString>,
    found: Vec<OddName>,
}

impl Names<'_> {
    fn look_at(&mut self, path: &BString) -> Result<(), Error> {
        let ends: Vec<_> = path.find_iter("/").chain([path.len()]).collect();
        for end in ends {
            let path = BStr::new(&path[..end]);
            if !self.seen.insert(path.to_owned()) {
                continue;
            }
            let (folder, name) = path.rsplit_once_str("/").unwrap_or((b"", path));
            let folder = self.folder(BStr::new(folder))?;
            if folder.old.contains(BStr::new(name)) {
                continue;
            }
            let like = folder.new.get(&fold(name.into())).into_iter().flatten();
            let other = like.into_iter().find(|other| *other != name).map(|other| {
                let start = path.len() - name.len();
                BString::from([&path[..start], other.as_slice()].concat())
            });
            let oddity = hidden(name.into()).or(other.map(Oddity::Case));
            self.found.extend(oddity.map(|oddity| OddName {
                path: path.to_owned(),
                oddity,
            }));
        }
        Ok(())
    }

    fn folder(&mut self, path: &BStr) -> Result<&Folder, Error> {
        let (reader, old, new) = (self.reader, self.old, self.new);
        Ok(match self.folders.entry(path.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let mut like: HashMap<BString, Vec<BString>> = HashMap::new();
                for name in names_in(reader, new, path)? {
                    like.entry(fold(name.as_ref())).or_default().push(name);
                }
                vacant.insert(Folder {
                    old: names_in(reader, old, path)?.into_iter().collect(),
                    new: like,
                })
            }
        })
    }
}

/// Returns the names in a folder of a tree. Empty if there is no such folder.
fn names_in(reader: Reader<'_>, tree: ObjectId, path: &BStr) -> Result<Vec<BString>, Error> {
    match item_at(reader, tree, path)?.filter(Leaf::is_tree) {
        Some(folder) => {
            let folder = reader.tree(folder.id)?;
            let name = |entry: &EntryRef<'_>| entry.filename.to_owned();
            Ok(folder.entries()?.iter().map(name).collect())
        }
        None => Ok(Vec::new()),
    }
}
