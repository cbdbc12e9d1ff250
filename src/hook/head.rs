//! The branch that `HEAD` names, out of its files (gitrepository-layout, *HEAD*, *refs*, *packed-refs*).
//!
//! Read by hand: a store of refs would make the hook larger than it may be.
//!
//! # Limitations
//!
//! A branch that is itself a symbolic ref is taken for one that is not there. So is any in a repository of reftables.
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

use bstr::{BString, ByteSlice};
use gix::ObjectId;

/// The name and the commit of the branch that `HEAD` names; `HEAD` itself where it is detached. `None` where there is no
/// such branch, or it cannot be read.
pub(super) fn branch_of_head(git_dir: &Path) -> Option<(BString, ObjectId)> {
    let head = fs::read(git_dir.join("HEAD")).ok()?;
    let Some(name) = head.strip_prefix(b"ref:") else {
        return Some(("HEAD".into(), ObjectId::from_hex(head.trim()).ok()?));
    };
    let name = name.trim().as_bstr();
    if !name.starts_with(b"refs/") || gix::validate::reference::name(name).is_err() {
        return None;
    }
    let id = loose(git_dir, name).or_else(|| packed(git_dir, name))?;
    Some((name.into(), id))
}

fn loose(git_dir: &Path, name: &[u8]) -> Option<ObjectId> {
    let path = name.to_path().ok()?;
    ObjectId::from_hex(fs::read(git_dir.join(path)).ok()?.trim()).ok()
}

/// A line is `<id> SP <name>`; those that start with `#` or `^` have no such name.
fn packed(git_dir: &Path, name: &[u8]) -> Option<ObjectId> {
    let mut file = BufReader::new(File::open(git_dir.join("packed-refs")).ok()?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).ok()? > 0 {
        if let Some((id, named)) = line.trim_end().split_once_str(" ")
            && named == name
        {
            return ObjectId::from_hex(id).ok();
        }
        line.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
    const OTHER: &str = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2";

    fn found(folder: &Path) -> Option<(String, String)> {
        branch_of_head(folder).map(|(name, id)| (name.to_string(), id.to_string()))
    }

    #[test]
    fn a_loose_branch_hides_a_packed_one_and_a_detached_head_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(found(folder.path()), None);
        write("HEAD", "ref: refs/heads/main\n");
        assert_eq!(found(folder.path()), None);
        let packed = format!("# pack-refs with: peeled\n{OTHER} refs/heads/mai\n{ONE} refs/heads/main\n^{OTHER}\n");
        write("packed-refs", &packed);
        assert_eq!(found(folder.path()), Some(("refs/heads/main".into(), ONE.into())));
        fs::create_dir_all(folder.path().join("refs/heads")).unwrap();
        write("refs/heads/main", &format!("{OTHER}\n"));
        assert_eq!(found(folder.path()), Some(("refs/heads/main".into(), OTHER.into())));
        write("HEAD", &format!("{ONE}\n"));
        assert_eq!(found(folder.path()), Some(("HEAD".into(), ONE.into())));
        for nothing in ["ref: ../../etc/passwd", "ref: refs/heads/../../x", "nonsense"] {
            write("HEAD", nothing);
            assert_eq!(found(folder.path()), None, "{nothing}");
        }
    }
}
