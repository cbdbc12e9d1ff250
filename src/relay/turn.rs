//! Turns of relays that write to the same stream.
//!
//! The stream stores the messages of the relay that comes first. The others are refused, and have to copy those messages
//! before they may write. A relay that has just written needs no such copy, so it would be first again and again.
//!
//! A relay that was refused therefore asks the others for a turn, with a message that the stream does not store. A relay that
//! has not been refused itself waits before its next messages, until it has copied one of another relay, or for [`TURN`]. Turns
//! only divide the time: if such a message is lost, the relay that was refused asks again.
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Duration, Instant, timeout};

use crate::{
    nats::link::{Link, LinkError},
    uuid,
};

/// Maximum time for which a relay that was asked waits: the other one may have been killed.
const TURN: Duration = Duration::from_millis(200);

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
        })
    }

    /// Asks the other relays for a turn.
    pub async fn ask(&self) {
        let sent = self.link.send_plain(self.subject.clone(), self.name.clone());
        match timeout(TURN, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!("cannot ask the other relays for a turn: {why}"),
            Err(_) => tracing::debug!("cannot ask the other relays for a turn in time"),
        }
    }

    /// Waits until another relay asks for a turn, and gives it one.
    pub async fn asked(&mut self) {
        match self.requests.next().await {
            Some(request) => self.give(&request),
            // The connection has ended, which other operations report.
            None => std::future::pending().await,
        }
    }

    /// Returns the end of the turn of another relay, if there is one.
    pub fn given_until(&mut self) -> Option<Instant> {
        while let Some(Some(request)) = self.requests.next().now_or_never() {
            self.give(&request);
        }
        self.given_until.filter(|end| Instant::now() < *end)
    }

    /// Ends the turn of another relay, because one has written.
    pub fn end(&mut self) {
        // One that still waits asks again.
        while let Some(Some(_)) = self.requests.next().now_or_never() {}
        self.given_until = None;
    }

    fn give(&mut self, request: &async_nats::Message) {
        if request.payload != self.name.as_bytes() {
            self.given_until = Some(Instant::now() + TURN);
        }
    }
}
