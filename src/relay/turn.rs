//! Turns of relays that write to the same stream.
//!
//! The stream stores the messages of the relay that comes first. The others are refused, and have to copy those messages
//! before they may write. A relay that has just written needs no such copy, so it would be first again and again.
//!
//! A relay that was refused therefore asks the others for a turn, with a message that the stream does not store. It has the name
//! of the relay, and the number of the last message that the relay knows. A relay that has not been refused itself waits before
//! its next messages, until it has copied a later one of another relay, or for [`TURN`]. Turns only divide the time: if such a
//! message is lost, the relay that was refused asks again.
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Duration, Instant, timeout};

use crate::{
    nats::link::{Link, LinkError},
    uuid,
};

/// Maximum time for which a relay that was asked waits: the other one may have been killed.
const TURN: Duration = Duration::from_secs(1);

/// Turns of this relay and the others.
#[derive(Debug)]
pub struct Turns {
    link: Link,
    requests: async_nats::Subscriber,
    subject: String,
    /// Name of this relay, for the others.
    name: String,
    /// End of the turn of another relay.
    given_until: Option<Instant>,
    /// Number of the last message of another relay.
    last_of_others: u64,
}

impl Turns {
    /// Begins to listen for requests of the other relays.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open(link: Link) -> Result<Self, LinkError> {
        let subject = format!("{}.turn", link.name());
        let requests = link.subscribe(subject.clone()).await?;
        Ok(Turns {
            link,
            requests,
            subject,
            name: uuid::version_4(uuid::random()),
            given_until: None,
            last_of_others: 0,
        })
    }

    /// Asks the other relays for a turn. `last` is the number of the last message that this one knows.
    pub async fn ask(&self, last: u64) {
        let sent = self
            .link
            .send_plain(self.subject.clone(), format!("{} {last}", self.name));
        match timeout(TURN, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!("cannot ask the other relays for a turn: {why}"),
            Err(_) => tracing::debug!("cannot ask the other relays for a turn in time"),
        }
    }

    /// Waits until another relay asks for a turn, and gives it one.
    pub async fn asked(&mut self) {
        match self.requests.next().await {
            Some(request) => self.give(&request.payload),
            // The connection has ended, which other operations report.
            None => std::future::pending().await,
        }
    }

    /// Returns the end of the turn of another relay, if there is one.
    pub fn given_until(&mut self) -> Option<Instant> {
        while let Some(Some(request)) = self.requests.next().now_or_never() {
            self.give(&request.payload);
        }
        self.given_until.filter(|end| Instant::now() < *end)
    }

    /// Ends the turn of another relay, because one has written the message with this number.
    pub fn end(&mut self, seq: u64) {
        self.last_of_others = seq;
        self.given_until = None;
    }

    fn give(&mut self, request: &[u8]) {
        if wants_turn(request, &self.name, self.last_of_others) {
            self.given_until = Some(Instant::now() + TURN);
        }
    }
}

/// Returns true if another relay than this one asks for a turn, and no message of another relay has followed.
fn wants_turn(request: &[u8], name: &str, last_of_others: u64) -> bool {
    let request = std::str::from_utf8(request).ok();
    let Some((other, last)) = request.and_then(|request| request.split_once(' ')) else {
        return false;
    };
    other != name && last.parse::<u64>().is_ok_and(|last| last >= last_of_others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_for_other_relays_that_have_not_written_since() {
        assert!(wants_turn(b"b 7", "a", 0));
        assert!(wants_turn(b"b 7", "a", 7));
        for (request, last_of_others) in [
            (&b"a 7"[..], 0),
            (b"b 7", 8),
            (b"b", 0),
            (b"b x", 0),
            (b"b -1", 0),
            (b"\xff 7", 0),
            (b"", 0),
        ] {
            assert!(!wants_turn(request, "a", last_of_others), "{request:?}");
        }
    }
}
