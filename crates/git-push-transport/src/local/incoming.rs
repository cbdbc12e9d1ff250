//! The files of a push before its refs move, and the removal of those that a killed process has left.
//!
//! During a push, the folder `objects/tmp_objdir-stargate-XXXXXX` belongs to it. `alive` is locked as long as the process
//! lives. `record` has the refs to lock, with their new ids. The pack is indexed in its folder `pack`, so that it is a folder
//! of objects for hooks, and then moves to `objects/pack`, with everything that hooks have added (`migration`).
//! `git prune` recognizes such folders by the start of their names.
//!
//! The lock of a ref is a file that outlives its process, and blocks the ref forever. So each push first removes the
//! files that killed pushes have left: their folder, their `.keep` file, and the locks in their record. A lock that
//! another process has taken meanwhile stays: it has another id, or it changes within [`STILL`]. The locks of
//! `packed-refs`, of an index and, with reftables, of `tables.list` are empty while git works on them, so their time is
//! [`LIST_STILL`].
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bstr::ByteSlice;
use durable::{
    ownership::hand_over,
    replace::lock_path,
    storage::{Disk, DiskFile, FILE_MODE, Folders, LockFiles, Look, Names, WriteFiles, remove_existing},
};
use git_push::{Command, repository::RefStorage};
use gix::refs::FullName;
use jiff::Timestamp;

use super::{index_lock::IndexLock, migration::migrate};

/// Time without a change after which the lock of a ref is removed.
const STILL: Duration = Duration::from_secs(1);
/// Time without a change after which the lock of `packed-refs`, of `tables.list` or of an index is removed.
const LIST_STILL: Duration = Duration::from_secs(60);
/// Age from which a folder without a record is abandoned.
const BEGUN: Duration = Duration::from_secs(60);
/// Limit of the size of a record, in bytes.
const MAX_RECORD: u64 = 64 << 20;
const PREFIX: &str = "tmp_objdir-stargate-";
const ALIVE: &str = "alive";
const RECORD: &str = "record";
/// Folder of the pack.
const PACKS: &str = "pack";

/// Folders of the repository.
pub(super) struct Place {
    pub git_dir: PathBuf,
    pub storage: RefStorage,
    pub objects: PathBuf,
    /// The mode of folders in a shared repository.
    pub shared: Option<u32>,
}

/// Files of a push, which are removed on drop.
pub(super) struct Incoming {
    folder: PathBuf,
    objects: PathBuf,
    packs: PathBuf,
    shared: Option<u32>,
    /// `.keep` files of the push beside packs of the repository.
    keeps: Vec<PathBuf>,
    alive: Option<DiskFile>,
}

impl Place {
    /// Records the commands of a push.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn begin(&self, commands: &[Command]) -> io::Result<Incoming> {
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&self.objects)?;
        hand_over(made.path(), &self.objects, None)?;
        let alive = Disk.open_append(&made.path().join(ALIVE))?;
        // On a file system without locks, no process counts as dead.
        let _ = Disk.try_lock(&alive);
        Disk.write_new(&made.path().join(RECORD), &record(commands), FILE_MODE)?;
        Ok(Incoming {
            folder: made.keep(),
            objects: self.objects.clone(),
            packs: self.objects.join("pack"),
            shared: self.shared,
            keeps: Vec::new(),
            alive: Some(alive),
        })
    }

    /// Removes files that pushes of dead processes have left.
    ///
    /// # Errors
    /// The folder of objects cannot be read. Other failures are logged, and the next push retries.
    pub fn clear(&self) -> io::Result<()> {
        for name in Disk.list(&self.objects)? {
            if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                continue;
            }
            let folder = self.objects.join(name);
            if let Err(error) = self.clear_one(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove the files of a killed push; the next push retries");
            }
        }
        Ok(())
    }

    fn clear_one(&self, folder: &Path) -> io::Result<()> {
        let begun = Disk.look(&folder.join(RECORD))?.is_some();
        if !begun && Disk.look(folder)?.is_none_or(|look| age(&look) < BEGUN) {
            return Ok(());
        }
        let alive = Disk.open_append(&folder.join(ALIVE))?;
        if !Disk.try_lock(&alive)? {
            return Ok(());
        }
        if begun && !self.unlock(folder)? {
            return Ok(());
        }
        tracing::info!(folder = %folder.display(), "removed the files of a killed push");
        // Earlier versions had their packs in the folder itself.
        for packs in [folder.to_owned(), folder.join(PACKS)] {
            for name in Disk.list(&packs)?.iter().filter(|name| is_keep(Path::new(name))) {
                remove_existing(&Disk, &self.objects.join("pack").join(name))?;
            }
        }
        drop(alive);
        fs::remove_dir_all(folder)
    }

    /// Removes the locks of a dead push. Returns true if none is left.
    fn unlock(&self, folder: &Path) -> io::Result<bool> {
        let mut locks = self.locks(&folder.join(RECORD))?;
        let index = IndexLock::new(folder, &self.git_dir).recorded()?;
        locks.extend(index.map(Lock::of_list));
        let seen: Vec<_> = locks.iter().map(Lock::look).collect::<io::Result<_>>()?;
        let young =
            |(lock, look): (&Lock, &Option<Look>)| look.is_some_and(|look| lock.still == STILL && age(&look) < STILL);
        if locks.iter().zip(&seen).any(young) {
            thread::sleep(STILL);
        }
        let mut free = true;
        for (lock, seen) in locks.iter().zip(seen) {
            let Some(look) = lock.look()? else { continue };
            if seen == Some(look) && age(&look) >= lock.still {
                remove_existing(&Disk, &lock.path)?;
            } else {
                free = false;
            }
        }
        Ok(free)
    }

    /// Returns the locks that a push of this record takes.
    fn locks(&self, record: &Path) -> io::Result<Vec<Lock>> {
        if fs::symlink_metadata(record)?.len() > MAX_RECORD {
            return Err(io::Error::other("it is too large for a record of a push"));
        }
        let text = fs::read(record)?;
        let parsed = text.lines().filter_map(|line| line.split_once_str(b" "));
        // Only the full name of a ref becomes a path.
        let named = parsed.filter(|(_, name)| name.starts_with(b"refs/") && FullName::try_from(name.as_bstr()).is_ok());
        let lock = |(id, name): (&[u8], &[u8])| {
            let name = gix::path::from_byte_slice(name).ok()?;
            Some(Lock {
                path: lock_path(&self.git_dir.join(name)),
                content: Some(id.to_owned()),
                still: STILL,
            })
        };
        let of_list = |list: &str| Lock::of_list(lock_path(&self.git_dir.join(list)));
        if self.storage == RefStorage::Reftable {
            return Ok(vec![of_list(git_reftable::LIST)]);
        }
        let mut locks: Vec<_> = named.filter_map(lock).collect();
        if locks.iter().any(Lock::deletes) {
            locks.push(of_list("packed-refs"));
        }
        Ok(locks)
    }
}

