//! PURE: rules for changes of a context repository. Files below `events/` are only added.
use bstr::{BStr, ByteSlice};

use crate::{
    event::{FOLDER, SNAPSHOTS, is_of_git},
    object_store::difference::Change,
};

/// Returns true if the path is below `events/`.
pub fn is_of_events(change: &Change) -> bool {
    let rest = change.path.strip_prefix(FOLDER.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns true if the change breaks the append-only rule.
pub fn is_violation(change: &Change) -> bool {
    is_of_events(change) && change.old.is_some()
}

/// Returns true if the change adds an event.
pub fn adds_event(change: &Change) -> bool {
    is_of_events(change) && change.old.is_none() && change.path.ends_with(b".json")
}

/// Returns the feed and the event id of a change that adds a snapshot.
pub fn snapshot_of(change: &Change) -> Option<(String, String)> {
    let rest = change.path.strip_prefix(SNAPSHOTS.as_bytes())?.strip_prefix(b"/")?;
    let (feed, rest) = rest.split_once_str("/")?;
    let (_, file) = rest.split_once_str("/")?;
    let id = file.strip_suffix(b".md").filter(|_| change.old.is_none())?;
    Some((feed.to_str().ok()?.to_owned(), id.to_str().ok()?.to_owned()))
}

/// Returns true if a folder on this path below `events/` has a name that git reserves.
pub fn is_unpushable(change: &Change) -> bool {
    let folders = change.path.rsplit_once_str("/").map_or(&[][..], |(folders, _)| folders);
    is_of_events(change) && folders.split_str("/").any(|name| is_of_git(BStr::new(name)))
}

/// Message of a commit that adds this many events.
pub fn message(added: usize) -> String {
    format!("Mirror: add {added} event(s)\n")
}
