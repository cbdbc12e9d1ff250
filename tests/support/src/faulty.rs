//! A storage with injected faults, a manual clock, and drafts.
use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    io,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use durable::{
    clock::Clock,
    storage::{Disk, DiskFile, FileSystems, Folders, Identity, LockFiles, Look, Names, ReadFiles, WriteFiles},
};
use jiff::Timestamp;

/// A clock that moves only when it sleeps, and reports that to a test.
pub struct StillClock<F: Fn()> {
    /// The current time in milliseconds since 1970.
    pub now: Cell<i64>,
    elapsed: Cell<Duration>,
    on_sleep: F,
}

impl<F: Fn()> Clock for StillClock<F> {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now.get()).expect("a time")
    }
    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }
    fn sleep(&self, duration: Duration) {
        self.elapsed.set(self.elapsed.get() + duration);
        (self.on_sleep)();
    }
    fn random(&self) -> f64 {
        // Never returns the same value twice, because names of files in quarantine must be unique.
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        f64::from(DRAWN.fetch_add(1, Ordering::Relaxed)) / f64::from(u32::MAX)
    }
}

/// A clock that calls back when it sleeps.
pub fn clock_with<F: Fn()>(on_sleep: F) -> StillClock<F> {
    StillClock {
        now: Cell::new(0),
        elapsed: Cell::default(),
        on_sleep,
    }
}

/// A clock without a callback.
pub fn clock() -> StillClock<impl Fn()> {
    clock_with(|| panic!("nobody has the lock, so nobody waits"))
}

/// A fault in one call of a verb.
#[derive(Clone, Copy)]
pub enum Fault {
    /// It fails.
    Error(io::ErrorKind),
    /// Half of the bytes are written.
    Short,
}

/// A disk with a fault in each call for which `fault` returns one, given the verb and the number of the call.
pub struct Faulty<'a> {
    fault: &'a dyn Fn(&str, usize) -> Option<Fault>,
    /// The verbs that were called, in order.
    pub calls: RefCell<Vec<&'static str>>,
    /// The number of bytes read.
    pub bytes_read: Cell<u64>,
}

impl<'a> Faulty<'a> {
    /// A disk with the faults that `fault` returns.
    pub fn new(fault: &'a dyn Fn(&str, usize) -> Option<Fault>) -> Self {
        Faulty {
            fault,
            calls: RefCell::default(),
            bytes_read: Cell::new(0),
        }
    }

    fn call<T>(&self, verb: &'static str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.next(verb) {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => act(),
        }
    }

    fn next(&self, verb: &'static str) -> Option<Fault> {
        let mut calls = self.calls.borrow_mut();
        calls.push(verb);
        (self.fault)(verb, calls.len() - 1)
    }
}

impl Folders for &Faulty<'_> {
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.call("create_dir", || Disk.create_dir(path))
    }
    fn set_dir_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.call("set_dir_mode", || Disk.set_dir_mode(path, mode))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.call("list", || Disk.list(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call("sync_dir", || Disk.sync_dir(path))
    }
}

impl Names for &Faulty<'_> {
    fn look(&self, path: &Path) -> io::Result<Option<Look>> {
        self.call("look", || Disk.look(path))
    }
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.call("write_new", || Disk.write_new(path, bytes, mode))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", || Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", || Disk.remove(path))
    }
}

impl ReadFiles for &Faulty<'_> {
    type File = DiskFile;

    fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_read", || Disk.open_read(path))
    }
    fn length(&self, file: &DiskFile) -> io::Result<u64> {
        self.call("length", || Disk.length(file))
    }
    fn identity(&self, file: &DiskFile) -> io::Result<Identity> {
        self.call("identity", || Disk.identity(file))
    }
    fn read_at(&self, file: &DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.call("read_at", || Disk.read_at(file, offset, buffer))?;
        self.bytes_read.set(self.bytes_read.get() + read as u64);
        Ok(read)
    }
}

impl WriteFiles for &Faulty<'_> {
    fn open_append(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_append", || Disk.open_append(path))
    }
    fn open_overwrite(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_overwrite", || Disk.open_overwrite(path))
    }
    fn append(&self, file: &DiskFile, bytes: &[u8]) -> io::Result<usize> {
        match self.next("append") {
            None => Disk.append(file, bytes),
            Some(Fault::Short) => Disk.append(file, &bytes[..bytes.len() / 2]),
            Some(Fault::Error(kind)) => Err(kind.into()),
        }
    }
    fn overwrite_at(&self, file: &DiskFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call("overwrite_at", || Disk.overwrite_at(file, offset, bytes))
    }
    fn truncate(&self, file: &DiskFile, length: u64) -> io::Result<()> {
        self.call("truncate", || Disk.truncate(file, length))
    }
    fn reserve(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        self.call("reserve", || Disk.reserve(file, bytes))
    }
    fn sync(&self, file: &DiskFile) -> io::Result<()> {
        self.call("sync", || Disk.sync(file))
    }
}

impl LockFiles for &Faulty<'_> {
    fn try_lock(&self, file: &DiskFile) -> io::Result<bool> {
        self.call("try_lock", || Disk.try_lock(file))
    }
    fn still_names(&self, path: &Path, file: &DiskFile) -> io::Result<bool> {
        self.call("still_names", || Disk.still_names(path, file))
    }
}

impl FileSystems for &Faulty<'_> {
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        match self.next("network") {
            Some(_) => Ok(Some("NFS")),
            None => Disk.network(path),
        }
    }
}
