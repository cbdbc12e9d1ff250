//! A push on its way into a mirror's folder, and what a worker that was killed has left of one.
//!
//! While a push is taken in, `objects/tmp_objdir-stargate-XXXXXX` belongs to it. `alive` is locked as long as the process
//! lives, `record` names the refs that it is about to lock, with their new ids, and the pack is indexed there before it
//! moves into `objects/pack`. `git prune` knows such folders by the beginning of their names, too.
//!
//! A lock of a ref is a file that outlives whoever made it, and nobody can move that ref again. So before a push is
//! taken in, what dead ones have left is cleared: their folder, their `.keep` file, and the locks that they have recorded.
//! Somebody else may have locked the same ref since. Such a lock is not taken away: it holds another id, or it is not the
//! same any more after [`STILL`]. For `packed-refs`, whose lock is empty while git works on it, that is
//! [`PACKED_REFS_STILL`].
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bstr::ByteSlice;
use durable::{
    ownership::hand_over,
    storage::{Disk, DiskFile, FILE_MODE, Folders, LockFiles, Look, Names, WriteFiles},
};
use git_push::Command;
use gix::refs::FullName;
use jiff::Timestamp;

use super::super::received::settle;

/// How long nobody has touched a ref's lock that is taken away.
const STILL: Duration = Duration::from_secs(1);
/// The same for the lock of `packed-refs`.
const PACKED_REFS_STILL: Duration = Duration::from_secs(60);
/// A folder without a record that is older belongs to nobody.
const BEGUN: Duration = Duration::from_secs(60);
/// The record of a push of more refs than anybody has, in bytes.
const MAX_RECORD: u64 = 64 << 20;
const PREFIX: &str = "tmp_objdir-stargate-";
const ALIVE: &str = "alive";
const RECORD: &str = "record";

/// Where a mirror keeps its refs and its objects.
pub(super) struct Place {
    pub git_dir: PathBuf,
    pub objects: PathBuf,
    /// The mode of folders, where the repository is shared.
    pub shared: Option<u32>,
}

/// A push that is taken in. What belongs to it goes away with this.
pub(super) struct Incoming {
    folder: PathBuf,
    packs: PathBuf,
    shared: Option<u32>,
    keep: Option<PathBuf>,
    alive: Option<DiskFile>,
}

impl Place {
    /// Writes down what is about to be done to the mirror.
    ///
    /// # Errors
    /// The mirror's folder cannot be written to.
    pub fn begin(&self, commands: &[Command]) -> io::Result<Incoming> {
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&self.objects)?;
        hand_over(made.path(), &self.objects, None)?;
        let alive = Disk.open_append(&made.path().join(ALIVE))?;
        // Where there are no locks, nobody is ever taken to be dead.
        let _ = Disk.try_lock(&alive);
        Disk.write_new(&made.path().join(RECORD), &record(commands), FILE_MODE)?;
        Ok(Incoming {
            folder: made.keep(),
            packs: self.objects.join("pack"),
            shared: self.shared,
            keep: None,
            alive: Some(alive),
        })
    }

    /// Clears what pushes have left whose processes have died.
    ///
    /// # Errors
    /// The folder of objects cannot be read. What cannot be cleared is logged, and tried again by the next push.
    pub fn clear(&self) -> io::Result<()> {
        for name in Disk.list(&self.objects)? {
            if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                continue;
            }
            let folder = self.objects.join(name);
            if let Err(error) = self.clear_one(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "what a push has left cannot be cleared");
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
        if begun && !self.unlock_refs(&folder.join(RECORD))? {
            return Ok(());
        }
        tracing::info!(folder = %folder.display(), "cleared what a push has left that was killed");
        for name in Disk.list(folder)? {
            if Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "keep")
            {
                absent_is_fine(Disk.remove(&self.objects.join("pack").join(name)))?;
            }
        }
        drop(alive);
        fs::remove_dir_all(folder)
    }

    /// Takes away the locks of a record; whether none is left.
    fn unlock_refs(&self, record: &Path) -> io::Result<bool> {
        let locks = self.locks(record)?;
        let seen: Vec<_> = locks.iter().map(Lock::look).collect::<io::Result<_>>()?;
        let young =
            |(lock, look): (&Lock, &Option<Look>)| look.is_some_and(|look| lock.still == STILL && age(&look) < STILL);
        if locks.iter().zip(&seen).any(young) {
            thread::sleep(STILL);
        }
        let mut free = true;
        for (lock, seen) in locks.iter().zip(seen) {
            let Some(look) = lock.look()? else { continue };
            match seen == Some(look) && age(&look) >= lock.still {
                true => absent_is_fine(Disk.remove(&lock.path))?,
                false => free = false,
            }
        }
        Ok(free)
    }

    /// The locks that a push of this record takes.
    fn locks(&self, record: &Path) -> io::Result<Vec<Lock>> {
        if fs::symlink_metadata(record)?.len() > MAX_RECORD {
            return Err(io::Error::other("it is no record of ours"));
        }
        let text = fs::read(record)?;
        let parsed = text.lines().filter_map(|line| line.split_once_str(b" "));
        // Nothing but the full name of a ref becomes a path.
        let named = parsed.filter(|(_, name)| name.starts_with(b"refs/") && FullName::try_from(name.as_bstr()).is_ok());
        let lock = |(id, name): (&[u8], &[u8])| {
            let name = gix::path::from_byte_slice(name).ok()?;
            let mut path = self.git_dir.join(name).into_os_string();
            path.push(".lock");
            Some(Lock {
                path: path.into(),
                content: Some(id.to_owned()),
                still: STILL,
            })
        };
        let mut locks: Vec<_> = named.filter_map(lock).collect();
        if locks.iter().any(Lock::deletes) {
            locks.push(Lock {
                path: self.git_dir.join("packed-refs.lock"),
                content: None,
                still: PACKED_REFS_STILL,
            });
        }
        Ok(locks)
    }
}

