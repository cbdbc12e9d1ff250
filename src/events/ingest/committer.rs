//! Committing batches of events.
use std::collections::HashMap;

use bstr::BStr;
use durable::{clock::Clock, storage::Storage};
use gix::{ObjectId, objs::Kind as ObjectKind, objs::tree::EntryKind};
use jiff::Timestamp;

use super::super::repository::{
    Index, Repository, Session,
    changes::message,
    event_ids::{self, EventIds},
    refused::{Refusal, RefusedEvents},
};
use crate::{
    event::{Event, FOLDER},
    object_store::{
        Error,
        commit_object::commit_object,
        new_pack::NewPack,
        objects::Objects,
        tree_buffer::Leaf,
        tree_cache::{Edit, SetError},
    },
};

/// Result of committing a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The commit, if there was anything new.
    pub commit: Option<ObjectId>,
    /// Number of events that the commit adds.
    pub added: usize,
    /// Number of events that existed already.
    pub known: usize,
    /// Events whose id exists with other content. They are stored in [`FILE`](super::super::refused::FILE).
    pub refused: Vec<Refusal>,
}

/// Decision on an event.
enum Taken {
    Added,
    Known,
    Refused(String),
}

/// Commits each of `batches` with one commit, but together: one pack, one move of the branch. Returns the results in the same
/// order.
///
/// # Errors
/// The errors of [`Context::commit_each()`](super::super::Context::commit_each()); no batch was committed.
pub fn commit_each<S: Storage>(
    repository: &Repository<S>,
    batches: &[&[Event]],
    clock: &dyn Clock,
) -> Result<Vec<Committed>, Error> {
    let local = repository.store.repository();
    let mut session = repository.begin(&local, clock)?;
    let (tip, objects) = (session.tip(), session.objects());
    let mut pack = NewPack::new(objects.hash());
    let mut committer = Committer::new(&mut session)?;
    let mut head = tip;
    let mut landed = Vec::new();
    for events in batches {
        let committed = committer.commit(events, head, &mut pack, clock.now())?;
        head = committed.commit.unwrap_or(head);
        landed.push(committed);
    }
    drop(committer);
    if head != tip {
        session.land(pack, head)?;
    }
    Ok(landed)
}

/// Commits in the making, not yet in the repository.
struct Committer<'a, 'e, S: Storage> {
    repository: &'a Repository<S>,
    objects: Objects<'a>,
    edit: Edit<'a>,
    ids: &'a mut EventIds,
    refused: &'a mut RefusedEvents,
    /// Trees of the feeds, as they are in the repository.
    feeds: HashMap<String, Option<ObjectId>>,
    /// Events that were added, by feed and id, with their paths.
    added: HashMap<(String, String), (String, &'e Event)>,
}

impl<'a, 'e, S: Storage> Committer<'a, 'e, S> {
    fn new(session: &'a mut Session<'_, S>) -> Result<Self, Error> {
        let (repository, objects, tip) = (session.repository, session.objects(), session.tip());
        let Index { event_ids, refused, .. } = &mut *session.index;
        Ok(Committer {
            repository,
            objects,
            edit: session.transaction.edit(tip)?,
            ids: event_ids,
            refused,
            feeds: HashMap::new(),
            added: HashMap::new(),
        })
    }

    /// Adds a commit on `parent` to `pack`, with all new objects, if any event is new.
    fn commit(
        &mut self,
        events: &'e [Event],
        parent: ObjectId,
        pack: &mut NewPack,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let Repository {
            store,
            options,
            instance,
            ..
        } = self.repository;
        let failed = |error| store.pack_failed(&error);
        let mut committed = Committed::default();
        for event in events {
            let file = event.to_file();
            let blob = store.blob_id(&file)?;
            let path = event.path(options.layout);
            match self.take(event, &path, blob)? {
                Taken::Known => committed.known += 1,
                Taken::Added => {
                    committed.added += 1;
                    pack.add(ObjectKind::Blob, &file).map_err(failed)?;
                    if options.snapshots {
                        self.add_snapshot(event, pack)?;
                    }
                }
                Taken::Refused(there) => {
                    self.refused.keep(store.storage(), &path, blob, &file, now)?;
                    committed.refused.push(Refusal {
                        feed_id: event.feed_id().into(),
                        event_id: event.event_id().into(),
                        path: there,
                    });
                }
            }
        }
        if committed.added == 0 {
            return Ok(committed);
        }
        instance.set_lock(store, &mut self.edit, pack, now)?;
        let tree = self.edit.write(pack).map_err(failed)?;
        let (author, message) = (options.author.as_ref(), message(committed.added));
        let commit = commit_object(self.objects.0, author, tree, &[parent], &message, now)?;
        committed.commit = Some(pack.add(ObjectKind::Commit, &commit).map_err(failed)?);
        Ok(committed)
    }

