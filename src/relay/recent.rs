//! PURE: the newest events in memory, for listeners.
use std::collections::VecDeque;

use super::message::Message;

/// Maximum size of the newest events in memory, for listeners, in bytes.
const RECENT: usize = 16 << 20;

/// The newest events, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Recent {
    events: VecDeque<(u64, Message)>,
    bytes: usize,
}

impl Recent {
    /// Returns the event with this number.
    pub fn get(&self, seq: u64) -> Option<Message> {
        let at = self.events.binary_search_by_key(&seq, |(number, _)| *number).ok()?;
        Some(self.events[at].1.clone())
    }

    /// Adds an event with a greater number.
    pub fn push(&mut self, seq: u64, message: Message) {
        self.bytes += message.length();
        self.events.push_back((seq, message));
        while self.bytes > RECENT {
            let Some((_, oldest)) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.length();
        }
    }
}
