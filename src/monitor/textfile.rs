//! Metrics in a file, for the textfile collector of node_exporter. It reads Prometheus' older text format.
//!
//! Each run of a command has counters of its own, so those of the file that is there are added. Several runs may share a file:
//! each one changes it under a lock, and keeps the series of mirrors that had no cycle in it.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, LockFiles, WriteFiles},
};
use jiff::Timestamp;

use super::Monitor;

/// Longest wait for another run that writes the file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Begin of the series that a mirror has in this run if its cycle ran.
const RAN: &str = "stargate_mirror_last_cycle_timestamp_seconds{";

/// Name of the expected time between two cycles. Only the file knows the earlier cycle.
const INTERVAL: &str = "stargate_mirror_cycle_interval_seconds";

/// Writes the metrics beside the file at `path`, and renames them to it. Counters continue from those in the file. The series of
/// other mirrors stay.
///
/// # Errors
/// The file cannot be read or written, or another run holds its lock for too long.
pub fn write_textfile(path: &Path, monitor: &Monitor, now: Timestamp) -> io::Result<()> {
    write_by(path, monitor, now, &SystemClock::default())
}

fn write_by(path: &Path, monitor: &Monitor, now: Timestamp, clock: &dyn Clock) -> io::Result<()> {
    let _locked = lock(&lock_path(path), clock)?;
    let earlier = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    // A repository that cannot be looked at may still exist.
    let is_missing = |repository: &Path| matches!(repository.try_exists(), Ok(false));
    let text = plain(&monitor.metrics_text(now));
    let text = text.clone() + &intervals(&text, &earlier);
    let text = continued(&text, &earlier, &is_missing);
    replace(&Disk, path, text.as_bytes(), FILE_MODE)
}

/// Returns the path of the lock: the collector ignores its name.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    path.with_file_name(name)
}

fn lock(path: &Path, clock: &dyn Clock) -> io::Result<DiskFile> {
    let file = Disk.open_append(path)?;
    while !Disk.try_lock(&file)? {
        if clock.elapsed() >= LOCK_WAIT {
            let what = format!("another run holds the lock {}", path.display());
            return Err(io::Error::other(what));
        }
        clock.sleep(LOCK_PAUSE);
    }
    Ok(file)
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

/// Returns a family with the expected time between two cycles of each mirror that had one in this run: the time since its
/// earlier one, or half of what was expected before. So a pause is forgotten soon, and a run by hand does not count much.
fn intervals(text: &str, earlier: &str) -> String {
    let before: HashMap<&str, f64> = earlier.lines().filter_map(sample).collect();
    let interval = |(series, now): (&str, f64)| {
        let labels = series.strip_prefix(RAN)?;
        let name = format!("{INTERVAL}{{{labels}");
        let earlier = before.get(series)?;
        let expected = before.get(name.as_str()).map_or(0.0, |expected| expected / 2.0);
        // Two cycles may end in the same second.
        let expected = expected.max(now - earlier).max(1.0);
        Some(format!("{name} {expected}\n"))
    };
    let lines: String = text.lines().filter_map(sample).filter_map(interval).collect();
    if lines.is_empty() {
        return lines;
    }
    let help = "Longest expected time between the ends of two cycles.";
    format!("# HELP {INTERVAL} {help}\n# TYPE {INTERVAL} gauge\n{lines}")
}

/// Adds the earlier values of counters and histograms to the new ones, and keeps the series of mirrors that had no cycle in this
/// run.
///
/// The series of a repository are dropped only if `is_missing` returns true for it, and another repository in the same folder
/// had a cycle in this run. Otherwise its volume may be missing, which must be noticed.
fn continued(text: &str, earlier: &str, is_missing: &dyn Fn(&Path) -> bool) -> String {
    let values: HashMap<&str, f64> = earlier.lines().filter_map(sample).collect();
    let ran: HashSet<Mirror> = samples(text)
        .filter(|series| series.starts_with(RAN))
        .filter_map(mirror)
        .collect();
    let new: HashSet<&str> = samples(text).collect();
    let folders: HashSet<&Path> = ran
        .iter()
        .filter_map(|ran| Path::new(&ran.repository).parent())
        .collect();
    let is_gone = |mirror: &Mirror| {
        let repository = Path::new(&mirror.repository);
        let is_sibling = repository.parent().is_some_and(|folder| folders.contains(folder));
        repository.is_absolute() && is_sibling && is_missing(repository)
    };
    let is_kept = |series: &str| {
        let kept = mirror(series).is_some_and(|mirror| !ran.contains(&mirror) && !is_gone(&mirror));
        kept && !new.contains(series)
    };
    let mut kept = kept_families(earlier, &is_kept);
    let mut continued = String::new();
    for family in families(text) {
        let grows = family.kind == "counter" || family.kind == "histogram";
        for line in family.lines {
            continued += &match sample(line).filter(|_| grows) {
                Some((series, value)) => format!("{series} {}\n", value + values.get(series).unwrap_or(&0.0)),
                None => format!("{line}\n"),
            };
        }
        let others = kept.remove(family.name).map(|kept| kept.lines).unwrap_or_default();
        let others = others.iter().filter(|line| sample(line).is_some());
        others.for_each(|line| continued += &format!("{line}\n"));
    }
    // A family without a series in this run is not in its text.
    let lines = kept
        .values()
        .filter(|family| family.has_samples())
        .flat_map(|family| &family.lines);
    lines.for_each(|line| continued += &format!("{line}\n"));
    continued
}

/// Lines of one family.
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    lines: Vec<&'a str>,
}

