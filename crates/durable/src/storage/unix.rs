//! Unix part of [`Disk`](super::Disk).
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno, process::Resource};

use super::Identity;

pub fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

/// Makes opening neither block on a FIFO nor follow a symbolic link.
pub fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
}

pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub fn is_same(path: &Path, file: &File) -> io::Result<bool> {
    let (named, open) = (fs::symlink_metadata(path)?, file.metadata()?);
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
}

pub fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

pub fn append(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    io::Write::write(&mut file, bytes)
}

/// Returns EFBIG at or past RLIMIT_FSIZE, as a write would if SIGXFSZ were ignored. Otherwise the signal would kill the
/// process before it could report the error.
pub fn check_size_limit(file: &File) -> io::Result<()> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if file.metadata()?.len() >= limit => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// Returns device and inode.
pub fn identity(metadata: &fs::Metadata) -> Identity {
    Identity(metadata.dev(), metadata.ino())
}

/// Allocates blocks for this many bytes after the end. Succeeds on a file system without this feature, where only the write
/// itself can fail.
pub fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if length + bytes > limit => return Err(Errno::FBIG.into()),
        _ => {}
    }
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, length, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Returns the kind of network file system of `folder`, where `O_APPEND` and `flock` are unreliable (statfs(2)).
#[cfg(target_os = "linux")]
pub fn network(folder: &Path) -> io::Result<Option<&'static str>> {
    // The type is signed on some machines. Only the low 32 bits are the magic number.
    Ok(match rustix::fs::statfs(folder)?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        _ => None,
    })
}

/// Network file systems are not detected on this system.
#[cfg(not(target_os = "linux"))]
pub fn network(_folder: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}
