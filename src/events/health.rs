//! What monitors ask a run: `/health` (the last pushed commit, the last committed event, and the feeds), `/healthz`,
//! `/readyz`, `/status` and `/metrics`.
mod http;

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use self::http::{Answer, OK, UNAVAILABLE};
use crate::openmetrics;

/// Longest time between two steps of a live run. It takes one at least every 30 seconds, unless it commits.
const ALIVE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// The paths that are answered.
const PATHS: &str = "/health, /healthz, /readyz, /status, /metrics";

/// State of a run. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    feeds: Arc<[String]>,
    start: Instant,
}

#[derive(Debug, Default)]
struct State {
    last_commit_sha: Option<String>,
    last_event: Option<(String, String)>,
    is_push_failing: bool,
    /// Error of the last attempt to commit, if it failed.
    uncommitted: Option<String>,
    /// Age of the run at its last step.
    last_step: Duration,
    counts: Counts,
    /// Last time at which an event was found to be refused.
    last_refused: Option<Timestamp>,
}

/// Numbers of events since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Committed.
    pub committed: usize,
    /// Known before.
    pub known: usize,
    /// Refused.
    pub refused: usize,
}

/// Reason why a run is not ready.
#[derive(Serialize)]
struct Problem {
    problem: &'static str,
    detail: String,
}

/// Body of `/status`.
#[derive(Serialize)]
struct Status<'a> {
    now: Timestamp,
    version: &'static str,
    ready: bool,
    problems: Vec<Problem>,
    committed: usize,
    known: usize,
    refused: usize,
    last_refused_at: Option<Timestamp>,
    last_commit_sha: Option<&'a str>,
    last_event_id: Option<&'a str>,
    last_event_ts: Option<&'a str>,
    uptime_seconds: u64,
    feed_ids: &'a [String],
}

/// Body of `/health`.
#[derive(Serialize)]
struct Body<'a> {
    status: &'static str,
    last_commit_sha: Option<&'a str>,
    last_event_id: Option<&'a str>,
    last_event_ts: Option<&'a str>,
    uptime_seconds: u64,
    feed_ids: &'a [String],
}

impl Health {
    /// Creates the state of a run over these feeds that starts now.
    pub fn new(feeds: &[String]) -> Self {
        Health {
            state: Arc::default(),
            feeds: feeds.into(),
            start: Instant::now(),
        }
    }

    /// Records the last event that was committed, with its time.
    pub fn committed(&self, event_id: &str, ts: jiff::Timestamp) {
        self.state().last_event = Some((event_id.to_owned(), format!("{ts:.3}")));
    }

    /// Records the commit of the remote's branch after a push. Returns true if the push before it failed.
    pub fn pushed(&self, commit: gix::ObjectId) -> bool {
        let mut state = self.state();
        state.last_commit_sha = Some(commit.to_string());
        std::mem::take(&mut state.is_push_failing)
    }

    /// Records a step of the run, with the events so far.
    pub fn step(&self, counts: Counts) {
        let mut state = self.state();
        if counts.refused > state.counts.refused {
            state.last_refused = Some(Timestamp::now());
        }
        (state.last_step, state.counts) = (self.start.elapsed(), counts);
    }

    /// Records the error of an attempt to commit, or its success. Returns true if the attempt before it failed.
    pub fn commit_tried(&self, error: Option<String>) -> bool {
        std::mem::replace(&mut self.state().uncommitted, error).is_some()
    }

    /// Records a push that failed.
    pub fn push_failed(&self) {
        self.state().is_push_failing = true;
    }

