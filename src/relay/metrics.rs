//! Metrics of a relay, in the text format of OpenMetrics 1.0, for Prometheus.
//!
//! Labels have few values: templates of routes instead of paths, and no ids of feeds. So the size of a response does
//! not grow with the number of stored events.
use std::{fs, io, path::Path};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

/// Route of a posted event.
pub const POSTED: &str = "/feeds/{feed_id}/events";
/// Label of a request that fits no route.
pub const NO_ROUTE: &str = "none";
/// Prefix of the names.
const PREFIX: &str = "stargate_relay";
/// Upper bound of the first bucket of durations in seconds, the factor to the next one, and their number: up to 8 s.
const DURATIONS: (f64, f64, u16) = (0.000_5, 2.0, 15);
/// The same of batches, in lines: up to 1024.
const BATCHES: (f64, f64, u16) = (1.0, 2.0, 11);

/// Metrics of the writing thread.
#[derive(Debug, Clone)]
pub struct WriteMetrics {
    fsyncs: Counter,
    batch_lines: Histogram,
    written: Counter,
}

/// Metrics of a relay.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    events: Family<EventLabels, Counter>,
    post_duration: Histogram,
    /// Open connections.
    pub connections: Gauge,
    /// Open streams.
    pub listeners: Gauge,
    feeds: Gauge,
    last_seq: Gauge,
    data: Gauge,
}

/// State of the store when metrics are read.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Number of feeds.
    pub feeds: usize,
    /// Number of the last event or feed.
    pub last_seq: u64,
    /// Size of the files in the data folder, in bytes.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    outcome: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Default for WriteMetrics {
    fn default() -> Self {
        WriteMetrics {
            fsyncs: Counter::default(),
            batch_lines: histogram(BATCHES),
            written: Counter::default(),
        }
    }
}

impl WriteMetrics {
    /// Counts a batch that was written with one fsync.
    pub fn count(&self, lines: usize, bytes: usize) {
        self.fsyncs.inc();
        self.batch_lines.observe(lines as f64);
        self.written.inc_by(bytes as u64);
    }
}

impl Metrics {
    /// Creates the metrics. Those of the writing thread are included.
    pub fn new(writes: &WriteMetrics) -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::default(),
            events: Family::default(),
            post_duration: histogram(DURATIONS),
            connections: Gauge::default(),
            listeners: Gauge::default(),
            feeds: Gauge::default(),
            last_seq: Gauge::default(),
            data: Gauge::default(),
        };
        metrics.register_requests();
        metrics.register_store(writes);
        metrics
    }

    fn register_requests(&mut self) {
        let version = env!("CARGO_PKG_VERSION");
        let build = Info::new(Build { version });
        let registry = &mut self.registry;
        registry.register("build", "Version of the relay", build);
        registry.register(
            "requests",
            "Requests that were answered, by route and status",
            self.requests.clone(),
        );
        registry.register(
            "events",
            "Posted events: accepted (new), known (stored before) or refused",
            self.events.clone(),
        );
        registry.register_with_unit(
            "post_duration",
            "Time from the headers of a posted event to its answer",
            Unit::Seconds,
            self.post_duration.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("listeners", "Open streams", self.listeners.clone());
    }

    fn register_store(&mut self, writes: &WriteMetrics) {
        let registry = &mut self.registry;
        registry.register("feeds", "Feeds that are stored", self.feeds.clone());
        registry.register(
            "last_seq",
            "Number of the last event or feed in the order of arrival",
            self.last_seq.clone(),
        );
        registry.register_with_unit(
            "data",
            "Size of the files in the data folder",
            Unit::Bytes,
            self.data.clone(),
        );
        registry.register(
            "fsyncs",
            "Batches that were written, each with one fsync",
            writes.fsyncs.clone(),
        );
        registry.register(
            "batch_lines",
            "Events and feeds that were written with one fsync",
            writes.batch_lines.clone(),
        );
        registry.register_with_unit(
            "written",
            "Size of the data that was written to the log",
            Unit::Bytes,
            writes.written.clone(),
        );
    }

    /// Counts a request to this route, which was answered after `seconds`.
    pub fn count(&self, method: &Method, route: &str, status: StatusCode, seconds: f64) {
        let labels = RequestLabels {
            method: label(method),
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
        if method == Method::POST && route == POSTED {
            let outcome = match status {
                StatusCode::CREATED => "accepted",
                StatusCode::OK => "known",
                _ => "refused",
            };
            let status = status.as_u16();
            self.events.get_or_create(&EventLabels { outcome, status }).inc();
            self.post_duration.observe(seconds);
        }
    }

    /// Returns all metrics as text.
    pub fn text(&self, stored: Stored) -> String {
        let gauge = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.feeds, stored.feeds as u64);
        gauge(&self.last_seq, stored.last_seq);
        gauge(&self.data, stored.bytes);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics are written into memory");
        text
    }
}

/// Returns the size of the files in a folder and in the folders below it, in bytes. Links are not followed.
///
/// # Errors
/// A folder or a file cannot be read.
pub fn size_of_files(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            // A folder or file may be removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_file() => size += found.len(),
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(size)
}

fn histogram((start, factor, length): (f64, f64, u16)) -> Histogram {
    Histogram::new(exponential_buckets(start, factor, length))
}

/// Label of a method. Clients can invent methods.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posted_event_is_counted_by_its_outcome() {
        let writes = WriteMetrics::default();
        let metrics = Metrics::new(&writes);
        writes.count(3, 500);
        for (method, route, status) in [
            (Method::POST, POSTED, StatusCode::CREATED),
            (Method::POST, POSTED, StatusCode::OK),
            (Method::POST, POSTED, StatusCode::CONFLICT),
            (Method::GET, POSTED, StatusCode::OK),
            (Method::POST, "/feeds", StatusCode::CREATED),
            (Method::PUT, "/feeds/{feed_id}/confirmed", StatusCode::OK),
            (Method::TRACE, NO_ROUTE, StatusCode::NOT_FOUND),
        ] {
            metrics.count(&method, route, status, 0.001);
        }
        let stored = Stored {
            feeds: 2,
            last_seq: u64::MAX,
            bytes: 7,
        };
        let text = metrics.text(stored);
        for line in [
            "stargate_relay_events_total{outcome=\"accepted\",status=\"201\"} 1",
            "stargate_relay_events_total{outcome=\"known\",status=\"200\"} 1",
            "stargate_relay_events_total{outcome=\"refused\",status=\"409\"} 1",
            "stargate_relay_requests_total{method=\"PUT\",route=\"/feeds/{feed_id}/confirmed\",status=\"200\"} 1",
            "stargate_relay_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1",
            "stargate_relay_post_duration_seconds_count 3",
            "stargate_relay_batch_lines_bucket{le=\"4.0\"} 1",
            "stargate_relay_written_bytes_total 500",
            "stargate_relay_fsyncs_total 1",
            "stargate_relay_data_bytes 7",
            "stargate_relay_last_seq 9223372036854775807",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
        assert_eq!(text.matches("_events_total{").count(), 3);
    }

    #[test]
    fn files_of_all_folders_are_counted() {
        let data = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(data.path().join("index/more")).expect("folders");
        for (name, length) in [("log", 100), ("index/table", 20), ("index/more/table", 3)] {
            fs::write(data.path().join(name), vec![0; length]).expect("a file");
        }
        assert_eq!(size_of_files(data.path()).expect("readable"), 123);
        assert_eq!(size_of_files(&data.path().join("missing")).expect("no files"), 0);
    }
}
