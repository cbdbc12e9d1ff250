//! A simulated disk: unsynced changes may be lost in part, and the process can be killed at any effect.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use durable::storage::{FileSystems, Folders, Identity, LockFiles, Look, Names, ReadFiles, WriteFiles};
use jiff::Timestamp;

use support::random::Random;

/// The current content of the disk, and the part of it that would survive a power cut.
#[derive(Clone, Default)]
pub struct SimDisk(Rc<Inner>);

#[derive(Default)]
struct Inner {
    files: RefCell<Vec<Content>>,
    names: RefCell<BTreeMap<PathBuf, usize>>,
    /// Number of effects before the process is killed; `None` if it is not to be killed.
    fuel: Cell<Option<u32>>,
    killed: Cell<bool>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// An open file.
pub struct SimFile(usize);

impl SimDisk {
    /// Kills the process after `effects` more effects.
    pub fn kill_after(&self, effects: u32) {
        self.0.fuel.set(Some(effects));
    }

    /// Returns true if the process was killed.
    pub fn is_killed(&self) -> bool {
        self.0.killed.get()
    }

    /// A new process starts.
    pub fn restart(&self) {
        self.0.fuel.set(None);
        self.0.killed.set(false);
    }

    /// Counts an effect. Returns an error if the process is killed at it, or was before.
    pub fn effect(&self) -> io::Result<()> {
        match self.0.fuel.get() {
            _ if self.is_killed() => return Err(killed()),
            Some(0) => {
                self.0.killed.set(true);
                return Err(killed());
            }
            Some(left) => self.0.fuel.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }

    /// A power cut: of the bytes appended since the last fsync, a part is left. Every other change is lost or kept.
    pub fn cut_power(&self, random: &mut Random) {
        for content in self.0.files.borrow_mut().iter_mut() {
            let common = content.durable.len().min(content.now.len());
            let kept = common + random.below(content.now.len() - common + 1);
            let mut after = content.now[..kept].to_vec();
            if random.chance(2) {
                after[..common].copy_from_slice(&content.durable[..common]);
            }
            content.now.clone_from(&after);
            content.durable = after;
        }
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<SimFile> {
        if let Some(file) = self.0.names.borrow().get(path) {
            return Ok(SimFile(*file));
        }
        if !create {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.effect()?;
        let mut files = self.0.files.borrow_mut();
        files.push(Content::default());
        self.0.names.borrow_mut().insert(path.to_owned(), files.len() - 1);
        Ok(SimFile(files.len() - 1))
    }

    fn change<T>(&self, file: &SimFile, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.0.files.borrow_mut()[file.0])
    }
}

fn killed() -> io::Error {
    io::Error::other("the process was killed")
}

impl Folders for SimDisk {
    fn create_dir(&self, _: &Path) -> io::Result<bool> {
        self.effect().map(|()| false)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let names = self.0.names.borrow();
        let inside = names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside.filter_map(|name| name.file_name()).map(OsString::from).collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.effect()
    }
}

impl Names for SimDisk {
    fn look(&self, path: &Path) -> io::Result<Option<Look>> {
        let file = self.0.names.borrow().get(path).copied();
        Ok(file.map(|file| Look {
            identity: Identity(0, file as u64),
            length: self.0.files.borrow()[file].now.len() as u64,
            modified: Timestamp::UNIX_EPOCH,
        }))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], _: u32) -> io::Result<()> {
        let file = self.open(path, true)?;
        self.effect()?;
        self.change(&file, |content| {
            content.now = bytes.to_vec();
            content.durable = bytes.to_vec();
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.effect()?;
        let mut names = self.0.names.borrow_mut();
        let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.effect()?;
        let removed = self.0.names.borrow_mut().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl ReadFiles for SimDisk {
    type File = SimFile;

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path, false)
    }

    fn length(&self, file: &SimFile) -> io::Result<u64> {
        Ok(self.change(file, |content| content.now.len() as u64))
    }

    fn identity(&self, file: &SimFile) -> io::Result<Identity> {
        Ok(Identity(0, file.0 as u64))
    }

    fn read_at(&self, file: &SimFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.change(file, |content| {
            let rest = content.now.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        }))
    }
}

impl WriteFiles for SimDisk {
    fn open_append(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path, true)
    }

    fn open_overwrite(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path, false)
    }

    fn append(&self, file: &SimFile, bytes: &[u8]) -> io::Result<usize> {
        let written = self.effect();
        // A process that is killed while it writes leaves a part.
        let count = if written.is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.change(file, |content| content.now.extend_from_slice(&bytes[..count]));
        written.map(|()| count)
    }

    fn overwrite_at(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.effect()?;
        let offset = offset as usize;
        self.change(file, |content| {
            content.now[offset..offset + bytes.len()].copy_from_slice(bytes)
        });
        Ok(())
    }

    fn truncate(&self, file: &SimFile, length: u64) -> io::Result<()> {
        self.effect()?;
        self.change(file, |content| content.now.truncate(length as usize));
        Ok(())
    }

    fn reserve(&self, _: &SimFile, _: u64) -> io::Result<()> {
        self.effect()
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        self.effect()?;
        self.change(file, |content| content.durable.clone_from(&content.now));
        Ok(())
    }
}

impl LockFiles for SimDisk {
    fn try_lock(&self, _: &SimFile) -> io::Result<bool> {
        // One process at a time: only events between two locks are simulated.
        Ok(true)
    }

    fn still_names(&self, path: &Path, file: &SimFile) -> io::Result<bool> {
        Ok(self.0.names.borrow().get(path) == Some(&file.0))
    }
}

impl FileSystems for SimDisk {
    fn network(&self, _: &Path) -> io::Result<Option<&'static str>> {
        Ok(None)
    }
}
