use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix_hash::Kind;

use crate::encode::{EncodeError, Shape, encode};
use crate::error::{Damage, Error, Fault};
use crate::lock::{NewFile, sync_folder};
use crate::place::{FOLDER, LIST};
use crate::stack::Stack;
use crate::update::{Update, Updates};
use crate::write_error::WriteError;

/// A transaction that holds the lock of a stack, with all checks done and its table written. Only [`commit`](Self::commit)
/// changes refs.
///
/// ```text
/// lock tables.list -> read the stack -> check the updates -> write and sync the table -> rename the lock to tables.list
/// ```
///
/// All updates become visible at once, or none. A process that dies before the rename leaves the lock, like git, and may
/// leave a table that no list names. Readers ignore it; `git pack-refs` deletes it after later transactions.
///
/// Dropping the value removes the table and the lock.
#[derive(Debug)]
#[must_use = "refs change in `commit` only"]
pub struct Transaction {
    folder: PathBuf,
    /// The new table, `None` if nothing changes.
    table: Option<Unlisted>,
    /// The number of tables afterwards.
    count: usize,
    /// The lock, with the new list as its content.
    lock: NewFile,
}

/// A table that no list names yet. It is deleted with this value.
#[derive(Debug)]
struct Unlisted(Option<PathBuf>);

impl Transaction {
    /// Locks the stack in `git_dir/reftable`, checks the updates against its refs, and writes a table with them.
    ///
    /// Waits for at most `lock_wait` while another process holds the lock. An update to the current value of the ref writes
    /// nothing. Updates of refs that worktrees share belong to the common git directory, as for [`Stack::open`].
    ///
    /// # Errors
    ///
    /// Everything that [`WriteError`] has but [`WriteError::NotSynced`].
    pub fn prepare(
        git_dir: impl AsRef<Path>,
        hash: Kind,
        updates: impl IntoIterator<Item = Update>,
        lock_wait: Duration,
    ) -> Result<Self, WriteError> {
        let updates = Updates::new(updates, hash)?;
        let folder = git_dir.as_ref().join(FOLDER);
        let list = git_dir.as_ref().join(LIST);
        let permissions = match fs::metadata(&list) {
            Ok(metadata) => metadata.permissions(),
            // The stack reports a missing list.
            Err(source) => {
                Stack::open_folder(&folder, hash)?;
                return Err(WriteError::Io { path: list, source });
            }
        };
        let mut lock = NewFile::lock(&list, permissions.clone(), lock_wait)?;
        let stack = Stack::open_folder(&folder, hash)?;
        let update_index = next_update_index(&stack)?;
        let records = updates.records(&stack, update_index)?;
        let count = stack.tables().len() + usize::from(!records.entries.is_empty());
        if records.entries.is_empty() {
            let table = None;
            return Ok(Self {
                folder,
                table,
                count,
                lock,
            });
        }
        let shape = Shape::of_transaction(hash, update_index);
        let bytes = encode(&shape, &records.entries, &records.logs).map_err(|error| match error {
            EncodeError::TooLarge(name) => WriteError::TooLarge { name },
            EncodeError::Compression(source) => WriteError::Io {
                path: folder.clone(),
                source,
            },
        })?;
        let name = table_name(update_index, RandomState::new().build_hasher().finish());
        let mut file = NewFile::create(folder.join(format!("{name}.temp")), permissions)?;
        file.write(&bytes)?;
        let path = folder.join(&name);
        file.rename(&path)?;
        let table = Some(Unlisted(Some(path)));
        lock.write(new_list(&stack, &name).as_bytes())?;
        // The list must not outlive the name of the table.
        sync_folder(&folder).map_err(|source| WriteError::Io {
            path: folder.clone(),
            source,
        })?;
        Ok(Self {
            folder,
            table,
            count,
            lock,
        })
    }

    /// Returns the number of tables that the stack has after [`commit`](Self::commit).
    ///
    /// Each of them is an open file of a [`Stack`]. Run `git pack-refs` long before the limit of open files is reached.
    #[must_use]
    pub fn table_count(&self) -> usize {
        self.count
    }

    /// Changes the refs, durably, and releases the lock.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`] if nothing was changed, [`WriteError::NotSynced`].
    pub fn commit(self) -> Result<(), WriteError> {
        let Some(table) = self.table else { return Ok(()) };
        self.lock.rename(&self.folder.join("tables.list"))?;
        table.keep();
        sync_folder(&self.folder).map_err(|source| WriteError::NotSynced {
            path: self.folder,
            source,
        })
    }
}

impl Unlisted {
    /// Keeps the table.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unlisted {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // A table that stays is ignored by readers.
            drop(fs::remove_file(path));
        }
    }
}

fn next_update_index(stack: &Stack) -> Result<u64, Error> {
    let mut next = 1;
    for table in stack.tables() {
        let overflow = || Fault {
            offset: 16,
            damage: Damage::Overflow,
        };
        let after = table.max_update_index().checked_add(1);
        next = next.max(after.ok_or_else(|| overflow().in_table(table.name()))?);
    }
    Ok(next)
}

/// The name that git gives to a table: its first and last update index, and a random number.
fn table_name(update_index: u64, random: u64) -> String {
    let random = random as u32;
    format!("0x{update_index:012x}-0x{update_index:012x}-{random:08x}.ref")
}

fn new_list(stack: &Stack, added: &str) -> String {
    let names = stack.tables().iter().map(|table| table.name()).chain([added]);
    names.map(|name| format!("{name}\n")).collect()
}
