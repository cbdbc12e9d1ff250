//! A batch of events becomes a commit.
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

/// What became of some events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The commit, if there was something to commit.
    pub commit: Option<ObjectId>,
    /// How many events it adds.
    pub added: usize,
    /// How many events were there already.
    pub known: usize,
    /// The events whose id stands for another content. They are kept in [`FILE`](super::super::refused::FILE).
    pub refused: Vec<Refusal>,
}

/// An event that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its feed.
    pub feed_id: String,
    /// Its id.
    pub event_id: String,
    /// The file that has another content.
    pub path: String,
}

/// What is to become of an event.
enum Taken {
    Added,
    Known,
    Refused(String),
}

impl<S: Storage> Context<S> {
    /// Commits what of `events` is new, in one commit, durably: `Mirror: add {n} event(s)`, with the heartbeat of this
    /// instance in `.crp/lock.json`. Nothing new is no commit.
    ///
    /// An event is known when the same content is there, and refused when its id stands for another content in its feed,
    /// on whatever day, or earlier in `events`.
    ///
    /// # Errors
    /// Nothing was committed: the repository cannot be read or written, another process uses it
    /// ([`Kind::Busy`](crate::events::Kind::Busy)), or with a work tree somebody has put something else where an event
    /// belongs ([`Kind::Refused`](crate::events::Kind::Refused)). The same again may succeed, and repeats nothing.
    pub fn commit(&self, events: &[Event], clock: &dyn Clock) -> Result<Committed, Error> {
        let committed = self.commit_each(&[events], clock)?;
        Ok(committed.into_iter().next().unwrap_or_default())
    }

    /// [`commit()`](Context::commit()) for each of `batches`, in their order, landed together: one pack, one move of the
    /// branch, durable at once. What each came to, in the same order.
    ///
    /// # Errors
    /// As [`commit()`](Context::commit()); then none of them was committed.
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

/// Batches that become commits, none of which is in the repository yet.
struct Landing<'a, S: Storage> {
    context: &'a Context<S>,
    objects: Objects<'a>,
    edit: Edit<'a>,
    ids: &'a mut EventIds,
    refused: &'a mut RefusedEvents,
    /// The folders of feeds, as they are in the repository.
    feeds: HashMap<String, Option<ObjectId>>,
    /// What was added, by feed and id.
    added: HashMap<(String, String), (String, ObjectId)>,
}

impl<S: Storage> Landing<'_, S> {
    /// Adds a commit on `parent` to `pack`, with all that is new of it, if something is.
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

    /// The folder of a feed as it is in the repository: asked before the feed is edited.
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
    match is_same {
        true => Taken::Known,
        false => Taken::Refused(there.to_owned()),
    }
}

/// The message of a commit that adds so many events.
pub(in crate::events) fn message(added: usize) -> String {
    format!("Mirror: add {added} event(s)\n")
}
