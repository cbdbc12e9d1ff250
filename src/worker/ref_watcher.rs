//! Detection of refs that move without a journal entry, within two seconds, by polling.
//!
//! git never writes into a file of refs: it renames a new file into its place. So a move changes the metadata of
//! `reftable/tables.list`, of `packed-refs`, or of the folder of a loose ref. A poll reads the metadata of these two files
//! and of each folder of mirrored refs, and lists a folder only if it has changed. The number of refs does not matter, and
//! polling works on network file systems, too.
//!
//! # Limitations
//!
//! The next comparison of both sides finds the moves that are not detected here: those of the target of a symbolic ref
//! that is not mirrored itself, those in more than [`MOST_FOLDERS`] folders, and a second move within one tick of the file
//! system's clock.
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bstr::{BString, ByteSlice, ByteVec};
use durable::storage::{Disk, Look, Names};

use crate::ref_pattern::RefPatterns;

/// Interval of polling.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of polled folders of one repository.
const MOST_FOLDERS: usize = 4096;
/// Files that list refs.
const FILES: [&str; 2] = ["packed-refs", git_reftable::LIST];

/// Callback for a repository whose refs have moved.
pub(super) type OnMove = Arc<dyn Fn(&Path) + Send + Sync>;

/// Polls the refs of repositories until the process ends.
#[derive(Clone, Default)]
pub(super) struct RefWatcher {
    polled: Arc<Mutex<HashMap<PathBuf, Polled>>>,
}

#[derive(Clone)]
struct Polled {
    patterns: Vec<RefPatterns>,
    /// Has a lock of its own, because a file system that hangs must not block the other repositories.
    storage: Arc<Mutex<RefStorage>>,
}

impl RefWatcher {
    /// Starts without any repositories.
    pub(super) fn start(on_move: OnMove) -> Self {
        let watcher = RefWatcher::default();
        let polling = watcher.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(POLL_INTERVAL);
                polling.poll(&on_move);
            }
        });
        watcher
    }

    /// Watches these repositories and no others, each for the refs that match any of its mirrors' patterns.
    pub(super) fn set(&self, repositories: &BTreeMap<PathBuf, Vec<RefPatterns>>) {
        let mut polled = locked(&self.polled);
        polled.retain(|git_dir, one| repositories.get(git_dir) == Some(&one.patterns));
        for (git_dir, patterns) in repositories {
            polled.entry(git_dir.clone()).or_insert_with(|| Polled {
                patterns: patterns.clone(),
                storage: Arc::new(Mutex::new(RefStorage::new(git_dir, patterns))),
            });
        }
    }

    /// Ignores all moves until now, because the caller reads the refs next. Returns true if there may have been one.
    pub(super) fn ignore_earlier_moves(&self, git_dir: &Path) -> bool {
        let polled = locked(&self.polled).get(git_dir).cloned();
        polled.is_some_and(|polled| locked(&polled.storage).has_changed())
    }

    fn poll(&self, on_move: &OnMove) {
        let all: Vec<(PathBuf, Polled)> = locked(&self.polled)
            .iter()
            .map(|(git_dir, polled)| (git_dir.clone(), polled.clone()))
            .collect();
        for (git_dir, polled) in all {
            if locked(&polled.storage).has_changed() {
                on_move(&git_dir);
            }
        }
    }
}

/// Ref storage of one repository, as it was last seen.
struct RefStorage {
    git_dir: PathBuf,
    patterns: Vec<RefPatterns>,
    seen: Option<Seen>,
}

/// Metadata of a file or folder. An error is another state than absence.
type Metadata = Result<Option<Look>, io::ErrorKind>;

#[derive(PartialEq, Eq)]
struct Seen {
    files: [Metadata; FILES.len()],
    /// By name, with a slash at the end.
    folders: BTreeMap<BString, Folder>,
}

#[derive(Clone, PartialEq, Eq)]
struct Folder {
    metadata: Metadata,
    /// The folders in it that can have mirrored refs.
    below: Result<Vec<BString>, io::ErrorKind>,
}

impl RefStorage {
    fn new(git_dir: &Path, patterns: &[RefPatterns]) -> Self {
        RefStorage {
            git_dir: git_dir.to_owned(),
            patterns: patterns.to_vec(),
            seen: None,
        }
    }

    /// Returns true if the refs may have moved since the last call. The first call returns false.
    fn has_changed(&mut self) -> bool {
        let now = Some(self.look());
        let has_changed = self.seen.is_some() && self.seen != now;
        self.seen = now;
        has_changed
    }

