//! Metrics of a worker, in the text format of OpenMetrics 1.0, for Prometheus.
//!
//! [`Counters`] grow with each cycle. [`gauges`] are made from the state whenever metrics are read. `docs/monitoring.md` is
//! the reference.
mod counters;
mod gauges;

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::info::Info,
    registry::{Metric, Registry, Unit},
};

use self::{
    counters::Counters,
    gauges::{Values, gauges},
};
use super::{
    labels::{Labelled, Labels},
    state::{State, target},
};
use crate::{
    mirror::Outcome,
    worker::{EndedCycle, Target},
};

/// Prefix of the names.
const PREFIX: &str = "stargate_mirror";
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

/// Metrics of a worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    labelled: Labelled,
    counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = env!("CARGO_PKG_VERSION");
        registry.register("build", "Version of the program", Info::new(Build { version }));
        Metrics {
            counters: Counters::new(&mut registry),
            labelled: Labelled::default(),
            registry,
        }
    }
}

impl Metrics {
    /// Creates the series of a mirror, with zeros. A counter whose first value is not zero has no increase.
    pub fn expect(&mut self, target: &Target) {
        self.counters.create(&self.labelled.labels(target));
    }

    /// Counts a cycle that has ended.
    pub fn cycle_ended(&mut self, ended: &EndedCycle<'_>) {
        let labels = self.labelled.labels(&target(ended));
        self.counters.create(&labels);
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
            all.entry(self.labelled.labels(target)).or_default().add(state, now);
        }
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &gauges(&all)))
            .and_then(|()| encode_eof(&mut text));
        written.expect("metrics are written into memory");
        text
    }
}

/// Registers a new family of metrics, and returns it.
fn family<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>) -> M {
    registered(registry, name, help, unit, M::default())
}

/// Registers a family of metrics, and returns it.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, metric: M) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::worker::{CycleOutcome, CycleReport};

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
            format!("stargate_mirror_reconcile_last_finding_timestamp_seconds{{{labels},kind=\"missed-update\"}} 1000"),
            format!("stargate_mirror_cycle_failing{{{labels}}} 0"),
            format!("stargate_mirror_cycle_running_seconds{{{labels}}} 0.0"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
        assert!(
            !text.contains("stargate_mirror_backlog{") && !text.contains("cycle_interval"),
            "nothing is known of a status that was never read:\n{text}"
        );
        for gone in state.retain(&Default::default()) {
            metrics.forget(&gone);
        }
        let text = metrics.text(&state, at);
        assert!(
            !text.contains("/a ") && text.contains("stargate_mirror_build_info{"),
            "{text}"
        );
    }

    #[test]
    fn every_counter_of_a_target_is_zero_from_the_start() {
        let (mut metrics, state) = (Metrics::default(), State::default());
        metrics.expect(&Target {
            repository: "/r.git".into(),
            mirror: None,
        });
        let text = metrics.text(&state, Timestamp::UNIX_EPOCH);
        let counted = text.lines().filter(|line| line.contains("/r.git"));
        for line in counted.clone() {
            assert!(line.ends_with(" 0") || line.ends_with(" 0.0"), "{line}");
        }
        let kinds = counted.filter(|line| line.starts_with("stargate_mirror_reconcile_findings_total{"));
        assert_eq!(kinds.count(), 4, "{text}");
        assert!(text.contains("outcome=\"rejected\"} 0\n"), "{text}");
    }
}