    fn take(&mut self, event: &'e Event, path: &str, blob: ObjectId) -> Result<Taken, Error> {
        let key = (event.feed_id().to_owned(), event.event_id().to_owned());
        if let Some((there, added)) = self.added.get(&key) {
            return Ok(same_or_refused(*added == event, there));
        }
        if let Some(leaf) = self.edit.get(BStr::new(path))? {
            return Ok(same_or_refused(self.is_same(event, blob, leaf)?, path));
        }
        let feed = self.feed(event.feed_id())?;
        if self
            .ids
            .may_have(self.objects, event.feed_id(), feed, event.event_id())?
            && let Some(feed) = feed
        {
            let found = event_ids::find(self.objects, event.feed_id(), feed, event.event_id())?;
            if let Some((there, leaf)) = found.first() {
                return Ok(same_or_refused(self.is_same(event, blob, *leaf)?, &there.to_string()));
            }
        }
        let kind = EntryKind::Blob;
        match self.edit.set(BStr::new(path), Leaf { kind, id: blob }) {
            Ok(()) => {}
            Err(SetError::InTheWay(there)) => return Ok(Taken::Refused(there.to_string())),
            Err(SetError::Unreadable(error)) => return Err(error),
        }
        self.ids.add(event.feed_id(), event.event_id());
        self.added.insert(key, (path.to_owned(), event));
        Ok(Taken::Added)
    }

    /// Adds the snapshot of an event, if it is one. A file that is there already stays.
    fn add_snapshot(&mut self, event: &Event, pack: &mut NewPack) -> Result<(), Error> {
        let Some((path, file)) = event.snapshot() else {
            return Ok(());
        };
        let store = &self.repository.store;
        let (kind, id) = (EntryKind::Blob, store.blob_id(&file)?);
        let there = self.edit.get(BStr::new(&path))?;
        if there.is_some_and(|there| there.id == id) {
            return Ok(());
        }
        let set = match there {
            Some(_) => Err(SetError::InTheWay(path.as_str().into())),
            None => self.edit.set(BStr::new(&path), Leaf { kind, id }),
        };
        match set {
            Ok(()) => pack
                .add(ObjectKind::Blob, &file)
                .map(drop)
                .map_err(|error| store.pack_failed(&error)),
            Err(SetError::InTheWay(there)) => {
                tracing::warn!("{path} is not written: {there} exists");
                Ok(())
            }
            Err(SetError::Unreadable(error)) => Err(error),
        }
    }

    /// Returns true if the file `there` already has the event: as the same JSON, even in other bytes. `blob` is the id
    /// of the event's own file.
    fn is_same(&self, event: &Event, blob: ObjectId, there: Leaf) -> Result<bool, Error> {
        let is_file = matches!(there.kind, EntryKind::Blob | EntryKind::BlobExecutable);
        Ok(there.id == blob || (is_file && event.is_file(&self.objects.blob(there.id)?)))
    }

    /// Returns the tree of a feed as it is in the repository. Must be called before the feed is edited.
    fn feed(&mut self, feed_id: &str) -> Result<Option<ObjectId>, Error> {
        if let Some(folder) = self.feeds.get(feed_id) {
            return Ok(*folder);
        }
        let path = format!("{FOLDER}/{feed_id}");
        let leaf = self.edit.get(BStr::new(&path))?;
        let folder = leaf.filter(|leaf| leaf.kind == EntryKind::Tree).map(|leaf| leaf.id);
        self.feeds.insert(feed_id.to_owned(), folder);
        Ok(folder)
    }
}

fn same_or_refused(is_same: bool, there: &str) -> Taken {
    if is_same {
        Taken::Known
    } else {
        Taken::Refused(there.to_owned())
    }
}
