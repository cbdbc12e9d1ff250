//! The worker: whether cycles are made, and with the settings that they need.
use super::{
    check::{Check, Name, Verdict},
    commands::{Commands, quoted},
};
use crate::cli::output::counted;

/// Time without a sign of a worker after which it counts as gone, in seconds. A worker compares the refs every 15 minutes.
const GONE: u64 = 60 * 60;

/// Facts about the worker of one mirror. Ages are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerFacts {
    /// Number of pending entries.
    pub pending: u64,
    /// Age of the oldest of them.
    pub oldest: Option<u64>,
    /// Time since the worker last wrote to its memory or its lock, or compared the refs. `None` if it never did.
    pub last_sign: Option<u64>,
    /// True if a worker holds its lock now.
    pub is_running: bool,
    /// Reason why the last cycle was `local-only`.
    pub missing: Option<String>,
    /// The memory, if it cannot be read: its file and the reason.
    pub unreadable: Option<(String, String)>,
}

/// Checks the worker of one mirror.
pub fn checks(facts: &WorkerFacts, commands: &Commands) -> Vec<Check> {
    let mut checks: Vec<Check> = unreadable(facts).into_iter().collect();
    let waits = facts.oldest.is_some_and(|oldest| oldest >= GONE);
    let bad = if waits { Verdict::Problem } else { Verdict::Warning };
    let pending = pending(facts);
    checks.push(match (facts.last_sign, &facts.missing) {
        _ if facts.is_running => Check::new(Name::Worker, Verdict::Ok, "a cycle is running"),
        (Some(_), Some(missing)) => {
            let found = format!("the worker's last cycle pushed nothing: {missing}{pending}");
            Check::new(Name::Worker, bad, found).hint(format!(
                "set it in the worker's unit (Environment=) or crontab, because the worker does not have the \
                 environment of this shell; then run {}",
                commands.mirror("run")
            ))
        }
        (Some(sign), None) if sign >= GONE => {
            let found = format!("no worker for {}{pending}", age(sign));
            Check::new(Name::Worker, bad, found).hint(start(commands))
        }
        (None, _) if waits => {
            let found = format!("no worker has ever run here{pending}");
            Check::new(Name::Worker, Verdict::Problem, found).hint(start(commands))
        }
        (None, _) => Check::new(Name::Worker, Verdict::Ok, "no cycle yet"),
        (Some(sign), None) => Check::new(Name::Worker, Verdict::Ok, format!("active {} ago", age(sign))),
    });
    checks
}

fn unreadable(facts: &WorkerFacts) -> Option<Check> {
    let (file, why) = facts.unreadable.as_ref()?;
    let found = format!("the worker's memory cannot be read: {why}");
    let hint = format!(
        "remove it with `rm {}`; the next cycle asks the mirror instead",
        quoted(file)
    );
    Some(Check::new(Name::Worker, Verdict::Warning, found).hint(hint))
}

fn start(commands: &Commands) -> String {
    format!(
        "run {} now; then find out why the unit or cron has stopped (`systemctl status stargate-mirror`, `crontab \
         -l`), and start it again",
        commands.mirror("run")
    )
}

fn pending(facts: &WorkerFacts) -> String {
    match facts.oldest {
        Some(oldest) => {
            let entries = counted(facts.pending, "entry");
            format!("; {entries} pending, the oldest for {}", age(oldest))
        }
        None => String::new(),
    }
}

/// Returns a time in seconds in a unit that a person reads.
pub fn age(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..=119 => counted(seconds, "second"),
        120..=7199 => counted(minutes, "minute"),
        7200..=172_799 => counted(hours, "hour"),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_worker_is_gone_after_an_hour_without_a_sign() {
        let commands = Commands::new("", Path::new("/r.git"));
        let facts = |last_sign, oldest: Option<u64>| WorkerFacts {
            pending: oldest.map_or(0, |_| 3),
            oldest,
            last_sign,
            ..WorkerFacts::default()
        };
        let running = |facts| WorkerFacts {
            is_running: true,
            ..facts
        };
        let local_only = |facts| WorkerFacts {
            missing: Some("there is no token for https://h/r".into()),
            ..facts
        };
        let days = 3 * 24 * 60 * 60;
        for (facts, verdict, found, hint) in [
            (facts(None, None), Verdict::Ok, "no cycle yet", ""),
            (facts(None, Some(60)), Verdict::Ok, "no cycle yet", ""),
            (
                facts(None, Some(7200)),
                Verdict::Problem,
                "no worker has ever run",
                "`stargate-mirror run --repo /r.git`",
            ),
            (facts(Some(600), None), Verdict::Ok, "active 10 minutes ago", ""),
            // Entries that are retried in vain have another check.
            (facts(Some(600), Some(days)), Verdict::Ok, "active", ""),
            (
                facts(Some(days), None),
                Verdict::Warning,
                "no worker for 3 days",
                "`systemctl status stargate-mirror`",
            ),
            (
                facts(Some(days), Some(days)),
                Verdict::Problem,
                "no worker for 3 days; 3 entries pending, the oldest for 3 days",
                "`crontab -l`",
            ),
            (running(facts(Some(days), Some(days))), Verdict::Ok, "running", ""),
            (
                local_only(facts(Some(days), None)),
                Verdict::Warning,
                "no token",
                "Environment=",
            ),
            (
                local_only(facts(Some(9), Some(days))),
                Verdict::Problem,
                "no token",
                "crontab",
            ),
        ] {
            let checks = checks(&facts, &commands);
            let [check] = &checks[..] else {
                panic!("one check: {checks:?}")
            };
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(found), "{check:?}");
            assert!(check.hint.clone().unwrap_or_default().contains(hint), "{check:?}");
        }
        let damaged = WorkerFacts {
            unreadable: Some(("/r.git/.stargate/worker.json".into(), "not JSON".into())),
            ..WorkerFacts::default()
        };
        let hint = checks(&damaged, &commands)[0].hint.clone().expect("a hint");
        assert!(hint.contains("`rm /r.git/.stargate/worker.json`"), "{hint}");
    }
}
