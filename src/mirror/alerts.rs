//! Alerts about a mirror: which ones are due at the end of a cycle.
//!
//! A [`Condition`] holds or does not hold. Each channel hears of it twice: once when it begins (*firing*), and once when it has
//! ended (*resolved*). The memory has what each channel was told last. So an alert that was not delivered is due again, and a
//! condition that ended before anyone heard of it is never reported.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Time for which alerts that a process is sending are left to it, in seconds. After that, they are due again.
pub const CLAIM: i64 = 120;

/// Trouble with a mirror that an operator wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The oldest pending entry is too old.
    Stale,
    /// The mirror has something that would be overwritten.
    Diverged,
    /// The mirror's server rejects refs.
    Refused,
    /// The settings must be corrected, or no cycle can run.
    Misconfigured,
    /// The token ends soon, or has ended.
    Token,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 5] = [
        Condition::Stale,
        Condition::Diverged,
        Condition::Refused,
        Condition::Misconfigured,
        Condition::Token,
    ];

    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Stale => "stale",
            Condition::Diverged => "diverged",
            Condition::Refused => "refused",
            Condition::Misconfigured => "misconfigured",
            Condition::Token => "token",
        }
    }
}

/// Way in which alerts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertChannel {
    /// A program gets them on standard input.
    Command,
    /// They are posted to a URL.
    Url,
}

impl AlertChannel {
    /// Returns the setting.
    pub fn key(self) -> &'static str {
        match self {
            AlertChannel::Command => "stargate.alertCommand",
            AlertChannel::Url => "stargate.alertUrl",
        }
    }
}

/// What an alert says about its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It has ended.
    Resolved,
}

impl AlertState {
    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        }
    }
}

/// An alert that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// The channel that has not heard of it.
    pub channel: AlertChannel,
    /// Its condition.
    pub condition: Condition,
    /// The news.
    pub state: AlertState,
    /// Begin of the condition, in seconds since the epoch.
    pub since: i64,
}

/// State of a condition at the end of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It holds. It began then, in seconds since the epoch, unless an earlier cycle has found it already.
    Holds(i64),
    /// It does not hold.
    Ended,
    /// The cycle could not find out.
    Unknown,
}

/// What is remembered between cycles. Times are in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMemory {
    /// The conditions that hold, and their begins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    since: BTreeMap<Condition, i64>,
    /// For each channel the conditions that it believes to hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<AlertChannel, BTreeMap<Condition, i64>>,
    /// End of the time in which a process sends alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending_until: Option<i64>,
}

