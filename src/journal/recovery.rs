//! Intents on both ends: before a push is accepted, and after a crash.
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

/// How many bytes an entry has, about; its names come on top.
const ENTRY_SIZE: u64 = 512;
/// At least so many bytes are set aside for what is to be appended: for pushes that run at the same time.
const RESERVE: u64 = 64 << 10;

/// What became of intents.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Updates that are entries now, with their ids.
    pub appended: Vec<(Ulid, RefUpdate)>,
    /// Updates that need nothing.
    pub dropped: Vec<(RefUpdate, Reason)>,
    /// Updates that could not be appended; their intents stay.
    pub failed: Vec<(RefUpdate, Cause)>,
    /// Updates of which nobody can say whether they were accepted, as the ref cannot be read; their intents stay.
    pub unknown: Vec<(RefUpdate, Unreadable)>,
    /// How many intents may be of pushes that go on.
    pub kept: usize,
    /// When the first of them is one of a push that has ended.
    pub stale_at: Option<Timestamp>,
    /// Files that are no intents, which went to quarantine, and why.
    pub unreadable: Vec<(Ulid, String)>,
}

/// Ref updates of entries, with the greatest id of each.
type Journaled = HashMap<RefUpdate, Ulid>;

impl<S: Storage, C: Clock> Writer<S, C> {
    /// What a push needs before it may be accepted: the journal can be locked, repaired and appended to, and there is
    /// room for these drafts, as far as the file system can promise that; and an intent of them, durably.
    ///
    /// # Errors
    /// Something of that is not so: then there is no intent, and the push must be rejected.
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

    /// Keeps as an intent what could not be appended, so that the worker does it later.
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
    /// The intents cannot be read, or that one not be removed: the worker will find it, and drop it.
    pub fn forget_intent(&self, drafts: &[Draft]) -> Result<Option<Ulid>, WriteError> {
        let updates: Vec<_> = drafts.iter().map(|draft| &draft.update).collect();
        let folder = self.folder().join(INTENTS);
        let found = self.on("read", &folder, intent::find(&self.storage, &self.git_dir, &updates))?;
        if let Some(id) = found {
            self.on("remove from", &folder, intent::remove(&self.storage, &self.git_dir, id))?;
        }
        Ok(found)
    }

    /// Whether an intent has all of these updates.
    ///
    /// # Errors
    /// The intents cannot be read.
    pub fn is_intended(&self, drafts: &[Draft]) -> Result<bool, WriteError> {
        let updates: Vec<_> = drafts.iter().map(|draft| &draft.update).collect();
        let folder = self.folder().join(INTENTS);
        let found = self.on("read", &folder, intent::find(&self.storage, &self.git_dir, &updates))?;
        Ok(found.is_some())
    }

    /// Resolves the intents that are older than [`IN_FLIGHT`](intent::IN_FLIGHT): what was accepted and is not journaled
    /// becomes an entry. `ref_now` says what a ref is. For the beginning of a cycle, under the worker's lock.
    ///
    /// # Errors
    /// The intents or the journal cannot be read or written. What is not resolved is tried again next time.
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
                // It was stale a moment ago.
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
        match complete {
            true => self.on("remove", &path, intent::remove(&self.storage, &self.git_dir, intent.id)),
            false => Ok(()),
        }
    }

    fn create_intents(&self) -> Result<(), WriteError> {
        let (folder, intents) = (self.folder(), self.folder().join(INTENTS));
        match self.on("create", &intents, self.storage.create_dir(&intents))? {
            true => self.on("sync", &folder, self.storage.sync_dir(&folder)),
            false => Ok(()),
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
            // Two pushes at once see the same last entry: only where the clock has gone back do they get the same id.
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
                // Its push has ended.
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

    /// The updates of all entries of the files that can have entries younger than `id`.
    fn journaled_since(&self, id: Ulid) -> io::Result<Journaled> {
        let mut journaled = Journaled::new();
        visit(&self.storage, &self.git_dir, Some(id), |located: Located| {
            let greatest = journaled.entry(located.entry.update).or_default();
            *greatest = located.entry.entry_id.max(*greatest);
        })?;
        Ok(journaled)
    }
}

/// How long ago `then` was; none where the clock has gone back so far that nobody knows.
pub(super) fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let age = now.duration_since(then);
    let ahead = age.is_negative() && age.unsigned_abs() > intent::IN_FLIGHT;
    (!ahead).then(|| Duration::try_from(age).unwrap_or_default())
}
