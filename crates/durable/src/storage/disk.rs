//! [`Disk`]: storage on the file systems of this machine.
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use jiff::Timestamp;

use super::{
    DIRECTORY_MODE, FILE_MODE, FileSystems, Folders, Identity, LockFiles, Look, Names, ReadFiles, WriteFiles, platform,
};
use crate::ownership;

/// Storage on the file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// A file of [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    /// The locked file, see the limitations of [`storage`](super).
    #[cfg(windows)]
    companion: Option<File>,
}

impl Folders for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => ownership::set_on_folder(path, DIRECTORY_MODE).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path)?.file_type()
            {
                kind if kind.is_dir() => Ok(false),
                kind => Err(io::Error::other(format!("it is {}, not a directory", describe(kind)))),
            },
            Err(error) => Err(error),
        }
    }

    fn set_dir_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        ownership::set_folder_mode(path, mode)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        platform::sync_dir(path)
    }
}

impl Names for Disk {
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

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let written = write_all(&file, bytes)
            .and_then(|()| ownership::set_on(&file, path, mode))
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
}

impl ReadFiles for Disk {
    type File = DiskFile;

    fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        Ok(DiskFile {
            file: open_regular(path, OpenOptions::new().read(true))?,
            #[cfg(windows)]
            companion: None,
        })
    }

    fn length(&self, file: &DiskFile) -> io::Result<u64> {
        Ok(file.file.metadata()?.len())
    }

    fn identity(&self, file: &DiskFile) -> io::Result<Identity> {
        Ok(platform::identity(&file.file.metadata()?))
    }

    fn read_at(&self, file: &DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| platform::read_at(&file.file, offset, buffer))
    }
}

impl WriteFiles for Disk {
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

    fn reserve(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        platform::reserve(&file.file, bytes)
    }

    fn sync(&self, file: &DiskFile) -> io::Result<()> {
        file.file.sync_all()
    }
}

impl LockFiles for Disk {
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
}

impl Disk {
    /// Takes a shared lock and returns true, or returns false if another process holds the exclusive one. Readers that ask at
    /// the same time do not disturb each other.
    ///
    /// # Errors
    /// As [`LockFiles::try_lock`].
    pub fn try_lock_shared(&self, file: &DiskFile) -> io::Result<bool> {
        match fs4::FileExt::try_lock_shared(file.lockable()?) {
            Ok(()) => Ok(true),
            Err(fs4::TryLockError::WouldBlock) => Ok(false),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl FileSystems for Disk {
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        platform::network(path)
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
    ownership::set_on(&file, path, FILE_MODE)?;
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
