//! Delivery of alerts, in a thread of its own.
use std::time::Duration;

use serde::Serialize;

use super::{
    Place,
    findings::Finding,
    post::Recipient,
    program::{self, LIMIT},
};
use crate::{
    config::AlertConfig,
    mirror::{Alert, AlertChannel, AlertState, Condition},
    worker::{cycle_observer::EndedCycle, repository::Stargate, watch::SharedEnvironment},
};

/// Longest wait for the worker's lock after a delivery. Without it, delivered alerts are sent again.
const LOCK_WAIT: Duration = Duration::from_secs(15);

/// Alerts to be delivered.
pub(super) struct Delivery {
    pub(super) messages: Vec<Message>,
    pub(super) place: Place,
    pub(super) config: AlertConfig,
    pub(super) environment: SharedEnvironment,
}

/// An alert with its text.
#[derive(Debug)]
pub(super) struct Message {
    alert: Alert,
    /// JSON.
    body: String,
}

/// The JSON of an alert.
#[derive(Debug, Serialize)]
struct Body<'a> {
    alert: Condition,
    state: AlertState,
    repository: String,
    /// Name of the mirror among several.
    mirror: Option<&'a str>,
    /// Location of the mirror, without secrets.
    remote: Option<&'a str>,
    /// Begin of the condition.
    since: Option<jiff::Timestamp>,
    pending: Option<u64>,
    oldest_pending_age_s: Option<i64>,
    /// What is wrong, in the server's words if it explained it. Null if the condition has ended.
    reason: Option<&'a str>,
    /// Instruction for the operator. Null if the condition has ended.
    hint: Option<&'a str>,
}

impl Message {
    /// Creates the message about an alert, whose finding is none if its condition has ended.
    pub(super) fn new(alert: Alert, place: &Place, found: Option<&Finding>, ended: &EndedCycle<'_>) -> Self {
        let status = ended.status().ok();
        let report = ended.result.ok();
        let remote = place
            .remote
            .as_deref()
            .or(report.and_then(|report| report.remote.as_deref()));
        let body = Body {
            alert: alert.condition,
            state: alert.state,
            repository: place.repository.display().to_string(),
            mirror: place.mirror.as_deref(),
            remote: remote.or(status.and_then(|status| status.remote.as_deref())),
            since: jiff::Timestamp::from_second(alert.since).ok(),
            pending: status.map(|status| status.pending),
            oldest_pending_age_s: status.and_then(|status| status.oldest_pending_age_s),
            reason: found.and_then(|found| found.reason.as_deref()),
            hint: found.and_then(|found| found.hint.as_deref()),
        };
        Message {
            alert,
            body: serde_json::to_string(&body).expect("an alert is always JSON"),
        }
    }
}

impl Delivery {
    /// Sends the alerts, and remembers those that arrived.
    pub(super) fn run(&self) {
        let delivered: Vec<Alert> = [AlertChannel::Command, AlertChannel::Url]
            .into_iter()
            .flat_map(|channel| self.by_channel(channel))
            .collect();
        let remembered = self.place.change(LOCK_WAIT, |memory| memory.alerts.release(&delivered));
        let why = match remembered {
            Ok(Some(())) => return,
            Ok(None) => "another worker holds the lock".to_owned(),
            Err(error) => error.to_string(),
        };
        let (repository, mirror) = (self.place.repository.display(), self.place.mirror.as_deref());
        tracing::warn!(%repository, mirror, why, "cannot write down which alerts were sent; a later cycle sends them again");
    }

    /// Sends the alerts of a channel until one fails, and returns those that arrived.
    fn by_channel(&self, channel: AlertChannel) -> Vec<Alert> {
        let messages = self.messages.iter().filter(|message| message.alert.channel == channel);
        let mut messages = messages.peekable();
        if messages.peek().is_none() {
            return Vec::new();
        }
        let (repository, mirror) = (self.place.repository.display(), self.place.mirror.as_deref());
        let mut delivered = Vec::new();
        let sender = self.sender(channel);
        for Message { alert, body } in messages {
            let sent = sender
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|sender| sender.send(body));
            let (condition, state) = (alert.condition.word(), alert.state.word());
            let by = channel.key();
            if let Err(error) = sent {
                tracing::warn!(%repository, mirror, alert = condition, state, by, %error, "an alert was not delivered; the next cycle retries");
                break;
            }
            tracing::info!(%repository, mirror, alert = condition, state, by, "alert sent");
            delivered.push(*alert);
        }
        delivered
    }

    /// Prepares a channel.
    fn sender(&self, channel: AlertChannel) -> Result<Sender<'_>, String> {
        let stargate = Stargate::open(&self.place.repository);
        let repository = stargate.as_ref().ok().map(Stargate::repository);
        let is_trusted = repository.is_some_and(|repository| repository.git_dir_trust() == gix::sec::Trust::Full);
        if self.config.is_of_repository && !is_trusted {
            return Err("its settings are in the repository of another user: put them into the worker's own git configuration, or run the worker as that user".into());
        }
        match (channel, &self.config.url) {
            (AlertChannel::Url, Some(url)) => {
                let key = self.config.secret_file.as_ref();
                Recipient::new(url, key, &*self.environment, repository)
                    .map(|recipient| Sender::Url(Box::new(recipient)))
            }
            _ => Ok(Sender::Command(self)),
        }
    }
}

/// A channel that is ready.
enum Sender<'a> {
    Command(&'a Delivery),
    Url(Box<Recipient>),
}

impl Sender<'_> {
    fn send(&self, body: &str) -> Result<(), String> {
        match self {
            Sender::Command(delivery) => {
                program::run(&delivery.config.command, &delivery.place.repository, body, LIMIT)
            }
            Sender::Url(recipient) => recipient.post(body),
        }
    }
}
