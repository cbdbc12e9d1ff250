//! Repair of an entry whose id is not credible: its update gets a new id.
use std::{io, path::Path};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    BLOCK,
    entry::{Entry, Status},
    ids,
    reader::{FileInput, Item, Problem},
    repair::Repair,
    segment::file_in,
    tail::{quarantine, read_exact_at},
    writer::{WriteError, Writer},
};

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Copies the line of an entry to quarantine, appends its update again if it is pending, and blanks the line. After a
    /// crash in between, the update may be in the journal twice, but is never lost.
    ///
    /// # Errors
    /// A file could not be locked, written or synced.
    pub(super) fn renew(&self, problem: &Problem, id: Ulid) -> Result<Option<Repair>, WriteError> {
        let path = file_in(&self.git_dir, problem.segment);
        let name = self.unique();
        let Some(entry) = self.keep_incredible(&path, problem.offset, id, name)? else {
            return Ok(None);
        };
        let renewed = match entry.status {
            Status::Pending => Some(self.append_anew(entry)?),
            Status::Done | Status::Failed | Status::Skipped => None,
        };
        let file = self.lock(&path, |path| self.storage.open_overwrite(path))?;
        let blanked = self.blank_incredible(&file, problem.offset, id);
        self.on("blank an entry of", &path, blanked)?;
        Ok(Some(Repair::Renewed { name, id, renewed }))
    }

    /// Copies the line to quarantine and returns its entry, if it still has this id.
    fn keep_incredible(&self, path: &Path, offset: u64, id: Ulid, name: Ulid) -> Result<Option<Entry>, WriteError> {
        let file = self.lock(path, |path| self.storage.open_overwrite(path))?;
        let Some((entry, bytes)) = self.on("read", path, self.incredible_at(&file, offset, id))? else {
            return Ok(None);
        };
        let kept = quarantine(&self.storage, &self.folder(), name, &bytes);
        self.on("repair", path, kept)?;
        Ok(Some(entry))
    }

    fn append_anew(&self, entry: Entry) -> Result<Ulid, WriteError> {
        let appended = self.append(&[entry.into_draft()])?;
        let id = match (appended.written.first(), appended.failed.first()) {
            (Some(id), _) => Ok(*id),
            (None, Some((_, cause))) => Err(io::Error::other(cause.to_string())),
            (None, None) => Err(io::Error::other("nothing was written")),
        };
        self.on("append to", &self.journal, id)
    }

    fn blank_incredible(&self, file: &S::File, offset: u64, id: Ulid) -> io::Result<()> {
        if let Some((_, bytes)) = self.incredible_at(file, offset, id)? {
            self.storage.overwrite_at(file, offset, &vec![b' '; bytes.len()])?;
            self.storage.sync(file)?;
        }
        Ok(())
    }

    /// Returns the entry at `offset` and the bytes of its line, if it has this id and the id is ahead of its timestamp.
    fn incredible_at(&self, file: &S::File, offset: u64, id: Ulid) -> io::Result<Option<(Entry, Vec<u8>)>> {
        let mut reader = FileInput::reader(&self.storage, file, offset, BLOCK as usize);
        let items = reader.next_line()?.map_or(Vec::new(), |(_, items)| items);
        let Some(Item::Entry(located)) = items.into_iter().next() else {
            return Ok(None);
        };
        if located.entry.entry_id != id || ids::is_of_its_time(&located.entry) {
            return Ok(None);
        }
        let mut bytes = vec![0; (reader.end() - offset - 1) as usize];
        read_exact_at(&self.storage, file, offset, &mut bytes)?;
        Ok(Some((located.entry, bytes)))
    }
}
