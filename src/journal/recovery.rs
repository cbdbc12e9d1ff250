//! Use of intents: written before a push is accepted, resolved after a crash.
use std::{collections::HashMap, io, time::Duration};

use bstr::BStr;
use durable::{clock::Clock, storage::Storage};
use jiff::Timestamp;
use ulid::Ulid;

use super::{
    QUARANTINE,
    backlog::visit,
    entry::{Draft, Located, next_id},
    folder::create_folder,
    intent::{self, INTENTS, Intent, Reason, Verdict},
    writer::{Cause, WriteError, Writer},
};
use crate::{
    ref_update::RefUpdate,
    refs::{LocalRef, Unreadable},
};

/// Approximate size of an entry in bytes, without its ref name.
const ENTRY_SIZE: u64 = 512;
/// Least number of bytes to allocate for new entries. Concurrent pushes share them.
const RESERVE: u64 = 64 << 10;

/// Result of resolving intents.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Updates that were appended as entries, with their ids.
    pub appended: Vec<(Ulid, RefUpdate)>,
    /// Updates that need no entry.
    pub dropped: Vec<(RefUpdate, Reason)>,
    /// Updates that could not be appended. Their intents stay.
    pub failed: Vec<(RefUpdate, Cause)>,
    /// Updates whose refs cannot be read, so that it is unknown whether they were accepted. Their intents stay.
    pub unknown: Vec<(RefUpdate, Unreadable)>,
    /// Number of intents whose pushes may still be running.
    pub kept: usize,
    /// Time at which the first of these becomes stale.
    pub stale_at: Option<Timestamp>,
    /// Invalid intents, which were moved to quarantine, and the reasons.
    pub unreadable: Vec<(Ulid, String)>,
}

