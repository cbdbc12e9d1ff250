//! What a log says when it is read again: the index, and what is wrong.
use super::{
    index::{Identity, Index, Record, origin},
    line::{self, Content, MAX_LINE},
};
use crate::{
    event::Event,
    journal::{Line, Repair, log::Place},
};

/// So many problems of a log are told one by one.
const MAX_REPORTED: usize = 20;

/// What was found when a store was opened.
#[derive(Debug, Default)]
pub struct Found {
    /// What was repaired.
    pub repaired: Option<Repair>,
    /// What is no line of ours, or a second one of the same: the first few, told.
    pub problems: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// How many feeds there are.
    pub feeds: usize,
    /// How many events there are.
    pub events: usize,
}

/// What a log says, line by line.
#[derive(Debug, Default)]
pub struct Replay {
    index: Index,
    found: Found,
}

impl Replay {
    /// Takes a line of the file of this number.
    pub fn take(&mut self, file: u32, line: &Line<'_>) {
        let taken = match line.bytes {
            Some(bytes) if bytes.iter().all(|byte| *byte == b' ') => return,
            Some(bytes) => line::parse(bytes).and_then(|parsed| self.add(file, line.offset, bytes.len(), parsed)),
            None => Err(format!("it is longer than {MAX_LINE} bytes")),
        };
        let Err(problem) = taken else { return };
        // Listeners may have had this number: it is not given again.
        if let Some(seq) = line.bytes.and_then(line::seq_of) {
            self.index.skip_to(seq);
        }
        if self.found.problems.len() == MAX_REPORTED {
            self.found.more += 1;
            return;
        }
        let (length, offset) = (line.length, line.offset);
        self.found.problems.push(format!(
            "{length} bytes at offset {offset} of file {file} are no line of a relay: {problem}"
        ));
    }

    /// The index, and what was found, beside what was repaired before.
    pub fn end(self, repaired: Option<Repair>) -> (Index, Found) {
        let Replay { index, mut found } = self;
        found.repaired = repaired;
        found.feeds = index.feeds().len();
        found.events = index.feeds().map(|(_, feed)| feed.len()).sum();
        (index, found)
    }

    fn add(&mut self, file: u32, offset: u64, length: usize, parsed: line::Parsed) -> Result<(), String> {
        match parsed.content {
            Content::Feed(feed) => self.index.add_feed(parsed.seq, &feed, parsed.received),
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
                // After a failed fsync the same line stands in two files.
                let known = self.index.feed(feed).and_then(|feed| feed.by_id(event.event_id()));
                if known.is_none_or(|known| known.seq != parsed.seq) {
                    return Err("its feed is not there, or its event_id or its number is that of another line".into());
                }
            }
        }
        Ok(())
    }
}

/// What an event is found by.
pub fn identity(event: &Event) -> Identity {
    Identity {
        event_id: event.event_id().into(),
        ts: event.ts(),
        origin: origin(event.origin()),
    }
}
