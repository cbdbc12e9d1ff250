//! Gauges, made from the state of all mirrors.
use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use jiff::Timestamp;
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{OUTCOMES, PREFIX, family};
use crate::{
    mirror::Outcome,
    monitor::{
        labels::{AttemptLabels, Labels},
        mirror_state::MirrorState,
    },
    worker::QUIET,
};

/// Longest time between two cycles of a watch, in seconds.
const QUIET_SECONDS: i64 = QUIET.as_secs() as i64;

type Real = Gauge<f64, AtomicU64>;

struct Gauges {
    backlog: Family<Labels, Gauge>,
    failed: Family<Labels, Gauge>,
    oldest_pending: Family<Labels, Real>,
    held_groups: Family<AttemptLabels, Gauge>,
    reachable: Family<Labels, Gauge>,
    cycle_failing: Family<Labels, Gauge>,
    cycle_running: Family<Labels, Real>,
    token_expiry: Family<Labels, Gauge>,
    last_cycle: Family<Labels, Gauge>,
    cycle_interval: Family<Labels, Gauge>,
    last_success: Family<Labels, Gauge>,
}

/// Values of the gauges of one label set, of one or more mirrors.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Numbers of pending and of failed entries, and the age of the oldest pending one; none if no status was ever read.
    entries: Option<(u64, u64, f64)>,
    /// Numbers of groups that are not mirrored; none if no cycle ran, so that nothing is known of them.
    held: Option<BTreeMap<&'static str, i64>>,
    /// None if no mirror was ever tried.
    reachable: Option<bool>,
    failing: bool,
    running: f64,
    /// True if a watch runs cycles, so that their longest interval is known.
    interval: bool,
    token_expiry: Option<Timestamp>,
    last_cycle: Option<Timestamp>,
    last_success: Option<Timestamp>,
}

/// Returns a registry of the gauges with these values.
pub(super) fn gauges(all: &BTreeMap<Labels, Values>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let gauges = Gauges::new(&mut registry);
    all.iter().for_each(|(labels, values)| gauges.set(labels, values));
    registry
}

impl Gauges {
    fn new(registry: &mut Registry) -> Self {
        let seconds = || Some(Unit::Seconds);
        Gauges {
            backlog: family(registry, "backlog", "Pending entries", None),
            failed: family(registry, "failed", "Entries that can never be mirrored", None),
            oldest_pending: family(
                registry,
                "oldest_pending",
                "Age of the oldest pending entry; 0 if there is none",
                seconds(),
            ),
            held_groups: family(
                registry,
                "held_groups",
                "Groups that are not mirrored, by their last definite outcome",
                None,
            ),
            reachable: family(
                registry,
                "reachable",
                "1 if the mirror could be reached at the last try",
                None,
            ),
            cycle_failing: family(registry, "cycle_failing", "1 if cycles cannot run", None),
            cycle_running: family(
                registry,
                "cycle_running",
                "Age of the cycle that is running; 0 without one",
                seconds(),
            ),
            token_expiry: family(
                registry,
                "token_expiry_timestamp",
                "End of the token for the mirror, if it is known",
                seconds(),
            ),
            last_cycle: family(
                registry,
                "last_cycle_timestamp",
                "End of the last cycle that ran",
                seconds(),
            ),
            cycle_interval: family(
                registry,
                "cycle_interval",
                "Longest expected time between the ends of two cycles",
                seconds(),
            ),
            last_success: family(
                registry,
                "last_success_timestamp",
                "Last time at which the mirror was known to have everything",
                seconds(),
            ),
        }
    }

    fn set(&self, labels: &Labels, values: &Values) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some((pending, failed, age)) = values.entries {
            self.backlog.get_or_create(labels).set(number(pending));
            self.failed.get_or_create(labels).set(number(failed));
            self.oldest_pending.get_or_create(labels).set(age);
        }
        if let Some(held) = &values.held {
            for outcome in OUTCOMES.iter().filter(|outcome| **outcome != Outcome::Mirrored) {
                let word = outcome.word();
                let held = held.get(word).copied().unwrap_or_default();
                self.held_groups.get_or_create(&labels.with_outcome(word)).set(held);
            }
        }
        if let Some(reachable) = values.reachable {
            self.reachable.get_or_create(labels).set(i64::from(reachable));
        }
        self.cycle_failing.get_or_create(labels).set(i64::from(values.failing));
        self.cycle_running.get_or_create(labels).set(values.running);
        if values.interval {
            self.cycle_interval.get_or_create(labels).set(QUIET_SECONDS);
        }
        let times = [
            (&self.token_expiry, values.token_expiry),
            (&self.last_cycle, values.last_cycle),
            (&self.last_success, values.last_success),
        ];
        for (gauge, time) in times {
            if let Some(time) = time {
                gauge.get_or_create(labels).set(time.as_second());
            }
        }
    }
}

impl Values {
    /// Adds the state of a mirror. Of several mirrors, the worst value counts.
    pub(super) fn add(&mut self, state: &MirrorState, now: Timestamp) {
        // A clock that was set back makes nothing old.
        let age = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
        if let Some(status) = &state.status {
            let (pending, failed, oldest) = self.entries.unwrap_or_default();
            let oldest = oldest.max(status.oldest_pending.map_or(0.0, age));
            self.entries = Some((pending + status.pending, failed + status.failed, oldest));
            self.token_expiry = earlier(self.token_expiry, status.token.as_ref().map(|token| token.expires_at));
        }
        if state.last_cycle_at.is_some() {
            let held = self.held.get_or_insert_default();
            for outcome in state.held.values() {
                *held.entry(outcome.word()).or_default() += 1;
            }
        }
        if let Some(reachable) = state.is_reachable() {
            self.reachable = Some(reachable && self.reachable.unwrap_or(true));
        }
        self.failing |= state.cannot_run(now).is_some();
        let running_since = earlier(state.running_since, state.locked_since);
        self.running = self.running.max(running_since.map_or(0.0, age));
        self.interval |= state.is_watched;
        self.last_cycle = earlier(self.last_cycle, state.last_cycle_at);
        self.last_success = earlier(self.last_success, state.last_success_at);
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