    /// Answers requests at this address until the process ends. Returns the address.
    ///
    /// # Errors
    /// The system reports an error, for instance because the address is in use.
    pub fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let health = self.clone();
        http::listen(address, PATHS, Arc::new(move |path: &[u8]| health.answer_to(path)))
    }

    fn answer_to(&self, path: &[u8]) -> Option<Answer> {
        match path {
            b"/health" | b"/v1/health" => Some(Answer {
                body: self.body(),
                ..Answer::new(OK, &json!(null))
            }),
            b"/healthz" => Some(self.alive()),
            b"/readyz" => Some(self.ready()),
            b"/status" => Some(Answer {
                body: self.status_body(),
                ..Answer::new(OK, &json!(null))
            }),
            b"/metrics" => Some(Answer {
                status: OK,
                kind: openmetrics::MEDIA_TYPE,
                body: self.metrics().into_bytes(),
            }),
            _ => None,
        }
    }

    fn alive(&self) -> Answer {
        let age = self.start.elapsed().saturating_sub(self.state().last_step);
        if age <= ALIVE_WITHIN {
            Answer::new(OK, &json!({"status": "ok"}))
        } else {
            Answer::new(
                UNAVAILABLE,
                &json!({"status": "stuck", "last_step_age_s": age.as_secs()}),
            )
        }
    }

    fn ready(&self) -> Answer {
        let problems = self.state().problems();
        let status = if problems.is_empty() { OK } else { UNAVAILABLE };
        Answer::new(status, &json!({"ready": problems.is_empty(), "problems": problems}))
    }

    fn status_body(&self) -> Vec<u8> {
        let state = self.state();
        let (problems, last_event) = (state.problems(), state.last_event.as_ref());
        let status = Status {
            now: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            ready: problems.is_empty(),
            problems,
            committed: state.counts.committed,
            known: state.counts.known,
            refused: state.counts.refused,
            last_refused_at: state.last_refused,
            last_commit_sha: state.last_commit_sha.as_deref(),
            last_event_id: last_event.map(|(id, _)| id.as_str()),
            last_event_ts: last_event.map(|(_, ts)| ts.as_str()),
            uptime_seconds: self.start.elapsed().as_secs(),
            feed_ids: &self.feeds,
        };
        serde_json::to_vec(&status).expect("a response serializes into memory")
    }

    /// Returns the metrics as OpenMetrics. They have no labels from outside, so nothing needs an escape.
    fn metrics(&self) -> String {
        let state = self.state();
        let mut text = String::new();
        let counters = [
            ("committed", "Events that were committed", state.counts.committed),
            ("known", "Events that had been committed before", state.counts.known),
            ("refused", "Events that were refused", state.counts.refused),
        ];
        for (name, help, value) in counters {
            let name = format!("stargate_events_{name}");
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {value}\n"
            );
        }
        let gauges = [
            ("push_failing", "1 if the last push failed", state.is_push_failing),
            (
                "commit_failing",
                "1 if the last attempt to commit failed",
                state.uncommitted.is_some(),
            ),
        ];
        for (name, help, value) in gauges {
            let (name, value) = (format!("stargate_events_{name}"), u8::from(value));
            let _ = write!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n");
        }
        let name = "stargate_events_last_refused_timestamp_seconds";
        let _ = write!(
            text,
            "# HELP {name} Last time at which an event was refused.\n# TYPE {name} gauge\n# UNIT {name} seconds\n"
        );
        if let Some(at) = state.last_refused {
            let _ = writeln!(text, "{name} {}", at.as_second());
        }
        text + "# EOF\n"
    }

    fn body(&self) -> Vec<u8> {
        let state = self.state();
        let last_event = state.last_event.as_ref();
        let body = Body {
            status: if state.is_push_failing { "degraded" } else { "ok" },
            last_commit_sha: state.last_commit_sha.as_deref(),
            last_event_id: last_event.map(|(id, _)| id.as_str()),
            last_event_ts: last_event.map(|(_, ts)| ts.as_str()),
            uptime_seconds: self.start.elapsed().as_secs(),
            feed_ids: &self.feeds,
        };
        serde_json::to_vec(&body).expect("a response serializes into memory")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn problems(&self) -> Vec<Problem> {
        let push = self.is_push_failing.then(|| Problem {
            problem: "push",
            detail: "the last push failed; the log has the reason".into(),
        });
        let commit = self.uncommitted.clone().map(|detail| Problem {
            problem: "commit",
            detail,
        });
        push.into_iter().chain(commit).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    fn ask(address: SocketAddr, line: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let status = head.split(' ').nth(1).unwrap_or_default();
        (status.to_owned(), body.to_owned())
    }

    #[test]
    fn the_health_is_that_of_the_last_push_and_the_last_event() {
        let health = Health::new(&["a".into(), "b".into()]);
        let address = health.listen(([127, 0, 0, 1], 0).into()).expect("a port");
        let (status, body) = ask(address, "GET /health");
        let begun: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status.as_str(), &begun["status"]), ("200", &"ok".into()));
        assert!(begun["last_commit_sha"].is_null() && begun["last_event_id"].is_null());
        assert!(begun["uptime_seconds"].is_u64());
        health.committed("e-1", "2026-01-10T12:00:00Z".parse().expect("a time"));
        health.pushed(gix::ObjectId::null(gix::hash::Kind::Sha1));
        health.push_failed();
        let (_, body) = ask(address, "GET /v1/health?x=1");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let names: Vec<_> = [
            "status",
            "last_commit_sha",
            "last_event_id",
            "last_event_ts",
            "feed_ids",
        ]
        .map(|name| body[name].clone())
        .into();
        let expected = serde_json::json!([
            "degraded",
            "0".repeat(40),
            "e-1",
            "2026-01-10T12:00:00.000Z",
            ["a", "b"]
        ]);
        assert_eq!(serde_json::Value::Array(names), expected);
        for (line, status) in [("GET /", "404"), ("POST /health", "405"), ("HEAD /health", "200")] {
            assert_eq!(ask(address, line).0, status, "{line}");
        }
    }

    #[test]
    fn a_run_that_cannot_push_or_commit_is_alive_and_not_ready() {
        let health = Health::new(&[]);
        let address = health.listen(([127, 0, 0, 1], 0).into()).expect("a port");
        let ready = || ask(address, "GET /readyz");
        let all_well = ("200".to_owned(), r#"{"problems":[],"ready":true}"#.to_owned());
        assert_eq!(ready(), all_well);
        health.push_failed();
        assert!(!health.commit_tried(Some("the disk is full".into())));
        let (status, body) = ready();
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let problems = [&body["problems"][0]["problem"], &body["problems"][1]["detail"]];
        assert_eq!(
            (status.as_str(), problems),
            ("503", [&"push".into(), &"the disk is full".into()])
        );
        assert_eq!(ask(address, "GET /healthz").0, "200");
        health.step(Counts {
            committed: 3,
            known: 2,
            refused: 1,
        });
        let (_, metrics) = ask(address, "GET /metrics");
        for line in [
            "committed_total 3",
            "known_total 2",
            "refused_total 1",
            "push_failing 1",
            "last_refused_timestamp_seconds ",
        ] {
            let line = format!("stargate_events_{line}");
            assert!(
                metrics
                    .lines()
                    .any(|one| one == line || (line.ends_with(' ') && one.starts_with(&line))),
                "{line} is missing in\n{metrics}"
            );
        }
        let (_, status) = ask(address, "GET /status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let numbers = ["committed", "known", "refused"].map(|name| status[name].as_u64());
        assert_eq!(numbers, [Some(3), Some(2), Some(1)]);
        assert_eq!(
            (&status["ready"], &status["problems"]),
            (&false.into(), &body["problems"])
        );
        assert!(
            status["last_refused_at"].is_string() && status["last_event_id"].is_null(),
            "{status}"
        );
        let rules = include_str!("../../monitoring/rules.yml");
        let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("stargate_events_")) {
            assert!(
                metrics.lines().any(|line| line.split(' ').next() == Some(name)),
                "{name}"
            );
        }
        assert!(health.commit_tried(None) && health.pushed(gix::ObjectId::null(gix::hash::Kind::Sha1)));
        assert_eq!(ready(), all_well);
    }
}
