//! Files of a work tree: their state, and the checks of their change, which `writing` makes.
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::causes;
use gix::{
    ObjectId, Repository,
    index::{
        self,
        entry::{self, Stat, stat},
    },
    objs::Kind,
    validate::path::component,
};

use super::{Change, Refusal, because, folders, gone, refused};

/// Rules for comparing files with the index. Git does not compare nanoseconds by default.
const COMPARISON: stat::Options = stat::Options {
    trust_ctime: true,
    check_stat: true,
    use_nsec: false,
    use_stdev: false,
};

/// Limit of the length of a name, in bytes.
const LONGEST_NAME: usize = 255;
/// Limit of the length of a path, in bytes.
const LONGEST_PATH: usize = 4095;

/// Reason of the checks of a change.
const NOT_UPDATED: &str = "Could not update working tree to new HEAD";

/// The folder of a work tree.
pub(super) struct Folder<'a> {
    pub root: &'a Path,
    interrupt: &'a AtomicBool,
    hash: gix::hash::Kind,
    has_modes: bool,
    names: component::Options,
}

impl<'a> Folder<'a> {
    pub fn new(root: &'a Path, repository: &Repository, interrupt: &'a AtomicBool) -> Result<Self, Refusal> {
        let config = repository.config_snapshot();
        let has_modes = config.boolean("core.fileMode").unwrap_or(true) && cfg!(unix);
        let names = component::Options {
            protect_windows: cfg!(windows),
            ..component::Options::default()
        };
        fs::read_dir(root).map_err(|error| refused(&format!("{}: {error}", root.display())))?;
        Ok(Folder {
            root,
            interrupt,
            hash: repository.object_hash(),
            has_modes,
            names,
        })
    }

    /// Compares all files with the index, and updates times in it.
    pub fn refresh(&self, index: &mut index::File) -> Result<(), Refusal> {
        let timestamp = index.timestamp();
        let changed = |path: &BStr| because("Working directory has unstaged changes", format!("{path} is modified"));
        let failed = |path: &BStr, error: io::Error| because("Up-to-date check failed", format!("{path}: {error}"));
        for (entry, path) in index.entries_mut_with_paths() {
            self.go_on()?;
            self.check_name(path, entry.mode == entry::Mode::SYMLINK)?;
            if entry.mode == entry::Mode::COMMIT {
                continue;
            }
            let file = self.place(path)?;
            if self.has_link_above(path) {
                return Err(changed(path));
            }
            let found = match index::fs::Metadata::from_path_no_follow(&file) {
                Err(error) if is_absent(&error) => return Err(changed(path)),
                found => found.map_err(|error| failed(path, error))?,
            };
            let stat = Stat::from_fs(&found).map_err(|error| failed(path, io::Error::other(error)))?;
            if !self.is_mode(entry.mode, &found) {
                return Err(changed(path));
            }
            if entry.stat.matches(&stat, COMPARISON) && !entry.stat.is_racy(timestamp, COMPARISON) {
                continue;
            }
            if self.content(&file, entry.mode).map_err(|error| failed(path, error))? != entry.id {
                return Err(changed(path));
            }
            entry.stat = stat;
        }
        Ok(())
    }

