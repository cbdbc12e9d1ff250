//! A cheap look at whether a repository uses Git LFS, for `doctor` and before a first push.
use git_push::causes;
use gix::{ObjectId, Repository, objs::Kind};

use super::carrier::Head;
use crate::{
    config::LfsSetting,
    lfs_pointer::{MAX_POINTER, Pointer},
};

/// Limit of entries of HEAD's trees that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// What a repository that uses Git LFS does with the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// They are uploaded before the refs.
    Carried,
    /// `stargate.lfs` is off.
    Off,
    /// The repository has no objects, and no setting names a place that has them.
    NoSource,
}

/// Returns what happens to the objects of a repository whose HEAD uses Git LFS: `.gitattributes` at its root names the filter,
/// or a file is a pointer. Returns none if neither is found within a limited number of files. `names_source` is true if a
/// setting names a place that has objects.
///
/// # Errors
/// HEAD or one of its objects cannot be read.
pub fn in_use(
    repository: &Repository,
    head: &Head,
    setting: LfsSetting,
    names_source: bool,
) -> Result<Option<InUse>, String> {
    let Some(head) = head.clone()? else { return Ok(None) };
    if !uses_lfs(repository, head)? {
        return Ok(None);
    }
    let own = repository.common_dir().join("lfs/objects");
    let has_own = own
        .try_exists()
        .map_err(|error| format!("{}: {error}", own.display()))?;
    Ok(Some(match setting {
        LfsSetting::Off => InUse::Off,
        _ if has_own || names_source => InUse::Carried,
        _ => InUse::NoSource,
    }))
}

fn uses_lfs(repository: &Repository, head: ObjectId) -> Result<bool, String> {
    let failed = |error: gix::Error| causes(&error);
    let root = repository
        .find_object(head)
        .map_err(failed)?
        .peel_to_tree()
        .map_err(failed)?
        .id;
    let (mut folders, mut seen) = (vec![root], 0);
    while let Some(id) = folders.pop() {
        let tree = repository.find_object(id).map_err(failed)?.into_tree();
        for entry in tree.iter() {
            let entry = entry.map_err(|error| causes(&error))?;
            seen += 1;
            if seen > MAX_ENTRIES {
                return Ok(false);
            }
            if entry.mode().is_tree() {
                folders.push(entry.object_id());
            } else if entry.mode().is_blob() && is_of_lfs(repository, &entry, id == root)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns true for a pointer, and for a `.gitattributes` at the root that names the filter.
fn is_of_lfs(
    repository: &Repository,
    entry: &gix::object::tree::EntryRef<'_, '_>,
    at_root: bool,
) -> Result<bool, String> {
    let failed = |error: gix::Error| causes(&error);
    let is_attributes = at_root && entry.filename() == ".gitattributes";
    let header = repository.find_header(entry.object_id()).map_err(failed)?;
    if header.kind() != Kind::Blob || (header.size() > MAX_POINTER && !is_attributes) {
        return Ok(false);
    }
    let blob = repository.find_object(entry.object_id()).map_err(failed)?;
    let names_filter = |line: &[u8]| line.split(u8::is_ascii_whitespace).any(|word| word == b"filter=lfs");
    let is_named = is_attributes && blob.data.split(|byte| *byte == b'\n').any(names_filter);
    Ok(is_named || Pointer::parse(&blob.data).is_some())
}
