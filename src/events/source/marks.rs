//! `stargate/relay.json` in the context repository's Git folder: how far the feeds of a relay have been committed. It may be
//! deleted at any time: everything is then read again, and what is held already is nothing.
use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::Mark;
use crate::storage::{Disk, Storage};

/// The folder in the Git folder.
pub const FOLDER: &str = "stargate";
/// The file's name in it.
pub const FILE: &str = "relay.json";
/// A larger file is not ours, in bytes.
const MAX_SIZE: u64 = 1 << 20;
const MODE: u32 = 0o644;

/// Marks of the feeds of one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The relay's URL; another relay has other numbers.
    relay: String,
    feeds: BTreeMap<String, Mark>,
}

impl Marks {
    /// Reads what is remembered of `relay` in this folder; nothing when it cannot be read.
    pub fn load(folder: &Path, relay: &str) -> Self {
        let path = folder.join(FILE);
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= MAX_SIZE);
        let bytes = is_ours.then(|| fs::read(&path).ok()).flatten().unwrap_or_default();
        match serde_json::from_slice::<Marks>(&bytes) {
            Ok(marks) if marks.relay == relay => marks,
            _ => Marks {
                relay: relay.to_owned(),
                feeds: BTreeMap::new(),
            },
        }
    }

    /// How far a feed has been committed.
    pub fn of(&self, feed: &str) -> Option<&Mark> {
        self.feeds.get(feed)
    }

    /// Everything up to this mark has been committed.
    pub fn set(&mut self, mark: Mark) {
        self.feeds.insert(mark.feed.clone(), mark);
    }

    /// Writes it.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let (path, draft) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        Disk.create_dir(folder)?;
        match Disk.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Disk.write_new(&draft, &serde_json::to_vec(self)?, MODE)?;
        Disk.rename(&draft, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_for_their_relay_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join(".stargate");
        let mut marks = Marks::load(&folder, "http://a");
        assert_eq!(marks.of("f"), None);
        for sequence in [1, 7] {
            let mark = Mark {
                feed: "f".into(),
                sequence,
                event_id: Some("e".into()),
            };
            marks.set(mark.clone());
            marks.save(&folder).unwrap();
            assert_eq!(Marks::load(&folder, "http://a").of("f"), Some(&mark));
        }
        assert_eq!(Marks::load(&folder, "http://b").of("f"), None);
        for damage in ["", "{", "[]", "{\"relay\":1}"] {
            fs::write(folder.join(FILE), damage).unwrap();
            assert_eq!(Marks::load(&folder, "http://a").of("f"), None, "{damage}");
        }
    }
}
