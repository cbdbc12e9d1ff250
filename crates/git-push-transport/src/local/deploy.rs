//! The update of a work tree to a pushed branch (git-config, *receive.denyCurrentBranch*, `updateInstead`), without the hook
//! `push-to-checkout`: as git's `update-index --refresh`, `diff-files`, `diff-index --cached` and `read-tree -u -m`.
//!
//! 1. The index is locked, and every file of it is as it says. The index has what the branch has had.
//! 2. All changes are checked: no untracked file is overwritten, no name leads out of the work tree, and the new content
//!    exists.
//! 3. Files are written and removed, then the index is replaced. The ref moves after that. New files get the owner of the
//!    work tree. An interrupt does not end this step.
//!
//! If step 3 fails, each changed file has its old or its new content, and the index has not changed. Git does the same, but
//! for files that it has removed and cannot write.
//!
//! # Limitations
//! - What changes the content of files is refused: filters, `ident`, `working-tree-encoding`, `eol=crlf`, `core.autocrlf`.
//! - Sparse checkouts, entries that are assumed to be unchanged, and changes of submodules are refused.
//! - An ignored file in the way is refused, too. Git overwrites it.
mod conversion;
mod files;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::atomic::AtomicBool,
};

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
use super::{index_lock::IndexLock, ownership::shared_folder_mode};

/// Limit of the depth of folders.
const DEPTH: usize = 512;
/// Limit of the number of files and folders of a commit. Tests of this crate are not optimized.
const MOST_FILES: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
/// Limit of the sum of the lengths of their paths, in bytes.
const MOST_PATHS: usize = 256 << 20;

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
/// The work tree has changes, something is not supported, or the caller asked to stop. Then nothing was changed, unless
/// writing failed.
pub(super) fn deploy(
    worktree: &Repository,
    command: &Command,
    interrupt: &AtomicBool,
    index_lock: &IndexLock,
) -> Result<(), Refusal> {
    let checked = |error: io::Error| because("Up-to-date check failed", error.to_string());
    index_lock.begin(&worktree.index_path()).map_err(checked)?;
    let deployed = locked(worktree, command, interrupt);
    // The lock has gone. A record that stays would blame this push for the lock of another process.
    index_lock.end().map_err(checked).and(deployed)
}

