//! Pointers among the objects of a push, and the places where they are.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use bstr::{BString, ByteVec};
use git_push::{Advertisement, Command, Error, ErrorKind, enumerate};
use gix::{ObjectId, objs::Kind};

use crate::lfs_pointer::{MAX_POINTER, Pointer};

/// Limit of objects that are read to find the place of one pointer.
const MAX_READ: usize = 200_000;

/// Returns the pointers that a push of `commands` adds to a mirror that advertised this, each with its blob. Of other blobs
/// only the headers are read.
///
/// # Errors
/// An object is missing or cannot be read.
pub(super) fn new_pointers(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<BTreeMap<Pointer, ObjectId>, Error> {
    let bitmapped = if advertisement.refs.is_empty() {
        enumerate::enumerate_bitmapped(repository, advertisement, commands)?
    } else {
        None
    };
    let list = match bitmapped {
        Some(list) => list,
        None => enumerate::enumerate(repository, advertisement, commands)?,
    };
    let mut found = BTreeMap::new();
    for listed in &list.objects {
        let unreadable = |error: gix::Error| {
            let what = format!("object {} cannot be read: {}", listed.id, git_push::causes(&error));
            Error::new(ErrorKind::Broken, what)
        };
        let header = repository.find_header(listed.id).map_err(unreadable)?;
        if header.kind() != Kind::Blob || header.size() > MAX_POINTER {
            continue;
        }
        let blob = repository.find_object(listed.id).map_err(unreadable)?;
        if let Some(pointer) = Pointer::parse(&blob.data) {
            found.insert(pointer, listed.id);
        }
    }
    Ok(found)
}

/// Returns the refs of a push, each with the pointers that it would add if it was pushed alone.
///
/// # Errors
/// An object is missing or cannot be read.
pub(super) fn pointers_by_ref(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<Vec<(BString, BTreeSet<Pointer>)>, Error> {
    let commands = commands.iter().filter(|command| !command.is_delete());
    let of_one = |command: &Command| {
        let pointers = new_pointers(repository, advertisement, std::slice::from_ref(command))?;
        Ok((command.name.clone(), pointers.into_keys().collect()))
    };
    commands.map(of_one).collect()
}

/// Place of a blob in a push.
pub(super) struct Place {
    /// The path.
    pub(super) path: BString,
    /// A new commit that has it there.
    pub(super) commit: ObjectId,
}

/// Returns the place of `blob` in a new commit, for a message. None if it was not found within a limited number of objects.
pub(super) fn place(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    blob: ObjectId,
) -> Option<Place> {
    let mut seen: HashSet<ObjectId> = advertisement.refs.values().copied().collect();
    let mut tips = commands.iter().filter(|command| !command.is_delete());
    tips.find_map(|command| {
        let (path, commit) = place_below(repository, command.new, blob, &mut seen)?;
        Some(Place { path, commit })
    })
}

fn place_below(
    repository: &gix::Repository,
    tip: ObjectId,
    blob: ObjectId,
    seen: &mut HashSet<ObjectId>,
) -> Option<(BString, ObjectId)> {
    let mut commits = vec![tip];
    while let Some(id) = commits.pop().filter(|_| seen.len() < MAX_READ) {
        if !seen.insert(id) {
            continue;
        }
        let Ok(peeled) = repository
            .find_object(id)
            .and_then(|object| object.peel_to_kind(Kind::Commit))
        else {
            continue;
        };
        let commit = peeled.into_commit();
        let tree = commit.tree_id().ok()?.detach();
        if let Some(path) = path_in(repository, tree, blob, seen) {
            return Some((path, commit.id));
        }
        commits.extend(commit.parent_ids().map(|parent| parent.detach()));
    }
    None
}

/// Returns the path of `blob` in `root`, without the trees that were seen before.
fn path_in(
    repository: &gix::Repository,
    root: ObjectId,
    blob: ObjectId,
    seen: &mut HashSet<ObjectId>,
) -> Option<BString> {
    let mut folders = vec![(root, BString::default())];
    while let Some((id, folder)) = folders.pop().filter(|_| seen.len() < MAX_READ) {
        if !seen.insert(id) {
            continue;
        }
        let tree = repository.find_object(id).ok()?.into_tree();
        for entry in tree.iter() {
            let entry = entry.ok()?;
            let mut path = folder.clone();
            path.push_str(entry.filename());
            if entry.object_id() == blob {
                return Some(path);
            }
            if entry.mode().is_tree() {
                path.push(b'/');
                folders.push((entry.object_id(), path));
            }
        }
    }
    None
}
