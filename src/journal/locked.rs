//! The journal under its lock: repair of its tail, its last id, and its rotation.
use std::{io, path::Path};

use durable::{
    clock::Clock,
    storage::{Folders, Names, ReadFiles, Storage, WriteFiles},
};
use ulid::Ulid;

use super::{
    ID_WINDOW,
    access::Access,
    decode::decode,
    entry::{Entry, next_id},
    error::{WriteError, on},
    folder::create_folder,
    ids::{self, Ids},
    reader::{Item, Reader, read_exact_at},
    repair::Repair,
    segment::{file_in, segments},
    tail::repair_tail,
};

/// Bytes at the end in which the last id is searched first: a few entries.
const FIRST_ID_WINDOW: u64 = 4 << 10;

/// The journal, open for appending. The lock is released when it is dropped.
pub(super) struct LockedJournal<'a, S: ReadFiles, C> {
    access: &'a Access<S, C>,
    file: S::File,
}

impl<'a, S: Storage, C: Clock> LockedJournal<'a, S, C> {
    /// Opens the journal and takes its lock. Creates the folder and the journal if necessary.
    pub(super) fn lock(access: &'a Access<S, C>) -> Result<Self, WriteError> {
        let (folder, storage) = (access.folder(), &access.storage);
        on("create", &folder, create_folder(storage, &access.git_dir))?;
        let file = access.lock_to_append(&access.journal)?;
        let journal = LockedJournal { access, file };
        if journal.length()? == 0 {
            // It may be new, and its name must be as durable as its entries.
            on("sync", &folder, storage.sync_dir(&folder))?;
            on("sync", &access.git_dir, storage.sync_dir(&access.git_dir))?;
        }
        Ok(journal)
    }

    pub(super) fn file(&self) -> &S::File {
        &self.file
    }

    pub(super) fn length(&self) -> Result<u64, WriteError> {
        on("read", &self.access.journal, self.access.storage.length(&self.file))
    }

    pub(super) fn repair_tail(&self) -> Result<Option<Repair>, WriteError> {
        repair_locked(self.access, &self.access.journal, &self.file)
    }

    /// Allocates blocks for this many bytes after the end, if the file system supports it.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), WriteError> {
        let reserved = self.access.storage.reserve(&self.file, bytes);
        on("append to", &self.access.journal, reserved)
    }

    /// Makes the entries durable. After an error, the content of the disk is unknown.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.access.storage.sync(&self.file)
    }

    /// Returns the greatest [credible](ids) id: of the journal's last entries, or else of the newest segment's name, which is
    /// greater than all ids in it. Searches a window at the end that grows up to [`ID_WINDOW`].
    pub(super) fn last_id(&self, length: u64) -> Result<Option<Ulid>, WriteError> {
        let mut window = FIRST_ID_WINDOW.min(length);
        loop {
            let entries = on("read", &self.access.journal, self.last_entries(length, window))?;
            if let Some(last) = ids::greatest_of_last(&entries) {
                return Ok(Some(last));
            }
            if window == length.min(ID_WINDOW) {
                return self.last_id_behind_segments(&entries);
            }
            window = (window * 16).min(length).min(ID_WINDOW);
        }
    }

    /// Returns the greatest credible id of the segments' names, followed by these entries.
    fn last_id_behind_segments(&self, entries: &[Entry]) -> Result<Option<Ulid>, WriteError> {
        let segments = segments(&self.access.storage, &self.access.git_dir);
        let mut ids = Ids::default();
        let segments = on("list", &self.access.folder(), segments)?;
        segments.into_iter().for_each(|segment| ids.raise(segment));
        for entry in entries {
            ids.take(entry);
        }
        Ok(ids.greatest())
    }

    /// Reads the entries in the last `window` bytes of the journal.
    fn last_entries(&self, length: u64, window: u64) -> io::Result<Vec<Entry>> {
        let start = length - window;
        let mut tail = vec![0; window as usize];
        read_exact_at(&self.access.storage, &self.file, start, &mut tail)?;
        // A window that starts within a line starts with a corrupt entry, which is skipped. Memory has no read errors.
        let entries = Reader::new(&tail[..], start).filter_map(|item| match item {
            Ok(Item::Entry(located)) => Some(located.entry),
            Ok(Item::Problem(_)) | Err(_) => None,
        });
        Ok(entries.collect())
    }

    /// Renames the journal to a segment whose name is greater than `last`, and creates a new journal.
    pub(super) fn rotate(&self, last: Option<Ulid>) -> io::Result<Ulid> {
        let Access {
            storage,
            clock,
            git_dir,
            journal,
            ..
        } = self.access;
        let name = next_id(last, clock.now(), || self.access.random())
            .ok_or_else(|| io::Error::other("its last entry_id is the greatest possible: move it away"))?;
        storage.rename(journal, &file_in(git_dir, Some(name)))?;
        // Keep a file in place for programs that read it directly.
        storage.open_append(journal)?;
        storage.sync_dir(&self.access.folder())?;
        Ok(name)
    }
}

/// Repairs the tail of the file at `path`. The caller holds its lock.
pub(super) fn repair_locked<S: Folders + Names + WriteFiles, C: Clock>(
    access: &Access<S, C>,
    path: &Path,
    file: &S::File,
) -> Result<Option<Repair>, WriteError> {
    let is_entry = |tail: &[u8], start| decode(tail, start).is_ok();
    let repaired = repair_tail(&access.storage, file, &access.folder(), access.unique(), is_entry);
    on("repair", path, repaired)
}
