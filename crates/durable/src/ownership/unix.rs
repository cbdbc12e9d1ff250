//! Unix part of [`ownership`](super).
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{Gid, OFlags, Uid},
    io::Errno,
};

/// Gives a new file to the owner of its folder, if this process may do that (chown(2) allows it to root), and sets
/// `mode`, adapted to the folder.
pub(crate) fn set_on(made: &File, path: &Path, mode: u32) -> io::Result<()> {
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

pub(super) fn hand_over(path: &Path, folder: &Path, mode: Option<u32>) -> io::Result<()> {
    let made = no_follow(OFlags::NONBLOCK).open(path)?;
    let own = made.metadata()?;
    let has_one_name = own.is_dir() || own.is_file() && own.nlink() == 1;
    if own.uid() != rustix::process::geteuid().as_raw() || !has_one_name {
        return Ok(());
    }
    set_owner(&made, &own, &fs::metadata(folder)?)?;
    mode.map_or(Ok(()), |mode| set_file_mode(&made, mode))
}

/// Does the same as [`set_on()`] for a directory.
pub(crate) fn set_on_folder(path: &Path, mode: u32) -> io::Result<()> {
    set_on(&open_dir(path)?, path, mode)
}

/// Sets the mode of a folder.
pub(crate) fn set_folder_mode(path: &Path, mode: u32) -> io::Result<()> {
    set_file_mode(&open_dir(path)?, mode)
}

/// Opens a directory without following a symbolic link.
fn open_dir(path: &Path) -> io::Result<File> {
    no_follow(OFlags::DIRECTORY).open(path)
}

/// Options for opening a file that is not a symbolic link, with these additional flags.
fn no_follow(flags: OFlags) -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | flags).bits() as i32);
    options
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_shared_folder_the_group_can_write_and_others_get_no_more_than_the_folder_allows() {
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
