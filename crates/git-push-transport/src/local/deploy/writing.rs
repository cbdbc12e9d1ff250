//! The change of files in a work tree. At any moment, a changed file has its old or its new content.
//!
//! A new file is written under another name in its folder, and renamed over the old one. Only what goes or stands in the way
//! is removed. Folders that become empty are removed last. A killed process can leave one file `.stargate-push-XXXXXX`.
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Component, Path},
};

use bstr::{BStr, ByteSlice};
use durable::ownership::hand_over;
use git_push::causes;
use gix::{Repository, index::entry};
use tempfile::TempPath;

use super::{Change, Leaf, files::Folder, folders, gone};

/// Start of the name of a file that is being written.
const PREFIX: &str = ".stargate-push-";

impl Folder<'_> {
    /// Writes and removes files.
    ///
    /// # Errors
    /// The first failure, as text.
    pub fn apply(&self, changes: &[Change], repository: &Repository) -> Result<(), String> {
        let gone = gone(changes);
        for change in changes {
            let Some(leaf) = change.new else { continue };
            let path = change.path.as_bstr();
            let object = repository.find_object(leaf.id);
            let object = object.map_err(|error| format!("{path}: {}", causes(&error)))?;
            self.write(path, leaf, &object.data, &gone)
                .map_err(|error| format!("{path}: {error}"))?;
        }
        for path in &gone {
            self.remove(path).map_err(|error| format!("{path}: {error}"))?;
        }
        gone.iter().for_each(|path| self.prune(path));
        Ok(())
    }

    /// Writes a file, and removes files of `gone` that are in its way.
    fn write(&self, path: &BStr, leaf: Leaf, content: &[u8], gone: &BTreeSet<&BStr>) -> io::Result<()> {
        stays_inside(path)?;
        let mut parent = self.root.to_owned();
        for above in folders(path) {
            if gone.contains(above) {
                self.remove(above)?;
            }
            parent = self.native(above);
            self.make_folder(&parent)?;
        }
        let written = self.temporary(&parent, leaf, content)?;
        if self.look(path)?.is_some_and(|kind| kind.is_dir()) {
            let start = [path.as_bytes(), b"/"].concat();
            let mut below = gone.range(start.as_bstr()..);
            below
                .by_ref()
                .take_while(|path| path.starts_with(&start))
                .try_for_each(|path| self.remove(path))?;
            remove_empty(&self.native(path))?;
        }
        written.persist(self.native(path)).map_err(|error| error.error)
    }

    /// Writes a file or link under another name. It is removed on drop.
    fn temporary(&self, folder: &Path, leaf: Leaf, content: &[u8]) -> io::Result<TempPath> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        if leaf.mode == entry::Mode::SYMLINK {
            let link = builder.make_in(folder, |path| link(content, path))?;
            return Ok(link.into_temp_path());
        }
        #[cfg(unix)]
        {
            // The umask applies.
            let is_executable = leaf.mode == entry::Mode::FILE_EXECUTABLE;
            let mode = if is_executable { 0o777 } else { 0o666 };
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(content)?;
        hand_over(file.path(), self.root, None)?;
        Ok(file.into_temp_path())
    }

    /// Removes a file, unless it has gone already. One behind a link is none of the work tree.
    fn remove(&self, path: &BStr) -> io::Result<()> {
        stays_inside(path)?;
        if self.has_link_above(path) || self.look(path)?.is_none_or(|kind| kind.is_dir()) {
            return Ok(());
        }
        fs::remove_file(self.native(path))
    }

    /// Removes the folders above a removed file that are empty.
    fn prune(&self, path: &BStr) {
        if self.has_link_above(path) {
            return;
        }
        let above: Vec<_> = folders(path).collect();
        for folder in above.iter().rev() {
            match fs::remove_dir(self.native(folder)) {
                // It was removed for another file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // One that has other files stays.
                Err(_) => break,
                Ok(()) => {}
            }
        }
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(folder)? {
                found if found.is_dir() => Ok(()),
                _ => Err(error),
            },
            made => made.and_then(|()| hand_over(folder, self.root, None)),
        }
    }
}

/// Returns an error for a path that leaves the work tree by its names. All were checked before.
fn stays_inside(path: &BStr) -> io::Result<()> {
    let path = path.to_path_lossy();
    let mut names = path.components();
    if names.all(|name| matches!(name, Component::Normal(_))) {
        Ok(())
    } else {
        Err(io::Error::other("it is outside the work tree"))
    }
}

/// Removes a folder that has nothing but folders.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        remove_empty(&entry?.path())?;
    }
    fs::remove_dir(folder)
}

#[cfg(unix)]
fn link(target: &[u8], file: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target.to_path_lossy(), file)
}

#[cfg(not(unix))]
fn link(_: &[u8], _: &Path) -> io::Result<()> {
    Err(io::Error::other("symbolic links are not supported here"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use gix::index;

    use super::*;

    #[test]
    fn no_name_and_no_link_leads_out_of_the_work_tree() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("tree");
        let repository = gix::init(&root).expect("a repository");
        let blob = repository.write_blob(b"content").expect("a blob").detach();
        fs::create_dir(folder.path().join("outside")).expect("a folder");
        let outside = folder.path().join("outside/file");
        std::os::unix::fs::symlink("../outside", root.join("link")).expect("a link");
        let interrupt = AtomicBool::new(false);
        let Ok(tree) = Folder::new(&root, &repository, &interrupt) else {
            panic!("a work tree");
        };
        let leaf = Some(Leaf {
            mode: entry::Mode::FILE,
            id: blob,
        });
        fs::write(&outside, "content").expect("a file");
        for (path, is_name) in [("../outside/file", true), (".git/config", true), ("link/file", false)] {
            let change = |old, new| {
                let path = path.into();
                [Change { path, old, new }]
            };
            let (removal, writing) = (change(leaf, None), change(None, leaf));
            assert_eq!(tree.check(&removal, &repository).is_err(), is_name, "{path}");
            assert!(tree.check(&writing, &repository).is_err(), "{path}");
            let mut index = index::File::from_state(index::State::new(repository.object_hash()), root.join("index"));
            index.dangerously_push_entry(
                entry::Stat::default(),
                blob,
                entry::Flags::empty(),
                entry::Mode::FILE,
                path.into(),
            );
            assert!(tree.refresh(&mut index).is_err(), "{path}");
            if path.starts_with("..") {
                assert!(tree.apply(&removal, &repository).is_err());
            }
            if path.starts_with("link") {
                assert_eq!(tree.apply(&removal, &repository), Ok(()), "it is none of the work tree");
            }
            if !path.starts_with(".git") {
                assert!(tree.apply(&writing, &repository).is_err(), "{path}");
            }
            assert!(outside.exists());
        }
        let names = fs::read_dir(folder.path().join("outside")).expect("a folder");
        assert_eq!(names.count(), 1, "nothing was written");
    }
}
