//! Replaying the log when a store is opened: builds the index and collects problems.
use super::{
    index::{Identity, Index, Record, origin},
    log_line::{self, Content, MAX_LINE},
};
use crate::{
    event::Event,
    journal::{Line, Repair, log::Place},
};

/// Maximum number of problems that are reported one by one.
const MAX_REPORTED: usize = 20;

/// Result of opening a store.
#[derive(Debug, Default)]
pub struct Found {
    /// Repair that was made.
    pub repaired: Option<Repair>,
    /// Descriptions of the first lines that are invalid or duplicate.
    pub problems: Vec<String>,
    /// Number of further problems.
    pub more: usize,
    /// Number of feeds.
    pub feeds: usize,
    /// Number of events.
    pub events: usize,
}

/// Replay of a log, line by line.
#[derive(Debug, Default)]
pub struct Replay {
    index: Index,
    found: Found,
}

impl Replay {
    /// Replays a line of the file with this number.
    pub fn take(&mut self, file: u32, line: &Line<'_>) {
        let taken = match line.bytes {
            Some(bytes) if bytes.iter().all(|byte| *byte == b' ') => return,
            Some(bytes) => log_line::parse(bytes).and_then(|parsed| self.add(file, line.offset, bytes.len(), parsed)),
            None => Err(format!("it is longer than {MAX_LINE} bytes")),
        };
        let Err(problem) = taken else { return };
        // Listeners may have seen this number: it is not used again.
        if let Some(seq) = line.bytes.and_then(log_line::seq_of) {
            self.index.skip_to(seq);
        }
        if self.found.problems.len() == MAX_REPORTED {
            self.found.more += 1;
            return;
        }
        let (length, offset) = (line.length, line.offset);
        self.found.problems.push(format!(
            "{length} bytes at offset {offset} of file {file} are not a line of a relay: {problem}"
        ));
    }

    /// Returns the index and the findings, with the repair that was made before.
    pub fn end(self, repaired: Option<Repair>) -> (Index, Found) {
        let Replay { index, mut found } = self;
        found.repaired = repaired;
        found.feeds = index.feeds().len();
        found.events = index.feeds().map(|feed| feed.len()).sum();
        (index, found)
    }

    fn add(&mut self, file: u32, offset: u64, length: usize, parsed: log_line::Parsed) -> Result<(), String> {
        match parsed.content {
            Content::Feed(about) => self.index.add_feed(parsed.seq, about, parsed.received),
            Content::Event(event, start) => {
                let record = Record {
                    seq: parsed.seq,
                    place: Place {
                        file,
                        length: (length - 1 - start) as u32,
                        offset: offset + start as u64,
                    },
                };
                let feed = event.feed_id();
                if self.index.add_event(feed, identity(&event), record) {
                    return Ok(());
                }
                // After a failed fsync, two files contain the same line.
                let known = self.index.in_feed(feed, &event.event_id().into());
                if known.is_none_or(|known| known.seq != parsed.seq) {
                    return Err("its feed is missing, or another line has its event_id or its number".into());
                }
            }
        }
        Ok(())
    }
}

/// Returns the keys of an event.
pub fn identity(event: &Event) -> Identity {
    Identity {
        event_id: event.event_id().into(),
        ts: event.ts(),
        origin: event.origin().map(origin),
    }
}
