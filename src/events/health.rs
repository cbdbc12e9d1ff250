//! `GET /health` of a run, for monitors: the last pushed commit, the last committed event, and the feeds.
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Number of threads that answer.
const THREADS: usize = 4;
/// Time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
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

    /// Records the commit of the remote's branch after a push.
    pub fn pushed(&self, commit: gix::ObjectId) {
        let mut state = self.state();
        state.last_commit_sha = Some(commit.to_string());
        state.is_push_failing = false;
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
        let (status, body) = match (method, path) {
            (b"GET" | b"HEAD", b"/health" | b"/v1/health") => ("200 OK", self.body()),
            (_, b"/health" | b"/v1/health") => ("405 Method Not Allowed", br#"{"error":"use GET"}"#.to_vec()),
            _ => ("404 Not Found", br#"{"error":"no such path; see /health"}"#.to_vec()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
            Connection: close\r\n\r\n"
        );
        let body = if method == b"HEAD" { Vec::new() } else { body };
        stream.write_all(&[head.into_bytes(), body].concat())
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
}
