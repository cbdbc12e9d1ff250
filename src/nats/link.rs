//! Connection to a stream: opening, publishing in order, and following.
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Subscriber,
    connection::State,
    header::{NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID},
    jetstream::{
        self, Context,
        consumer::{DeliverPolicy, push},
        context::{PublishAckFuture, PublishErrorKind},
        stream::Stream,
    },
};
use axum::body::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use super::{address::Address, config, message};

/// Time for an answer of the servers.
const ANSWER: Duration = Duration::from_secs(5);
/// Interval of pings that detect a dead connection.
const PING: Duration = Duration::from_secs(10);
/// Maximum number of messages without an acknowledgement.
const IN_FLIGHT: usize = 4096;
/// Room for the headers and the subject of a message, in bytes.
pub const HEADERS: usize = 2048;

/// Settings of a connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers and the stream.
    pub address: Address,
    /// File with credentials (JWT and key).
    pub credentials: Option<PathBuf>,
    /// Number of replicas of the stream, if it is to be created; the right number, if it exists.
    pub replicas: Option<usize>,
    /// Creates the stream if it is missing.
    pub creates: bool,
}

/// Error of opening a stream.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The servers cannot be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// The servers refuse the user.
    #[error("{servers} refuses {}: {problem}", user(.credentials.as_deref()))]
    Refused {
        /// URLs of the servers.
        servers: String,
        /// File with the user's credentials.
        credentials: Option<PathBuf>,
        /// Reason of the servers.
        problem: String,
    },
    /// JetStream does not answer, or refuses.
    #[error("the stream {0} cannot be used: {1}")]
    JetStream(String, String),
    /// The stream may lose messages.
    #[error("the stream {0} cannot be used, because it may lose or change messages: {1}")]
    Unsuitable(String, String),
}

/// A stream that is open.
#[derive(Debug, Clone)]
pub struct Link {
    client: Client,
    context: Context,
    stream: Stream,
    name: String,
    identity: String,
}

/// Message to be published.
#[derive(Debug)]
pub struct Outgoing {
    /// Its number in the stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its `Nats-Msg-Id`: the stream does not store another message with it for some minutes.
    pub id: String,
    /// Time of receipt.
    pub received: Timestamp,
    /// Its content.
    pub payload: Bytes,
}

/// Result of publishing messages.
#[derive(Debug)]
pub struct Published {
    /// Number of messages, from the first one, that are stored.
    pub complete: usize,
    /// Numbers of further messages that are stored. What is before them may be from another relay.
    pub later: Vec<u64>,
    /// Reason for which the others are not, as far as is known.
    pub end: End,
}

/// Reason for which no more messages were stored.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// All are stored.
    Complete,
    /// The stream has other messages than the writer knows.
    Moved,
    /// There is no answer, or an error. The messages may be stored nevertheless.
    Lost(String),
}

