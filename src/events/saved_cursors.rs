//! The cursors of the followed feeds, saved beside the commits from time to time.
use std::time::Duration;

use super::{
    Context, Error,
    settings::RelaySource,
    source::{
        Cursor,
        cursors::{self, Cursors},
    },
};

/// Interval between saves of the cursors. Events after a saved cursor are fetched again.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Cursors of a relay's feeds, and the time of the next save.
pub struct SavedCursors {
    cursors: Cursors,
    next_save: Duration,
}

impl SavedCursors {
    /// Reads the cursors of a relay's feeds in this branch.
    pub fn load(context: &Context, relay: &RelaySource, branch: &str) -> Self {
        let folder = context.git_dir().join(cursors::FOLDER);
        SavedCursors {
            cursors: Cursors::load(&folder, &relay.url, branch),
            next_save: Duration::ZERO,
        }
    }

    /// Returns the cursor of a feed, if the branch has the event that was saved with it.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn of(&self, feed: &str, context: &Context) -> Result<Option<Cursor>, Error> {
        let Some((cursor, event_id)) = self.cursors.of(feed) else {
            return Ok(None);
        };
        if context.has(feed, event_id)? {
            return Ok(Some(cursor.clone()));
        }
        tracing::warn!(
            feed,
            "the branch lacks events that its cursor covers; reading everything again"
        );
        Ok(None)
    }

    /// Sets the cursor of a feed, with the id of its event unless that was refused.
    pub fn set(&mut self, cursor: Cursor, event_id: Option<&str>) {
        self.cursors.set(cursor, event_id);
    }

    /// Saves the cursors if the last save is old enough at `now`, on a monotonic clock.
    pub fn save_if_due(&mut self, context: &Context, now: Duration) {
        if now >= self.next_save {
            self.next_save = now + SAVE_EVERY;
            self.save(context);
        }
    }

    /// Saves the cursors. A failure is logged.
    pub fn save(&self, context: &Context) {
        if let Err(error) = self.cursors.save(&context.git_dir().join(cursors::FOLDER)) {
            tracing::warn!(%error, "the cursors of the feeds cannot be saved; the next run fetches more than needed");
        }
    }
}
