//! Committing batches of events.
use std::collections::HashMap;

use bstr::BStr;
use durable::{clock::Clock, storage::Storage};
use gix::{ObjectId, objs::Kind as ObjectKind, objs::tree::EntryKind};
use jiff::Timestamp;

use super::super::{
    Error,
    event_ids::{self, EventIds},
    new_pack::NewPack,
    objects::Objects,
    refused::RefusedEvents,
    tree_buffer::Leaf,
    trees::{Edit, SetError},
};
use super::{Context, State};
use crate::event::{Event, FOLDER};

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

/// An event that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Feed of the event.
    pub feed_id: String,
    /// Id of the event.
    pub event_id: String,
    /// Path of the file with other content.
    pub path: String,
}

/// Decision on an event.
enum Taken {
    Added,
    Known,
    Refused(String),
}

impl<S: Storage> Context<S> {
    /// Commits the new ones among `events` in one commit, durably: `Mirror: add {n} event(s)`, with the heartbeat of this
    /// instance in `.crp/lock.json`. Makes no commit if nothing is new.
    ///
    /// An event is known if the same content exists. It is refused if its id exists with other content in its feed, on any
    /// day, or earlier in `events`.
    ///
    /// # Errors
    /// Nothing was committed. The repository cannot be read or written; another process uses it
    /// ([`Kind::Busy`](crate::events::Kind::Busy)); or the work tree has other files where events belong
    /// ([`Kind::Refused`](crate::events::Kind::Refused)). The call may be repeated; it never commits an event twice.
    pub fn commit(&self, events: &[Event], clock: &dyn Clock) -> Result<Committed, Error> {
        let committed = self.commit_each(&[events], clock)?;
        Ok(committed.into_iter().next().unwrap_or_default())
    }

    /// Commits each of `batches` as [`commit()`](Context::commit()) does, but together: one pack, one move of the branch.
    /// Returns the results in the same order.
    ///
    /// # Errors
    /// As [`commit()`](Context::commit()); no batch was committed.
    pub fn commit_each(&self, batches: &[&[Event]], clock: &dyn Clock) -> Result<Vec<Committed>, Error> {
        let mut state = self.state();
        let repository = self.repository();
        let _lock = self.exclusive(&repository, clock)?;
        let objects = Objects(&repository);
        let tip = self.begin(&mut state, objects)?;
        let mut pack = NewPack::new(objects.hash());
        let State {
            trees,
            event_ids: ids,
            refused,
            ..
        } = &mut *state;
        let mut landing = Landing {
            context: self,
            objects,
            edit: trees.edit(objects, Some(objects.tree_of(tip)?)),
            ids,
            refused,
            feeds: HashMap::new(),
            added: HashMap::new(),
        };
        let mut head = tip;
        let mut landed = Vec::new();
        for events in batches {
            let committed = landing.commit(events, head, &mut pack, clock.now())?;
            head = committed.commit.unwrap_or(head);
            landed.push(committed);
        }
        drop(landing);
        if head != tip {
            self.land(&mut state, &repository, pack, tip, head)?;
        }
        Ok(landed)
    }
}

/// Commits in the making, not yet in the repository.
struct Landing<'a, S: Storage> {
    context: &'a Context<S>,
    objects: Objects<'a>,
    edit: Edit<'a>,
    ids: &'a mut EventIds,
    refused: &'a mut RefusedEvents,
    /// Trees of the feeds, as they are in the repository.
    feeds: HashMap<String, Option<ObjectId>>,
    /// Events that were added, by feed and id.
    added: HashMap<(String, String), (String, ObjectId)>,
}

impl<S: Storage> Landing<'_, S> {
    /// Adds a commit on `parent` to `pack`, with all new objects, if any event is new.
    fn commit(
        &mut self,
        events: &[Event],
        parent: ObjectId,
        pack: &mut NewPack,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let context = self.context;
        let mut committed = Committed::default();
        for event in events {
            let file = event.to_file();
            let blob = context.blob_id(&file)?;
            let path = event.path(context.0.options.layout);
            match self.take(event, &path, blob)? {
                Taken::Known => committed.known += 1,
                Taken::Added => {
                    committed.added += 1;
                    pack.add(ObjectKind::Blob, &file)
                        .map_err(|error| context.pack_failed(&error))?;
                }
                Taken::Refused(there) => {
                    self.refused.keep(&context.0.storage, &path, blob, &file, now)?;
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
        context.set_lock(&mut self.edit, pack, now)?;
        let tree = self.edit.write(pack).map_err(|error| context.pack_failed(&error))?;
        let commit = context.commit_object(self.objects.0, tree, &[parent], &message(committed.added), now)?;
        let commit = pack.add(ObjectKind::Commit, &commit);
        committed.commit = Some(commit.map_err(|error| context.pack_failed(&error))?);
        Ok(committed)
    }

    fn take(&mut self, event: &Event, path: &str, blob: ObjectId) -> Result<Taken, Error> {
        let key = (event.feed_id().to_owned(), event.event_id().to_owned());
        if let Some((there, id)) = self.added.get(&key) {
            return Ok(same_or_refused(*id == blob, there));
        }
        if let Some(leaf) = self.edit.get(BStr::new(path))? {
            return Ok(same_or_refused(leaf.id == blob, path));
        }
        let feed = self.feed(event.feed_id())?;
        if self
            .ids
            .may_have(self.objects, event.feed_id(), feed, event.event_id())?
            && let Some(feed) = feed
        {
            let found = event_ids::find(self.objects, event.feed_id(), feed, event.event_id())?;
            if let Some((there, id)) = found.first() {
                return Ok(same_or_refused(*id == blob, &there.to_string()));
            }
        }
        let kind = EntryKind::Blob;
        match self.edit.set(BStr::new(path), Leaf { kind, id: blob }) {
            Ok(()) => {}
            Err(SetError::InTheWay(there)) => return Ok(Taken::Refused(there.to_string())),
            Err(SetError::Unreadable(error)) => return Err(error),
        }
        self.ids.add(event.feed_id(), event.event_id());
        self.added.insert(key, (path.to_owned(), blob));
        Ok(Taken::Added)
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

/// Message of a commit that adds this many events.
pub(in crate::events) fn message(added: usize) -> String {
    format!("Mirror: add {added} event(s)\n")
}