impl AlertMemory {
    /// Returns true if there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == AlertMemory::default()
    }

    /// Records which conditions hold.
    pub fn observe(&mut self, observed: impl IntoIterator<Item = (Condition, Observed)>) {
        for (condition, observed) in observed {
            match observed {
                Observed::Holds(since) => {
                    self.since.entry(condition).or_insert(since);
                }
                Observed::Ended => {
                    self.since.remove(&condition);
                }
                Observed::Unknown => {}
            }
        }
    }

    /// Returns the alerts that these channels have not heard of. Returns none while another process is sending them.
    pub fn due(&self, channels: &[AlertChannel], now: i64) -> Vec<Alert> {
        // A longer time means that the clock was wrong.
        let left = self.sending_until.map_or(0, |until| until.saturating_sub(now));
        if (1..=CLAIM).contains(&left) {
            return Vec::new();
        }
        let each = channels
            .iter()
            .flat_map(|channel| Condition::ALL.map(|condition| (*channel, condition)));
        each.filter_map(|(channel, condition)| self.alert(channel, condition))
            .collect()
    }

    fn alert(&self, channel: AlertChannel, condition: Condition) -> Option<Alert> {
        let told = self.told.get(&channel).and_then(|told| told.get(&condition));
        let (state, since) = match (self.since.get(&condition), told) {
            (Some(since), None) => (AlertState::Firing, since),
            (None, Some(since)) => (AlertState::Resolved, since),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Alert {
            channel,
            condition,
            state,
            since: *since,
        })
    }

    /// Leaves the alerts to this process until [`release()`](Self::release), at most for [`CLAIM`].
    pub fn claim(&mut self, now: i64) {
        self.sending_until = Some(now.saturating_add(CLAIM));
    }

    /// Ends the claim of this process, which has delivered these alerts.
    pub fn release(&mut self, delivered: &[Alert]) {
        self.sending_until = None;
        for alert in delivered {
            let told = self.told.entry(alert.channel).or_default();
            if alert.state == AlertState::Firing {
                told.insert(alert.condition, alert.since);
            } else {
                told.remove(&alert.condition);
            }
        }
        self.told.retain(|_, told| !told.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const CHANNELS: [AlertChannel; 2] = [AlertChannel::Command, AlertChannel::Url];

    /// A cycle: what it observed, the channels that are configured, and the channels that work.
    type Step = (Vec<(Condition, Observed)>, [bool; 2], [bool; 2]);

    fn step(now: i64) -> impl Strategy<Value = Step> {
        let observed = prop_oneof![
            3 => Just(Observed::Holds(now)),
            3 => Just(Observed::Ended),
            1 => Just(Observed::Unknown),
        ];
        let one = (select(Condition::ALL.to_vec()), observed);
        (prop::collection::vec(one, 0..4), any::<[bool; 2]>(), any::<[bool; 2]>())
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        (1..30_i64).prop_flat_map(|count| (0..count).map(|now| step(now * 60)).collect::<Vec<_>>())
    }

    fn chosen(are: [bool; 2]) -> Vec<AlertChannel> {
        let both = CHANNELS.into_iter().zip(are);
        both.filter_map(|(channel, is)| is.then_some(channel)).collect()
    }

    /// Ends a cycle, and returns the alerts that were delivered.
    fn cycle(memory: &mut AlertMemory, now: i64, (observed, configured, working): &Step) -> Vec<Alert> {
        memory.observe(observed.iter().copied());
        let working = chosen(*working);
        let due = memory.due(&chosen(*configured), now);
        let delivered: Vec<_> = due
            .into_iter()
            .filter(|alert| working.contains(&alert.channel))
            .collect();
        memory.claim(now);
        memory.release(&delivered);
        delivered
    }

    proptest! {
        #[test]
        fn firing_and_resolved_alternate_for_each_channel_and_condition(steps in steps()) {
            let mut memory = AlertMemory::default();
            let mut heard: BTreeMap<(AlertChannel, Condition), i64> = BTreeMap::new();
            for (step, now) in steps.iter().zip((0..).step_by(60)) {
                for alert in cycle(&mut memory, now, step) {
                    let key = (alert.channel, alert.condition);
                    let expected = match alert.state {
                        AlertState::Firing => heard.insert(key, alert.since).is_none(),
                        AlertState::Resolved => heard.remove(&key) == Some(alert.since),
                    };
                    prop_assert!(expected, "{alert:?} does not follow what the channel has heard");
                    prop_assert!(alert.since <= now);
                }
            }
        }

        #[test]
        fn once_everything_works_each_channel_knows_the_truth_and_hears_no_more(steps in steps()) {
            let mut memory = AlertMemory::default();
            let mut holds: BTreeMap<Condition, i64> = BTreeMap::new();
            for (step, now) in steps.iter().zip((0..).step_by(60)) {
                cycle(&mut memory, now, step);
                for (condition, observed) in &step.0 {
                    match observed {
                        Observed::Holds(since) => {
                            holds.entry(*condition).or_insert(*since);
                        }
                        Observed::Ended => {
                            holds.remove(condition);
                        }
                        Observed::Unknown => {}
                    }
                }
            }
            let working = (Vec::new(), [true; 2], [true; 2]);
            cycle(&mut memory, 9_000, &working);
            let known = |channel| memory.told.get(channel).cloned().unwrap_or_default();
            for channel in &CHANNELS {
                prop_assert!(known(channel).keys().eq(holds.keys()), "{channel:?}: {memory:?}");
            }
            prop_assert_eq!(cycle(&mut memory, 9_060, &working), []);
            let json = serde_json::to_string(&memory).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<AlertMemory>(&json).expect("a memory"), memory);
        }
    }

    #[test]
    fn an_alert_that_a_process_is_sending_is_left_to_it_for_a_while() {
        let mut memory = AlertMemory::default();
        memory.observe([(Condition::Stale, Observed::Holds(10))]);
        let due = memory.due(&CHANNELS, 100);
        assert_eq!(due.len(), 2);
        memory.claim(100);
        assert_eq!(memory.due(&CHANNELS, 100 + CLAIM - 1), []);
        assert_eq!(memory.due(&CHANNELS, 100 + CLAIM), due, "the process has died");
        assert_eq!(memory.due(&CHANNELS, 50), due, "the clock was set back");
        memory.release(&due[..1]);
        assert_eq!(memory.due(&CHANNELS, 101), due[1..]);
    }

    #[test]
    fn a_condition_that_ended_before_it_was_reported_is_not_reported() {
        let mut memory = AlertMemory::default();
        memory.observe([(Condition::Refused, Observed::Holds(10))]);
        memory.claim(10);
        memory.release(&[]);
        memory.observe([(Condition::Refused, Observed::Ended)]);
        assert_eq!(memory.due(&CHANNELS, 20), []);
        assert!(memory.is_empty());
    }
}
