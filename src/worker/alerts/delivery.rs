//! Delivery of alerts, in a thread of its own.
use std::{io, time::Duration};

use durable::clock::{Clock, SystemClock};
use serde::Serialize;

use super::{
    failure::Failure,
    findings::Finding,
    place::Place,
    post::{LONGEST_POST, Recipient},
    program::{self, LIMIT},
};
use crate::{
    config::AlertConfig,
    mirror::{Alert, AlertChannel, AlertMemory, AlertState, CLAIM, Condition, Fate},
    worker::{repository::Stargate, status::RepositoryStatus, watch::SharedEnvironment},
};

/// Longest wait for the lock after a delivery. Without it, delivered alerts are sent again.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// Time after which no further alert of a delivery is sent. The rest is due at the end of the next cycle.
const BUDGET: Duration = Duration::from_secs(60);

// A delivery ends before its claim.
const _: () = assert!(
    BUDGET.as_secs() + LONGEST_POST.as_secs() + LOCK_WAIT.as_secs() < CLAIM as u64
        && program::LIMIT.as_secs() < LONGEST_POST.as_secs()
);

/// Alerts to be delivered.
pub(super) struct Delivery {
    pub(super) messages: Vec<Message>,
    pub(super) place: Place,
    pub(super) config: AlertConfig,
    pub(super) environment: SharedEnvironment,
    /// Unique name of the delivery, which has claimed its alerts.
    pub(super) owner: String,
}

/// The mirror that alerts are about.
#[derive(Debug, Default)]
pub(super) struct About {
    /// Number of pending entries, if the status can be read.
    pub(super) pending: Option<u64>,
    /// Age of the oldest one, in seconds.
    pub(super) oldest_pending_age_s: Option<i64>,
    /// Its location, without secrets, if it was ever used.
    pub(super) remote: Option<String>,
}

