//! What [`Disk`](super::Disk) does on Unix.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno, process::Resource};

use super::Identity;

pub fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

/// A FIFO must not block the opening, nor a symbolic link lead elsewhere.
pub fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
}

pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

pub fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))
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

/// A write that starts at or past RLIMIT_FSIZE kills the process with SIGXFSZ before it can tell anyone; this is the
/// error that the write would give if the signal were ignored.
pub fn check_size_limit(file: &File) -> io::Result<()> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if file.metadata()?.len() >= limit => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// Device and inode.
pub fn identity(metadata: &fs::Metadata) -> Identity {
    Identity(metadata.dev(), metadata.ino())
}

/// Blocks for this many bytes behind the end. A file system that cannot promise them gives no error: the write tells.
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

/// The kind of network file system that `folder` is on, where `O_APPEND` and `flock` cannot be relied on (statfs(2)).
#[cfg(target_os = "linux")]
pub fn network(folder: &Path) -> io::Result<Option<&'static str>> {
    // The kernel's words are signed on some machines: only the low 32 bits are the magic number.
    Ok(match rustix::fs::statfs(folder)?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        _ => None,
    })
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub fn network(_folder: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}
