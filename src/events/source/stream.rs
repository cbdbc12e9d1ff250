//! Following feeds in a stream of NATS JetStream directly, without a relay.
//!
//! Each feed has a durable consumer, whose name is that of this mirror and of the branch and feed. Its position is behind the
//! last event that is on the remote: an event is acknowledged after the push. At the start, and after each lost connection, the
//! consumer is created again at its position, so that everything behind that is delivered once more. What this process has
//! already is skipped; what is committed already is ignored by the committer.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, mpsc as channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_nats::jetstream::{
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    context::ConsumerInfoErrorKind,
};
use durable::{
    clock::{Clock, SystemClock},
    retry::RetryPolicy,
};
use futures_util::StreamExt;
use git_push::{Error, ErrorKind};
use ring::digest::{SHA256, digest};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{Arrival, Cursor};
use crate::{
    event::Problem,
    events::inbox::{Closed, Sender},
    nats::{
        link::{Link, LinkError, Settings, with_causes},
        message::{self, Content, Delivered, Kind},
    },
};

/// Delays between connections.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    initial_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(30),
};
/// Maximum number of events that are handed over together.
const CHUNK: usize = 64;
/// Time without a sign of life after which a consumer is created again.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Time for an answer of the servers.
const ANSWER: Duration = Duration::from_secs(5);
/// Time after which an event without an acknowledgement is delivered again, to the same process.
const ACK_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A stream that is open, and the feeds to follow.
pub struct Source {
    runtime: Runtime,
    reader: Reader,
    feeds: Vec<String>,
}

/// Acknowledges events that are on the remote.
pub struct Acknowledger(mpsc::UnboundedSender<Acknowledgement>);

/// Acknowledgement of all events of a feed up to a number.
struct Acknowledgement {
    feed: String,
    seq: u64,
    done: oneshot::Sender<Result<(), String>>,
}

#[derive(Clone)]
struct Reader {
    link: Link,
    /// Name of this mirror and of the branch.
    name: String,
    deliveries: Deliveries,
}

/// Addresses for the acknowledgements of events of each feed, by their numbers.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Addresses>>);

/// Numbers and addresses, by feed.
type Addresses = HashMap<String, VecDeque<(u64, String)>>;

/// Reason for the end of a connection.
enum End {
    Failed(String),
    Closed,
}

impl Source {
    /// Connects to the servers, and opens the stream, which must exist.
    ///
    /// # Errors
    /// The stream cannot be opened.
    pub fn open(settings: &Settings, feeds: &[String], name: String) -> Result<Self, LinkError> {
        let failed = |error: std::io::Error| LinkError::Connect(settings.address.servers.join(","), error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let link = runtime.block_on(Link::open(settings))?;
        Ok(Source {
            runtime,
            reader: Reader {
                link,
                name,
                deliveries: Deliveries::default(),
            },
            feeds: feeds.to_owned(),
        })
    }

    /// Follows the feeds on a thread until the inbox is closed; with `once`, until the events are read that are there now. The
    /// connection ends with the acknowledger.
    pub fn start(self, sender: Sender<Arrival>, once: bool) -> (JoinHandle<Result<(), Error>>, Acknowledger) {
        let Source { runtime, reader, feeds } = self;
        let (ended, ends) = channel::channel();
        for feed in feeds {
            let (reader, sender, ended) = (reader.clone(), sender.clone(), ended.clone());
            runtime.spawn(async move {
                let result = reader.follow(&feed, sender, once).await;
                // The receiver waits for all.
                let _ = ended.send(result);
            });
        }
        drop(ended);
        let (acknowledger, acknowledgements) = mpsc::unbounded_channel();
        thread::spawn(move || runtime.block_on(reader.acknowledge(acknowledgements)));
        let source = thread::spawn(move || {
            // Keeps the inbox open until all followers have ended.
            let _sender = sender;
            ends.iter().fold(Ok(()), Result::and)
        });
        (source, Acknowledger(acknowledger))
    }
}

impl Acknowledger {
    /// Acknowledges the events of a feed up to this number.
    ///
    /// # Errors
    /// There is no answer.
    pub fn acknowledge(&self, feed: &str, seq: u64) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let feed = feed.to_owned();
        let gone = || "the connection to NATS has ended".to_owned();
        self.0.send(Acknowledgement { feed, seq, done }).map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?
    }
}

impl Reader {
    /// Follows a feed until the inbox is closed; with `once`, until the events are read that are there now.
    async fn follow(&self, feed: &str, sender: Sender<Arrival>, once: bool) -> Result<(), Error> {
        let clock = SystemClock::default();
        let (mut next, mut failures) = (0, 0);
        loop {
            let before = next;
            match self.connection(feed, &sender, &mut next, once).await {
                Ok(()) | Err(End::Closed) => return Ok(()),
                Err(End::Failed(why)) => {
                    if next > before {
                        failures = 0;
                    }
                    let delay = RETRY.delays(|| clock.random()).nth(failures).unwrap_or(RETRY.max_delay);
                    failures += 1;
                    let error = Error::new(
                        ErrorKind::Transient,
                        format!("cannot read the stream {}: {why}", self.link.name()),
                    );
                    if once {
                        return Err(error);
                    }
                    tracing::warn!(feed, retry_s = delay.as_secs_f32(), "{error}");
                    sleep(delay).await;
                }
            }
        }
    }

