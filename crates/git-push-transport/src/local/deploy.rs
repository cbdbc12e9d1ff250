//! The update of a work tree to a pushed branch (git-config, *receive.denyCurrentBranch*, `updateInstead`), without the hook
//! `push-to-checkout`: as git's `update-index --refresh`, `diff-files`, `diff-index --cached` and `read-tree -u -m`.
//!
//! 1. The index is locked, and every file of it is as it says. The index has what the branch has had.
//! 2. All changes are checked: no untracked file is overwritten, and no name leads out of the work tree.
//! 3. Files are removed and written, then the index is replaced. The ref moves after that. New files get the owner of the
//!    work tree.
//!
//! If step 3 fails, some files have changed and the index has not, as with git.
//!
//! # Limitations
//! - What changes the content of files is refused: filters, `ident`, `working-tree-encoding`, `eol=crlf`, `core.autocrlf`.
//! - Sparse checkouts, entries that are assumed to be unchanged, and changes of submodules are refused.
//! - An ignored file in the way is refused, too. Git overwrites it.
mod conversion;
mod files;

use std::{collections::BTreeMap, io::Write};

use bstr::{BStr, BString, ByteSlice};
use durable::ownership::hand_over;
use git_push::{Command, causes};
use gix::{
    ObjectId, Repository,
    index::{self, entry},
    lock::acquire::Fail,
    objs::{Find, Kind},
};

use self::files::Folder;
use super::ownership::shared_folder_mode;

/// Limit of the depth of folders.
const DEPTH: usize = 512;

/// A file in a commit or in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaf {
    mode: entry::Mode,
    id: ObjectId,
}

/// Files by their paths.
type Leaves = BTreeMap<BString, Leaf>;

/// A work tree that was not updated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason, in git's words if it has some.
    pub reason: String,
    /// An explanation for the person who pushes.
    pub word: Option<String>,
}

/// Updates the work tree of a repository, whose `HEAD` names the branch of `command`, to its new commit.
///
/// # Errors
/// The work tree has changes, or something is not supported. Then nothing was changed, unless writing failed.
pub(super) fn deploy(worktree: &Repository, command: &Command) -> Result<(), Refusal> {
    let root = worktree.workdir().ok_or_else(|| refused("it has no work tree"))?;
    let folder = Folder::new(root, worktree)?;
    let checked = |error: String| because("Up-to-date check failed", error);
    let lock = gix::lock::File::acquire_to_update_resource(worktree.index_path(), Fail::Immediately, None, 0);
    let mut lock = lock.map_err(|error| checked(causes(&error)))?;
    let mut index = index::File::at_or_default(
        worktree.index_path(),
        worktree.object_hash(),
        false,
        index::decode::Options::default(),
    )
    .map_err(|error| checked(causes(&error)))?;
    understood(&index)?;
    let (old, new) = (leaves(worktree, command.old)?, leaves(worktree, command.new)?);
    conversion::check(worktree, [&old, &new])?;
    folder.refresh(&mut index)?;
    let staged = staged(&index);
    if staged != old {
        return Err(Refusal {
            reason: "Working directory has staged changes".into(),
            word: None,
        });
    }
    let changes = changes(&old, &new)?;
    folder.check(&changes)?;
    let failed = |error: String| because("Could not update working tree to new HEAD", error);
    folder.apply(&changes, worktree).map_err(failed)?;
    folder.record(&changes, &mut index).map_err(failed)?;
    let mut bytes = Vec::new();
    let written = index.write_to(&mut bytes, index::write::Options::default());
    written.map_err(|error| failed(causes(&error)))?;
    lock.write_all(&bytes).map_err(|error| failed(error.to_string()))?;
    lock.commit().map_err(|error| failed(error.error.to_string()))?;
    let mode = shared_folder_mode(worktree).map(|mode| mode & 0o666);
    hand_over(&worktree.index_path(), worktree.git_dir(), mode).map_err(|error| failed(error.to_string()))
}

/// A difference of two commits at a path. `None` is a file that does not exist.
#[derive(Debug)]
struct Change {
    path: BString,
    old: Option<Leaf>,
    new: Option<Leaf>,
}

