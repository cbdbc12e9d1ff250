//! Conflicts of ref names: git allows no ref below another one, such as `refs/kv/a/b` below `refs/kv/a`.
use std::{
    fs,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice, ByteVec};

use super::{Found, Refs, Tables, Unreadable, loose, record, scan_packed};

/// Names of the refs that a push creates and deletes, both sorted.
#[derive(Default)]
pub(in crate::hook) struct Names {
    pub(in crate::hook) created: Vec<BString>,
    pub(in crate::hook) deleted: Vec<BString>,
}

impl Names {
    fn creates(&self, name: &[u8]) -> bool {
        has(&self.created, name)
    }

    /// Returns the created ref above `name`.
    fn created_above<'a>(&self, name: &'a BStr) -> Option<&'a [u8]> {
        folders(name).find(|folder| self.creates(folder))
    }

    /// Returns a created ref below `name`.
    fn created_below(&self, name: &[u8]) -> Option<&BString> {
        let is_below = |created: &&BString| folders(created.as_bstr()).any(|folder| folder == name);
        self.created.iter().find(is_below)
    }
}

fn has(sorted: &[BString], name: &[u8]) -> bool {
    sorted.binary_search_by(|one| one.as_bytes().cmp(name)).is_ok()
}

/// Returns the names above `name`, such as `refs/kv/a` for `refs/kv/a/b`.
fn folders(name: &BStr) -> impl Iterator<Item = &[u8]> {
    name.find_iter(b"/").map(|slash| &name.as_bytes()[..slash])
}

impl Refs {
    /// Returns a created ref with a conflict, and the ref above or below it, which is created, too, or exists and is
    /// not deleted.
    pub(in crate::hook) fn conflict(&self, names: &Names) -> Result<Option<(BString, BString)>, Unreadable> {
        let mut above: Vec<BString> = Vec::new();
        for name in &names.created {
            for folder in folders(name.as_bstr()) {
                if names.creates(folder) {
                    return Ok(Some((name.clone(), folder.into())));
                }
                above.push(folder.into());
            }
        }
        above.sort();
        above.dedup();
        above.retain(|name| !has(&names.deleted, name));
        let found = match &self.tables {
            Some(tables) => self.conflict_in_tables(tables, &above, names)?,
            None => self.conflict_in_files(&above, names)?,
        };
        Ok(found.and_then(|existing| {
            let created = names.created_above(existing.as_bstr()).map(BString::from);
            let created = created.or_else(|| names.created_below(&existing).cloned())?;
            Some((created, existing))
        }))
    }

    /// Returns one of the refs `above`, or a ref below a created one.
    fn conflict_in_tables(
        &self,
        tables: &Tables,
        above: &[BString],
        names: &Names,
    ) -> Result<Option<BString>, Unreadable> {
        for name in above {
            if !matches!(
                record(&tables.shared, &self.common_dir, name.as_bstr())?,
                Found::Nothing
            ) {
                return Ok(Some(name.clone()));
            }
        }
        let unreadable = |error| Unreadable::Tables(self.common_dir.clone(), error);
        for name in &names.created {
            let folder = BString::from([name.as_bytes(), b"/"].concat());
            for below in tables.shared.iter_prefix(folder.as_bstr()).map_err(unreadable)? {
                let below = below.map_err(unreadable)?.name;
                if !has(&names.deleted, &below) {
                    return Ok(Some(below));
                }
            }
        }
        Ok(None)
    }

    /// Returns one of the refs `above`, or a ref below a created one.
    fn conflict_in_files(&self, above: &[BString], names: &Names) -> Result<Option<BString>, Unreadable> {
        for name in above {
            if !matches!(loose(&self.common_dir.join(name.to_path_lossy()))?, Found::Nothing) {
                return Ok(Some(name.clone()));
            }
        }
        for name in &names.created {
            let path = self.common_dir.join(name.to_path_lossy());
            if let Some(below) = first_below(&path, name, &names.deleted)? {
                return Ok(Some(below));
            }
        }
        let mut found = None;
        scan_packed(&self.common_dir.join("packed-refs"), &mut |_, name| {
            let conflicts = has(above, name) || names.created_above(name.as_bstr()).is_some();
            if conflicts && !has(&names.deleted, name) {
                found = Some(name.into());
            }
            found.is_none()
        })?;
        Ok(found)
    }
}

/// Returns a loose ref below this folder that is not deleted.
fn first_below(folder: &Path, name: &BString, deleted: &[BString]) -> Result<Option<BString>, Unreadable> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let unreadable = |error| Unreadable::File(PathBuf::from(folder), error);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let mut below = name.clone();
        below.push_str("/");
        below.push_str(Vec::from_os_str_lossy(&entry.file_name()));
        if entry.path().is_dir() {
            if let Some(found) = first_below(&entry.path(), &below, deleted)? {
                return Ok(Some(found));
            }
        } else if !below.ends_with(b".lock") && !has(deleted, &below) {
            return Ok(Some(below));
        }
    }
    Ok(None)
}