/// The same, after the lock was recorded.
fn locked(worktree: &Repository, command: &Command, interrupt: &AtomicBool) -> Result<(), Refusal> {
    let root = worktree.workdir().ok_or_else(|| refused("it has no work tree"))?;
    let folder = Folder::new(root, worktree, interrupt)?;
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
    let changes = prepared(worktree, command, &folder, &mut index)?;
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

/// Returns the changes of a clean work tree, after all checks of them.
fn prepared(
    worktree: &Repository,
    command: &Command,
    folder: &Folder<'_>,
    index: &mut index::File,
) -> Result<Vec<Change>, Refusal> {
    understood(index)?;
    let old = leaves(worktree, command.old, folder)?;
    let new = leaves(worktree, command.new, folder)?;
    conversion::check(worktree, [&old, &new])?;
    folder.refresh(index)?;
    if staged(index) != old {
        return Err(Refusal {
            reason: "Working directory has staged changes".into(),
            word: None,
        });
    }
    let changes = changes(&old, &new)?;
    folder.check(&changes, worktree)?;
    conversion::check_on_disk(folder, &changes)?;
    Ok(changes)
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

/// Returns the paths of the files that go.
fn gone(changes: &[Change]) -> BTreeSet<&BStr> {
    let gone = changes.iter().filter(|change| change.new.is_none());
    gone.map(|change| change.path.as_bstr()).collect()
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
fn leaves(repository: &Repository, commit: ObjectId, folder: &Folder<'_>) -> Result<Leaves, Refusal> {
    let mut leaves = Leaves::new();
    if commit.is_null() {
        return Ok(leaves);
    }
    let unreadable = |error: gix::Error| refused(&format!("{commit} cannot be read: {}", causes(&error)));
    let tree = repository.find_commit(commit).and_then(|commit| commit.tree_id());
    let mut next = vec![(BString::default(), tree.map_err(unreadable)?.detach(), 0)];
    let (mut buffer, mut files, mut bytes) = (Vec::new(), 0, 0);
    while let Some((prefix, id, depth)) = next.pop() {
        folder.go_on()?;
        let found = repository.objects.try_find(&id, &mut buffer).map_err(unreadable)?;
        let tree = found.filter(|object| object.kind == Kind::Tree && depth < DEPTH);
        let tree = tree.ok_or_else(|| refused(&format!("the tree {id} does not exist")))?;
        for found in gix::objs::TreeRefIter::from_bytes(tree.data, id.kind()) {
            let found = found.map_err(unreadable)?;
            let path = BString::from([prefix.as_bytes(), found.filename.as_bytes()].concat());
            (files, bytes) = (files + 1, bytes + path.len());
            if files > MOST_FILES || bytes > MOST_PATHS {
                return Err(refused(&format!("{commit} has too many files")));
            }
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

#[cfg(test)]
mod tests {
    use gix::objs::{Tree, tree};

    use super::*;

    /// Writes a tree with entries of these names, which are all the same.
    fn tree(repository: &Repository, kind: tree::EntryKind, oid: ObjectId, names: &[&str]) -> ObjectId {
        let entry = |name: &&str| tree::Entry {
            mode: kind.into(),
            filename: (*name).into(),
            oid,
        };
        let entries = names.iter().map(entry).collect();
        repository.write_object(Tree { entries }).expect("a tree").detach()
    }

    /// Deploys a commit of this tree to an empty work tree. Returns the result, and the files that are there.
    fn deployed(repository: &Repository, tree: ObjectId, is_interrupted: bool) -> (Result<(), Refusal>, Vec<String>) {
        let signature = gix::actor::SignatureRef {
            name: "a".into(),
            email: "a".into(),
            time: "0 +0000",
        };
        let none: [ObjectId; 0] = [];
        let commit = repository
            .new_commit_as(signature, signature, "", tree, none)
            .expect("a commit");
        let create = Command::create("refs/heads/main", commit.id().detach());
        let root = repository.workdir().expect("a work tree");
        let index_lock = IndexLock::new(&repository.git_dir().join("objects"), repository.common_dir());
        let result = deploy(repository, &create, &AtomicBool::new(is_interrupted), &index_lock);
        let entries = std::fs::read_dir(root).expect("a folder").flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| name != ".git");
        let written = ["index", "index.lock"].map(str::to_owned).into_iter();
        names.extend(written.filter(|name| repository.git_dir().join(name).exists()));
        names.sort();
        (result, names)
    }

    #[test]
    fn an_interrupt_before_the_first_change_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init(folder.path()).expect("a repository");
        let blob = repository.write_blob(b"content").expect("a blob").detach();
        let tree = tree(&repository, tree::EntryKind::Blob, blob, &["a"]);
        let (result, names) = deployed(&repository, tree, true);
        assert_eq!(result.expect_err("it was interrupted").reason, "interrupted");
        assert_eq!(names, Vec::<String>::new());
        let (result, names) = deployed(&repository, tree, false);
        assert_eq!((result, names), (Ok(()), vec!["a".to_owned(), "index".to_owned()]));
    }

    /// As many files as the limit, or empty folders, in folders.
    #[test]
    fn a_commit_with_too_many_files_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init(folder.path()).expect("a repository");
        let names: Vec<_> = (0..64).map(|number| format!("{number:04}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let blob = repository.write_blob(b"content").expect("a blob").detach();
        let nothing = repository.write_object(Tree::empty()).expect("a tree").detach();
        for (kind, id) in [(tree::EntryKind::Blob, blob), (tree::EntryKind::Tree, nothing)] {
            let below = tree(&repository, kind, id, &names);
            let all = tree(&repository, tree::EntryKind::Tree, below, &names);
            let (result, names) = deployed(&repository, all, false);
            let reason = result.expect_err("it is too large").reason;
            assert!(reason.contains("has too many files"), "{reason}");
            assert_eq!(names, Vec::<String>::new());
        }
    }
}
