//! Resolution of the intents of pushes that are over.
use std::{collections::HashMap, io};

use bstr::BStr;
use durable::{
    clock::Clock,
    storage::{Folders, Names, ReadFiles, Storage},
};
use jiff::Timestamp;
use ulid::Ulid;

use super::{
    QUARANTINE,
    access::Access,
    append::{Appended, append},
    entry::{Draft, Located},
    error::{Cause, WriteError, on},
    intent::{self, INTENTS, Intent, Reason, Verdict, age},
    visit::visit,
};
use crate::{
    ref_update::RefUpdate,
    refs::{LocalRef, Unreadable},
};

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

/// Resolves the stale intents, see [`Writer::recover_intents`](super::Writer::recover_intents).
pub(super) fn recover_intents<S: Storage, C: Clock>(
    access: &Access<S, C>,
    ref_now: &dyn Fn(&BStr) -> LocalRef,
) -> Result<Recovered, WriteError> {
    let folder = access.folder().join(INTENTS);
    let now = access.clock.now();
    let (storage, git_dir) = (&access.storage, &access.git_dir);
    on("clean", &folder, intent::remove_unfinished(storage, git_dir, now))?;
    let mut recovered = Recovered::default();
    let stale = on("read", &folder, stale_intents(access, now, &mut recovered))?;
    let Some(oldest) = stale.first().map(|intent| intent.id) else {
        return Ok(recovered);
    };
    let mut recovery = Recovery {
        access,
        now,
        journaled: on("read", &access.journal, journaled_since(access, oldest))?,
        ref_now,
        recovered,
    };
    for intent in stale {
        recovery.resolve(intent)?;
    }
    Ok(recovery.recovered)
}

/// State of the resolution of stale intents.
struct Recovery<'a, S, C> {
    access: &'a Access<S, C>,
    now: Timestamp,
    journaled: Journaled,
    ref_now: &'a dyn Fn(&BStr) -> LocalRef,
    recovered: Recovered,
}

impl<S: Storage, C: Clock> Recovery<'_, S, C> {
    /// Resolves one intent, and removes it unless one of its updates is still open.
    fn resolve(&mut self, intent: Intent) -> Result<(), WriteError> {
        let id = intent.id;
        let open = self.recovered.unknown.len() + self.recovered.failed.len();
        let missing = self.missing(intent);
        let appended = if missing.is_empty() {
            Appended::default()
        } else {
            append(self.access, &missing)?
        };
        self.take(missing, appended);
        if self.recovered.unknown.len() + self.recovered.failed.len() > open {
            return Ok(());
        }
        let path = intent::path_of(&self.access.git_dir, id);
        let removed = intent::remove(&self.access.storage, &self.access.git_dir, id);
        on("remove", &path, removed)
    }

    /// Returns the drafts of an intent that the journal lacks.
    fn missing(&mut self, intent: Intent) -> Vec<Draft> {
        let mut missing = Vec::new();
        for draft in intent.drafts {
            let update = &draft.update;
            let known = self.journaled.get(update).is_some_and(|entry| *entry > intent.id);
            let stands = match (self.ref_now)(BStr::new(&update.name)) {
                LocalRef::Id(id) => Some(id),
                LocalRef::Absent => None,
                LocalRef::Unreadable(_) if known => None,
                LocalRef::Unreadable(why) => {
                    self.recovered.unknown.push((draft.update, why));
                    continue;
                }
            };
            match intent::resolve(update, age(self.now, intent.timestamp), known, stands) {
                // `Keep` cannot happen: only stale intents get here.
                Verdict::Keep | Verdict::Recover => missing.push(draft),
                Verdict::Drop(reason) => self.recovered.dropped.push((draft.update, reason)),
            }
        }
        missing
    }

    /// Records which of the missing drafts were appended.
    fn take(&mut self, missing: Vec<Draft>, appended: Appended) {
        let mut failed = appended.failed.into_iter().peekable();
        let mut written = appended.written.into_iter();
        for (index, draft) in missing.into_iter().enumerate() {
            match failed.next_if(|(failed, _)| *failed == index) {
                Some((_, cause)) => self.recovered.failed.push((draft.update, cause)),
                None => self
                    .recovered
                    .appended
                    .extend(written.next().map(|id| (id, draft.update))),
            }
        }
    }
}

/// Reads the stale intents, oldest first. Counts the others, and moves invalid ones to quarantine.
fn stale_intents<S: Folders + Names + ReadFiles, C>(
    access: &Access<S, C>,
    now: Timestamp,
    recovered: &mut Recovered,
) -> io::Result<Vec<Intent>> {
    let (storage, git_dir) = (&access.storage, &access.git_dir);
    let mut stale = Vec::new();
    for id in intent::list(storage, git_dir)? {
        match intent::read(storage, git_dir, id) {
            Ok(intent) if intent.is_in_flight(now) => {
                let stale_at = intent.timestamp.saturating_add(intent::IN_FLIGHT).unwrap_or(now);
                recovered.kept += 1;
                recovered.stale_at = Some(recovered.stale_at.map_or(stale_at, |first| first.min(stale_at)));
            }
            Ok(intent) => stale.push(intent),
            // Its push has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                quarantine_intent(access, id)?;
                recovered.unreadable.push((id, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stale)
}

fn quarantine_intent<S: Folders + Names, C>(access: &Access<S, C>, id: Ulid) -> io::Result<()> {
    let quarantine = access.folder().join(QUARANTINE);
    access.storage.create_dir(&quarantine)?;
    let path = intent::path_of(&access.git_dir, id);
    access.storage.rename(&path, &quarantine.join(id.to_string()))
}

/// Reads the updates of all files that can have entries younger than `id`.
fn journaled_since<S: Folders + ReadFiles, C>(access: &Access<S, C>, id: Ulid) -> io::Result<Journaled> {
    let mut journaled = Journaled::new();
    visit(&access.storage, &access.git_dir, Some(id), |located: Located| {
        let greatest = journaled.entry(located.entry.update).or_default();
        *greatest = located.entry.entry_id.max(*greatest);
    })?;
    Ok(journaled)
}