    /// Hands over events from the consumer's position on, but for those before `next`.
    async fn connection(&self, feed: &str, sender: &Sender<Arrival>, next: &mut u64, once: bool) -> Result<(), End> {
        let consumer = self.consumer(feed).await?;
        if once && consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        tracing::info!(feed, stream = self.link.name(), "following the feed");
        let stream = consumer.stream().max_messages_per_batch(CHUNK).heartbeat(HEARTBEAT);
        let messages = stream.messages().await.map_err(|error| failed(&error))?;
        let mut chunks = messages.ready_chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            let (mut arrivals, mut is_last) = (Vec::new(), false);
            for message in chunk {
                let message = message.map_err(|error| failed(&error))?;
                let info = message.info().map_err(|error| End::Failed(error.to_string()))?;
                let (seq, reply) = (info.stream_sequence, message.message.reply.as_ref());
                is_last = info.pending == 0;
                self.deliveries.add(feed, seq, reply.map(ToString::to_string));
                if seq >= *next {
                    *next = seq + 1;
                    arrivals.push(self.arrival(feed, seq, &message.message));
                }
            }
            hand_over(sender, arrivals).await?;
            if once && is_last {
                return Ok(());
            }
        }
        Err(End::Failed("the consumer has ended".into()))
    }

    /// Creates the consumer of a feed again, at its position.
    async fn consumer(&self, feed: &str) -> Result<Consumer<pull::Config>, End> {
        let stream = self.link.stream();
        let name = format!("{}-{}", self.name, short_hash(feed));
        let position = match stream.consumer_info(&name).await {
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => 0,
            Err(error) => return Err(failed(&error)),
            Ok(info) => {
                // A consumer that exists cannot get another start.
                let deleted = timeout(ANSWER, stream.delete_consumer(&name)).await;
                deleted.map_err(|_| no_answer())?.map_err(|error| failed(&error))?;
                info.ack_floor.stream_sequence
            }
        };
        let config = pull::Config {
            durable_name: Some(name),
            description: Some(format!("a mirror's position in the feed {feed}")),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: position + 1,
            },
            ack_policy: AckPolicy::All,
            ack_wait: ACK_WAIT,
            max_ack_pending: -1,
            filter_subject: message::subject(self.link.name(), Kind::Event, feed),
            ..pull::Config::default()
        };
        self.deliveries.clear(feed);
        let created = timeout(ANSWER, stream.create_consumer(config)).await;
        created.map_err(|_| no_answer())?.map_err(|error| failed(&error))
    }

    /// Reads a message. One that no relay wrote is malformed.
    fn arrival(&self, feed: &str, seq: u64, message: &async_nats::Message) -> Arrival {
        let received = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(message::RECEIVED));
        let delivered = Delivered {
            subject: &message.subject,
            received: received.map(|value| value.as_str()),
            payload: &message.payload,
        };
        match delivered.read(self.link.name()) {
            Ok((_, Content::Event(_))) => Arrival::of_feed(feed, &message.payload, Some(seq)),
            read => {
                let problem = read.err().unwrap_or_else(|| "it is not an event".into());
                let problem = Problem {
                    field: String::new(),
                    problem: format!("is message {seq} of the stream, which was not written by a relay: {problem}"),
                };
                let mut arrival = Arrival::malformed(message.payload.to_vec(), problem);
                arrival.cursor = Some(Cursor {
                    feed: feed.to_owned(),
                    sequence: seq,
                    event_id: None,
                });
                arrival
            }
        }
    }

    async fn acknowledge(self, mut acknowledgements: mpsc::UnboundedReceiver<Acknowledgement>) {
        while let Some(Acknowledgement { feed, seq, done }) = acknowledgements.recv().await {
            let result = match self.deliveries.last_up_to(&feed, seq) {
                None => Ok(()),
                Some(reply) => self.link.request(reply, "+ACK").await,
            };
            if result.is_ok() {
                self.deliveries.remove_up_to(&feed, seq);
            }
            // The pushing thread may have ended.
            let _ = done.send(result);
        }
    }
}

impl Deliveries {
    fn of<T>(&self, feed: &str, change: impl FnOnce(&mut VecDeque<(u64, String)>) -> T) -> T {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(feeds.entry(feed.to_owned()).or_default())
    }

    fn add(&self, feed: &str, seq: u64, reply: Option<String>) {
        self.of(feed, |replies| replies.extend(reply.map(|reply| (seq, reply))));
    }

    fn clear(&self, feed: &str) {
        self.of(feed, VecDeque::clear);
    }

    fn last_up_to(&self, feed: &str, seq: u64) -> Option<String> {
        self.of(feed, |replies| {
            let end = replies.partition_point(|(number, _)| *number <= seq);
            Some(replies.get(end.checked_sub(1)?)?.1.clone())
        })
    }

    fn remove_up_to(&self, feed: &str, seq: u64) {
        self.of(feed, |replies| {
            let end = replies.partition_point(|(number, _)| *number <= seq);
            replies.drain(..end);
        });
    }
}

/// Hands events over on another thread: that blocks while the inbox is full.
async fn hand_over(sender: &Sender<Arrival>, arrivals: Vec<Arrival>) -> Result<(), End> {
    let sender = sender.clone();
    let handed_over = tokio::task::spawn_blocking(move || {
        arrivals.into_iter().try_for_each(|arrival| {
            let bytes = arrival.bytes;
            sender.send(arrival, bytes)
        })
    });
    match handed_over.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Closed)) => Err(End::Closed),
        Err(error) => Err(End::Failed(error.to_string())),
    }
}

/// Returns text of 16 letters and digits for any text: names of consumers are short.
pub fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> End {
    End::Failed(with_causes(error))
}

fn no_answer() -> End {
    End::Failed("no answer arrived in time".into())
}