fn changes(old: &Leaves, new: &Leaves) -> Result<Vec<Change>, Refusal> {
    let gone = old.iter().filter(|(path, _)| !new.contains_key(*path));
    let gone = gone.map(|(path, leaf)| (path, Some(*leaf), None));
    let put = new
        .iter()
        .map(|(path, leaf)| (path, old.get(path).copied(), Some(*leaf)));
    let mut changes = Vec::new();
    for (path, old, new) in gone.chain(put).filter(|(_, old, new)| old != new) {
        let is_submodule = [old, new].iter().flatten().any(|leaf| leaf.mode == entry::Mode::COMMIT);
        if is_submodule {
            return Err(refused(&format!("the submodule {path} changes")));
        }
        changes.push(Change {
            path: path.clone(),
            old,
            new,
        });
    }
    Ok(changes)
}

/// Refuses what is in an index and not understood.
fn understood(index: &index::File) -> Result<(), Refusal> {
    if index.is_sparse() {
        return Err(refused("its index is sparse"));
    }
    for entry in index.entries() {
        let path = entry.path(index);
        if entry.stage_raw() != 0 {
            return Err(because("Up-to-date check failed", format!("{path}: needs merge")));
        }
        let special = entry::Flags::ASSUME_VALID | entry::Flags::SKIP_WORKTREE | entry::Flags::INTENT_TO_ADD;
        if entry.flags.intersects(special) {
            return Err(refused(&format!(
                "{path} is skipped, assumed to be unchanged, or only intended to be added"
            )));
        }
    }
    Ok(())
}

fn staged(index: &index::File) -> Leaves {
    let leaf = |entry: &index::Entry| {
        let leaf = Leaf {
            mode: entry.mode,
            id: entry.id,
        };
        (entry.path(index).to_owned(), leaf)
    };
    index.entries().iter().map(leaf).collect()
}

/// Returns the files of a commit; none for the null id.
fn leaves(repository: &Repository, commit: ObjectId) -> Result<Leaves, Refusal> {
    let mut leaves = Leaves::new();
    if commit.is_null() {
        return Ok(leaves);
    }
    let unreadable = |error: gix::Error| refused(&format!("{commit} cannot be read: {}", causes(&error)));
    let tree = repository.find_commit(commit).and_then(|commit| commit.tree_id());
    let mut next = vec![(BString::default(), tree.map_err(unreadable)?.detach(), 0)];
    let mut buffer = Vec::new();
    while let Some((prefix, id, depth)) = next.pop() {
        let found = repository.objects.try_find(&id, &mut buffer).map_err(unreadable)?;
        let tree = found.filter(|object| object.kind == Kind::Tree && depth < DEPTH);
        let tree = tree.ok_or_else(|| refused(&format!("the tree {id} does not exist")))?;
        for found in gix::objs::TreeRefIter::from_bytes(tree.data, id.kind()) {
            let found = found.map_err(unreadable)?;
            let path = BString::from([prefix.as_bytes(), found.filename.as_bytes()].concat());
            if found.mode.is_tree() {
                let below = [path.as_bytes(), b"/"].concat();
                next.push((below.into(), found.oid.to_owned(), depth + 1));
                continue;
            }
            let leaf = Leaf {
                mode: mode(found.mode.kind()),
                id: found.oid.to_owned(),
            };
            leaves.insert(path, leaf);
        }
    }
    // A file would be written through a link of the same name.
    let is_below_file = |path: &&BString| folders(path.as_bstr()).any(|above| leaves.contains_key(above));
    match leaves.keys().find(is_below_file) {
        Some(path) => Err(refused(&format!("{path} is below a file of the same commit"))),
        None => Ok(leaves),
    }
}

fn mode(kind: gix::objs::tree::EntryKind) -> entry::Mode {
    use gix::objs::tree::EntryKind;
    match kind {
        EntryKind::BlobExecutable => entry::Mode::FILE_EXECUTABLE,
        EntryKind::Link => entry::Mode::SYMLINK,
        EntryKind::Commit => entry::Mode::COMMIT,
        EntryKind::Blob | EntryKind::Tree => entry::Mode::FILE,
    }
}

/// Refuses something that this program does not do.
fn refused(why: &str) -> Refusal {
    Refusal {
        reason: format!(
            "updateInstead is not supported here: {why}; use git-receive-pack, or the hook push-to-checkout"
        ),
        word: None,
    }
}

fn because(reason: &str, why: String) -> Refusal {
    Refusal {
        reason: reason.into(),
        word: Some(format!("error: {why}")),
    }
}

/// Returns the folders above a path, the highest first.
fn folders(path: &BStr) -> impl Iterator<Item = &BStr> {
    path.find_iter("/").map(move |at| path[..at].as_bstr())
}