/// Splits metrics into families. Each begins with its lines `# HELP` and `# TYPE`.
fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if line.starts_with("# HELP ") || families.is_empty() {
            families.push(Family {
                name: "",
                kind: "",
                lines: Vec::new(),
            });
        }
        let Some(family) = families.last_mut() else { continue };
        let named = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '));
        if let Some((name, kind)) = named {
            (family.name, family.kind) = (name, kind);
        }
        family.lines.push(line);
    }
    families
}

impl Family<'_> {
    fn has_samples(&self) -> bool {
        self.lines.iter().any(|line| sample(line).is_some())
    }
}

/// Returns the families of `earlier` with the series that are kept, by name.
fn kept_families<'a>(earlier: &'a str, is_kept: &dyn Fn(&str) -> bool) -> BTreeMap<&'a str, Family<'a>> {
    let mut kept = BTreeMap::new();
    for mut family in families(earlier) {
        let is_left = |line: &&str| sample(line).is_none_or(|(series, _)| is_kept(series));
        family.lines.retain(is_left);
        kept.insert(family.name, family);
    }
    kept
}

fn samples(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(sample(line)?.0))
}

/// Labels of a mirror.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mirror {
    repository: String,
    mirror: String,
}

/// Returns the mirror of a series, if it is about one.
fn mirror(series: &str) -> Option<Mirror> {
    Some(Mirror {
        repository: label(series, "repository")?,
        mirror: label(series, "mirror")?,
    })
}

