//! A batch of events becomes a commit.
use std::collections::HashMap;

use bstr::BStr;
use gix::{ObjectId, objs::Kind as ObjectKind, objs::tree::EntryKind};
use jiff::Timestamp;

use super::super::{
    Error,
    folder::Leaf,
    known::{self, Known},
    new_pack::{NewPack, object_id},
    objects::Objects,
    trees::{Edit, SetError},
};
use super::{Context, State};
use crate::{
    clock::Clock,
    event::{Event, FOLDER},
    storage::Storage,
};

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
        let mut state = self.state();
        let repository = self.repository();
        let _lock = self.exclusive(&repository, clock)?;
        let objects = Objects(&repository);
        let tip = self.begin(&mut state, objects)?;
        let mut pack = NewPack::new(objects.hash());
        let (committed, tree) = self.add(&mut state, objects, tip, events, &mut pack, clock.now())?;
        let Some(tree) = tree else {
            return Ok(committed);
        };
        let message = message(committed.added);
        let commit = self.commit_object(&repository, tree, &[tip], &message, clock.now())?;
        let commit = pack
            .add(ObjectKind::Commit, &commit)
            .map_err(|error| self.pack_failed(&error))?;
        self.land(&mut state, &repository, pack, tip, commit)?;
        Ok(Committed {
            commit: Some(commit),
            ..committed
        })
    }

    /// Adds events to the tree of `tip`, and what is new of it to `pack`; gives the new tree, if there is something new.
    fn add(
        &self,
        state: &mut State,
        objects: Objects<'_>,
        tip: ObjectId,
        events: &[Event],
        pack: &mut NewPack,
        now: Timestamp,
    ) -> Result<(Committed, Option<ObjectId>), Error> {
        let State {
            trees, known, refused, ..
        } = state;
        let mut edit = trees.edit(objects, Some(objects.tree_of(tip)?));
        let mut committed = Committed::default();
        let mut batch = Batch {
            objects,
            known,
            added: HashMap::new(),
        };
        for event in events {
            let file = event.to_file();
            let blob = object_id(objects.hash(), ObjectKind::Blob, &file).map_err(|error| self.pack_failed(&error))?;
            let path = event.path(self.0.options.layout);
            match batch.take(&mut edit, event, &path, blob)? {
                Taken::Known => committed.known += 1,
                Taken::Added => {
                    committed.added += 1;
                    pack.add(ObjectKind::Blob, &file)
                        .map_err(|error| self.pack_failed(&error))?;
                }
                Taken::Refused(there) => {
                    refused.keep(&self.0.storage, &path, blob, &file, now)?;
                    committed.refused.push(Refusal {
                        feed_id: event.feed_id().into(),
                        event_id: event.event_id().into(),
                        path: there,
                    });
                }
            }
        }
        if committed.added == 0 {
            return Ok((committed, None));
        }
        self.set_lock(&mut edit, pack, now)?;
        let tree = edit.write(pack).map_err(|error| self.pack_failed(&error))?;
        Ok((committed, Some(tree)))
    }
}

/// A batch that is being taken.
struct Batch<'a> {
    objects: Objects<'a>,
    known: &'a mut Known,
    /// What was added, by feed and id.
    added: HashMap<(String, String), (String, ObjectId)>,
}

impl Batch<'_> {
    fn take(&mut self, edit: &mut Edit<'_>, event: &Event, path: &str, blob: ObjectId) -> Result<Taken, Error> {
        let key = (event.feed_id().to_owned(), event.event_id().to_owned());
        if let Some((there, id)) = self.added.get(&key) {
            return Ok(same_or_refused(*id == blob, there));
        }
        if let Some(leaf) = edit.get(BStr::new(path))? {
            return Ok(same_or_refused(leaf.id == blob, path));
        }
        let feed = edit.committed_folder(BStr::new(&format!("{FOLDER}/{}", event.feed_id())))?;
        if self
            .known
            .may_have(self.objects, event.feed_id(), feed, event.event_id())?
            && let Some(feed) = feed
        {
            let found = known::find(self.objects, event.feed_id(), feed, event.event_id())?;
            if let Some((there, id)) = found.first() {
                return Ok(same_or_refused(*id == blob, &there.to_string()));
            }
        }
        let kind = EntryKind::Blob;
        match edit.set(BStr::new(path), Leaf { kind, id: blob }) {
            Ok(()) => {}
            Err(SetError::InTheWay(there)) => return Ok(Taken::Refused(there.to_string())),
            Err(SetError::Unreadable(error)) => return Err(error),
        }
        self.known.add(event.feed_id(), event.event_id());
        self.added.insert(key, (path.to_owned(), blob));
        Ok(Taken::Added)
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