    fn look(&self) -> Seen {
        let mut folders = BTreeMap::new();
        let mut open = vec![BString::from("refs/")];
        while let Some(name) = open.pop()
            && folders.len() < MOST_FOLDERS
        {
            let folder = self.folder(&name);
            open.extend(folder.below.iter().flatten().cloned());
            folders.insert(name, folder);
        }
        Seen {
            files: FILES.map(|name| metadata(&self.git_dir.join(name))),
            folders,
        }
    }

    /// Reads the metadata of one folder, and lists the folder if it has changed.
    fn folder(&self, name: &BString) -> Folder {
        let path = self.git_dir.join(name.to_path_lossy());
        // Read before the list, so that a change in between is seen by the next look.
        let metadata = metadata(&path);
        let before = self.seen.as_ref().and_then(|seen| seen.folders.get(name));
        match before {
            Some(before) if before.metadata == metadata && before.below.is_ok() => before.clone(),
            _ => Folder {
                metadata,
                below: self.list(&path, name).map_err(|error| error.kind()),
            },
        }
    }

    fn list(&self, path: &Path, name: &BString) -> io::Result<Vec<BString>> {
        let mut below = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let mut folder = name.clone();
            folder.push_str(Vec::from_os_str_lossy(&entry.file_name()));
            folder.push_byte(b'/');
            let may_match = |patterns: &RefPatterns| patterns.may_match_below(folder.as_bstr());
            if entry.file_type()?.is_dir() && self.patterns.iter().any(may_match) {
                below.push(folder);
            }
        }
        below.sort();
        Ok(below)
    }
}

fn metadata(path: &Path) -> Metadata {
    Disk.look(path).map_err(|error| error.kind())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs::File, sync::mpsc, time::SystemTime};

    use super::*;

    /// A git directory without refs, and its storage as it was seen.
    fn storage() -> (tempfile::TempDir, RefStorage) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["refs/heads/topic", "refs/kv", "reftable"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut storage = RefStorage::new(folder.path(), &[RefPatterns::default()]);
        assert!(!storage.has_changed(), "the first look");
        (folder, storage)
    }

    /// Writes a file as git does. Its folder gets a time of its own, because all of this may happen within one tick.
    fn write(git_dir: &Path, name: &str, time: u64) {
        let path = git_dir.join(name);
        let (lock, folder) = (git_dir.join("lock"), path.parent().unwrap());
        fs::create_dir_all(folder).unwrap();
        fs::write(&lock, "content\n").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        File::options()
            .write(true)
            .open(&lock)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::rename(&lock, &path).unwrap();
        File::open(folder).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_change_of_mirrored_refs_is_seen_once() {
        let (folder, mut storage) = storage();
        for (time, name) in [
            (1, "refs/kv/main"),
            (2, "refs/kv/main"),
            (3, "refs/kv/a/b/c"),
            (4, "refs/kv/a/b/d"),
            (5, "refs/kv-index/main"),
            (6, "packed-refs"),
            (7, "packed-refs"),
            (8, "reftable/tables.list"),
            (9, "reftable/tables.list"),
        ] {
            write(folder.path(), name, time);
            assert!(storage.has_changed(), "{name}");
            assert!(!storage.has_changed(), "{name}");
        }
        fs::remove_file(folder.path().join("packed-refs")).unwrap();
        assert!(storage.has_changed());
        fs::remove_dir_all(folder.path().join("refs/kv/a")).unwrap();
        assert!(storage.has_changed());
    }

    #[test]
    fn changes_of_other_refs_are_not_seen() {
        let (folder, mut storage) = storage();
        for (time, name) in [
            (1, "refs/heads/main"),
            (2, "refs/heads/topic/a"),
            (3, "reftable/0x1-0x2.ref"),
            (4, "HEAD"),
        ] {
            write(folder.path(), name, time);
            assert!(!storage.has_changed(), "{name}");
        }
    }

    #[test]
    fn a_move_is_reported_unless_it_is_to_be_ignored() {
        let (folder, _) = storage();
        let patterns = vec![RefPatterns::default()];
        let watcher = RefWatcher::default();
        let (sender, moved) = mpsc::channel();
        let sender = Mutex::new(sender);
        let on_move: OnMove = Arc::new(move |git_dir: &Path| sender.lock().unwrap().send(git_dir.to_owned()).unwrap());
        watcher.set(&BTreeMap::from([(folder.path().to_owned(), patterns)]));
        watcher.ignore_earlier_moves(folder.path());
        write(folder.path(), "refs/kv/main", 1);
        watcher.poll(&on_move);
        assert_eq!(moved.try_recv().unwrap(), folder.path());

        write(folder.path(), "refs/kv/main", 2);
        watcher.ignore_earlier_moves(folder.path());
        watcher.poll(&on_move);
        write(folder.path(), "refs/kv/main", 3);
        watcher.set(&BTreeMap::new());
        watcher.poll(&on_move);
        assert!(moved.try_recv().is_err());
    }
}
