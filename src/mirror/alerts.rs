//! Alerts about a mirror: which ones are due at the end of a cycle.
//!
//! A [`Condition`] holds or does not hold. Each channel hears of it twice: once when it begins (*firing*), and once when it has
//! ended (*resolved*). The memory has what each channel was told last, and what it may have been told: a delivery can be killed,
//! or lose its answer. So an alert that was not delivered is due again, the end of a condition of which a channel may have heard
//! is reported, and a condition that ended before anyone can have heard of it is never reported.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Time for which alerts that a process is sending are left to it, in seconds. After that, they are due again. A delivery ends
/// before.
pub const CLAIM: i64 = 120;

/// Trouble with a mirror that an operator wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The oldest pending entry is too old, or a cycle does not end.
    Stale,
    /// The mirror has something that would be overwritten.
    Diverged,
    /// A ref or an object of the Stargate cannot be read, or is missing.
    Broken,
    /// The mirror's server rejects refs.
    Refused,
    /// The settings must be corrected, or no cycle can run.
    Misconfigured,
    /// The token ends soon, or has ended.
    Token,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 6] = [
        Condition::Stale,
        Condition::Diverged,
        Condition::Broken,
        Condition::Refused,
        Condition::Misconfigured,
        Condition::Token,
    ];

    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Stale => "stale",
            Condition::Diverged => "diverged",
            Condition::Broken => "broken",
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
    /// True if an earlier delivery may have told the channel that the condition holds.
    pub was_maybe_told: bool,
}

/// End of the attempt to deliver an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The channel has it.
    Arrived,
    /// Nothing was sent.
    NotSent,
    /// The channel may have it.
    Unknown,
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
    /// For each channel the conditions that it may believe to hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    maybe_told: BTreeMap<AlertChannel, BTreeMap<Condition, i64>>,
    /// The process that is sending alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
}

/// Right of one delivery to send what is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// Unique name of the delivery.
    owner: String,
    /// End of the right.
    until: i64,
}