/// Returns the value of a label. The names of labels are in no value, because quotes in values are escaped.
fn label(series: &str, name: &str) -> Option<String> {
    let start = [format!("{{{name}=\""), format!(",{name}=\"")];
    let rest = start.iter().find_map(|start| series.split_once(start.as_str()))?.1;
    let (mut value, mut characters) = (String::new(), rest.chars());
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(match characters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

/// Returns the series of a line, and its value. Labels may contain spaces.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((series, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;

    use super::*;
    use crate::releasing_clock::ReleasingClock;

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
        assert_eq!(continued(&first, "", &|_| false), first);
        let earlier = first.replace("p_sent_total{repository=\"/new.git\"} 1\n", "p_sent_total{torn");
        let second = continued(&first, &earlier, &|_| false);
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

    /// Metrics of a run over this mirror of two families, whose cycle ran or not.
    fn run(repository: &str, mirror: &str, ran: bool) -> String {
        let labels = format!("repository=\"{repository}\",mirror=\"{mirror}\"");
        let last_name = RAN.trim_end_matches('{');
        let last = format!("# HELP {last_name} Last.\n# TYPE {last_name} gauge\n{RAN}{labels}}} 100\n");
        // A family without series is left out.
        let last = if ran { last } else { String::new() };
        format!("# HELP sent_total Sent.\n# TYPE sent_total counter\nsent_total{{{labels}}} 1\n{last}")
    }

    #[test]
    fn the_series_of_mirrors_without_a_cycle_stay_until_their_repository_is_removed() {
        let both = continued(&run("/b.git", "", true), &run("/a \\\"x\\\".git", "m", true), &|_| {
            false
        });
        let a = r#"{repository="/a \"x\".git",mirror="m"}"#;
        let b = r#"{repository="/b.git",mirror=""}"#;
        for series in [format!("sent_total{a}"), format!("sent_total{b}")] {
            assert!(
                both.contains(&format!("{series} 1\n")),
                "{series} is missing in\n{both}"
            );
        }
        assert_eq!(both.matches("# TYPE").count(), 2, "{both}");
        // A cycle that could not run does not know when the last one ran.
        let locked = continued(&run("/b.git", "", false), &both, &|_| false);
        assert!(locked.contains(&format!("sent_total{b} 2\n")), "{locked}");
        assert_eq!(
            samples(&locked).filter(|series| series.starts_with(RAN)).count(),
            2,
            "{locked}"
        );
        let is_missing = |repository: &Path| repository == Path::new("/a \"x\".git");
        let unmounted = continued(&run("/volume/c.git", "", true), &locked, &is_missing);
        assert!(
            unmounted.contains("/a "),
            "nothing in its folder had a cycle: {unmounted}"
        );
        let gone = continued(&run("/b.git", "", true), &locked, &is_missing);
        assert!(
            !gone.contains("/a ") && gone.contains(&format!("sent_total{b} 3\n")),
            "{gone}"
        );
    }

    #[test]
    fn the_interval_of_cycles_is_learnt_from_the_last_ones() {
        let ran = |at: u32| format!("{RAN}repository=\"/a b.git\",mirror=\"\"}} {at}\n");
        let expected = |text: &str| {
            let found = text
                .lines()
                .filter_map(sample)
                .find(|(series, _)| series.starts_with(INTERVAL));
            found.map(|(_, value)| value)
        };
        assert_eq!(intervals(&ran(100), ""), "", "one cycle has no interval");
        assert_eq!(expected(&intervals(&ran(100), &ran(100))), Some(1.0));
        let mut earlier = ran(100);
        for (at, interval) in [
            (3700, 3600.0),
            (3710, 1800.0),
            (7310, 3600.0),
            (25_310, 18_000.0),
            (28_910, 9000.0),
        ] {
            let now = ran(at) + &intervals(&ran(at), &earlier);
            assert_eq!(expected(&now), Some(interval), "at {at}");
            earlier = now;
        }
        assert_eq!(
            expected(&intervals(&ran(28_900), &earlier)),
            Some(4500.0),
            "the clock was set back"
        );
        assert_eq!(
            expected(&continued("", &earlier, &|_| false)),
            Some(9000.0),
            "no cycle ran"
        );
    }

    #[test]
    fn a_lock_that_another_run_holds_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stargate.prom");
        let clock = ManualClock::default();
        let held = lock(&lock_path(&path), &clock).expect("a lock");
        let monitor = Monitor::default();
        let write = |clock: &dyn Clock| write_by(&path, &monitor, Timestamp::UNIX_EPOCH, clock);
        let error = write(&clock).expect_err("the other run is not over");
        assert!(error.to_string().contains("another run holds the lock"), "{error}");
        assert_eq!(clock.slept().iter().sum::<Duration>(), LOCK_WAIT);
        assert!(!path.exists());
        let clock = ReleasingClock::new(held);
        write(&clock).expect("the other run ends");
        assert_eq!(clock.slept(), [LOCK_PAUSE]);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains("stargate_mirror_build_info{"), "{text}");
    }
}
