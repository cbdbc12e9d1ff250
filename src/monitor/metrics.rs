//! Metrics of a worker, in the text format of OpenMetrics 1.0, for Prometheus.
//!
//! Counters and histograms grow with each cycle. Gauges are set from the state whenever metrics are read. `docs/monitoring.md`
//! is the reference.
use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use super::{
    labels::{AttemptLabels, FindingLabels, Labelled, Labels},
    mirror_state::MirrorState,
    state::{State, target},
};
use crate::{
    mirror::Outcome,
    worker::{CycleReport, EndedCycle, Target},
};

/// Prefix of the names.
const PREFIX: &str = "stargate_mirror";
/// Upper bounds of the buckets of lags, in seconds.
const LAGS: [f64; 12] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0,
];
/// The same of durations of cycles.
const CYCLES: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Outcomes of attempts.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Mirrored,
    Outcome::Transient,
    Outcome::Uncertain,
    Outcome::Rejected,
    Outcome::Diverged,
    Outcome::Misconfigured,
    Outcome::Broken,
];
/// Kinds of findings of a comparison.
const FINDINGS: [Finding; 4] = [
    Finding::MissedUpdate,
    Finding::FalseWatermark,
    Finding::HeadDiffers,
    Finding::NotCompared,
];

type Seconds = Counter<f64, AtomicU64>;
type Real = Gauge<f64, AtomicU64>;

/// Metrics of a worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    labelled: Labelled,
    counters: Counters,
    gauges: Gauges,
}

#[derive(Debug)]
struct Counters {
    attempts: Family<AttemptLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    requests: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    budget_delay: Family<Labels, Seconds>,
    lag: Family<Labels, Histogram, fn() -> Histogram>,
    cycle: Family<Labels, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Default)]
struct Gauges {
    backlog: Family<Labels, Gauge>,
    failed: Family<Labels, Gauge>,
    oldest_pending: Family<Labels, Real>,
    held_groups: Family<AttemptLabels, Gauge>,
    reachable: Family<Labels, Gauge>,
    token_expiry: Family<Labels, Gauge>,
    last_cycle: Family<Labels, Gauge>,
    last_success: Family<Labels, Gauge>,
}

/// Values of the gauges of one label set, of one or more mirrors.
#[derive(Debug, Default)]
struct Values {
    backlog: u64,
    failed: u64,
    oldest_pending: Option<Timestamp>,
    held: BTreeMap<&'static str, i64>,
    unreachable: bool,
    token_expiry: Option<Timestamp>,
    last_cycle: Option<Timestamp>,
    last_success: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Kind of a finding of a comparison.
#[derive(Debug, Clone, Copy)]
enum Finding {
    MissedUpdate,
    FalseWatermark,
    HeadDiffers,
    NotCompared,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Finding::MissedUpdate => "missed-update",
            Finding::FalseWatermark => "false-watermark",
            Finding::HeadDiffers => "head-differs",
            Finding::NotCompared => "not-compared",
        }
    }

    fn count(self, report: &CycleReport) -> usize {
        match self {
            Finding::MissedUpdate => report.reconciled,
            Finding::FalseWatermark => report.watermarks.len(),
            Finding::HeadDiffers => usize::from(report.head.is_some()),
            Finding::NotCompared => usize::from(report.comparison.is_some()),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = env!("CARGO_PKG_VERSION");
        registry.register("build", "Version of the program", Info::new(Build { version }));
        Metrics {
            counters: Counters::new(&mut registry),
            gauges: Gauges::new(&mut registry),
            labelled: Labelled::default(),
            registry,
        }
    }
}

impl Metrics {
    /// Counts a cycle that has ended.
    pub fn cycle_ended(&mut self, ended: &EndedCycle<'_>) {
        let labels = self.labelled.labels(&target(ended));
        self.counters.cycle_ended(&labels, ended);
    }

    /// Forgets a mirror that is no longer watched.
    pub fn forget(&mut self, target: &Target) {
        if let Some(labels) = self.labelled.forget(target) {
            self.counters.remove(&labels);
        }
    }

    /// Returns all metrics as text.
    pub fn text(&mut self, state: &State, now: Timestamp) -> String {
        let mut all: BTreeMap<Labels, Values> = BTreeMap::new();
        for (target, state) in state.mirrors() {
            all.entry(self.labelled.labels(target)).or_default().add(state);
        }
        self.gauges.clear();
        all.iter()
            .for_each(|(labels, values)| self.gauges.set(labels, values, now));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics are written into memory");
        text
    }
}