impl Link {
    /// Connects to the servers.
    ///
    /// # Errors
    /// [`LinkError::Connect`]
    pub async fn connect(settings: &Settings) -> Result<Client, LinkError> {
        let servers = settings.address.servers.join(",");
        let failed = |error: String| LinkError::Connect(servers.clone(), error);
        let mut options = ConnectOptions::new()
            .name("stargate-mirror")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(PING)
            .event_callback(|event| async move { report(&event) });
        if let Some(file) = &settings.credentials {
            let read = options.credentials_file(file).await;
            options = read.map_err(|error| failed(format!("{}: {error}", file.display())))?;
        }
        let connecting = options.connect(settings.address.servers.clone());
        connecting.await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => LinkError::Refused {
                servers: servers.clone(),
                credentials: settings.credentials.clone(),
                problem: with_causes(&error),
            },
            _ => failed(with_causes(&error)),
        })
    }

    /// Connects, and opens the stream.
    ///
    /// # Errors
    /// [`LinkError`]
    pub async fn open(settings: &Settings) -> Result<Self, LinkError> {
        let name = settings.address.stream.clone();
        let client = Link::connect(settings).await?;
        let context = jetstream::ContextBuilder::new()
            .timeout(ANSWER)
            .max_ack_inflight(IN_FLIGHT)
            .build(client.clone());
        let failed = |error: String| LinkError::JetStream(name.clone(), error);
        let stream = if settings.creates {
            let new = config::new(&name, settings.replicas.unwrap_or(1));
            context
                .get_or_create_stream(new)
                .await
                .map_err(|error| failed(with_causes(&error)))?
        } else {
            context
                .get_stream(&name)
                .await
                .map_err(|error| failed(with_causes(&error)))?
        };
        let info = stream.cached_info();
        config::check(&info.config, settings.replicas).map_err(|rule| LinkError::Unsuitable(name.clone(), rule))?;
        let identity = format!("{name} {}", info.created.unix_timestamp_nanos());
        Ok(Link {
            client,
            context,
            stream,
            name,
            identity,
        })
    }

    /// Name of the stream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream, for consumers.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends a request, and waits for the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn request(&self, subject: String, text: &'static str) -> Result<(), String> {
        let answered = timeout(ANSWER, self.client.request(subject, text.into())).await;
        let answer = answered.map_err(|_| NO_ANSWER.to_owned())?;
        answer.map(drop).map_err(|error| with_causes(&error))
    }

    /// Subscribes to messages that the stream does not store.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn subscribe(&self, subject: String) -> Result<Subscriber, LinkError> {
        let subscribed = self.client.subscribe(subject).await;
        subscribed.map_err(|error| LinkError::JetStream(self.name.clone(), with_causes(&error)))
    }

    /// Sends a message that the stream does not store, and waits for nothing.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send_plain(&self, subject: String, text: String) -> Result<(), String> {
        let sent = self.client.publish(subject, text.into()).await;
        sent.map_err(|error| with_causes(&error))
    }

    /// Text that differs from that of any other stream, even one with the same name.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Maximum size of an event, in bytes.
    pub fn max_event(&self) -> usize {
        self.client.server_info().max_payload.saturating_sub(HEADERS)
    }

    /// Returns the number of the last message.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn last_seq(&self) -> Result<u64, String> {
        let asked = timeout(ANSWER, self.stream.get_info()).await;
        let info = asked.map_err(|_| "no answer arrived in time".to_owned())?;
        Ok(info.map_err(|error| with_causes(&error))?.state.last_sequence)
    }

    /// Publishes messages with consecutive numbers, all at once, and waits until they are stored. Each is stored only behind the
    /// one before it: a message of another relay in between stops them.
    pub async fn publish(&self, messages: impl Iterator<Item = Outgoing>) -> Published {
        // Messages would be kept, and sent once there is a connection again.
        if self.client.connection_state() != State::Connected {
            return stored(
                Vec::new(),
                Instant::now(),
                Some("the connection to NATS is lost".into()),
            )
            .await;
        }
        let deadline = Instant::now() + ANSWER;
        let (mut pending, mut before) = (Vec::new(), None);
        for message in messages {
            let (seq, id) = (message.seq, message.id.clone());
            let sent = timeout_at(deadline, self.send(message, before.replace(id))).await;
            match sent {
                Ok(Ok(ack)) => pending.push((seq, ack)),
                Ok(Err(why)) => return stored(pending, deadline, Some(why)).await,
                Err(_) => return stored(pending, deadline, Some(NO_ANSWER.into())).await,
            }
        }
        stored(pending, deadline, None).await
    }

    /// Sends a message, which is stored only behind the one with the id `before`.
    async fn send(&self, message: Outgoing, before: Option<String>) -> Result<PublishAckFuture, String> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.name.as_str());
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (message.seq - 1).to_string());
        headers.insert(message::RECEIVED, format!("{:.3}", message.received));
        headers.insert(NATS_MESSAGE_ID, message.id);
        if let Some(before) = before {
            headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, before);
        }
        let sent = self
            .context
            .publish_with_headers(message.subject, headers, message.payload);
        sent.await.map_err(|error| with_causes(&error))
    }

    /// Follows the stream with an ordered consumer, from the message with this number on.
    ///
    /// # Errors
    /// The consumer cannot be created.
    pub async fn follow(&self, seq: u64) -> Result<push::Ordered, String> {
        let consumer = push::OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: seq },
            ..push::OrderedConfig::default()
        };
        let created = timeout(ANSWER, self.stream.create_consumer(consumer)).await;
        let consumer = created
            .map_err(|_| NO_ANSWER.to_owned())?
            .map_err(|error| with_causes(&error))?;
        consumer.messages().await.map_err(|error| with_causes(&error))
    }
}

const NO_ANSWER: &str = "no answer arrived in time";

/// Waits for the acknowledgements of messages. `not_sent` is the reason for which more were not sent.
async fn stored(pending: Vec<(u64, PublishAckFuture)>, deadline: Instant, not_sent: Option<String>) -> Published {
    let (mut complete, mut later, mut problem) = (0, Vec::new(), None);
    for (seq, ack) in pending {
        let end = match timeout_at(deadline, ack).await {
            Ok(Ok(ack)) if ack.sequence == seq && !ack.duplicate => {
                match problem {
                    None => complete += 1,
                    Some(_) => later.push(seq),
                }
                continue;
            }
            Ok(Ok(_)) => End::Moved,
            Ok(Err(error)) if is_refused(error.kind()) => End::Moved,
            Ok(Err(error)) => End::Lost(with_causes(&error)),
            Err(_) => End::Lost(NO_ANSWER.into()),
        };
        // The first problem is the cause of the others.
        problem.get_or_insert(end);
    }
    Published {
        complete,
        later,
        end: problem.or(not_sent.map(End::Lost)).unwrap_or(End::Complete),
    }
}

/// Returns true if the stream has another last message than the publisher expects.
fn is_refused(kind: PublishErrorKind) -> bool {
    [
        PublishErrorKind::WrongLastSequence,
        PublishErrorKind::WrongLastMessageId,
    ]
    .contains(&kind)
}

/// Describes the user with these credentials.
fn user(credentials: Option<&Path>) -> String {
    match credentials {
        Some(file) => format!("the credentials in {}", file.display()),
        None => "a connection without credentials".into(),
    }
}

fn report(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        event => tracing::warn!("NATS: {event}"),
    }
}

/// Formats an error with all of its causes.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
