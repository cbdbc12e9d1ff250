//! Queries on the branch of a context repository.
use gix::{ObjectId, objs::tree::EntryKind};
use jiff::Timestamp;

use super::event_ids;
use crate::{
    event::{Event, FOLDER},
    object_store::{Error, objects::Objects, tree_buffer::TreeBuffer},
};

/// The newest event of a feed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResumePoint {
    /// Time of the event.
    pub ts: Timestamp,
    /// Id of the event.
    pub event_id: String,
}

/// Returns true if a feed has an event with this id in `commit`, regardless of its content.
///
/// # Errors
/// The repository cannot be read.
pub fn has(objects: Objects<'_>, commit: ObjectId, feed_id: &str, event_id: &str) -> Result<bool, Error> {
    match folder_of(objects, commit, feed_id)? {
        Some(folder) => Ok(!event_ids::find(objects, feed_id, folder, event_id)?.is_empty()),
        None => Ok(false),
    }
}

/// Returns the newest event of a feed up to `now`, from the newest day that has one. Events dated in the future are ignored:
/// they would hide everything until then.
///
/// # Errors
/// The repository cannot be read.
pub fn resume_point(
    objects: Objects<'_>,
    commit: ObjectId,
    feed_id: &str,
    now: Timestamp,
) -> Result<Option<ResumePoint>, Error> {
    let Some(folder) = folder_of(objects, commit, feed_id)? else {
        return Ok(None);
    };
    let folder = objects.tree(folder)?;
    for (_, day) in event_ids::folders(&folder).rev() {
        let day = objects.tree(day.id)?;
        let mut newest = newest_of(objects, &day, now)?;
        for (_, hour) in event_ids::folders(&day).rev() {
            let of_hour = newest_of(objects, &objects.tree(hour.id)?, now)?;
            newest = newest.max(of_hour.clone());
            if of_hour.is_some() {
                break;
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// Returns the tree of a feed in a commit.
fn folder_of(objects: Objects<'_>, commit: ObjectId, feed_id: &str) -> Result<Option<ObjectId>, Error> {
    let mut folder = objects.tree_of(commit)?;
    for name in [FOLDER, feed_id] {
        match objects.tree(folder)?.get(name.as_bytes()) {
            Some(leaf) if leaf.kind == EntryKind::Tree => folder = leaf.id,
            _ => return Ok(None),
        }
    }
    Ok(Some(folder))
}

/// Returns the newest event up to `now` among the files of a folder. Files that are not events are ignored.
fn newest_of(objects: Objects<'_>, folder: &TreeBuffer, now: Timestamp) -> Result<Option<ResumePoint>, Error> {
    let mut newest = None;
    for (name, leaf) in folder.iter() {
        if !matches!(leaf.kind, EntryKind::Blob | EntryKind::BlobExecutable) || !name.ends_with(b".json") {
            continue;
        }
        if let Ok(event) = Event::parse_file(&objects.blob(leaf.id)?)
            && event.ts() <= now
        {
            newest = newest.max(Some(ResumePoint {
                ts: event.ts(),
                event_id: event.event_id().to_owned(),
            }));
        }
    }
    Ok(newest)
}
