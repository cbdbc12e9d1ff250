//! The only place that fsyncs, locks and renames.
//!
//! [`Storage`] is what a journal, a log and an installation need of a file system, in a few verbs: a test puts
//! something between a caller and [`Disk`], and a crash, a full disk or a slow lock is a value. Every error of a verb
//! says what is wrong, never on which path: the caller knows that, and says it.
//!
//! # Limitations
//! - `flock` and `O_APPEND` are what local file systems make of them; neither is reliable on old NFS.
//! - On Windows a lock is mandatory for the bytes that it covers, and covers the whole file where it can be taken without
//!   unsafe code. Readers would fail, so a companion file `<name>.lock` is locked instead. Directories are not synced
//!   there: the system offers no way that is documented to do anything.
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

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

    /// Creates a directory with [`DIRECTORY_MODE`], whatever the umask. True when it was created, false when it was there.
    ///
    /// # Errors
    /// Something that is not a directory has the name; it cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file to append to it; creates it with [`FILE_MODE`], whatever the umask, when it is absent.
    ///
    /// # Errors
    /// A symbolic link, FIFO, directory or other thing has the name: it is said which. Or the file cannot be opened.
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that exists to overwrite parts of it. (What is opened to append can only append.)
    ///
    /// # Errors
    /// As [`open_append`](Storage::open_append), and when it is absent.
    fn open_overwrite(&self, path: &Path) -> io::Result<Self::File>;

    /// Creates a file of exactly this mode and content, and fsyncs it.
    ///
    /// # Errors
    /// Something has the name, or not all could be written and synced: then the file is removed as far as possible.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Renames, over whatever has the name `to`.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

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

/// The file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// A file of [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    /// What is locked: see the module's limitations.
    #[cfg(windows)]
    companion: File,
}

/// Makes a file durable that others have written.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Opens a file to read it.
///
/// # Errors
/// A symbolic link, FIFO, directory or other thing has the name: it is said which. Or the file cannot be opened.
pub fn open_read(path: &Path) -> io::Result<File> {
    open_regular(path, OpenOptions::new().read(true))
}

impl Storage for Disk {
    type File = DiskFile;

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => platform::set_mode(path, DIRECTORY_MODE).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path)?.file_type()
            {
                kind if kind.is_dir() => Ok(false),
                kind => Err(io::Error::other(format!("it is {}, not a directory", describe(kind)))),
            },
            Err(error) => Err(error),
        }
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

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let written = write_all(&file, bytes)
            .and_then(|()| platform::set_file_mode(&file, mode))
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

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        platform::sync_dir(path)
    }

    fn try_lock(&self, file: &DiskFile) -> io::Result<bool> {
        match fs4::FileExt::try_lock(file.lockable()) {
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

    fn lockable(&self) -> &File {
        &self.file
    }
}

#[cfg(windows)]
impl DiskFile {
    fn new(file: File, path: &Path) -> io::Result<Self> {
        let mut companion = path.as_os_str().to_owned();
        companion.push(".lock");
        let companion = OpenOptions::new().create(true).append(true).open(companion)?;
        Ok(DiskFile { file, companion })
    }

    fn lockable(&self) -> &File {
        &self.companion
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
    platform::set_file_mode(&file, FILE_MODE)?;
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

#[cfg(unix)]
mod platform {
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

    use rustix::{fs::OFlags, io::Errno, process::Resource};

    use super::*;

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
}

#[cfg(windows)]
mod platform {
    use std::os::windows::fs::{FileExt, OpenOptionsExt};

    use super::*;

    /// `FILE_FLAG_OPEN_REPARSE_POINT`: open a symbolic link itself.
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

    /// Not for append: such a handle cannot be truncated. The lock is what keeps two writers apart.
    pub fn append_options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options
    }

    pub fn without_following(options: &mut OpenOptions) -> &mut OpenOptions {
        options.custom_flags(OPEN_REPARSE_POINT)
    }

    pub fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    pub fn set_file_mode(_file: &File, _mode: u32) -> io::Result<()> {
        Ok(())
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
}
