//! What monitors ask a run: `/health` (the last pushed commit, the last committed event, and the feeds), `/healthz`,
//! `/readyz` and `/metrics`.
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::json;

/// Longest time between two steps of a live run. It takes one at least every 30 seconds, unless it commits.
const ALIVE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// Number of threads that answer.
const THREADS: usize = 4;
/// Time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Media type of metrics in the text format of OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const OK: &str = "200 OK";
const UNAVAILABLE: &str = "503 Service Unavailable";
/// Maximum length of a request, in bytes.
const MAX_REQUEST: usize = 8192;

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

/// Answer to a request.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

/// Body of the response.
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
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        for _ in 0..THREADS {
            let (listener, health) = (listener.try_clone()?, self.clone());
            thread::spawn(move || health.answer_all(&listener));
        }
        Ok(address)
    }

    fn answer_all(&self, listener: &TcpListener) {
        loop {
            let answered = listener.accept().and_then(|(stream, _)| self.answer(stream));
            if let Err(error) = answered {
                tracing::debug!(%error, "a health request failed");
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(TIMEOUT))?;
        let head = read_head(&mut stream)?;
        let mut words = head.split(|byte| byte.is_ascii_whitespace());
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let Answer { status, kind, body } = match self.answer_to(path) {
            None => Answer::new(
                "404 Not Found",
                &json!({"error": "no such path; see /health, /healthz, /readyz, /metrics"}),
            ),
            Some(_) if ![&b"GET"[..], b"HEAD"].contains(&method) => {
                Answer::new("405 Method Not Allowed", &json!({"error": "use GET"}))
            }
            Some(answer) => answer,
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
            Connection: close\r\n\r\n"
        );
        let body = if method == b"HEAD" { Vec::new() } else { body };
        stream.write_all(&[head.into_bytes(), body].concat())
    }

    fn answer_to(&self, path: &[u8]) -> Option<Answer> {
        match path {
            b"/health" | b"/v1/health" => Some(Answer {
                body: self.body(),
                ..Answer::new(OK, &json!(null))
            }),
            b"/healthz" => Some(self.alive()),
            b"/readyz" => Some(self.ready()),
            b"/metrics" => Some(Answer {
                status: OK,
                kind: OPENMETRICS,
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
        let state = self.state();
        let mut problems = Vec::new();
        if state.is_push_failing {
            problems.push(json!({"problem": "push", "detail": "the last push failed; the log has the reason"}));
        }
        if let Some(error) = &state.uncommitted {
            problems.push(json!({"problem": "commit", "detail": error}));
        }
        let status = if problems.is_empty() { OK } else { UNAVAILABLE };
        Answer::new(status, &json!({"ready": problems.is_empty(), "problems": problems}))
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

impl Answer {
    fn new(status: &'static str, body: &serde_json::Value) -> Self {
        Answer {
            status,
            kind: "application/json",
            body: body.to_string().into_bytes(),
        }
    }
}

/// Reads a request up to the end of its headers.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if head.len() > MAX_REQUEST => return Err(io::ErrorKind::FileTooLarge.into()),
            length => head.extend_from_slice(&piece[..length]),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
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
        ] {
            let line = format!("stargate_events_{line}");
            assert!(
                metrics.lines().any(|one| one == line),
                "{line} is missing in\n{metrics}"
            );
        }
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
