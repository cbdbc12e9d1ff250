//! A disk whose every write and flush is recorded: an image file in a file system of this process (FUSE), with ext4 on
//! a loop device over it.
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyWrite, Request, TimeOrNow,
};

/// Size of a disk in bytes.
pub const SIZE: usize = 48 << 20;
/// Size in bytes of the unit that a disk writes completely or not at all.
const SECTOR: usize = 4096;
const FOREVER: Duration = Duration::from_secs(1 << 20);
const ROOT: u64 = 1;
const IMAGE: u64 = 2;
const NAME: &str = "image";

/// A change or a sync that reaches the disk.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A sector, or a part of one.
    Write { offset: usize, bytes: Vec<u8> },
    /// A flush: everything written before it survives a power cut.
    Flush,
}

/// A disk, and its recorded effects.
#[derive(Default)]
pub struct Disk {
    pub content: Vec<u8>,
    pub effects: Vec<Effect>,
}

/// A disk in use: the file system that contains its image.
pub struct Drive {
    disk: Arc<Mutex<Disk>>,
    mount_point: PathBuf,
    _session: BackgroundSession,
}

impl Drive {
    /// Mounts the file system of an empty disk at this folder.
    pub fn new(mount_point: PathBuf) -> Self {
        fs::create_dir(&mount_point).expect("a folder");
        let disk = Arc::new(Mutex::new(Disk {
            content: vec![0; SIZE],
            effects: Vec::new(),
        }));
        let options = [MountOption::FSName("power-cut".into()), MountOption::RW];
        let session = fuser::spawn_mount2(Served(disk.clone()), &mount_point, &options).unwrap_or_else(|error| {
            panic!("this test mounts a FUSE file system, which needs root and /dev/fuse: {error}")
        });
        Drive {
            disk,
            mount_point,
            _session: session,
        }
    }

    /// The image file.
    pub fn image(&self) -> PathBuf {
        self.mount_point.join(NAME)
    }

    /// The current content of the disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }
}

/// A mounted ext4, which is unmounted on drop.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts the file system in an image. ext4 replays its own journal.
    pub fn new(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).expect("a folder");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg(&self.0).status();
        if !umount.is_ok_and(|status| status.success()) {
            // If a file is still open, the unmount completes when it is closed.
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

/// Makes an ext4 in an image.
pub fn format(image: &Path) {
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    run(Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-E", options])
        .arg(image));
}

/// Runs a program that must succeed; the failure names the requirements.
pub fn run(command: &mut Command) {
    let what = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {what}, which this test needs: {error}"));
    assert!(
        output.status.success(),
        "this test needs root, /dev/fuse and loop devices: {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The file system with one file.
struct Served(Arc<Mutex<Disk>>);

impl Served {
    fn attributes(&self, ino: u64) -> FileAttr {
        let (kind, perm, size) = match ino {
            IMAGE => (FileType::RegularFile, 0o600, SIZE as u64),
            _ => (FileType::Directory, 0o700, 0),
        };
        let then = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: then,
            mtime: then,
            ctime: then,
            crtime: then,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: SECTOR as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        match parent == ROOT && name == NAME {
            true => reply.entry(&FOREVER, &self.attributes(IMAGE), 0),
            false => reply.error(rustix::io::Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, ino: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(ino));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FOREVER, &self.attributes(ino));
    }

    fn read(&mut self, _: &Request<'_>, _: u64, _: u64, at: i64, size: u32, _: i32, _: Option<u64>, reply: ReplyData) {
        let start = usize::try_from(at).unwrap_or(SIZE).min(SIZE);
        let end = (start + size as usize).min(SIZE);
        reply.data(&lock(&self.0).content[start..end]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        at: i64,
        bytes: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let Some(start) = usize::try_from(at).ok().filter(|start| start + bytes.len() <= SIZE) else {
            return reply.error(rustix::io::Errno::NOSPC.raw_os_error());
        };
        let mut disk = lock(&self.0);
        disk.content[start..start + bytes.len()].copy_from_slice(bytes);
        let mut offset = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (sector, next) = rest.split_at(rest.len().min(SECTOR - offset % SECTOR));
            disk.effects.push(Effect::Write {
                offset,
                bytes: sector.to_vec(),
            });
            offset += sector.len();
            rest = next;
        }
        reply.written(bytes.len() as u32);
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        lock(&self.0).effects.push(Effect::Flush);
        reply.ok();
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}