    /// Returns an error if the caller asked to stop.
    pub fn go_on(&self) -> Result<(), Refusal> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(Refusal {
                reason: "interrupted".into(),
                word: None,
            });
        }
        Ok(())
    }

    /// Checks that the changes overwrite nothing but files that they are changes of, that their names stay in the work tree
    /// and are not too long, and that their content exists.
    pub fn check(&self, changes: &[Change], repository: &Repository) -> Result<(), Refusal> {
        let gone = gone(changes);
        for change in changes {
            self.go_on()?;
            let path = change.path.as_bstr();
            let mut leaves = [change.old, change.new].into_iter().flatten();
            self.check_name(path, leaves.any(|leaf| leaf.mode == entry::Mode::SYMLINK))?;
            let Some(leaf) = change.new else { continue };
            let failed = |why: &dyn std::fmt::Display| because(NOT_UPDATED, format!("{path}: {why}"));
            let is_long = self.root.as_os_str().len() + path.len() >= LONGEST_PATH;
            if is_long || path.split(|byte| *byte == b'/').any(|name| name.len() > LONGEST_NAME) {
                return Err(failed(&"its name is too long"));
            }
            let header = repository.find_header(leaf.id);
            if header.map_err(|error| failed(&causes(&error)))?.kind() != Kind::Blob {
                return Err(failed(&format!("{} is no blob", leaf.id)));
            }
            let in_the_way = match change.old {
                Some(_) => None,
                None => self.in_the_way(path, &gone).map_err(|error| failed(&error))?,
            };
            if let Some(other) = in_the_way {
                let word = format!("Untracked working tree file '{other}' would be overwritten by merge.");
                return Err(because(NOT_UPDATED, word));
            }
        }
        Ok(())
    }

    fn check_name(&self, path: &BStr, is_link: bool) -> Result<(), Refusal> {
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let mode = (is_link && parts.peek().is_none()).then_some(component::Mode::Symlink);
            if component(part.as_bstr(), mode, self.names).is_err() {
                return Err(because(NOT_UPDATED, format!("invalid path '{path}'")));
            }
        }
        Ok(())
    }

    /// Returns a file that is in the place of a new path, or of a folder above it, and does not go.
    fn in_the_way(&self, path: &BStr, gone: &BTreeSet<&BStr>) -> io::Result<Option<BString>> {
        for above in folders(path) {
            match self.look(above)? {
                None => return Ok(None),
                Some(kind) if kind.is_dir() => {}
                Some(_) if gone.contains(above) => return Ok(None),
                Some(_) => return Ok(Some(above.to_owned())),
            }
        }
        match self.look(path)? {
            None => Ok(None),
            Some(kind) if kind.is_dir() => self.untracked_below(path, gone),
            Some(_) => Ok(Some(path.to_owned())),
        }
    }

    /// Returns a file below a folder that does not go.
    fn untracked_below(&self, path: &BStr, gone: &BTreeSet<&BStr>) -> io::Result<Option<BString>> {
        for entry in fs::read_dir(self.native(path))? {
            let entry = entry?;
            let name = gix::path::os_string_into_bstring(entry.file_name()).map_err(io::Error::other)?;
            let below = BString::from([path.as_bytes(), b"/", name.as_bytes()].concat());
            let found = if entry.file_type()?.is_dir() {
                self.untracked_below(below.as_bstr(), gone)?
            } else {
                (!gone.contains(below.as_bstr())).then_some(below)
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Puts the changes into the index.
    ///
    /// # Errors
    /// A file cannot be looked at, as text.
    pub fn record(&self, changes: &[Change], index: &mut index::File) -> Result<(), String> {
        let changed: BTreeSet<&BStr> = changes.iter().map(|change| change.path.as_bstr()).collect();
        index.remove_entries(|_, path, _| changed.contains(path));
        for change in changes {
            let Some(leaf) = change.new else { continue };
            let path = change.path.as_bstr();
            let found = index::fs::Metadata::from_path_no_follow(&self.native(path));
            let stat = found.and_then(|found| Stat::from_fs(&found).map_err(io::Error::other));
            let stat = stat.map_err(|error| format!("{path}: {error}"))?;
            index.dangerously_push_entry(stat, leaf.id, entry::Flags::empty(), leaf.mode, path);
        }
        index.sort_entries();
        // They describe the index as it was.
        index.remove_tree();
        index.remove_resolve_undo();
        Ok(())
    }

    fn is_mode(&self, mode: entry::Mode, found: &index::fs::Metadata) -> bool {
        if mode == entry::Mode::SYMLINK {
            return found.is_symlink();
        }
        let is_executable = mode == entry::Mode::FILE_EXECUTABLE;
        found.is_file() && (!self.has_modes || found.is_executable() == is_executable)
    }

    /// Returns the id that the content of a file would have.
    fn content(&self, file: &Path, mode: entry::Mode) -> io::Result<ObjectId> {
        let content = if mode == entry::Mode::SYMLINK {
            let target = fs::read_link(file)?;
            gix::path::into_bstr(target).map_err(io::Error::other)?.to_vec()
        } else {
            fs::read(file)?
        };
        gix::objs::compute_hash(self.hash, Kind::Blob, &content).map_err(io::Error::other)
    }

    /// Returns true if a folder above a path is a symbolic link, or no folder.
    pub fn has_link_above(&self, path: &BStr) -> bool {
        folders(path).any(|above| {
            let kind = fs::symlink_metadata(self.native(above));
            kind.is_ok_and(|found| !found.is_dir())
        })
    }

    /// Returns the type of a file without following it, if it exists.
    pub fn look(&self, path: &BStr) -> io::Result<Option<fs::FileType>> {
        match fs::symlink_metadata(self.native(path)) {
            Err(error) if is_absent(&error) => Ok(None),
            found => Ok(Some(found?.file_type())),
        }
    }

    fn place(&self, path: &BStr) -> Result<PathBuf, Refusal> {
        let native = gix::path::from_bstr(path);
        let native = native.map_err(|_| refused(&format!("the name {path} cannot be one of a file")))?;
        Ok(self.root.join(native))
    }

    pub fn native(&self, path: &BStr) -> PathBuf {
        self.root.join(path.to_path_lossy())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
