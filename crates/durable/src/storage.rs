//! The only place that fsyncs, locks and renames.
//!
//! [`Storage`] is what a journal, a log and an installation need of a file system, in a few verbs: a test puts
//! something between a caller and [`Disk`], and a crash, a full disk or a slow lock is a value. Every error of a verb
//! says what is wrong, never on which path: the caller knows that, and says it.
//!
//! On Unix, what is made in a folder is given to whom the folder belongs, where this process may do that, and is open to the
//! folder's group where the folder is (setgid): a worker of root makes nothing that keeps out who pushes.
//!
//! # Limitations
//! - `flock` and `O_APPEND` are what local file systems make of them; neither is reliable on old NFS.
//! - On Windows a lock is mandatory for the bytes that it covers, and covers the whole file where it can be taken without
//!   unsafe code. Readers would fail, so a companion file `<name>.lock` is locked instead. Directories are not synced
//!   there: the system offers no way that is documented to do anything.
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

/// Mode of a directory that is created.
pub const DIRECTORY_MODE: u32 = 0o755;
/// Mode of a file that is created by opening it for append.
pub const FILE_MODE: u32 = 0o644;
/// Mode of a program.
pub const PROGRAM_MODE: u32 = 0o755;

/// A file system, as narrow as it will do.
pub trait Storage {
    /// An open file that can be read, written and locked.
    type File;

    /// Creates a directory with [`DIRECTORY_MODE`], whatever the umask; in a shared folder it is shared, too. True when it
    /// was created, false when it was there.
    ///
    /// # Errors
    /// Something that is not a directory has the name; it cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Gives a directory that this process has made this mode. Where there are no modes, it does nothing.
    ///
    /// # Errors
    /// As `open(2)` and `fchmod(2)`.
    fn set_dir_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    /// Opens a file to append to it; creates it with [`FILE_MODE`], whatever the umask, when it is absent; in a shared folder
    /// it is shared, too.
    ///
    /// # Errors
    /// A symbolic link, FIFO, directory or other thing has the name: it is said which. Or the file cannot be opened.
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that exists to overwrite parts of it. (What is opened to append can only append.)
    ///
    /// # Errors
    /// As [`open_append`](Storage::open_append), and when it is absent.
    fn open_overwrite(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that exists to read it.
    ///
    /// # Errors
    /// As [`open_overwrite`](Storage::open_overwrite).
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Creates a file of this mode, as it is in that folder, and of this content, and fsyncs it.
    ///
    /// # Errors
    /// Something has the name, or not all could be written and synced: then the file is removed as far as possible.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Renames, over whatever has the name `to`.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, in no order. An absent one holds nothing.
    ///
    /// # Errors
    /// As `readdir(3)`.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// What is known of a file without opening it; none when it is absent.
    ///
    /// # Errors
    /// As `lstat(2)`.
    fn look(&self, path: &Path) -> io::Result<Option<Look>>;

    /// The kind of network file system that a directory is on; none for a local one, and where this is not known.
    ///
    /// # Errors
    /// As `statfs(2)`.
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>>;

    /// Makes durable which names a directory holds.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock if nobody has it. It goes when the file is closed.
    ///
    /// # Errors
    /// The file system has no locks, or as `flock(2)`. That someone else has the lock is `Ok(false)`.
    fn try_lock(&self, file: &Self::File) -> io::Result<bool>;

    /// Whether `path` names this file, and not another one that was put in its place.
    ///
    /// # Errors
    /// As `stat(2)`; that nothing has the name is `Ok(false)`.
    fn still_names(&self, path: &Path, file: &Self::File) -> io::Result<bool>;

    /// Which file this is.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn identity(&self, file: &Self::File) -> io::Result<Identity>;

    /// Sets blocks aside behind the end, so that this many bytes can be appended, as far as the file system can promise
    /// that. The length stays.
    ///
    /// # Errors
    /// The disk is full, a quota or the limit for the size of a file would be exceeded, or as `fallocate(2)`.
    fn reserve(&self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Reads at an offset, in one call; 0 at the end.
    ///
    /// # Errors
    /// As `pread(2)`.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes at the end, in one call, and says how many bytes were written: maybe not all.
    ///
    /// # Errors
    /// As `write(2)`.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;

    /// Overwrites bytes of a file opened by [`open_overwrite`](Storage::open_overwrite).
    ///
    /// # Errors
    /// As `pwrite(2)`, and when not all could be written.
    fn overwrite_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file off.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nothing can be said about what was written, and a second call
    /// that succeeds says nothing either: the kernel has marked the pages clean.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
}

/// Tells a file from every other one that exists: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity(
    /// Device.
    pub u64,
    /// Inode.
    pub u64,
);

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Which file it is.
    pub identity: Identity,
    /// Its length in bytes.
    pub length: u64,
    /// When its content changed last.
    pub modified: Timestamp,
}

/// The file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// A file of [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    /// What is locked: see the module's limitations.
    #[cfg(windows)]
    companion: Option<File>,
}

/// Makes a file durable that others have written.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Gives a file or directory that others have made for this process to whom `folder` belongs, where it may do that, and
/// this mode, if one is given. What does not belong to this process, or has several names, stays as it is.
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
            Ok(()) => platform::settle_dir(path, DIRECTORY_MODE).map(|()| true),
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
                // Another process was faster.
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
            .and_then(|()| platform::settle(&file, path, mode))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            // The first error is the one to tell.
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
            .ok_or_else(|| io::Error::other("it is open to be read only"))
    }
}

/// Opens what exists, and refuses by name what is not a regular file.
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
    platform::settle(&file, path, FILE_MODE)?;
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
/// The mode that git gives to a folder of 0755 in a repository with this value of `core.sharedRepository` (git-config);
/// none when the repository is not shared, or the value is not understood. `is_true` is whether git reads the value as the
/// boolean `true`.
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
    // Who may read a folder may look into it.
    Some(added | (added & 0o444) >> 2 | setgid)
}
