//! Following a stream, from a message on, for ever. A consumer that fails is created again.
use axum::body::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};

use crate::nats::{
    link::Link,
    message::{self, Content},
};

/// Delay before a consumer is created again.
const RETRY: Duration = Duration::from_millis(500);

/// A message of the stream.
#[derive(Debug)]
pub struct Delivery {
    /// Its number.
    pub seq: u64,
    subject: String,
    received: Option<String>,
    payload: Bytes,
}

impl Delivery {
    /// Reads it; returns it with the time of receipt.
    ///
    /// # Errors
    /// The reason why no relay wrote it.
    pub fn read(&self, stream: &str) -> Result<(Timestamp, Content), String> {
        let delivered = message::Delivered {
            subject: &self.subject,
            received: self.received.as_deref(),
            payload: &self.payload,
        };
        delivered.read(stream)
    }
}

/// Delivers all messages from this number on, until the receiver is gone.
pub async fn follow(link: Link, mut next: u64, sender: mpsc::Sender<Delivery>) {
    loop {
        // A consumer that has delivered nothing begins at the first message of the stream when it reconnects.
        let from = next.saturating_sub(1).max(1);
        match link.follow(from).await {
            Err(why) => tracing::warn!("cannot follow the stream: {why}"),
            Ok(mut messages) => {
                while let Some(message) = messages.next().await {
                    let delivery = message.map_err(|error| error.to_string()).and_then(read);
                    let delivery = match delivery {
                        Ok(delivery) => delivery,
                        Err(why) => {
                            tracing::warn!("following the stream again: {why}");
                            break;
                        }
                    };
                    if delivery.seq < next {
                        continue;
                    }
                    next = delivery.seq + 1;
                    if sender.send(delivery).await.is_err() {
                        return;
                    }
                }
            }
        }
        sleep(RETRY).await;
    }
}

fn read(message: async_nats::jetstream::Message) -> Result<Delivery, String> {
    let seq = message.info().map_err(|error| error.to_string())?.stream_sequence;
    let headers = message.message.headers.as_ref();
    let received = headers.and_then(|headers| headers.get(message::RECEIVED));
    Ok(Delivery {
        seq,
        received: received.map(|value| value.as_str().to_owned()),
        subject: message.message.subject.to_string(),
        payload: message.message.payload,
    })
}
