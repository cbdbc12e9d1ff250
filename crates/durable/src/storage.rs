//! File system operations: the only place that fsyncs, locks and renames.
//!
//! [`Storage`] has the operations that a journal, a log and an installation need. Tests put an implementation between the
//! caller and [`Disk`] to simulate crashes, full disks and slow locks. Errors give the reason, but not the path, which the
//! caller adds.
//!
//! On Unix, new files and folders get the owner of their parent folder, if this process may change the owner. In a shared
//! folder (setgid) they are writable by its group. So a worker that runs as root does not lock out the users who push.
//!
//! # Limitations
//! - `flock` and `O_APPEND` are reliable on local file systems, but not on old NFS.
//! - On Windows, locks are mandatory, and without unsafe code they cover the whole file. Readers would fail, so a companion
//!   file `<name>.lock` is locked instead. Directories are not synced there, because Windows documents no way to do it.
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use jiff::Timestamp;

#[cfg_attr(windows, path = "storage/windows.rs")]
#[cfg_attr(unix, path = "storage/unix.rs")]
mod platform;

/// Mode of a new directory.
pub const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a new file.
pub const FILE_MODE: u32 = 0o644;
/// Mode of a program.
pub const PROGRAM_MODE: u32 = 0o755;

/// File system with a minimal set of operations.
pub trait Storage {
    /// An open file that can be read, written and locked.
    type File;

    /// Creates a directory with [`DIRECTORY_MODE`], regardless of the umask. In a shared folder it is shared, too. Returns
    /// true if it was created, false if it existed.
    ///
    /// # Errors
    /// Something else has the name, or the directory cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Sets the mode of a directory that this process has created. Does nothing on systems without modes.
    ///
    /// # Errors
    /// As `open(2)` and `fchmod(2)`.
    fn set_dir_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    /// Opens a file for appending. Creates a missing file with [`FILE_MODE`], regardless of the umask. In a shared folder it
    /// is shared, too.
    ///
    /// # Errors
    /// The file cannot be opened, or it is a symbolic link, FIFO, directory or the like. The error names the kind.
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for overwriting. (A file that is open for appending cannot be overwritten.)
    ///
    /// # Errors
    /// As [`open_append`](Storage::open_append), or the file is missing.
    fn open_overwrite(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// As [`open_overwrite`](Storage::open_overwrite).
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Creates a file with this content and mode, adapted to a shared folder, and fsyncs it.
    ///
    /// # Errors
    /// Something has the name, or the file cannot be written and synced. Then it is removed again, if possible.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Renames a file, replacing an existing file `to`.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory, in no particular order. A missing directory is empty.
    ///
    /// # Errors
    /// As `readdir(3)`.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Returns the metadata of a file without opening it. `None` if it is missing.
    ///
    /// # Errors
    /// As `lstat(2)`.
    fn look(&self, path: &Path) -> io::Result<Option<Look>>;

    /// Returns the kind of network file system of a directory. `None` for a local one, or if it is unknown.
    ///
    /// # Errors
    /// As `statfs(2)`.
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock and returns true, or returns false if another process holds it. Closing the file releases
    /// the lock.
    ///
    /// # Errors
    /// As `flock(2)`, or the file system does not support locks.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;

    /// Returns true if `path` still names this file, false if the file was replaced or removed.
    ///
    /// # Errors
    /// As `stat(2)`.
    fn still_names(&self, path: &Path, file: &Self::File) -> io::Result<bool>;

    /// Returns the identity of the file.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn identity(&self, file: &Self::File) -> io::Result<Identity>;

    /// Allocates blocks after the end for this many bytes, if the file system supports it. The length does not change.
    ///
    /// # Errors
    /// As `fallocate(2)`: the disk is full, or a quota or the file size limit would be exceeded.
    fn reserve(&self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Reads at an offset with one call. Returns 0 at the end.
    ///
    /// # Errors
    /// As `pread(2)`.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes at the end with one call. Returns the number of bytes written, which may be fewer than given.
    ///
    /// # Errors
    /// As `write(2)`.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;

    /// Overwrites bytes of a file opened by [`open_overwrite`](Storage::open_overwrite).
    ///
    /// # Errors
    /// As `pwrite(2)`, or the write was short.
    fn overwrite_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error, the content of the disk is unknown. A later success does not change
    /// that, because the kernel has marked the pages clean.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
}

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

/// Storage on the file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// A file of [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    /// The locked file, see the module's limitations.
    #[cfg(windows)]
    companion: Option<File>,
}

/// Makes a file durable that other code has written.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Gives a file or directory that other code of this process has created to the owner of `folder`, if this process may do
/// that, and sets `mode`, if given. Skips files of other users and files with several hard links.
///
/// # Errors
/// As `open(2)` (a symbolic link is not followed), `fchown(2)` and `fchmod(2)`.
pub fn hand_over(path: &Path, folder: &Path, mode: Option<u32>) -> io::Result<()> {
    platform::hand_over(path, folder, mode)
}

impl Storage for Disk {
    type File = DiskFile;

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => platform::set_dir_owner_and_mode(path, DIRECTORY_MODE).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path)?.file_type()
            {
                kind if kind.is_dir() => Ok(false),
                kind => Err(io::Error::other(format!("it is {}, not a directory", describe(kind)))),
            },
            Err(error) => Err(error),
        }
    }

    fn set_dir_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        platform::set_dir_mode(path, mode)
    }

    fn open_append(&self, path: &Path) -> io::Result<DiskFile> {
        let open = || open_regular(path, &mut platform::append_options());
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create_regular(path) {
                // Another process has created it in the meantime.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(),
                created => created,
            },
            opened => opened,
        }?;
        DiskFile::new(file, path)
    }

    fn open_overwrite(&self, path: &Path) -> io::Result<DiskFile> {
        DiskFile::new(open_regular(path, OpenOptions::new().read(true).write(true))?, path)
    }

    fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        Ok(DiskFile {
            file: open_regular(path, OpenOptions::new().read(true))?,
            #[cfg(windows)]
            companion: None,
        })
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let written = write_all(&file, bytes)
            .and_then(|()| platform::set_owner_and_mode(&file, path, mode))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(path);
        }
        written
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn look(&self, path: &Path) -> io::Result<Option<Look>> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        Ok(Some(Look {
            identity: platform::identity(&metadata),
            length: metadata.len(),
            modified: Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?,
        }))
    }

    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        platform::network(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        platform::sync_dir(path)
    }

    fn try_lock(&self, file: &DiskFile) -> io::Result<bool> {
        match fs4::FileExt::try_lock(file.lockable()?) {
            Ok(()) => Ok(true),
            Err(fs4::TryLockError::WouldBlock) => Ok(false),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    fn still_names(&self, path: &Path, file: &DiskFile) -> io::Result<bool> {
        match platform::is_same(path, &file.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other,
        }
    }

    fn identity(&self, file: &DiskFile) -> io::Result<Identity> {
        Ok(platform::identity(&file.file.metadata()?))
    }

    fn reserve(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        platform::reserve(&file.file, bytes)
    }

    fn length(&self, file: &DiskFile) -> io::Result<u64> {
        Ok(file.file.metadata()?.len())
    }

    fn read_at(&self, file: &DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| platform::read_at(&file.file, offset, buffer))
    }

    fn append(&self, file: &DiskFile, bytes: &[u8]) -> io::Result<usize> {
        platform::check_size_limit(&file.file)?;
        uninterrupted(|| platform::append(&file.file, bytes))
    }

    fn overwrite_at(&self, file: &DiskFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match uninterrupted(|| platform::write_at(&file.file, offset, bytes))? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn truncate(&self, file: &DiskFile, length: u64) -> io::Result<()> {
        file.file.set_len(length)
    }

    fn sync(&self, file: &DiskFile) -> io::Result<()> {
        file.file.sync_all()
    }
}

#[cfg(unix)]
impl DiskFile {
    fn new(file: File, _path: &Path) -> io::Result<Self> {
        Ok(DiskFile { file })
    }

    fn lockable(&self) -> io::Result<&File> {
        Ok(&self.file)
    }
}

#[cfg(windows)]
impl DiskFile {
    fn new(file: File, path: &Path) -> io::Result<Self> {
        let mut companion = path.as_os_str().to_owned();
        companion.push(".lock");
        let companion = OpenOptions::new().create(true).append(true).open(companion)?;
        Ok(DiskFile {
            file,
            companion: Some(companion),
        })
    }

    fn lockable(&self) -> io::Result<&File> {
        self.companion
            .as_ref()
            .ok_or_else(|| io::Error::other("it is open for reading only"))
    }
}

/// Opens an existing regular file. The error for anything else names its kind.
fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let refused = |kind: fs::FileType| io::Error::other(format!("it is {}, not a regular file", describe(kind)));
    match platform::without_following(options).open(path) {
        Ok(file) => match file.metadata()?.file_type() {
            kind if kind.is_file() => Ok(file),
            kind => Err(refused(kind)),
        },
        Err(error) => match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => Err(refused(metadata.file_type())),
            _ => Err(error),
        },
    }
}