impl Counters {
    fn new(registry: &mut Registry) -> Self {
        let counters = Counters {
            attempts: Family::default(),
            findings: Family::default(),
            requests: Family::default(),
            bytes: Family::default(),
            budget_delay: Family::default(),
            lag: Family::new_with_constructor(|| Histogram::new(LAGS)),
            cycle: Family::new_with_constructor(|| Histogram::new(CYCLES)),
        };
        let seconds = || Unit::Seconds;
        registry.register(
            "attempts",
            "Attempts to push a group, by outcome",
            counters.attempts.clone(),
        );
        registry.register(
            "reconcile_findings",
            "Findings of comparisons with the mirror, by kind",
            counters.findings.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP requests to the mirror",
            counters.requests.clone(),
        );
        registry.register(
            "bytes_sent",
            "Bytes of request bodies sent to the mirror",
            counters.bytes.clone(),
        );
        registry.register_with_unit(
            "budget_delay",
            "Time that cycles waited for the budget of their mirror",
            seconds(),
            counters.budget_delay.clone(),
        );
        registry.register_with_unit(
            "lag",
            "Time from a journal entry until it was seen on the mirror",
            seconds(),
            counters.lag.clone(),
        );
        registry.register_with_unit("cycle", "Duration of cycles", seconds(), counters.cycle.clone());
        counters
    }

    /// Counts a cycle. Series of all outcomes and kinds exist from the first cycle on, so that their first increase is seen.
    fn cycle_ended(&self, labels: &Labels, ended: &EndedCycle<'_>) {
        let report = ended.result.ok();
        let groups = report.map_or(&[][..], |report| &report.groups);
        for outcome in OUTCOMES {
            let attempts = groups.iter().flat_map(|group| &group.attempted);
            let count = attempts.filter(|attempt| **attempt == outcome).count();
            let labels = labels.with_outcome(outcome.word());
            self.attempts.get_or_create(&labels).inc_by(count as u64);
        }
        for finding in FINDINGS {
            let count = report.map_or(0, |report| finding.count(report));
            let labels = labels.with_kind(finding.word());
            self.findings.get_or_create(&labels).inc_by(count as u64);
        }
        let delay = ended.budget_delay.as_secs_f64();
        self.budget_delay.get_or_create(labels).inc_by(delay);
        let lag = self.lag.get_or_create(labels);
        let lags = report.map_or(&[][..], |report| &report.lags);
        lags.iter().for_each(|one| lag.observe(one.as_secs_f64()));
        self.requests
            .get_or_create(labels)
            .inc_by(report.map_or(0, |report| report.http_requests));
        self.bytes
            .get_or_create(labels)
            .inc_by(report.map_or(0, |report| report.bytes_sent));
        let cycle = self.cycle.get_or_create(labels);
        report
            .iter()
            .for_each(|report| cycle.observe(report.elapsed_ms as f64 / 1000.0));
    }

    fn remove(&self, labels: &Labels) {
        for outcome in OUTCOMES {
            self.attempts.remove(&labels.with_outcome(outcome.word()));
        }
        for finding in FINDINGS {
            self.findings.remove(&labels.with_kind(finding.word()));
        }
        self.requests.remove(labels);
        self.bytes.remove(labels);
        self.budget_delay.remove(labels);
        self.lag.remove(labels);
        self.cycle.remove(labels);
    }
}

impl Gauges {
    fn new(registry: &mut Registry) -> Self {
        let gauges = Gauges::default();
        let seconds = || Unit::Seconds;
        registry.register("backlog", "Pending entries", gauges.backlog.clone());
        registry.register("failed", "Entries that can never be mirrored", gauges.failed.clone());
        registry.register_with_unit(
            "oldest_pending",
            "Age of the oldest pending entry; 0 if there is none",
            seconds(),
            gauges.oldest_pending.clone(),
        );
        registry.register(
            "held_groups",
            "Groups that are not mirrored, by the outcome of their last attempt",
            gauges.held_groups.clone(),
        );
        registry.register(
            "reachable",
            "1 if the mirror could be reached at the last attempt",
            gauges.reachable.clone(),
        );
        registry.register_with_unit(
            "token_expiry_timestamp",
            "End of the token for the mirror, if it is known",
            seconds(),
            gauges.token_expiry.clone(),
        );
        registry.register_with_unit(
            "last_cycle_timestamp",
            "End of the last cycle",
            seconds(),
            gauges.last_cycle.clone(),
        );
        registry.register_with_unit(
            "last_success_timestamp",
            "End of the last cycle that left nothing undone",
            seconds(),
            gauges.last_success.clone(),
        );
        gauges
    }