impl About {
    /// Returns what is known of the mirror at this location, with its status if that can be read.
    pub(super) fn new(status: Option<&RepositoryStatus>, remote: Option<&str>) -> Self {
        let of_status = status.and_then(|status| status.remote.as_deref());
        About {
            pending: status.map(|status| status.pending),
            oldest_pending_age_s: status.and_then(|status| status.oldest_pending_age_s),
            remote: remote.or(of_status).map(str::to_owned),
        }
    }
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
    pub(super) fn new(alert: Alert, place: &Place, found: Option<&Finding>, about: &About) -> Self {
        let body = Body {
            alert: alert.condition,
            state: alert.state,
            repository: place.repository.display().to_string(),
            mirror: place.mirror.as_deref(),
            remote: about.remote.as_deref(),
            since: jiff::Timestamp::from_second(alert.since).ok(),
            pending: about.pending,
            oldest_pending_age_s: about.oldest_pending_age_s,
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
    /// Sends the alerts, and remembers those that arrived, or may have arrived.
    pub(super) fn run(&self) {
        let clock = SystemClock::default();
        let ends: Vec<(Alert, Fate)> = [AlertChannel::Command, AlertChannel::Url]
            .into_iter()
            .flat_map(|channel| self.by_channel(channel, &clock))
            .collect();
        let release = |memory: &mut AlertMemory| memory.release(&self.owner, &ends);
        let why = match self.place.change(LOCK_WAIT, release) {
            Ok(Some(())) => return,
            Ok(None) => "another process holds the lock".to_owned(),
            Err(error) => error.to_string(),
        };
        let (repository, mirror) = (self.place.repository.display(), self.place.mirror.as_deref());
        tracing::warn!(%repository, mirror, why, "cannot write down which alerts were sent; a later cycle sends them again");
    }

    /// Sends the alerts of a channel until it cannot be used or the time is over, and returns their ends.
    fn by_channel(&self, channel: AlertChannel, clock: &SystemClock) -> Vec<(Alert, Fate)> {
        let messages = self.messages.iter().filter(|message| message.alert.channel == channel);
        let mut messages = messages.peekable();
        if messages.peek().is_none() {
            return Vec::new();
        }
        let sender = self.sender(channel).map_err(Failure::not_sent);
        let mut ends = Vec::new();
        let mut is_over = false;
        for message in messages {
            if !is_over && clock.elapsed() >= BUDGET {
                let (repository, mirror) = (self.place.repository.display(), self.place.mirror.as_deref());
                tracing::warn!(%repository, mirror, by = channel.key(), "alerts take too long; the next cycle sends the rest");
                is_over = true;
            }
            if is_over {
                ends.push((message.alert, Fate::NotSent));
                continue;
            }
            let sent = sender
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|sender| sender.send(&message.body));
            self.log(&message.alert, &sent);
            is_over = sent.as_ref().is_err_and(|failure| failure.extent.ends_delivery());
            ends.push((
                message.alert,
                sent.map_or_else(|failure| failure.extent.fate(), |()| Fate::Arrived),
            ));
        }
        ends
    }

    fn log(&self, alert: &Alert, sent: &Result<(), Failure>) {
        let (repository, mirror) = (self.place.repository.display(), self.place.mirror.as_deref());
        let (condition, state, by) = (alert.condition.word(), alert.state.word(), alert.channel.key());
        match sent {
            Ok(()) => tracing::info!(%repository, mirror, alert = condition, state, by, "alert sent"),
            Err(Failure { why: error, .. }) => {
                tracing::warn!(%repository, mirror, alert = condition, state, by, %error, "an alert was not delivered; the next cycle retries");
            }
        }
    }

    /// Prepares a channel.
    fn sender(&self, channel: AlertChannel) -> Result<Sender<'_>, String> {
        let stargate = Stargate::open(&self.place.repository);
        let opened = stargate.as_ref().map(Stargate::repository);
        if self.config.is_of_repository {
            let of_folder = |_| gix::sec::Trust::from_path_ownership(&self.place.repository);
            check_owner(opened.map(gix::Repository::git_dir_trust).or_else(of_folder))?;
        }
        match (channel, &self.config.url) {
            (AlertChannel::Url, Some(url)) => {
                // An alert about a repository that cannot be opened must arrive nevertheless.
                let repository = opened.inspect_err(|error| {
                    tracing::warn!(repository = %self.place.repository.display(), %error, "its transport settings do not apply to stargate.alertUrl");
                });
                let key = self.config.secret_file.as_ref();
                Recipient::new(url, key, &*self.environment, repository.ok())
                    .map(|recipient| Sender::Url(Box::new(recipient)))
            }
            _ => Ok(Sender::Command(self)),
        }
    }
}

/// Checks that settings in the repository are those of the worker's user.
fn check_owner(trust: io::Result<gix::sec::Trust>) -> Result<(), String> {
    const ELSEWHERE: &str = "put them into the worker's own git configuration, or run the worker as that user";
    match trust {
        Ok(gix::sec::Trust::Full) => Ok(()),
        Ok(gix::sec::Trust::Reduced) => Err(format!(
            "its settings are in the repository of another user: {ELSEWHERE}"
        )),
        Err(error) => Err(format!(
            "its settings are in a repository whose owner cannot be found out ({error}): {ELSEWHERE}"
        )),
    }
}

/// A channel that is ready.
enum Sender<'a> {
    Command(&'a Delivery),
    Url(Box<Recipient>),
}

impl Sender<'_> {
    fn send(&self, body: &str) -> Result<(), Failure> {
        match self {
            Sender::Command(delivery) => {
                program::run(&delivery.config.command, &delivery.place.repository, body, LIMIT)
            }
            Sender::Url(recipient) => recipient.post(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_cannot_be_found_out_is_not_another_user() {
        assert_eq!(check_owner(Ok(gix::sec::Trust::Full)), Ok(()));
        let of_another = check_owner(Ok(gix::sec::Trust::Reduced)).expect_err("another user");
        assert!(of_another.contains("of another user"), "{of_another}");
        let unknown = check_owner(Err(io::Error::other("no answer"))).expect_err("unknown");
        assert!(unknown.contains("cannot be found out (no answer)"), "{unknown}");
        assert!(!unknown.contains("of another user"), "{unknown}");
    }
}