impl AlertMemory {
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
        let left = self.claim.as_ref().map_or(0, |claim| claim.until.saturating_sub(now));
        if (1..=CLAIM).contains(&left) {
            return Vec::new();
        }
        let each = channels
            .iter()
            .flat_map(|channel| Condition::ALL.map(|condition| (*channel, condition)));
        each.filter_map(|(channel, condition)| self.alert(channel, condition))
            .collect()
    }

    /// Returns true if none of these channels has to hear anything, now or after a running delivery.
    pub fn is_over(&self, channels: &[AlertChannel]) -> bool {
        self.due(channels, i64::MAX).is_empty()
    }

    fn alert(&self, channel: AlertChannel, condition: Condition) -> Option<Alert> {
        let of = |told: &BTreeMap<AlertChannel, BTreeMap<Condition, i64>>| {
            told.get(&channel).and_then(|told| told.get(&condition)).copied()
        };
        let (told, maybe_told) = (of(&self.told), of(&self.maybe_told));
        let (state, since) = match (self.since.get(&condition), told) {
            (Some(since), None) => (AlertState::Firing, *since),
            (None, _) => (AlertState::Resolved, told.or(maybe_told)?),
            (Some(_), Some(_)) => return None,
        };
        Some(Alert {
            channel,
            condition,
            state,
            since,
            was_maybe_told: maybe_told.is_some(),
        })
    }

    /// Leaves these alerts to the delivery with this unique name until [`release()`](Self::release), at most for [`CLAIM`]. If it
    /// is killed, the channels may have heard of them.
    pub fn claim(&mut self, owner: &str, due: &[Alert], now: i64) {
        self.claim = Some(Claim {
            owner: owner.to_owned(),
            until: now.saturating_add(CLAIM),
        });
        for alert in due.iter().filter(|alert| alert.state == AlertState::Firing) {
            let maybe_told = self.maybe_told.entry(alert.channel).or_default();
            maybe_told.insert(alert.condition, alert.since);
        }
    }

    /// Records the ends of a delivery, and ends its claim. The claim of another one stays.
    pub fn release(&mut self, owner: &str, ends: &[(Alert, Fate)]) {
        let is_claimed = self.claim.as_ref().is_some_and(|claim| claim.owner == owner);
        if is_claimed {
            self.claim = None;
        }
        for (alert, fate) in ends {
            let told = self.told.entry(alert.channel).or_default();
            let maybe_told = self.maybe_told.entry(alert.channel).or_default();
            match (fate, alert.state) {
                (Fate::Arrived, AlertState::Firing) => {
                    told.insert(alert.condition, alert.since);
                    maybe_told.remove(&alert.condition);
                }
                (Fate::Arrived, AlertState::Resolved) => {
                    told.remove(&alert.condition);
                    maybe_told.remove(&alert.condition);
                }
                // Without the claim, the mark is that of the next delivery.
                (Fate::NotSent, AlertState::Firing) if is_claimed && !alert.was_maybe_told => {
                    maybe_told.remove(&alert.condition);
                }
                (Fate::NotSent | Fate::Unknown, _) => {}
            }
        }
        self.told.retain(|_, told| !told.is_empty());
        self.maybe_told.retain(|_, told| !told.is_empty());
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
        memory.claim("me", &due, now);
        let (delivered, failed): (Vec<_>, Vec<_>) = due.into_iter().partition(|alert| working.contains(&alert.channel));
        let ends = [all(&delivered, Fate::Arrived), all(&failed, Fate::NotSent)].concat();
        memory.release("me", &ends);
        delivered
    }

    fn all(alerts: &[Alert], fate: Fate) -> Vec<(Alert, Fate)> {
        alerts.iter().map(|alert| (*alert, fate)).collect()
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
        fn whoever_may_have_heard_of_trouble_hears_of_its_end(
            steps in steps(),
            // The end of each delivery, and whether the channel has heard of it.
            ends in prop::collection::vec(
                select(vec![(Fate::Arrived, true), (Fate::NotSent, false), (Fate::Unknown, true), (Fate::Unknown, false)]),
                30,
            ),
            killed in prop::collection::vec(any::<bool>(), 30),
        ) {
            let mut memory = AlertMemory::default();
            let mut believed: BTreeMap<(AlertChannel, Condition), AlertState> = BTreeMap::new();
            let mut hear = |alerts: &[Alert]| {
                believed.extend(alerts.iter().map(|alert| ((alert.channel, alert.condition), alert.state)));
            };
            let each = steps.iter().zip(ends).zip(killed).zip((0..).step_by(1000));
            for ((((observed, configured, _), (fate, is_heard)), is_killed), now) in each {
                memory.observe(observed.iter().copied());
                let due = memory.due(&chosen(*configured), now);
                memory.claim("me", &due, now);
                if is_heard {
                    hear(&due);
                }
                if !is_killed {
                    memory.release("me", &all(&due, fate));
                }
            }
            memory.observe(Condition::ALL.map(|condition| (condition, Observed::Ended)));
            let due = memory.due(&CHANNELS, 1_000_000);
            hear(&due);
            memory.claim("me", &due, 1_000_000);
            memory.release("me", &all(&due, Fate::Arrived));
            prop_assert!(believed.values().all(|state| *state == AlertState::Resolved), "{:?}", believed);
            prop_assert_eq!(memory, AlertMemory::default());
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
        memory.claim("one", &due, 100);
        assert_eq!(memory.due(&CHANNELS, 100 + CLAIM - 1), []);
        let again = due.iter().map(|alert| Alert {
            was_maybe_told: true,
            ..*alert
        });
        let again: Vec<Alert> = again.collect();
        assert_eq!(memory.due(&CHANNELS, 100 + CLAIM), again, "the process has died");
        assert_eq!(memory.due(&CHANNELS, 50), again, "the clock was set back");
        memory.release("one", &all(&due[..1], Fate::Arrived));
        assert_eq!(memory.due(&CHANNELS, 101), again[1..]);
    }

    #[test]
    fn a_delivery_that_took_too_long_does_not_end_the_claim_of_the_next_one() {
        let mut memory = AlertMemory::default();
        memory.observe([(Condition::Stale, Observed::Holds(10))]);
        let due = memory.due(&CHANNELS, 100);
        memory.claim("slow", &due, 100);
        let again = memory.due(&CHANNELS, 100 + CLAIM);
        memory.claim("next", &again, 100 + CLAIM);
        memory.release("slow", &[(due[0], Fate::Arrived), (due[1], Fate::NotSent)]);
        assert_eq!(memory.due(&CHANNELS, 101 + CLAIM), [], "the next one is still sending");
        memory.release("next", &all(&again[1..], Fate::Unknown));
        assert_eq!(
            memory.due(&CHANNELS, 102 + CLAIM),
            again[1..],
            "what the slow one delivered counts"
        );
        memory.observe([(Condition::Stale, Observed::Ended)]);
        let ends = memory.due(&CHANNELS, 103 + CLAIM);
        assert_eq!(
            ends.len(),
            2,
            "the channel of the next one may have heard of it: {ends:?}"
        );
    }

    #[test]
    fn a_condition_that_ended_before_it_was_reported_is_not_reported() {
        let mut memory = AlertMemory::default();
        memory.observe([(Condition::Refused, Observed::Holds(10))]);
        let due = memory.due(&CHANNELS, 10);
        memory.claim("one", &due, 10);
        memory.release("one", &all(&due, Fate::NotSent));
        memory.observe([(Condition::Refused, Observed::Ended)]);
        assert_eq!(memory.due(&CHANNELS, 20), []);
        assert_eq!(memory, AlertMemory::default());
    }
}
