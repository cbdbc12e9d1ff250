//! Windows part of [`Disk`](super::Disk).
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::Identity;

/// `FILE_FLAG_OPEN_REPARSE_POINT`: open a symbolic link itself.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Does not request append access, because such a handle cannot be truncated. The lock serializes writers.
pub fn append_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

pub fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OPEN_REPARSE_POINT)
}

pub fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub fn is_same(path: &Path, file: &File) -> io::Result<bool> {
    Ok(same_file::Handle::from_path(path)? == same_file::Handle::from_file(file.try_clone()?)?)
}

pub fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.seek_read(buffer, offset)
}

pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    file.seek_write(bytes, offset)
}

pub fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    file.seek_write(bytes, file.metadata()?.len())
}

pub fn check_size_limit(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Returns the time of creation in steps of 100 ns, because there is no stable identity without unsafe code.
pub fn identity(metadata: &fs::Metadata) -> Identity {
    Identity(0, metadata.creation_time())
}

pub fn reserve(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

pub fn network(_folder: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}
