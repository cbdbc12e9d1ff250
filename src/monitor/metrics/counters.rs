//! Counters and histograms of cycles. They grow until their mirror is forgotten.
use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{OUTCOMES, family, registered};
use crate::{
    monitor::labels::{AttemptLabels, FindingLabels, Labels},
    worker::{CycleReport, EndedCycle},
};

/// Upper bounds of the buckets of lags, in seconds.
const LAGS: [f64; 12] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0,
];
/// The same of durations of cycles.
const CYCLES: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

type Seconds = Counter<f64, AtomicU64>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Counters and histograms of all mirrors.
#[derive(Debug)]
pub(super) struct Counters {
    attempts: Family<AttemptLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    /// Shows a finding with its first value, which a counter does not.
    last_finding: Family<FindingLabels, Gauge>,
    requests: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    budget_delay: Family<Labels, Seconds>,
    lag: Histograms,
    cycle: Histograms,
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
    const ALL: [Self; 4] = [
        Finding::MissedUpdate,
        Finding::FalseWatermark,
        Finding::HeadDiffers,
        Finding::NotCompared,
    ];

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

impl Counters {
    /// Registers all families.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let seconds = || Some(Unit::Seconds);
        let lags: Histograms = Family::new_with_constructor(|| Histogram::new(LAGS));
        let cycles: Histograms = Family::new_with_constructor(|| Histogram::new(CYCLES));
        Counters {
            attempts: family(registry, "attempts", "Attempts to push a group, by outcome", None),
            findings: family(
                registry,
                "reconcile_findings",
                "Findings of comparisons with the mirror, by kind",
                None,
            ),
            last_finding: family(
                registry,
                "reconcile_last_finding_timestamp",
                "End of the last cycle with such a finding",
                seconds(),
            ),
            requests: family(registry, "http_requests", "HTTP requests to the mirror", None),
            bytes: family(
                registry,
                "bytes_sent",
                "Bytes of request bodies sent to the mirror",
                None,
            ),
            budget_delay: family(
                registry,
                "budget_delay",
                "Time that cycles waited for the budget of their mirror",
                seconds(),
            ),
            lag: registered(
                registry,
                "lag",
                "Time from a journal entry until it was seen on the mirror",
                seconds(),
                lags,
            ),
            cycle: registered(registry, "cycle", "Duration of cycles", seconds(), cycles),
        }
    }

    /// Creates all series of a mirror, with zeros.
    pub(super) fn create(&self, labels: &Labels) {
        for outcome in OUTCOMES {
            drop(self.attempts.get_or_create(&labels.with_outcome(outcome.word())));
        }
        for finding in Finding::ALL {
            drop(self.findings.get_or_create(&labels.with_kind(finding.word())));
        }
        drop(self.requests.get_or_create(labels));
        drop(self.bytes.get_or_create(labels));
        drop(self.budget_delay.get_or_create(labels));
        drop(self.lag.get_or_create(labels));
        drop(self.cycle.get_or_create(labels));
    }

    /// Counts a cycle.
    pub(super) fn cycle_ended(&self, labels: &Labels, ended: &EndedCycle<'_>) {
        let delay = ended.budget_delay.as_secs_f64();
        self.budget_delay.get_or_create(labels).inc_by(delay);
        let Ok(report) = ended.result else { return };
        for outcome in report.groups.iter().flat_map(|group| &group.attempted) {
            let labels = labels.with_outcome(outcome.word());
            self.attempts.get_or_create(&labels).inc();
        }
        for finding in Finding::ALL {
            let (count, labels) = (finding.count(report), labels.with_kind(finding.word()));
            if count > 0 {
                self.findings.get_or_create(&labels).inc_by(count as u64);
                self.last_finding.get_or_create(&labels).set(ended.at.as_second());
            }
        }
        self.requests.get_or_create(labels).inc_by(report.http_requests);
        self.bytes.get_or_create(labels).inc_by(report.bytes_sent);
        let lag = self.lag.get_or_create(labels);
        report.lags.iter().for_each(|one| lag.observe(one.as_secs_f64()));
        let elapsed = report.elapsed_ms as f64 / 1000.0;
        self.cycle.get_or_create(labels).observe(elapsed);
    }

    /// Removes all series of a mirror.
    pub(super) fn remove(&self, labels: &Labels) {
        for outcome in OUTCOMES {
            self.attempts.remove(&labels.with_outcome(outcome.word()));
        }
        for finding in Finding::ALL {
            let labels = labels.with_kind(finding.word());
            self.findings.remove(&labels);
            self.last_finding.remove(&labels);
        }
        self.requests.remove(labels);
        self.bytes.remove(labels);
        self.budget_delay.remove(labels);
        self.lag.remove(labels);
        self.cycle.remove(labels);
    }
}