fn create_regular(path: &Path) -> io::Result<File> {
    let file = platform::append_options().create_new(true).open(path)?;
    platform::set_owner_and_mode(&file, path, FILE_MODE)?;
    Ok(file)
}

fn describe(kind: fs::FileType) -> &'static str {
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
        return "a FIFO";
    }
    match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a regular file",
        _ => "a device or socket",
    }
}

fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        platform::check_size_limit(file)?;
        match uninterrupted(|| io::Write::write(&mut file, bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
/// Returns the mode that git gives to a folder of 0755 for this value of `core.sharedRepository` (git-config). `None` if the
/// repository is not shared, or the value is invalid. `is_true` is true if git reads the value as the boolean `true`.
pub fn shared_folder_mode(value: &str, is_true: bool) -> Option<u32> {
    let (group, everybody) = (0o660, 0o664);
    let value = value.to_ascii_lowercase();
    let added = match (value.as_str(), u32::from_str_radix(&value, 8)) {
        ("group", _) | (_, Ok(1)) => 0o644 | group,
        ("all" | "world" | "everybody", _) | (_, Ok(2)) => 0o644 | everybody,
        (_, Ok(exact)) if exact & 0o600 == 0o600 => exact & 0o666,
        (_, Err(_)) if is_true => 0o644 | group,
        _ => return None,
    };
    let setgid = if added & 0o060 == 0 { 0 } else { 0o2000 };
    // Read access to a folder includes access to its entries.
    Some(added | (added & 0o444) >> 2 | setgid)
}
