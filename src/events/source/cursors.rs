//! `stargate/relay.json` in the context repository's Git folder: the positions in the feeds of a relay up to which events are
//! committed to a branch. It may be deleted at any time: everything is then read again, and events that are already committed
//! are ignored.
//!
//! A branch may be reset without updating this file. So each cursor is saved with an event that the branch has at that point.
//! If the event is missing, the branch lacks events that the cursor covers.
use std::{collections::BTreeMap, fs, io, path::Path};

use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE, Folders},
};
use serde::{Deserialize, Serialize};

use super::Cursor;

/// Folder of the file, in the Git folder.
pub const FOLDER: &str = "stargate";
/// Name of the file.
pub const FILE: &str = "relay.json";
/// Maximum size of the file, in bytes; a larger one is not ours.
const MAX_SIZE: u64 = 1 << 20;

/// Cursors of a relay's feeds in one branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// URL of the relay; another relay has other numbers.
    relay: String,
    /// Branch of the repository; another branch has other events.
    branch: String,
    feeds: BTreeMap<String, Committed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Committed {
    #[serde(rename = "mark")]
    cursor: Cursor,
    /// Id of the last event up to the cursor that was not refused.
    #[serde(rename = "held")]
    event_id: Option<String>,
}

impl Cursors {
    /// Reads the cursors of `relay` and `branch` from this folder; returns none if they cannot be read.
    pub fn load(folder: &Path, relay: &str, branch: &str) -> Self {
        let path = folder.join(FILE);
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_SIZE);
        let bytes = is_ours.then(|| fs::read(&path).ok()).flatten().unwrap_or_default();
        match serde_json::from_slice::<Cursors>(&bytes) {
            Ok(cursors) if cursors.relay == relay && cursors.branch == branch => cursors,
            _ => Cursors {
                relay: relay.to_owned(),
                branch: branch.to_owned(),
                feeds: BTreeMap::new(),
            },
        }
    }

    /// Returns the cursor of a feed, and the id of an event that the branch must have.
    pub fn of(&self, feed: &str) -> Option<(&Cursor, &str)> {
        let committed = self.feeds.get(feed)?;
        Some((&committed.cursor, committed.event_id.as_deref()?))
    }

    /// Sets the cursor of a feed, with the id of its event unless that was refused.
    pub fn set(&mut self, cursor: Cursor, event_id: Option<&str>) {
        let before = self.feeds.remove(&cursor.feed).and_then(|before| before.event_id);
        let event_id = event_id.map(str::to_owned).or(before);
        self.feeds.insert(cursor.feed.clone(), Committed { cursor, event_id });
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        Disk.create_dir(folder)?;
        replace(&Disk, &folder.join(FILE), &serde_json::to_vec(self)?, FILE_MODE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sequence: u64, event_id: &str) -> Cursor {
        Cursor {
            feed: "f".into(),
            sequence,
            event_id: Some(event_id.into()),
        }
    }

    #[test]
    fn marks_come_back_for_their_relay_and_branch_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join(".stargate");
        let load = |relay: &str, branch: &str| Cursors::load(&folder, relay, branch);
        let mut cursors = load("http://a", "main");
        assert_eq!(cursors.of("f"), None);
        for sequence in [1, 7] {
            let cursor = cursor(sequence, "e");
            cursors.set(cursor.clone(), Some("e"));
            cursors.save(&folder).unwrap();
            assert_eq!(load("http://a", "main").of("f"), Some((&cursor, "e")));
        }
        assert_eq!(load("http://b", "main").of("f"), None);
        assert_eq!(load("http://a", "other").of("f"), None);
        for damage in ["", "{", "[]", "{\"relay\":1}"] {
            fs::write(folder.join(FILE), damage).unwrap();
            assert_eq!(load("http://a", "main").of("f"), None, "{damage}");
        }
    }

    #[test]
    fn a_refused_event_moves_the_cursor_but_is_not_required() {
        let mut cursors = Cursors::default();
        cursors.set(cursor(1, "bad"), None);
        assert_eq!(cursors.of("f"), None);
        cursors.set(cursor(2, "good"), Some("good"));
        cursors.set(cursor(3, "bad"), None);
        assert_eq!(cursors.of("f"), Some((&cursor(3, "bad"), "good")));
    }
}