/// Journaled ref updates, with the greatest entry id of each.
type Journaled = HashMap<RefUpdate, Ulid>;

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Prepares the journal for a push before it is accepted. Locks and repairs it, allocates space for these drafts if the
    /// file system supports that, and writes an intent durably.
    ///
    /// # Errors
    /// One of these steps fails. Then there is no intent, and the push must be rejected.
    pub fn intend(&self, drafts: &[Draft]) -> Result<Ulid, WriteError> {
        let file = self.lock_journal()?;
        self.repair_locked(&self.journal, &file)?;
        let length = self.on("read", &self.journal, self.storage.length(&file))?;
        let room = drafts
            .iter()
            .map(|draft| ENTRY_SIZE + draft.update.name.len() as u64)
            .sum::<u64>();
        let reserved = self.storage.reserve(&file, room.max(RESERVE));
        self.on("append to", &self.journal, reserved)?;
        let last = self.last_id(&file, length)?;
        self.create_intents()?;
        drop(file);
        self.write_intent(last, drafts)
    }

    /// Writes an intent of drafts that could not be appended, so that the worker appends them later.
    ///
    /// # Errors
    /// The intent cannot be written either.
    pub fn spool(&self, drafts: &[Draft]) -> Result<Ulid, WriteError> {
        let folder = self.folder();
        self.on("create", &folder, create_folder(&self.storage, &self.git_dir))?;
        self.create_intents()?;
        self.write_intent(None, drafts)
    }

    /// Removes the intent of a push whose updates are journaled.
    ///
    /// # Errors
    /// The intents cannot be read, or this one cannot be removed. The worker will drop it.
    pub fn forget_intent(&self, drafts: &[Draft]) -> Result<Option<Ulid>, WriteError> {
        let updates: Vec<_> = drafts.iter().map(|draft| &draft.update).collect();
        let folder = self.folder().join(INTENTS);
        let found = self.on("read", &folder, intent::find(&self.storage, &self.git_dir, &updates))?;
        if let Some(id) = found {
            self.on("remove from", &folder, intent::remove(&self.storage, &self.git_dir, id))?;
        }
        Ok(found)
    }

    /// Returns true if an intent contains all of these updates.
    ///
    /// # Errors
    /// The intents cannot be read.
    pub fn is_intended(&self, drafts: &[Draft]) -> Result<bool, WriteError> {
        let updates: Vec<_> = drafts.iter().map(|draft| &draft.update).collect();
        let folder = self.folder().join(INTENTS);
        let found = self.on("read", &folder, intent::find(&self.storage, &self.git_dir, &updates))?;
        Ok(found.is_some())
    }

    /// Resolves the intents that are older than [`IN_FLIGHT`](intent::IN_FLIGHT): appends an entry for each update that was
    /// accepted but not journaled. `ref_now` reads a ref. Must run at the start of a cycle, under the worker's lock.
    ///
    /// # Errors
    /// The intents or the journal cannot be read or written. The next cycle retries unresolved intents.
    pub fn recover_intents(&self, ref_now: &dyn Fn(&BStr) -> LocalRef) -> Result<Recovered, WriteError> {
        let mut recovered = Recovered::default();
        let folder = self.folder().join(INTENTS);
        let now = self.clock.now();
        self.on("clean", &folder, self.remove_unfinished(now))?;
        let stale = self.on("read", &folder, self.stale_intents(now, &mut recovered))?;
        let Some(oldest) = stale.first().map(|intent| intent.id) else {
            return Ok(recovered);
        };
        let journaled = self.on("read", &self.journal, self.journaled_since(oldest))?;
        for intent in stale {
            self.recover(intent, now, &journaled, ref_now, &mut recovered)?;
        }
        Ok(recovered)
    }

    fn recover(
        &self,
        intent: Intent,
        now: Timestamp,
        journaled: &Journaled,
        ref_now: &dyn Fn(&BStr) -> LocalRef,
        recovered: &mut Recovered,
    ) -> Result<(), WriteError> {
        let mut missing = Vec::new();
        let mut complete = true;
        for draft in intent.drafts {
            let update = &draft.update;
            let known = journaled.get(update).is_some_and(|entry| *entry > intent.id);
            let stands = match ref_now(BStr::new(&update.name)) {
                LocalRef::Id(id) => Some(id),
                LocalRef::Absent => None,
                LocalRef::Unreadable(_) if known => None,
                LocalRef::Unreadable(why) => {
                    complete = false;
                    recovered.unknown.push((draft.update, why));
                    continue;
                }
            };
            match intent::resolve(update, age(now, intent.timestamp), known, stands) {
                // `Keep` cannot happen: only stale intents get here.
                Verdict::Keep | Verdict::Recover => missing.push(draft),
                Verdict::Drop(reason) => recovered.dropped.push((draft.update, reason)),
            }
        }
        let appended = if missing.is_empty() {
            Default::default()
        } else {
            self.append(&missing)?
        };
        let mut failed = appended.failed.into_iter().peekable();
        let mut written = appended.written.into_iter();
        for (index, draft) in missing.into_iter().enumerate() {
            match failed.next_if(|(failed, _)| *failed == index) {
                Some((_, cause)) => {
                    complete = false;
                    recovered.failed.push((draft.update, cause));
                }
                None => recovered.appended.extend(written.next().map(|id| (id, draft.update))),
            }
        }
        let path = intent::path_of(&self.git_dir, intent.id);
        if complete {
            self.on("remove", &path, intent::remove(&self.storage, &self.git_dir, intent.id))
        } else {
            Ok(())
        }
    }

    fn create_intents(&self) -> Result<(), WriteError> {
        let (folder, intents) = (self.folder(), self.folder().join(INTENTS));
        if self.on("create", &intents, self.storage.create_dir(&intents))? {
            self.on("sync", &folder, self.storage.sync_dir(&folder))
        } else {
            Ok(())
        }
    }

    fn write_intent(&self, last: Option<Ulid>, drafts: &[Draft]) -> Result<Ulid, WriteError> {
        let now = self.clock.now();
        let folder = self.folder().join(INTENTS);
        let no_id = || io::Error::other("the journal's last entry_id is the greatest possible: move the journal away");
        let id = match self.on(
            "write to",
            &folder,
            next_id(last, now, || self.random()).ok_or_else(no_id),
        )? {
            // If the clock has gone back, two concurrent pushes would get the same successor of the last id.
            id if last.is_some_and(|last| id.0 == last.0 + 1) => Ulid(id.0 | self.random() & 0xffff_ffff),
            id => id,
        };
        let intent = Intent {
            id,
            timestamp: now,
            drafts: drafts.to_vec(),
        };
        self.on(
            "write to",
            &folder,
            intent::write(&self.storage, &self.git_dir, &intent),
        )?;
        Ok(id)
    }

    fn remove_unfinished(&self, now: Timestamp) -> io::Result<()> {
        for id in intent::list_unfinished(&self.storage, &self.git_dir)? {
            let written = Timestamp::from_millisecond(id.timestamp_ms() as i64).unwrap_or_default();
            if age(now, written).is_none_or(|age| age >= intent::IN_FLIGHT) {
                intent::remove_unfinished(&self.storage, &self.git_dir, id)?;
            }
        }
        Ok(())
    }

    fn stale_intents(&self, now: Timestamp, recovered: &mut Recovered) -> io::Result<Vec<Intent>> {
        let mut stale = Vec::new();
        for id in intent::list(&self.storage, &self.git_dir)? {
            match intent::read(&self.storage, &self.git_dir, id) {
                Ok(intent) if age(now, intent.timestamp).is_some_and(|age| age < intent::IN_FLIGHT) => {
                    let stale_at = intent.timestamp.saturating_add(intent::IN_FLIGHT).unwrap_or(now);
                    recovered.kept += 1;
                    recovered.stale_at = Some(recovered.stale_at.map_or(stale_at, |first| first.min(stale_at)));
                }
                Ok(intent) => stale.push(intent),
                // Its push has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.quarantine_intent(id)?;
                    recovered.unreadable.push((id, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(stale)
    }

    fn quarantine_intent(&self, id: Ulid) -> io::Result<()> {
        let quarantine = self.folder().join(QUARANTINE);
        self.storage.create_dir(&quarantine)?;
        let path = intent::path_of(&self.git_dir, id);
        self.storage.rename(&path, &quarantine.join(id.to_string()))
    }

    /// Reads the updates of all files that can have entries younger than `id`.
    fn journaled_since(&self, id: Ulid) -> io::Result<Journaled> {
        let mut journaled = Journaled::new();
        visit(&self.storage, &self.git_dir, Some(id), |located: Located| {
            let greatest = journaled.entry(located.entry.update).or_default();
            *greatest = located.entry.entry_id.max(*greatest);
        })?;
        Ok(journaled)
    }
}

/// Returns the time since `then`. `None` if the clock has gone back so far that it is unknown.
pub(super) fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let age = now.duration_since(then);
    let ahead = age.is_negative() && age.unsigned_abs() > intent::IN_FLIGHT;
    (!ahead).then(|| Duration::try_from(age).unwrap_or_default())
}
