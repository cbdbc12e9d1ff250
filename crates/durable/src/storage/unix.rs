//! Unix part of [`Disk`](super::Disk).
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{Gid, OFlags, Uid},
    io::Errno,
    process::Resource,
};

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

/// Gives a new file to the owner of its folder, if this process may do that (chown(2): root may), and sets `mode`, adapted
/// to the folder.
pub fn set_owner_and_mode(made: &File, path: &Path, mode: u32) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = fs::metadata(parent.unwrap_or(Path::new(".")))?;
    let own = made.metadata()?;
    set_owner(made, &own, &folder)?;
    let inherited = if own.is_dir() { folder.mode() & SETGID } else { 0 };
    set_file_mode(made, mode_in(mode, folder.mode()) | inherited)
}

/// Gives a new file to the owner of `folder`, if this process may do that.
fn set_owner(made: &File, own: &fs::Metadata, folder: &fs::Metadata) -> io::Result<()> {
    if (own.uid(), own.gid()) == (folder.uid(), folder.gid()) {
        return Ok(());
    }
    let (owner, group) = (Uid::from_raw(folder.uid()), Gid::from_raw(folder.gid()));
    match rustix::fs::fchown(made, Some(owner), Some(group)) {
        // EPERM: not permitted. EINVAL: the owner does not exist in this user namespace. The file keeps its owner.
        Err(Errno::PERM | Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// See [`super::hand_over()`].
pub fn hand_over(path: &Path, folder: &Path, mode: Option<u32>) -> io::Result<()> {
    let made = without_following(OpenOptions::new().read(true)).open(path)?;
    let own = made.metadata()?;
    let has_one_name = own.is_dir() || own.is_file() && own.nlink() == 1;
    if own.uid() != rustix::process::geteuid().as_raw() || !has_one_name {
        return Ok(());
    }
    set_owner(&made, &own, &fs::metadata(folder)?)?;
    mode.map_or(Ok(()), |mode| set_file_mode(&made, mode))
}

/// Does the same as [`set_owner_and_mode()`] for a directory.
pub fn set_dir_owner_and_mode(path: &Path, mode: u32) -> io::Result<()> {
    set_owner_and_mode(&open_dir(path)?, path, mode)
}

pub fn set_dir_mode(path: &Path, mode: u32) -> io::Result<()> {
    set_file_mode(&open_dir(path)?, mode)
}

/// Opens a directory without following a symbolic link.
fn open_dir(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Mode bit of a shared folder: new files in it get its group.
const SETGID: u32 = 0o2000;

/// Adapts `mode` to the mode of the folder. In a shared folder, the group gets write access to files that it can read, if it
/// can write to the folder. Others get no access if they have none to the folder.
fn mode_in(mode: u32, folder: u32) -> u32 {
    if folder & SETGID == 0 {
        return mode;
    }
    let write = if mode & 0o040 == 0 { 0 } else { folder & 0o020 };
    let others = if folder & 0o004 == 0 { 0 } else { 0o007 };
    (mode | write) & (0o770 | others)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_shared_folder_the_group_writes_and_nobody_gets_more_than_there() {
        for (mode, folder, expected) in [
            (0o644, 0o755, 0o644),
            (0o644, 0o775, 0o644),
            (0o644, 0o2775, 0o664),
            (0o644, 0o2770, 0o660),
            (0o644, 0o2750, 0o640),
            (0o644, 0o2755, 0o644),
            (0o755, 0o2775, 0o775),
            (0o755, 0o2770, 0o770),
            (0o600, 0o2775, 0o600),
            (0o640, 0o2755, 0o640),
        ] {
            assert_eq!(mode_in(mode, folder), expected, "{mode:o} in {folder:o}");
        }
    }
}
