//! PURE: the content of an event: the members that are compared when the event is delivered again.
use super::{Event, Json, SIGNATURE};

/// Members that only describe the delivery of an event.
const OF_DELIVERY: [&str; 3] = ["event_id", "feed_id", "ts"];

impl Event {
    /// Returns true if `other` has the same content: everything but `event_id`, `feed_id`, `ts` and `source.adapter_id`, in
    /// any order. Signatures cover these members, too. So two signatures may differ, but not one signed and one unsigned event.
    pub fn has_content_of(&self, other: &Event) -> bool {
        self.is_signed() == other.is_signed() && self.content().eq(other.content())
    }

    /// Members of the event and of its source that are content, sorted.
    fn content(&self) -> impl Iterator<Item = (&str, &Json)> {
        let members = self.members.sorted();
        let source = match self.members.get("source") {
            Some(Json::Object(source)) => Some(source.sorted()),
            _ => None,
        };
        let is_signed = self.is_signed();
        let own = members.filter(move |(name, _)| {
            *name != "source" && !OF_DELIVERY.contains(name) && !(is_signed && *name == SIGNATURE)
        });
        own.chain(source.into_iter().flatten().filter(|(name, _)| *name != "adapter_id"))
    }
}
