//! Object folders of a push: the new objects and the existing ones.
//!
//! In `pre-receive`, new objects are in quarantine, and git names all folders in the environment (git-receive-pack,
//! *Quarantine environment*; git, *GIT_ALTERNATE_OBJECT_DIRECTORIES*).
use std::path::{Path, PathBuf};

use gix::{
    Result,
    hash::{Kind, oid},
    objs::{Data, Exists, Find, FindHeader, Header},
};
use gix_pack::cache::lru::MemoryCappedHashmap;

use super::Environment;

/// Size of the cache of delta bases in bytes. It helps with trees, which are deltas of each other.
const BASES: usize = 32 << 20;

/// Returns the object folders of a push, to be searched in order.
///
/// git quotes a folder whose name contains the separator. Then only the repository's own folders are searched.
pub(super) fn folders(environment: Environment<'_>, git_dir: &Path) -> Vec<PathBuf> {
    let own = git_dir.join("objects");
    let alternates = environment("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
    let is_quoted = alternates.as_encoded_bytes().contains(&b'"');
    let alternates = std::env::split_paths(&alternates).filter(|folder| !is_quoted && !folder.as_os_str().is_empty());
    let mut folders: Vec<PathBuf> = alternates.collect();
    match environment("GIT_OBJECT_DIRECTORY").map(PathBuf::from) {
        // The repository's own folder is among the alternates.
        Some(apart) if !folders.is_empty() => folders.insert(0, apart),
        Some(apart) => folders.extend([apart, own]),
        None => folders.insert(0, own),
    }
    folders
}

/// Several object databases as one.
pub(super) struct Objects(Vec<gix::odb::Handle>);

impl Objects {
    /// Opens these folders. Skips those that cannot be opened: their objects are then reported as missing.
    pub(super) fn open(folders: &[PathBuf], kind: Kind) -> Self {
        let open = |folder: &PathBuf| gix::odb::at(folder.clone(), kind).ok();
        Objects(folders.iter().filter_map(open).collect())
    }

    /// Adds a cache of delta bases, for many look-ups.
    pub(super) fn cached(mut self) -> Self {
        for objects in &mut self.0 {
            objects.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(BASES)));
        }
        self
    }
}

impl Find for Objects {
    fn try_find<'a>(&self, id: &oid, buffer: &'a mut Vec<u8>) -> Result<Option<Data<'a>>> {
        for objects in &self.0 {
            if objects.exists(id) {
                return objects.try_find(id, buffer);
            }
        }
        Ok(None)
    }
}

impl FindHeader for Objects {
    fn try_header(&self, id: &oid) -> Result<Option<Header>> {
        for objects in &self.0 {
            if let Some(header) = objects.try_header(id)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn new_objects_come_first_and_every_folder_once() {
        let found = |apart: &str, alternates: &str| {
            let value = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            let environment = |name: &str| match name {
                "GIT_OBJECT_DIRECTORY" => value(apart),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES" => value(alternates),
                _ => None,
            };
            let folders = folders(&environment, Path::new("."));
            folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect::<Vec<_>>()
        };
        let own = Path::new(".").join("objects").display().to_string();
        let joined = std::env::join_paths(["/r/objects", "/pool"])
            .unwrap()
            .into_string()
            .unwrap();
        assert_eq!(found("", ""), [own.as_str()]);
        assert_eq!(found("", "/pool"), [own.as_str(), "/pool"]);
        assert_eq!(
            found("/r/objects/tmp", &joined),
            ["/r/objects/tmp", "/r/objects", "/pool"]
        );
        assert_eq!(
            found("/r/objects/tmp", "\"/a:b/objects\""),
            ["/r/objects/tmp", own.as_str()]
        );
    }
}