impl Incoming {
    /// Returns the folder of the new objects.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder in which to index the pack. It need not exist.
    pub fn packs(&self) -> PathBuf {
        self.folder.join(PACKS)
    }

    /// Moves all objects from the folder to those of the repository, durably. Packs get a `.keep` file: `git gc` must not
    /// remove them before the refs have moved. `received` is the pack of the push; a hook may have added others.
    ///
    /// # Errors
    /// A file cannot be synced or moved.
    pub fn take_in(&mut self, received: Option<&Path>) -> io::Result<()> {
        Disk.create_dir(&self.packs)?;
        let mut stays: BTreeSet<_> = [ALIVE, RECORD].map(PathBuf::from).into();
        for name in Disk.list(&self.packs())? {
            let pack = self.packs().join(&name);
            if pack.extension().is_some_and(|extension| extension == "pack") {
                let keep = Path::new(&name).with_extension("keep");
                self.keep(&keep, received == Some(&pack), &mut stays)?;
            }
        }
        migrate(&self.folder, &self.objects, self.shared, &stays)
    }

    /// Writes a `.keep` file of the push. One that a hook has put beside its pack moves with it.
    fn keep(&mut self, name: &Path, is_received: bool, stays: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let (ours, there) = (self.packs().join(name), self.packs.join(name));
        let exists = Disk.look(&ours)?.is_some();
        if exists && !is_received {
            return Ok(());
        }
        if !exists {
            // The next push removes it if this one is killed.
            Disk.write_new(&ours, b"", FILE_MODE)?;
        }
        stays.insert(Path::new(PACKS).join(name));
        match Disk.write_new(&there, b"", FILE_MODE) {
            // Somebody keeps the same pack.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => {
                written?;
                self.keeps.push(there);
            }
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.alive = None;
        let kept = self.keeps.iter().try_for_each(|keep| remove_existing(&Disk, keep));
        // Otherwise the next push removes the folder, whose `.keep` file has the same name.
        if kept.is_ok() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The lock of a ref, of `packed-refs`, of `tables.list` or of an index.
struct Lock {
    path: PathBuf,
    /// The recorded new id of the ref; all zeros to delete it.
    content: Option<Vec<u8>>,
    still: Duration,
}

impl Lock {
    /// Returns a lock of more than one ref or file, which need not have content.
    fn of_list(path: PathBuf) -> Self {
        Lock {
            path,
            content: None,
            still: LIST_STILL,
        }
    }

    fn deletes(&self) -> bool {
        let zeros = |id: &Vec<u8>| id.iter().all(|digit| *digit == b'0');
        self.content.as_ref().is_some_and(zeros)
    }

    /// Returns the state of the lock, if it exists and can be the recorded one.
    fn look(&self) -> io::Result<Option<Look>> {
        let Some(look) = Disk.look(&self.path)? else {
            return Ok(None);
        };
        let Some(id) = &self.content else { return Ok(Some(look)) };
        let longest = id.len() as u64 + 1;
        let ours = |found: Vec<u8>| found.is_empty() || [id, b"\n".as_slice()].concat().starts_with(&found);
        let ours = look.length <= longest && fs::read(&self.path).is_ok_and(ours);
        Ok(ours.then_some(look))
    }
}

fn is_keep(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "keep")
}

fn record(commands: &[Command]) -> Vec<u8> {
    let mut record = Vec::new();
    for command in commands {
        record.extend_from_slice(command.new.to_string().as_bytes());
        record.push(b' ');
        record.extend_from_slice(&command.name);
        record.push(b'\n');
    }
    record
}

/// Returns the age of a file; zero if the clock was set back.
fn age(look: &Look) -> Duration {
    let age = Timestamp::now().duration_since(look.modified);
    Duration::try_from(age).unwrap_or_default()
}

#[cfg(all(test, unix))]
mod tests;