    fn clear(&self) {
        self.backlog.clear();
        self.failed.clear();
        self.oldest_pending.clear();
        self.held_groups.clear();
        self.reachable.clear();
        self.token_expiry.clear();
        self.last_cycle.clear();
        self.last_success.clear();
    }

    fn set(&self, labels: &Labels, values: &Values, now: Timestamp) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.backlog.get_or_create(labels).set(number(values.backlog));
        self.failed.get_or_create(labels).set(number(values.failed));
        let age = values
            .oldest_pending
            .map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64());
        self.oldest_pending.get_or_create(labels).set(age.max(0.0));
        for outcome in OUTCOMES.iter().filter(|outcome| **outcome != Outcome::Mirrored) {
            let word = outcome.word();
            let held = values.held.get(word).copied().unwrap_or_default();
            self.held_groups.get_or_create(&labels.with_outcome(word)).set(held);
        }
        self.reachable.get_or_create(labels).set(i64::from(!values.unreachable));
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
    fn add(&mut self, state: &MirrorState) {
        if let Some(status) = &state.status {
            self.backlog += status.pending;
            self.failed += status.failed;
            self.oldest_pending = earlier(self.oldest_pending, status.oldest_pending);
            self.token_expiry = earlier(self.token_expiry, status.token.as_ref().map(|token| token.expires_at));
        }
        for outcome in state.held.values() {
            *self.held.entry(outcome.word()).or_default() += 1;
        }
        self.unreachable |= state.unreachable.is_some();
        self.last_cycle = earlier(self.last_cycle, state.last_cycle_at);
        self.last_success = earlier(self.last_success, state.last_success_at);
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::worker::CycleOutcome;

    #[test]
    fn cycles_are_counted_by_mirror_until_it_is_forgotten() {
        let (mut metrics, mut state) = (Metrics::default(), State::default());
        let report = CycleReport {
            lags: vec![Duration::from_millis(1500), Duration::from_secs(100)],
            reconciled: 3,
            http_requests: 2,
            bytes_sent: 500,
            elapsed_ms: 84,
            ..CycleReport::empty(CycleOutcome::Mirrored, 0, 0)
        };
        let at = Timestamp::from_second(1000).expect("a time");
        let mut ended = EndedCycle::new(Path::new("/a \"b\".git"), Some("m"), at, Ok(&report));
        ended.budget_delay = Duration::from_secs(10);
        for _ in 0..2 {
            metrics.cycle_ended(&ended);
            state.cycle_ended(&ended, None);
        }
        let text = metrics.text(&state, at);
        let labels = r#"repository="/a \"b\".git",mirror="m""#;
        for line in [
            format!("stargate_mirror_lag_seconds_bucket{{le=\"2.0\",{labels}}} 2"),
            format!("stargate_mirror_lag_seconds_count{{{labels}}} 4"),
            format!("stargate_mirror_reconcile_findings_total{{{labels},kind=\"missed-update\"}} 6"),
            format!("stargate_mirror_attempts_total{{{labels},outcome=\"rejected\"}} 0"),
            format!("stargate_mirror_http_requests_total{{{labels}}} 4"),
            format!("stargate_mirror_bytes_sent_total{{{labels}}} 1000"),
            format!("stargate_mirror_budget_delay_seconds_total{{{labels}}} 20.0"),
            format!("stargate_mirror_last_success_timestamp_seconds{{{labels}}} 1000"),
            format!("stargate_mirror_reachable{{{labels}}} 1"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
        for gone in state.retain(&Default::default()) {
            metrics.forget(&gone);
        }
        let text = metrics.text(&state, at);
        assert!(
            !text.contains("/a ") && text.contains("stargate_mirror_build_info{"),
            "{text}"
        );
    }
}
