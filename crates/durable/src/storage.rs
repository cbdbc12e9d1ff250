//! File system operations: the only place that fsyncs, locks and renames.
//!
//! Each trait has the operations of one kind. A function takes a storage with the traits that it needs, and [`Storage`] has
//! all of them. Tests put an implementation between the caller and [`Disk`] to simulate crashes, full disks and slow locks.
//! Errors give the reason, but not the path, which the caller adds.
//!
//! New files and folders get their owner and mode by the rules of [`ownership`](crate::ownership).
//!
//! # Limitations
//! - `flock` and `O_APPEND` are reliable on local file systems, but not on old NFS.
//! - On Windows, locks are mandatory, and without unsafe code they cover the whole file. Readers would fail, so a companion
//!   file `<name>.lock` is locked instead. Directories are not synced there, because Windows documents no way to do it.
use std::{ffi::OsString, fs::File, io, path::Path};

use jiff::Timestamp;

mod disk;
#[cfg_attr(windows, path = "storage/windows.rs")]
#[cfg_attr(unix, path = "storage/unix.rs")]
mod platform;

pub use disk::{Disk, DiskFile};

/// Mode of a new directory.
pub const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a new file.
pub const FILE_MODE: u32 = 0o644;
/// Mode of a program.
pub const PROGRAM_MODE: u32 = 0o755;

/// Folders: creating, listing and syncing them.
pub trait Folders {
    /// Creates a directory with [`DIRECTORY_MODE`], regardless of the umask. In a shared folder it is shared, too. Returns
    /// true if it was created, false if it existed.
    ///
    /// # Errors
    /// The name is taken by something else, or the directory cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Sets the mode of a directory that this process has created. Does nothing on systems without modes.
    ///
    /// # Errors
    /// The errors of `open(2)` and `fchmod(2)`.
    fn set_dir_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    /// Lists the names in a directory, in no particular order. A missing directory counts as empty.
    ///
    /// # Errors
    /// The errors of `readdir(3)`.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The errors of `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// Files by their names: metadata, new files with their whole content, renaming, removing.
pub trait Names {
    /// Returns the metadata of a file without opening it. `None` if it is missing.
    ///
    /// # Errors
    /// The errors of `lstat(2)`.
    fn look(&self, path: &Path) -> io::Result<Option<Look>>;

    /// Creates a file with this content and mode, adapted to a shared folder, and fsyncs it.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written and synced. Then it is removed again, if possible.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Renames a file, replacing an existing file `to`.
    ///
    /// # Errors
    /// The errors of `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The errors of `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Reading of open files.
pub trait ReadFiles {
    /// An open file.
    type File;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// The errors of [`open_overwrite`](WriteFiles::open_overwrite).
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// The errors of `fstat(2)`.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Returns the identity of the file.
    ///
    /// # Errors
    /// The errors of `fstat(2)`.
    fn identity(&self, file: &Self::File) -> io::Result<Identity>;

    /// Reads at an offset with one call. Returns 0 at the end.
    ///
    /// # Errors
    /// The errors of `pread(2)`.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// Writing to open files.
pub trait WriteFiles: ReadFiles {
    /// Opens a file for appending. Creates a missing file with [`FILE_MODE`], regardless of the umask. In a shared folder it
    /// is shared, too.
    ///
    /// # Errors
    /// The file cannot be opened, or it is a symbolic link, FIFO, directory or the like. The error names the kind.
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for overwriting. (A file that is open for appending cannot be overwritten.)
    ///
    /// # Errors
    /// The errors of [`open_append`](WriteFiles::open_append), or the file is missing.
    fn open_overwrite(&self, path: &Path) -> io::Result<Self::File>;

    /// Writes at the end with one call. Returns the number of bytes written, which may be fewer than given.
    ///
    /// # Errors
    /// The errors of `write(2)`.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;

    /// Overwrites bytes of a file opened by [`open_overwrite`](WriteFiles::open_overwrite).
    ///
    /// # Errors
    /// The errors of `pwrite(2)`, or the write was short.
    fn overwrite_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file.
    ///
    /// # Errors
    /// The errors of `ftruncate(2)`.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Allocates blocks after the end for this many bytes, if the file system supports it. The length does not change.
    ///
    /// # Errors
    /// The errors of `fallocate(2)`: the disk is full, or a quota or the file size limit would be exceeded.
    fn reserve(&self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error, the content of the disk is unknown. A later success does not change
    /// that, because the kernel has marked the pages clean.
    ///
    /// # Errors
    /// The errors of `fsync(2)`.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
}

/// Exclusive locks on open files.
pub trait LockFiles: ReadFiles {
    /// Takes the exclusive lock and returns true, or returns false if another process holds it. Closing the file releases
    /// the lock.
    ///
    /// # Errors
    /// The errors of `flock(2)`, or the file system does not support locks.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;

    /// Returns true if `path` still names this file, false if the file was replaced or removed.
    ///
    /// # Errors
    /// The errors of `stat(2)`.
    fn still_names(&self, path: &Path, file: &Self::File) -> io::Result<bool>;
}

/// Properties of the file system of a folder.
pub trait FileSystems {
    /// Returns the kind of network file system of a directory. `None` for a local one, or if it is unknown.
    ///
    /// # Errors
    /// The errors of `statfs(2)`.
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>>;
}

/// All operations on files and folders.
pub trait Storage: Folders + Names + WriteFiles + LockFiles + FileSystems {}

impl<S: Folders + Names + WriteFiles + LockFiles + FileSystems> Storage for S {}

/// Identity of an existing file: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity(
    /// Device.
    pub u64,
    /// Inode.
    pub u64,
);

/// Metadata of a file, read without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its identity.
    pub identity: Identity,
    /// Its length in bytes.
    pub length: u64,
    /// Time of the last change of its content.
    pub modified: Timestamp,
}

/// Removes a file, if it exists.
///
/// # Errors
/// The errors of [`Names::remove`], except for a missing file.
pub fn remove_existing(storage: &impl Names, path: &Path) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes a file durable that other code has written.
///
/// # Errors
/// The errors of `fsync(2)`.
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}
