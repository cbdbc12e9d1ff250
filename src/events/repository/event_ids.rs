//! Ids of the events of each feed, on any day. The content of an id never changes.
//!
//! Memory: about 16 bytes for each event of the feeds that were written to. The trees of a feed are read at the first
//! event for it. Only hashes are kept, so a hit is verified in the trees.
use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use bstr::{BString, ByteSlice};
use gix::{ObjectId, objs::tree::EntryKind};

use super::changes::adds_event;
use crate::{
    event::FOLDER,
    object_store::{
        Error,
        difference::Change,
        objects::Objects,
        tree_buffer::{Leaf, TreeBuffer},
    },
};

/// Extension of an event's file.
const EXTENSION: &[u8] = b".json";

/// Hashes of event ids, by feed. False positives do no harm.
#[derive(Default)]
pub struct EventIds {
    feeds: HashMap<String, HashSet<u64>>,
}

impl EventIds {
    /// Returns true if the feed may have the id. Reads the feed from its tree `folder` at the first call.
    pub fn may_have(
        &mut self,
        objects: Objects<'_>,
        feed: &str,
        folder: Option<ObjectId>,
        event_id: &str,
    ) -> Result<bool, Error> {
        if !self.feeds.contains_key(feed) {
            let mut ids = HashSet::new();
            if let Some(folder) = folder {
                read(objects, &objects.tree(folder)?, &mut |name| {
                    ids.insert(hashed(name));
                })?;
            }
            self.feeds.insert(feed.to_owned(), ids);
        }
        let ids = self.feeds.get(feed);
        Ok(ids.is_some_and(|ids| ids.contains(&hashed(event_id.as_bytes()))))
    }

    /// Adds an event of a feed.
    pub fn add(&mut self, feed: &str, event_id: &str) {
        if let Some(ids) = self.feeds.get_mut(feed) {
            ids.insert(hashed(event_id.as_bytes()));
        }
    }

    /// Adds the events of changes that other processes made.
    pub fn add_all<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        for change in changes.filter(|change| adds_event(change)) {
            if let Some((feed, event_id)) = feed_and_id(change.path.as_bytes()) {
                self.add(&feed, &event_id);
            }
        }
    }
}

/// Returns the feed and the event id of a path in a context repository.
pub fn feed_and_id(path: &[u8]) -> Option<(String, String)> {
    let feed = path.split_str("/").nth(1)?;
    let (_, file) = path.rsplit_once_str("/")?;
    let id = file.strip_suffix(EXTENSION)?;
    Some((feed.to_str().ok()?.to_owned(), id.to_str().ok()?.to_owned()))
}

/// Returns all paths of this event in a feed, the newest first. `folder` is the tree of the feed.
pub fn find(objects: Objects<'_>, feed: &str, folder: ObjectId, event_id: &str) -> Result<Vec<(BString, Leaf)>, Error> {
    let name = [event_id.as_bytes(), EXTENSION].concat();
    let mut found = Vec::new();
    let mut look = vec![(BString::from(format!("{FOLDER}/{feed}")), folder, 0)];
    while let Some((path, id, depth)) = look.pop() {
        let folder = objects.tree(id)?;
        let below = |name: &[u8]| BString::from([path.as_bytes(), b"/", name].concat());
        if let Some(leaf) = folder.get(&name).filter(|leaf| leaf.kind != EntryKind::Tree) {
            found.push((below(&name), leaf));
        }
        if depth < 2 {
            look.extend(folders(&folder).map(|(name, leaf)| (below(name), leaf.id, depth + 1)));
        }
    }
    Ok(found)
}

/// Calls `each` with the ids in the tree of a feed: those of its days and their hours.
fn read(objects: Objects<'_>, feed: &TreeBuffer, each: &mut impl FnMut(&[u8])) -> Result<(), Error> {
    for (_, day) in folders(feed) {
        let day = objects.tree(day.id)?;
        files(&day).for_each(&mut *each);
        for (_, hour) in folders(&day) {
            files(&objects.tree(hour.id)?).for_each(&mut *each);
        }
    }
    Ok(())
}

/// Iterates over the folders in a tree, in order.
pub fn folders(folder: &TreeBuffer) -> impl DoubleEndedIterator<Item = (&[u8], Leaf)> {
    folder.iter().filter(|(_, leaf)| leaf.kind == EntryKind::Tree)
}

fn files(folder: &TreeBuffer) -> impl Iterator<Item = &[u8]> {
    let files = folder.iter().filter(|(_, leaf)| leaf.kind != EntryKind::Tree);
    files.filter_map(|(name, _)| name.strip_suffix(EXTENSION))
}

fn hashed(event_id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    event_id.hash(&mut hasher);
    hasher.finish()
}