impl Incoming {
    /// Where the pack is to be indexed.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Moves a pack and its index, which are in the folder, among those of the mirror, durably, with a `.keep` file: until
    /// the refs are moved, `git gc` must not take them away.
    ///
    /// # Errors
    /// One of them cannot be synced or moved.
    pub fn take_in(&mut self, pack: &Path, index: &Path) -> io::Result<()> {
        for path in [pack, index] {
            settle(&self.packs, path, self.shared)?;
        }
        let to = |path: &Path| self.packs.join(path.file_name().unwrap_or_default());
        let keep = to(pack).with_extension("keep");
        Disk.write_new(&keep, b"", FILE_MODE)?;
        self.keep = Some(keep);
        Disk.rename(pack, &to(pack))?;
        Disk.rename(index, &to(index))?;
        Disk.sync_dir(&self.packs)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.alive = None;
        let kept = self
            .keep
            .as_ref()
            .map_or(Ok(()), |keep| absent_is_fine(Disk.remove(keep)));
        // What cannot be removed is cleared by the next push: the folder has a `.keep` file of the same name.
        if kept.is_ok() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The lock of a ref or of `packed-refs`.
struct Lock {
    path: PathBuf,
    /// The new id of the ref, as it is recorded; all zeros to delete it.
    content: Option<Vec<u8>>,
    still: Duration,
}

impl Lock {
    fn deletes(&self) -> bool {
        let zeros = |id: &Vec<u8>| id.iter().all(|digit| *digit == b'0');
        self.content.as_ref().is_some_and(zeros)
    }

    /// The lock as it is now, if it is there and can be the recorded one.
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

/// How long ago a file was written; nothing where the clock has gone back since.
fn age(look: &Look) -> Duration {
    let age = Timestamp::now().duration_since(look.modified);
    Duration::try_from(age).unwrap_or_default()
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::SystemTime;

    use gix::ObjectId;

    use super::*;

    const ID: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

    struct Mirror {
        folder: tempfile::TempDir,
        place: Place,
    }

    fn mirror() -> Mirror {
        let folder = tempfile::tempdir().unwrap();
        let git_dir = folder.path().join("r.git");
        for name in ["objects/pack", "refs/kv"] {
            fs::create_dir_all(git_dir.join(name)).unwrap();
        }
        let objects = git_dir.join("objects");
        Mirror {
            folder,
            place: Place {
                git_dir,
                objects,
                shared: None,
            },
        }
    }

    impl Mirror {
        /// What a push of these refs leaves that dies when it has begun; gives its folder.
        fn died(&self, commands: &[(&str, &str)]) -> PathBuf {
            let command = |(name, new): &(&str, &str)| Command {
                name: (*name).into(),
                old: ObjectId::null(gix::hash::Kind::Sha1),
                new: new.parse().unwrap(),
            };
            let commands: Vec<_> = commands.iter().map(command).collect();
            let mut incoming = self.place.begin(&commands).unwrap();
            incoming.alive = None;
            let folder = incoming.folder.clone();
            std::mem::forget(incoming);
            folder
        }

        /// A lock of this content that nobody has touched for so long.
        fn lock(&self, name: &str, content: &str, seconds: u64) -> PathBuf {
            let path = self.place.git_dir.join(format!("{name}.lock"));
            fs::write(&path, content).unwrap();
            let then = SystemTime::now() - Duration::from_secs(seconds);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(then)
                .unwrap();
            path
        }
    }

    #[test]
    fn the_locks_of_a_dead_push_are_taken_away_and_those_of_others_are_not() {
        let mirror = mirror();
        let names = ["refs/kv/whole", "refs/kv/part", "refs/kv/empty", "refs/kv/other"].map(|name| (name, ID));
        let folder = mirror.died(&names);
        let ours = [
            mirror.lock("refs/kv/whole", &format!("{ID}\n"), 2),
            mirror.lock("refs/kv/part", &ID[..7], 2),
            mirror.lock("refs/kv/empty", "", 2),
        ];
        let others = [
            mirror.lock("refs/kv/other", &format!("{}\n", ID.replace("a1", "b2")), 2),
            mirror.lock("refs/kv/not-named", &format!("{ID}\n"), 2),
            mirror.lock("packed-refs", "", 120),
        ];
        mirror.place.clear().unwrap();
        assert!(ours.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()));
        assert!(!folder.exists());
    }

    #[test]
    fn a_young_lock_is_looked_at_a_second_time() {
        let mirror = mirror();
        mirror.died(&[("refs/kv/a", ID)]);
        let lock = mirror.lock("refs/kv/a", "", 0);
        mirror.place.clear().unwrap();
        assert!(!lock.exists());
    }

    #[test]
    fn the_lock_of_packed_refs_is_left_until_it_is_old_and_so_is_what_tells_of_it() {
        let mirror = mirror();
        let folder = mirror.died(&[("refs/kv/gone", &"0".repeat(40))]);
        let lock = mirror.lock("packed-refs", "", 30);
        mirror.place.clear().unwrap();
        assert!(lock.exists() && folder.exists());
        mirror.lock("packed-refs", "", 61);
        mirror.place.clear().unwrap();
        assert!(!lock.exists() && !folder.exists());
    }

    #[test]
    fn what_lives_is_left_alone() {
        let mirror = mirror();
        let incoming = mirror.place.begin(&[]).unwrap();
        mirror.place.clear().unwrap();
        assert!(incoming.folder.join(RECORD).exists());
        let folder = incoming.folder.clone();
        drop(incoming);
        assert!(!folder.exists());

        // Somebody who has only just made his folder.
        let begun = mirror.place.objects.join(format!("{PREFIX}begun"));
        fs::create_dir(&begun).unwrap();
        mirror.place.clear().unwrap();
        assert!(begun.exists());
        let then = SystemTime::now() - BEGUN;
        fs::File::open(&begun).unwrap().set_modified(then).unwrap();
        mirror.place.clear().unwrap();
        assert!(!begun.exists());
    }

    #[test]
    fn a_record_leads_nowhere_but_to_refs() {
        let mirror = mirror();
        let folder = mirror.died(&[]);
        let outside = mirror.folder.path().join("x.lock");
        let config = mirror.lock("config", "", 120);
        fs::write(&outside, "").unwrap();
        let record = format!("{ID} refs/../../x\n{ID} /x\n{ID} config\n{ID} refs/kv/\n{ID}\n");
        fs::write(folder.join(RECORD), record).unwrap();
        mirror.place.clear().unwrap();
        assert!(outside.exists() && config.exists());
        assert!(!folder.exists());
    }
}
