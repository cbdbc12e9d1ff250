//! Confirmation of pushed events: a relay may remove old events once its mirrors have confirmed them.
//!
//! After a push, the relay gets for each feed the number up to which events are on the remote
//! (`PUT {url}/feeds/{id}/confirmed`), with the name of this mirror. A relay without this path gets no further
//! confirmations. Only events that this run committed are confirmed.
use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE, Folders},
};
use git_push_transport::web::Web;

use super::source::{Arrival, cursors};
use crate::uuid;

/// File in the folder of the cursors with the name of this mirror.
const NAME: &str = "mirror-name";

/// Number up to which the events of each feed are committed, shared by the committing and the pushing thread.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<BTreeMap<String, u64>>>);

/// Confirms events to a relay.
pub struct Confirmer {
    web: Web,
    name: String,
    numbers: Numbers,
    confirmed: BTreeMap<String, u64>,
    has_failed: bool,
}

impl Numbers {
    /// Records committed arrivals, up to the first one that is not an event, because that one is not on the remote.
    pub fn committed<'a>(&self, arrivals: impl Iterator<Item = &'a Arrival>) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for cursor in arrivals
            .take_while(|arrival| arrival.event.is_ok())
            .filter_map(|arrival| arrival.cursor.as_ref())
        {
            numbers.insert(cursor.feed.clone(), cursor.sequence);
        }
    }

    fn now(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Confirmer {
    /// Creates a confirmer for the repository at `git_dir`. If that fails, a warning says so, and nothing is confirmed.
    pub fn start(git_dir: &Path, web: Web, numbers: Numbers) -> Option<Self> {
        match Confirmer::new(git_dir, web, numbers) {
            Ok(confirmer) => Some(confirmer),
            Err(error) => {
                tracing::warn!("cannot confirm events to the relay: {error}");
                None
            }
        }
    }

    /// Its first use gives the mirror its name.
    fn new(git_dir: &Path, web: Web, numbers: Numbers) -> io::Result<Self> {
        Ok(Confirmer {
            web,
            name: name_of(&git_dir.join(cursors::FOLDER))?,
            numbers,
            confirmed: BTreeMap::new(),
            has_failed: false,
        })
    }

    /// Numbers that a push confirms if it begins now.
    pub fn committed(&self) -> BTreeMap<String, u64> {
        self.numbers.now()
    }

    /// Confirms those of these numbers that are new. A failure is logged, and the next push confirms them.
    pub fn confirm(&mut self, numbers: BTreeMap<String, u64>) {
        for (feed, seq) in numbers {
            if self.confirmed.get(&feed) == Some(&seq) {
                continue;
            }
            let body = serde_json::json!({"by": self.name, "seq": seq}).to_string();
            match self.web.put_json(&["feeds", &feed, "confirmed"], &body) {
                Ok(()) => {
                    self.confirmed.insert(feed, seq);
                }
                Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                    tracing::warn!(
                        feed,
                        "cannot confirm events to the relay, so it keeps old ones: {error}"
                    );
                }
                Err(error) => tracing::debug!(feed, "cannot confirm events to the relay: {error}"),
            }
        }
    }
}

fn name_of(folder: &Path) -> io::Result<String> {
    let path = folder.join(NAME);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = uuid::version_4(uuid::random());
            Disk.create_dir(folder)?;
            replace(&Disk, &path, format!("{name}\n").as_bytes(), FILE_MODE)?;
            Ok(name)
        }
        text => Ok(text?.trim_end().to_owned()),
    }
}
