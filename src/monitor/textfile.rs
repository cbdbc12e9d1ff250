//! Metrics in a file, for the textfile collector of node_exporter. It reads Prometheus' older text format.
//!
//! Each run of a command has counters of its own, so those of the file that is there are added.
use std::{collections::HashMap, fs, io, path::Path};

use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE},
};
use jiff::Timestamp;

use super::Monitor;

/// Writes the metrics beside the file at `path`, and renames them to it. Counters continue from those in the file.
///
/// # Errors
/// The file cannot be read or written.
pub fn write_textfile(path: &Path, monitor: &Monitor, now: Timestamp) -> io::Result<()> {
    let earlier = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let text = continued(&plain(&monitor.metrics_text(now)), &earlier);
    replace(&Disk, path, text.as_bytes(), FILE_MODE)
}

/// Converts OpenMetrics: the older format has other names of families and types, and neither units nor an end.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(given) = line.strip_prefix("# HELP ") {
            help = given.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|given| given.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            plain += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            plain += &format!("{line}\n");
        }
    }
    plain
}

/// Adds the earlier values of counters and histograms to the new ones.
fn continued(text: &str, earlier: &str) -> String {
    let earlier: HashMap<&str, f64> = earlier.lines().filter_map(sample).collect();
    let mut continued = String::new();
    let mut grows = false;
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            grows = family.ends_with(" counter") || family.ends_with(" histogram");
        }
        continued += &match sample(line).filter(|_| grows) {
            Some((series, value)) => format!("{series} {}\n", value + earlier.get(series).unwrap_or(&0.0)),
            None => format!("{line}\n"),
        };
    }
    continued
}

/// Returns the series of a line, and its value. Labels may contain spaces.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((series, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "\
# HELP p_build Version.
# TYPE p_build info
p_build_info{version=\"0.1.0\"} 1
# HELP p_sent Bytes sent.
# TYPE p_sent counter
p_sent_total{repository=\"/a b.git\"} 7
p_sent_total{repository=\"/new.git\"} 1
# HELP p_delay_seconds Delay.
# TYPE p_delay_seconds counter
# UNIT p_delay_seconds seconds
p_delay_seconds_total 1.5
# HELP p_backlog Pending.
# TYPE p_backlog gauge
p_backlog 3
# EOF
";

    #[test]
    fn counters_continue_and_gauges_do_not() {
        let first = plain(OPEN);
        assert_eq!(
            first
                .lines()
                .filter(|line| line.starts_with("# TYPE"))
                .collect::<Vec<_>>(),
            [
                "# TYPE p_build_info gauge",
                "# TYPE p_sent_total counter",
                "# TYPE p_delay_seconds_total counter",
                "# TYPE p_backlog gauge"
            ]
        );
        assert!(
            !first.contains("EOF") && !first.contains("UNIT") && first.contains("# HELP p_sent_total Bytes sent.\n")
        );
        assert_eq!(continued(&first, ""), first);
        let earlier = first.replace("p_sent_total{repository=\"/new.git\"} 1\n", "p_sent_total{torn");
        let second = continued(&first, &earlier);
        for line in [
            "p_build_info{version=\"0.1.0\"} 1",
            "p_sent_total{repository=\"/a b.git\"} 14",
            "p_sent_total{repository=\"/new.git\"} 1",
            "p_delay_seconds_total 3",
            "p_backlog 3",
        ] {
            assert!(second.lines().any(|one| one == line), "{line} is missing in\n{second}");
        }
    }
}
