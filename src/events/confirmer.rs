//! Confirmation of pushed events: a relay may remove old events once its mirrors have confirmed them.
//!
//! After a push, the relay gets for each feed the number up to which events are on the remote (`PUT {url}/feeds/{id}/confirmed`),
//! with the name of this mirror. A relay without this path is left alone. Only events that this run committed are confirmed.
//! Events of a stream are acknowledged to its consumers instead.
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

#[cfg(feature = "nats")]
use super::source::stream::Acknowledger;
use super::source::{Arrival, cursors};
use crate::uuid;

/// File in the folder of the cursors with the name of this mirror.
const NAME: &str = "mirror-name";

/// Number up to which the events of each feed are committed, shared by the committing and the pushing thread.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<BTreeMap<String, u64>>>);

/// Confirms events to their source.
pub struct Confirmer {
    receiver: Receiver,
    numbers: Numbers,
    confirmed: BTreeMap<String, u64>,
    has_failed: bool,
}

/// Receiver of confirmations.
enum Receiver {
    /// A relay, and the name of this mirror.
    Relay(Box<Web>, String),
    #[cfg(feature = "nats")]
    Stream(Acknowledger),
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

    fn new(git_dir: &Path, web: Web, numbers: Numbers) -> io::Result<Self> {
        let name = mirror_name(git_dir)?;
        Ok(Confirmer::with(Receiver::Relay(Box::new(web), name), numbers))
    }

    /// Creates a confirmer that acknowledges events of a stream.
    #[cfg(feature = "nats")]
    pub fn of_stream(acknowledger: Acknowledger, numbers: Numbers) -> Self {
        Confirmer::with(Receiver::Stream(acknowledger), numbers)
    }

    fn with(receiver: Receiver, numbers: Numbers) -> Self {
        Confirmer {
            receiver,
            numbers,
            confirmed: BTreeMap::new(),
            has_failed: false,
        }
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
            match self.receiver.confirm(&feed, seq) {
                Ok(()) => {
                    self.confirmed.insert(feed, seq);
                }
                Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                    tracing::warn!(
                        feed,
                        "cannot confirm events to their source, so it keeps old ones: {error}"
                    );
                }
                Err(error) => tracing::debug!(feed, "cannot confirm events to their source: {error}"),
            }
        }
    }
}

impl Receiver {
    fn confirm(&self, feed: &str, seq: u64) -> Result<(), String> {
        match self {
            Receiver::Relay(web, name) => {
                let body = serde_json::json!({"by": name, "seq": seq}).to_string();
                let put = web.put_json(&["feeds", feed, "confirmed"], &body);
                put.map_err(|error| error.to_string())
            }
            #[cfg(feature = "nats")]
            Receiver::Stream(acknowledger) => acknowledger.acknowledge(feed, seq),
        }
    }
}

/// Returns the name of the mirror in the repository at `git_dir`. Its first use gives it one.
///
/// # Errors
/// The disk's.
pub fn mirror_name(git_dir: &Path) -> io::Result<String> {
    let folder = &git_dir.join(cursors::FOLDER);
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
